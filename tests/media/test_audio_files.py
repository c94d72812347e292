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
from avsep.media.audio import AudioWriter, read_audio, write_audio
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
        ("a.mp3", None, "sound is written as .wav or .flac; change the ending"),
        ("a.flac", "float", "FLAC does not hold 'float'; choose one of pcm24, pcm16"),
        ("gone/a.wav", None, "make the folder '.*gone' first"),
        ("here.wav", None, "is a folder"),
    ]:
        (tmp_path / "here.wav").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=words):
            write_audio(tmp_path / name, waveform, 8000, subtype)
    with pytest.raises(InputError, match="FLAC holds up to 8 channels, this has 9"):
        write_audio(tmp_path / "a.flac", noise(9, 10), 8000)
    assert [p.name for p in tmp_path.iterdir()] == ["here.wav"]


def test_wav_that_would_pass_4_gib_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avsep.media.audio._LARGEST_WAV_BYTES", 1000)
    write_audio(tmp_path / "a.wav", noise(1, 250), 8000)
    with pytest.raises(InputError, match=r"WAV ends at 4 GiB; write .flac"):
        write_audio(tmp_path / "b.wav", noise(1, 251), 8000)
