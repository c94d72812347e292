"""Several audio tracks: by default, number and language, summed, or two as a stereo pair."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from avsep.errors import InputError
from avsep.media.audio import AudioReader, read_audio
from avsep.media.streams import Track as TrackChoice
from media.making import Track, Video, encode, make, noise, numbered

RATE_HZ = 16000


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """Three tracks: English, French (the default one, with a title) and untagged."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    waveforms = [noise(1, 4800, seed) / 4 for seed in range(3)]
    tracks = [
        Track(waveform, codec="flac", is_default=n == 1) for n, waveform in enumerate(waveforms)
    ]
    with av.open(str(path), "w") as output:
        streams = []
        for track, language in zip(tracks, ("eng", "fra", None), strict=True):
            stream = output.add_stream("flac", rate=RATE_HZ, layout="mono")
            stream.disposition = Disposition.default if track.is_default else Disposition(0)
            if language is not None:
                stream.metadata["language"] = language
            streams.append(stream)
        streams[1].metadata["title"] = "Commentary\nby the director"
        for stream, track in zip(streams, tracks, strict=True):
            encode(output, stream, track)
    return path, [read_audio(path, track=number).waveform for number in (1, 2, 3)]


def test_numbers_count_from_one(film: tuple[Path, list[np.ndarray]]) -> None:
    path, waveforms = film
    for number, seed in ((1, 0), (2, 1), (3, 2)):
        np.testing.assert_allclose(waveforms[number - 1], noise(1, 4800, seed) / 4, atol=2**-15)
    assert np.array_equal(read_audio(path, track="3").waveform, waveforms[2])
    assert read_audio(path, track=2).warnings == ()


def test_default_track_is_read_and_the_others_are_named(
    film: tuple[Path, list[np.ndarray]],
) -> None:
    path, waveforms = film
    sound = read_audio(path)
    assert np.array_equal(sound.waveform, waveforms[1])
    (warning,) = sound.warnings
    assert warning == (
        "the file has 3 audio tracks, 1 (eng, 1 channel), 2 (fra, 1 channel, "
        "'Commentary\\nby the director'), 3 (und, 1 channel): track 2 is read; choose another by "
        "number or language, or 'mix' for the sum of all (--audio-track, track=)"
    )


@pytest.mark.parametrize(("track", "number"), [("eng", 1), ("FRA", 2)])
def test_language(film: tuple[Path, list[np.ndarray]], track: str, number: int) -> None:
    path, waveforms = film
    assert np.array_equal(read_audio(path, track=track).waveform, waveforms[number - 1])


def test_mix_is_the_sum_and_pair_the_first_two(film: tuple[Path, list[np.ndarray]]) -> None:
    path, waveforms = film
    assert np.array_equal(read_audio(path, track="mix").waveform, sum(waveforms))
    pair = read_audio(path, track="pair")
    assert np.array_equal(pair.waveform, np.concatenate(waveforms[:2]))
    assert pair.warnings == ()


def test_tracks_are_joined_at_their_own_times_and_lengths(tmp_path: Path) -> None:
    first, second = noise(1, 40000, 1) / 4, noise(2, 8000, 2) / 4
    tracks = [Track(first), Track(second, layout="stereo", start_seconds=0.5)]
    path = make(tmp_path / "a.mkv", [Video(numbered(5))], tracks)
    expected = np.repeat(first, 2, axis=0)
    expected[:, 8000:16000] += second
    with AudioReader(path, track="mix") as reader:
        assert (reader.num_channels, reader.start_seconds) == (2, 0.0)
        mixed = np.concatenate(list(reader.blocks(0.3)), axis=1)
    np.testing.assert_allclose(mixed, expected, atol=2**-14)


@pytest.mark.parametrize("track", [0, 4, "deu", "-1", ""])
def test_tracks_that_do_not_exist(film: tuple[Path, list[np.ndarray]], track: TrackChoice) -> None:
    message = rf"has no audio track '{track}'; there are 1 \(eng.*give a number, a language, 'mix'"
    with pytest.raises(InputError, match=message):
        read_audio(film[0], track=track)


def test_tracks_that_do_not_fit_together(tmp_path: Path) -> None:
    rates = make(tmp_path / "a.mkv", tracks=[Track(noise(1, 800)), Track(noise(1, 800), 8000)])
    with pytest.raises(InputError, match=r"cannot be joined \(1 channels at 16000 Hz, 1 channels"):
        read_audio(rates, track="mix")
    stereo = [Track(noise(2, 800), layout="stereo"), Track(noise(1, 800))]
    with pytest.raises(InputError, match="no audio track 'pair'; there are 1"):
        read_audio(make(tmp_path / "b.mkv", tracks=stereo), track="pair")
