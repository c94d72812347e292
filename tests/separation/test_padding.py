"""The padding that codecs append to the last frame is cut off, up to one frame of the longest."""

from pathlib import Path

import av
import numpy as np
import pytest

from avsep.media.audio import read_audio
from avsep.separation.video_input import VideoInput
from media.making import Track, Video, make, noise, numbered

RATE_HZ = 48000
# FFmpeg's FLAC encoder takes frames of 4608 samples at this rate: room for any surplus below.
NUM_SAMPLES = 6 * 4608


def mp4_with_surplus(folder: Path, surplus_samples: int, waveform: np.ndarray) -> Path:
    """An MP4 whose last audio packet decodes to `surplus_samples` more than its stated duration."""
    whole = make(
        folder / "whole.mp4", [Video(numbered(15))], [Track(waveform, RATE_HZ, codec="flac")]
    )
    path = folder / f"surplus-{surplus_samples}.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        copies = {s.index: output.add_stream_from_template(s, opaque=True) for s in source.streams}
        packets = [packet for packet in source.demux() if packet.size]
        last = [packet for packet in packets if packet.stream.type == "audio"][-1]
        assert last.duration is not None and last.duration > surplus_samples
        last.duration -= surplus_samples
        for packet in packets:
            packet.stream = copies[packet.stream.index]
            output.mux(packet)
    return path


@pytest.mark.parametrize(
    ("surplus_samples", "num_cut"),
    # A frame of HE-AAC, the longest in use, holds 2048 samples: as much as that is no padding but
    # a wrong duration in the header.
    [(0, 0), (1, 1), (1024, 1024), (2047, 2047), (2048, 0), (2049, 0), (4000, 0)],
)
def test_less_than_a_frame_is_cut_and_more_is_kept(
    tmp_path: Path, surplus_samples: int, num_cut: int
) -> None:
    waveform = noise(1, NUM_SAMPLES)
    path = mp4_with_surplus(tmp_path, surplus_samples, waveform)
    # The decoder returns all samples, whatever the container states.
    assert np.array_equal(read_audio(path).waveform, waveform)
    cut = VideoInput.open(path).sound.waveform
    assert np.array_equal(cut, waveform[:, : NUM_SAMPLES - num_cut])
