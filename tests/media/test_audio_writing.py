"""Audio files hold the samples to the step, or are not written at all."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.audio_writing import AudioWriter, write_audio
from media.making import noise

SOUNDS = arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 300)),
    elements=st.floats(-1, 1, width=32),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(waveform=SOUNDS)
def test_float_wav_is_exact(waveform: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_audio(Path(folder) / "a.wav", waveform * 4, 44100)
        sound = read_audio(Path(folder) / "a.wav")
    assert sound.sample_rate_hz == 44100
    assert np.array_equal(sound.waveform, waveform * 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "subtype", "bits"),
    [(".wav", "pcm16", 16), (".wav", "pcm24", 24), (".flac", "pcm16", 16), (".flac", None, 24)],
)
@settings(max_examples=15, deadline=None)
@given(waveform=SOUNDS)
def test_pcm_is_within_half_a_step(
    ending: str, subtype: str | None, bits: int, waveform: np.ndarray
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        write_audio(path, waveform, 22050, subtype)
        read = read_audio(path).waveform
    step = 2.0 ** (1 - bits)
    # +1 lies one step above the highest number; a float32 rounds once more by up to 2**-25.
    ceiling = np.minimum(waveform, 1 - step)
    assert np.abs(read - ceiling).max() <= step / 2 + 2.0**-25


@pytest.mark.parametrize("subtype", ["pcm16", "pcm24"])
def test_whole_steps_are_kept_exactly(tmp_path: Path, subtype: str) -> None:
    waveform = noise(2, 4000)
    for ending in (".wav", ".flac"):
        write_audio(tmp_path / f"a{ending}", waveform, 8000, subtype)
        assert np.array_equal(read_audio(tmp_path / f"a{ending}").waveform, waveform)
        assert soundfile.info(tmp_path / f"a{ending}").subtype == f"PCM_{subtype[3:]}"


@pytest.mark.parametrize("value", [1.0001, -1.5, np.nan])
def test_clipping_is_refused_and_leaves_no_file(tmp_path: Path, value: float) -> None:
    path, waveform = tmp_path / "a.wav", noise(1, 100)
    path.write_bytes(b"older")
    waveform[0, 50] = value
    with pytest.raises(InputError, match=r"a.wav': the loudest sample is .*16-bit PCM holds -1..1"):
        write_audio(path, waveform, 8000, "pcm16")
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_an_error_half_way_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), AudioWriter(tmp_path / "a.wav", 1, 8000) as writer:
        writer.write(noise(1, 100))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_bad_names_and_places(tmp_path: Path) -> None:
    waveform = noise(1, 10)
    for name, subtype, words in [
        ("a.mp3", None, "sound is written as .wav or .flac or .opus or .m4a; change"),
        ("a.flac", "float", "FLAC does not hold 'float'; choose one of pcm24, pcm16"),
        ("gone/a.wav", None, "make the folder '.*gone' first"),
        ("here.wav", None, "is a folder"),
    ]:
        (tmp_path / "here.wav").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=words):
            write_audio(tmp_path / name, waveform, 8000, subtype)
    with pytest.raises(
        InputError, match="has 9 channels, flac holds 1, 2, 3, 4, 5, 6, 7 or 8: write"
    ):
        write_audio(tmp_path / "a.flac", noise(9, 10), 8000)
    assert [p.name for p in tmp_path.iterdir()] == ["here.wav"]


@pytest.mark.parametrize("subtype", ["float", "pcm16", "pcm24"])
def test_a_wav_beyond_4_gib_becomes_rf64_with_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str
) -> None:
    waveform = noise(2, 5000)
    bytes_in_all = waveform.size * {"float": 4, "pcm16": 2, "pcm24": 3}[subtype]
    for name, limit in [("small.wav", bytes_in_all), ("large.wav", bytes_in_all // 2)]:
        monkeypatch.setattr("avsep.media.audio_writing._LARGEST_WAV_BYTES", limit)
        with AudioWriter(tmp_path / name, 2, 8000, subtype) as writer:
            for begin in range(0, 5000, 700):
                writer.write(waveform[:, begin : begin + 700])
        sound = read_audio(tmp_path / name)
        assert np.array_equal(sound.waveform, waveform) and not sound.warnings
    formats = [soundfile.info(tmp_path / name).format for name in ("small.wav", "large.wav")]
    assert formats == ["WAV", "RF64"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.wav", "small.wav"]


def test_an_error_in_the_change_to_rf64_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avsep.media.audio_writing._LARGEST_WAV_BYTES", 1000)
    with pytest.raises(InputError, match="beyond"), AudioWriter(tmp_path / "a.wav", 1, 8000) as out:
        out.write(noise(1, 250))
        monkeypatch.setattr("avsep.media.audio_writing.soundfile.SoundFile", _refuse)
        out.write(noise(1, 250))
    assert list(tmp_path.iterdir()) == []


def _refuse(*_: object, **__: object) -> None:
    raise InputError("beyond")


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize(("ending", "rate_hz"), [(".opus", 48000), (".m4a", 44100)])
def test_lossy_files_keep_length_place_and_channels(
    tmp_path: Path, ending: str, rate_hz: int, num_channels: int
) -> None:
    path, num_samples = tmp_path / f"a{ending}", rate_hz // 2 + 123
    t = np.arange(num_samples) / rate_hz
    # Below 120 Hz in the fourth channel, which is for low frequencies in 5.1.
    tones_hz = np.array([310.0, 520, 730, 60, 940, 1150, 1360, 1570])[:num_channels, None]
    waveform = (0.3 * np.sin(2 * np.pi * tones_hz * t) * (t > 0.1)).astype(np.float32)
    with AudioWriter(path, num_channels, rate_hz) as writer:
        for begin in range(0, num_samples, 5000):
            writer.write(waveform[:, begin : begin + 5000])
    sound = read_audio(path)
    assert sound.waveform.shape == waveform.shape and sound.sample_rate_hz == rate_hz
    assert sound.start_seconds == 0 and not sound.warnings
    for before, after in zip(waveform, sound.waveform, strict=True):
        # A tone of another channel, or one out of place by some samples, is an error as loud as it.
        assert np.std(after - before) < 0.1 * np.std(before)


@pytest.mark.parametrize("num_samples", [1, 500, 1024])
@pytest.mark.parametrize(("ending", "rate_hz"), [(".opus", 48000), (".m4a", 48000)])
def test_lossy_files_of_a_moment(
    tmp_path: Path, ending: str, rate_hz: int, num_samples: int
) -> None:
    write_audio(tmp_path / f"a{ending}", noise(1, num_samples), rate_hz)
    assert read_audio(tmp_path / f"a{ending}").waveform.shape == (1, num_samples)


def test_what_lossy_files_do_not_hold_is_told(tmp_path: Path) -> None:
    for name, num_channels, rate_hz, words in [
        ("a.opus", 1, 44100, "opus holds no sound at 44100 Hz; resample it to 48000 Hz first"),
        ("a.m4a", 1, 12345, "aac holds no sound at 12345 Hz; resample it to 48000 Hz first"),
        ("a.opus", 5, 48000, "has 5 channels, opus holds 1, 2, 3, 4, 6 or 8: write float"),
    ]:
        with pytest.raises(InputError, match=words):
            write_audio(tmp_path / name, noise(num_channels, 10), rate_hz)
    with pytest.raises(InputError, match="aac is lossy and does not hold 'pcm16'; leave"):
        write_audio(tmp_path / "a.m4a", noise(1, 10), 48000, "pcm16")
    assert list(tmp_path.iterdir()) == []
