"""Many channels keep their number, order and layout, also where MOV states an order of its own."""

from pathlib import Path

import av
import numpy as np
import pytest

from avsep.media.audio import read_audio
from avsep.media.probe import probe
from media.making import Track, make, noise

# Layout tags of MOV whose order is not that of FFmpeg's layout: L R C LFE Ls Rs Rls Rrs, and Cs.
_TAGS = {"7.1": 128 << 16 | 8, "6.1": 125 << 16 | 7}


def _state_own_order(path: Path, layout: str) -> bytes:
    """Replace the bit map of channels in the `chan` atom of a MOV by a tag."""
    content = bytearray(path.read_bytes())
    tag = content.index(b"chan") + 8
    assert content[tag : tag + 4] == b"\x00\x01\x00\x00", "FFmpeg wrote a bit map"
    content[tag : tag + 8] = _TAGS[layout].to_bytes(4, "big") + bytes(4)
    return bytes(content)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
@pytest.mark.parametrize("layout", _TAGS)
def test_order_of_channels_that_mov_states_itself(tmp_path: Path, layout: str, codec: str) -> None:
    """PyAV frees such a layout twice, which aborts the process."""
    waveform = noise(av.AudioLayout(layout).nb_channels, 3000)
    path = make(tmp_path / "a.mov", tracks=[Track(waveform, 16000, layout, codec)])
    content = _state_own_order(path, layout)
    assert np.array_equal(read_audio(content).waveform, waveform)
    (info,) = probe(content).audio
    assert (info.num_channels, info.layout) == (len(waveform), layout)


def test_order_of_channels_that_caf_states_itself(tmp_path: Path) -> None:
    waveform = noise(8, 3000)
    path = make(tmp_path / "a.caf", tracks=[Track(waveform, 16000, "7.1")])
    assert np.array_equal(read_audio(path).waveform, waveform)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"])
@pytest.mark.parametrize("layout", ["5.1(side)", "6.1", "7.1", "7.1(wide)", "hexadecagonal"])
@pytest.mark.parametrize("ending", [".mov", ".wav", ".mkv"])
def test_channels_keep_their_order(tmp_path: Path, ending: str, layout: str, codec: str) -> None:
    waveform = noise(av.AudioLayout(layout).nb_channels, 1000)
    path = make(tmp_path / f"a{ending}", tracks=[Track(waveform, 16000, layout, codec)])
    assert np.array_equal(read_audio(path).waveform, waveform)
    (info,) = probe(path).audio
    assert info.num_channels == len(waveform)
    # Matroska has a field for the number of channels only, WAV and MOV none for all sixteen.
    if ending == ".wav" and layout != "hexadecagonal":
        assert info.layout == layout
