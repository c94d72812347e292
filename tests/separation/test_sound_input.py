"""The sound that is separated: where it begins, which track, and of files that were cut off."""

from pathlib import Path

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.media.audio import Align
from avsep.separation.separator import separate
from media.making import Track, Video, make, noise, numbered
from separation.brightness import Brightness

RATE_HZ = 16_000


def test_stems_begin_with_the_picture_or_as_asked_with_the_sound(tmp_path: Path) -> None:
    sound = noise(1, RATE_HZ)
    late = Track(sound, RATE_HZ, start_seconds=0.5)
    path = make(tmp_path / "a.mkv", [Video(numbered(40))], [late])

    def mixture(align: Align) -> np.ndarray:
        result = separate(path, ["violin@"], model=Brightness(), align=align)
        assert result.manifest.input.start_seconds == (0.0 if align == "picture" else 0.5)
        return result.mixture

    with_silence = mixture("picture")
    assert with_silence.shape[1] == 3 * RATE_HZ // 2
    assert not with_silence[:, : RATE_HZ // 2].any()
    np.testing.assert_allclose(with_silence[:, RATE_HZ // 2 :], sound, atol=2**-15)
    np.testing.assert_allclose(mixture("sound"), sound, atol=2**-15)


@pytest.mark.parametrize("align", ["picture", "sound"])
def test_a_part_is_of_the_same_time_line(tmp_path: Path, align: Align) -> None:
    """Seconds 1 to 1.25 of the video, of sound that starts after half a second."""
    sound = noise(1, RATE_HZ)
    late = Track(sound, RATE_HZ, start_seconds=0.5)
    for ending in (".mkv", ".mov"):
        path = make(tmp_path / f"a{ending}", [Video(numbered(40))], [late])
        part = separate(
            path, ["violin@"], model=Brightness(), align=align, start_seconds=1, end_seconds=1.25
        )
        begin = RATE_HZ // 2
        expected = sound[:, begin : begin + RATE_HZ // 4]
        np.testing.assert_allclose(part.mixture, expected, atol=2**-15, err_msg=ending)


def test_one_of_several_tracks_is_separated_and_the_others_are_named(tmp_path: Path) -> None:
    tracks = [Track(noise(1, RATE_HZ, seed), RATE_HZ) for seed in (1, 2)]
    path = make(tmp_path / "a.mkv", [Video(numbered(25))], tracks)
    by_default = separate(path, ["violin@"], model=Brightness())
    (warning,) = by_default.manifest.warnings
    assert warning.startswith("the file has 2 audio tracks") and str(tmp_path) not in warning
    for number, expected in (
        (1, tracks[0].waveform),
        (2, tracks[1].waveform),
        ("mix", tracks[0].waveform + tracks[1].waveform),
        ("pair", np.concatenate([track.waveform for track in tracks])),
    ):
        chosen = separate(path, ["violin@"], model=Brightness(), audio_track=number)
        np.testing.assert_allclose(chosen.mixture, expected, atol=2**-14)
        assert not chosen.manifest.warnings
    with pytest.raises(InputError, match="no audio track '3'"):
        separate(path, ["violin@"], model=Brightness(), audio_track=3)


@pytest.mark.parametrize("ending", [".mkv", ".mov", ".avi"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_file_that_was_cut_off_is_separated_as_far_as_it_goes(
    tmp_path: Path, ending: str, share: float
) -> None:
    """With the index first, where the container has one that is not at the end."""
    options = {"movflags": "faststart"} if ending == ".mov" else {}
    sound = noise(1, 8 * RATE_HZ // 5)
    whole = make(
        tmp_path / f"whole{ending}", [Video(numbered(40))], [Track(sound, RATE_HZ)], options
    )
    content = whole.read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(content[: round(share * len(content))])
    result = separate(path, ["violin@"], model=Brightness())
    num_samples = result.mixture.shape[1]
    assert 0 < num_samples < sound.shape[1]
    np.testing.assert_allclose(result.mixture, sound[:, :num_samples], atol=2**-15)
    warnings = " ".join(result.manifest.warnings)
    assert "cut off" in warnings and str(tmp_path) not in warnings


def test_warnings_of_the_sound_are_those_of_a_part_too(tmp_path: Path) -> None:
    """A part ends before the reader has come to the end of the file."""
    tracks = [Track(noise(1, 2 * RATE_HZ, seed), RATE_HZ) for seed in (1, 2)]
    path = make(tmp_path / "a.mkv", [Video(numbered(40))], tracks)
    part = separate(path, ["violin@"], model=Brightness(), start_seconds=0.2, end_seconds=0.8)
    (warning,) = part.manifest.warnings
    assert warning.startswith("the file has 2 audio tracks")
