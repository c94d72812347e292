"""Audio is read exactly as it was written, at its own rate, channels and time."""

import io
import re
import tracemalloc
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.media.audio import AudioReader, iterate_audio, read_audio
from avsep.media.audio_writing import AudioWriter
from avsep.media.decoding import OnDamage
from media.making import Track, Video, encode, make, noise, numbered


@pytest.mark.parametrize(
    ("ending", "codec", "layout", "rate"),
    [
        (".wav", "pcm_s16le", "stereo", 44100),
        (".mkv", "pcm_s16le", "mono", 11025),
        (".mkv", "flac", "5.1", 48000),
        (".mp4", "flac", "stereo", 22050),
        (".mov", "pcm_s16be", "stereo", 96000),
        (".mkv", "flac", "7.1", 48000),
    ],
)
def test_lossless_sound_is_exact(
    tmp_path: Path, ending: str, codec: str, layout: str, rate: int
) -> None:
    num_channels = av.AudioLayout(layout).nb_channels
    waveform = noise(num_channels, rate // 2)
    path = make(tmp_path / f"a{ending}", tracks=[Track(waveform, rate, layout, codec)])
    sound = read_audio(path)
    assert sound.sample_rate_hz == rate
    assert sound.waveform.dtype == np.float32
    assert np.array_equal(sound.waveform, waveform)
    assert (sound.start_seconds, sound.damage_seconds) == (0.0, ())


@pytest.mark.parametrize("sample_format", ["s16p", "s32p", "fltp"])
@pytest.mark.parametrize("layout", ["mono", "5.1", "7.1", "hexadecagonal"])
def test_planar_sound_of_many_channels_is_exact(
    tmp_path: Path, layout: str, sample_format: str
) -> None:
    """Reading eight planes or more with PyAV crashes the process: 7.1 in AAC is enough."""
    waveform = noise(av.AudioLayout(layout).nb_channels, 4000)
    track = Track(waveform, 16000, layout, "wavpack", sample_format=sample_format)
    sound = read_audio(make(tmp_path / "a.mkv", tracks=[track]))
    assert np.array_equal(sound.waveform, waveform)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_other_sample_formats_agree_with_libsndfile(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(2, 1000).T, 8000, subtype=subtype)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    assert np.array_equal(read_audio(path).waveform, expected)


@pytest.mark.slow
def test_sound_that_starts_late_keeps_its_time(tmp_path: Path) -> None:
    for ending, codec in ((".mkv", "flac"), (".mp4", "flac"), (".mov", "pcm_s16le")):
        track = Track(noise(1, 8000), codec=codec, start_seconds=0.75)
        sound = read_audio(make(tmp_path / f"a{ending}", [Video(numbered(25))], [track]))
        # Matroska and the edit lists of MP4 count milliseconds.
        assert sound.start_seconds == pytest.approx(0.75, abs=0.001)
        assert np.array_equal(sound.waveform, track.waveform)


def test_priming_of_aac_is_cut_off(tmp_path: Path) -> None:
    rate = 16000
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)[None]
    sound = read_audio(make(tmp_path / "a.mp4", tracks=[Track(tone, rate, codec="aac")]))
    assert sound.start_seconds == 0.0
    decoded = sound.waveform[:, 2048:14000]
    # A shift by one sample would leave an error of 0.5 * 2 pi 440 / 16000 = 0.086.
    assert np.abs(decoded - tone[:, 2048:14000]).max() < 0.04


def _with_gap(path: Path, gap_seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Write two pieces of a second, the second stamped later by the gap; return both."""
    first, second = noise(1, 16000, seed=1), noise(1, 16000, seed=2)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        for piece, start in ((first, 0.0), (second, 1 + gap_seconds)):
            encode(output, stream, Track(piece, start_seconds=start), is_last=piece is second)
    return first, second


def test_gap_becomes_silence(tmp_path: Path) -> None:
    first, second = _with_gap(tmp_path / "a.mkv", 0.5)
    waveform = read_audio(tmp_path / "a.mkv").waveform
    assert np.array_equal(waveform, np.concatenate([first, np.zeros((1, 8000)), second], axis=1))


def test_rounded_stamps_move_nothing(tmp_path: Path) -> None:
    first, second = _with_gap(tmp_path / "a.mkv", 0.004)
    waveform = read_audio(tmp_path / "a.mkv").waveform
    assert np.array_equal(waveform, np.concatenate([first, second], axis=1))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(num_samples=st.integers(1, 5000), block_samples=st.integers(1, 6000))
def test_blocks_are_the_whole_in_order(num_samples: int, block_samples: int) -> None:
    waveform, file = noise(2, num_samples), io.BytesIO()
    soundfile.write(file, waveform.T, 8000, format="WAV", subtype="PCM_16")
    blocks = list(iterate_audio(file, block_samples / 8000))
    assert all(block.shape[1] == block_samples for block in blocks[:-1])
    assert np.array_equal(np.concatenate(blocks, axis=1), waveform)


@pytest.mark.slow
def test_long_sound_is_written_and_read_in_constant_memory(tmp_path: Path) -> None:
    path, second = tmp_path / "long.wav", noise(2, 16000)
    tracemalloc.start()
    try:
        with AudioWriter(path, 2, 16000) as writer:
            for _ in range(100):
                writer.write(second)
        num_samples = sum(block.shape[1] for block in iterate_audio(path, 1.0))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_samples == 100 * 16000
    # The whole is 13 MB; a few blocks of 0.13 MB are held at a time.
    assert peak_bytes < 2_000_000


def test_damage_is_an_error_or_counted_silence(tmp_path: Path) -> None:
    waveform = noise(1, 5 * 16000)
    data = bytearray(make(tmp_path / "a.mkv", tracks=[Track(waveform, codec="flac")]).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = bytes(60)
    with pytest.raises(
        InputError, match=r"bytes: the sound is damaged after 2\.\d+ s \(Invalid data"
    ):
        read_audio(bytes(data))
    sound = read_audio(bytes(data), on_damage="skip")
    assert sound.damage_seconds == pytest.approx((2.5,), abs=0.5)
    # What follows the damage is where it was; one FLAC frame is at most 4608 samples.
    assert sound.waveform.shape == waveform.shape
    assert np.count_nonzero((sound.waveform != waveform).any(axis=0)) <= 4608


def test_file_cut_off_is_told(tmp_path: Path) -> None:
    tracks = [Track(noise(1, 5 * 16000), codec="flac")]
    path = make(tmp_path / "a.mp4", tracks=tracks, container={"movflags": "+faststart"})
    half = path.read_bytes()[: path.stat().st_size // 2]
    message = r"ends after 2\.\d+ s, where the file is cut off: \d+ bytes .* missing, 2\.\d+ s by"
    with pytest.raises(InputError, match=message):
        read_audio(half)
    sound = read_audio(half, on_damage="skip")
    assert len(sound.warnings) == 1 and re.search(message, sound.warnings[0])
    num_read = sound.waveform.shape[1]
    assert 2 * 16000 < num_read < 3 * 16000
    assert np.array_equal(sound.waveform, tracks[0].waveform[:, :num_read])


def test_file_without_its_index_is_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", tracks=[Track(noise(1, 16000), codec="flac")])
    with pytest.raises(InputError, match="no sound or video that can be read"):
        read_audio(path.read_bytes()[: path.stat().st_size // 2])


def test_samples_that_are_not_numbers_are_damage(tmp_path: Path) -> None:
    waveform = noise(1, 16000)
    waveform[0, 8000] = np.nan
    soundfile.write(tmp_path / "a.wav", waveform.T, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="its samples are not numbers"):
        read_audio(tmp_path / "a.wav")
    assert read_audio(tmp_path / "a.wav", on_damage="skip").waveform[0, 8000] == 0


def test_signalling_nans_are_damage_without_a_warning(tmp_path: Path) -> None:
    waveform = np.zeros(4000, np.float32)
    waveform[1000] = np.array(0x7FA00000, np.uint32).view(np.float32)
    soundfile.write(tmp_path / "a.wav", waveform, 8000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"damaged after 0\.\d+ s \(its samples are not numbers\)"):
        read_audio(tmp_path / "a.wav")
    sound = read_audio(tmp_path / "a.wav", on_damage="skip")
    assert not sound.waveform.any() and len(sound.damage_seconds) == 1


@pytest.mark.parametrize("on_damage", ["error", "skip"])
def test_frames_of_a_layout_that_nothing_converts(tmp_path: Path, on_damage: OnDamage) -> None:
    """A flipped bit in 5.1 AAC has been seen to decode to a frame of 29 channels."""
    waveform = noise(1, 4000)
    path = make(tmp_path / "a.wav", tracks=[Track(waveform, 8000)])
    silence = np.zeros((1, 29 * 1024), np.float32)
    odd = av.AudioFrame.from_ndarray(silence, format="flt", layout="29 channels")
    odd.sample_rate = 8000
    with AudioReader(path, on_damage=on_damage) as reader:
        (track,) = reader._readers
        track._frames = chain(track._frames, [odd])
        if on_damage == "error":
            with pytest.raises(InputError, match=r"damaged after 0\.50 s \(Invalid argument\)"):
                list(reader.blocks())
            return
        assert np.array_equal(np.concatenate(list(reader.blocks()), axis=1), waveform)
        assert reader.damage_seconds == [0.5]


def test_reader_tells_what_comes_before_it_is_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wav", tracks=[Track(noise(2, 8000), 8000, "stereo")])
    with AudioReader(path) as reader:
        assert (reader.sample_rate_hz, reader.num_channels, reader.start_seconds) == (8000, 2, 0.0)
        assert [block.shape for block in reader.blocks(0.6)] == [(2, 4800), (2, 3200)]


@pytest.mark.parametrize(
    ("ending", "codec", "begins"),
    [(".wav", "pcm_s16le", 2.0), (".mkv", "flac", 0.0), (".mov", "pcm_s16be", 2.0),
     (".mp3", "libmp3lame", 0.0)],
)  # fmt: skip
def test_a_reader_begins_shortly_before_a_time(
    tmp_path: Path, ending: str, codec: str, begins: float
) -> None:
    waveform = noise(2, 4 * 22050)
    track = Track(waveform, 22050, "stereo", codec, sample_format=None)
    path = make(tmp_path / f"a{ending}", tracks=[track])
    whole = read_audio(path)
    with AudioReader(path, seek_seconds=begins + 0.5) as reader:
        sound = np.concatenate(list(reader.blocks()), axis=1)
        # A packet of FLAC is a fifth of a second here.
        assert begins - 0.25 <= reader.start_seconds <= begins + 0.25
        first = round((reader.start_seconds - whole.start_seconds) * 22050)
    assert np.array_equal(sound, whole.waveform[:, first:])
