"""The padding that codecs append to the last frame is taken off where the container tells it."""

from pathlib import Path

import av
import numpy as np
import pytest

from avsep.media.audio import read_audio
from media.making import Track, Video, make, noise, numbered

RATE_HZ = 48000
# FFmpeg's FLAC encoder takes frames of 4608 samples at this rate: room for any surplus below.
FRAME_SAMPLES = 4608
NUM_SAMPLES = 6 * FRAME_SAMPLES


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


@pytest.mark.parametrize("surplus_samples", [0, 1, 1024, 2047, 4000, FRAME_SAMPLES - 1])
def test_what_the_last_packet_has_beyond_its_duration_is_cut(
    tmp_path: Path, surplus_samples: int
) -> None:
    waveform = noise(1, NUM_SAMPLES)
    sound = read_audio(mp4_with_surplus(tmp_path, surplus_samples, waveform))
    assert np.array_equal(sound.waveform, waveform[:, : NUM_SAMPLES - surplus_samples])
    assert (sound.padding_samples, sound.warnings) == (surplus_samples, ())
