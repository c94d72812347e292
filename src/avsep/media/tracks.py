"""Audio tracks of a video file: what they hold and how they are encoded."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Literal

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Disposition
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.media.audio_files import quantise

AudioCodec = Literal["flac", "aac"]

# Number of channels -> FFmpeg's name of the layout.
_LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "3.0",
    4: "quad",
    5: "5.0",
    6: "5.1",
    7: "6.1",
    8: "7.1",
}
# What each encoder is fed with; FLAC: the 16-bit sound as it is, AAC: for players that know nothing
# else. PyAV cannot fill the planes of eight channels, so channels are interleaved for both.
_ENCODER_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "fltp"}
_FRAME_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "flt"}
_AAC_BITS_PER_SECOND_A_CHANNEL = 96_000
_BLOCK_SAMPLES = 16_384


@dataclass(frozen=True)
class AudioTrack:
    """One titled audio track to be written.

    Attributes:
        waveform: whole, or in blocks one after the other, for sound that is too long to hold.
        start_seconds: time of the first sample on the time line of the video, not below 0.
    """

    title: str
    waveform: Float32[np.ndarray, "C N"] | Iterable[Float32[np.ndarray, "C n"]]
    sample_rate_hz: int
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        whole = self.waveform if isinstance(self.waveform, np.ndarray) else None
        assert whole is None or (whole.dtype == np.float32 and whole.ndim == 2), (
            f"track '{self.title}': a waveform is float32 [C, N]"
        )
        assert self.start_seconds >= 0, f"track '{self.title}' starts at {self.start_seconds} s"

    def blocks(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """The sound in pieces."""
        if not isinstance(self.waveform, np.ndarray):
            yield from self.waveform
            return
        for begin in range(0, max(1, self.waveform.shape[1]), _BLOCK_SAMPLES):
            yield self.waveform[:, begin : begin + _BLOCK_SAMPLES]


class TrackEncoder:
    """Encodes one track into an open file, as far as it is asked to at a time."""

    def __init__(self, output: OutputContainer, track: AudioTrack, codec: AudioCodec) -> None:
        self._output, self._track = output, track
        self._codec: AudioCodec = codec
        blocks = track.blocks()
        first = next(blocks, None)
        if first is None:
            raise InputError(f"track '{track.title}' has no samples; give each track some sound")
        self._blocks = chain([first], blocks)
        self._position = round(track.start_seconds * track.sample_rate_hz)
        self._stream = self._add_stream(first.shape[0])

    def encode_until(self, seconds: float) -> None:
        """Write blocks until the track reaches this time of the video, or ends."""
        while self._position < seconds * self._track.sample_rate_hz:
            block = next(self._blocks, None)
            if block is None:
                return
            self._encode(block)

    def finish(self) -> None:
        """Write all that is left."""
        for block in self._blocks:
            self._encode(block)
        self._output.mux(self._stream.encode(None))

    def mark_default(self, is_default: bool) -> None:
        """Say whether players should begin with this track."""
        self._stream.disposition = Disposition.default if is_default else Disposition(0)

    def _add_stream(self, num_channels: int) -> av.AudioStream:
        """The stream with title, layout and sample format set."""
        title, rate = self._track.title, self._track.sample_rate_hz
        if num_channels not in _LAYOUTS:
            raise InputError(
                f"track '{title}' has {num_channels} channels; a video's track holds "
                f"{min(_LAYOUTS)} to {max(_LAYOUTS)}"
            )
        self._layout = _LAYOUTS[num_channels]
        try:
            stream = self._output.add_stream(self._codec, rate=rate, layout=self._layout)
            stream.codec_context.format = _ENCODER_FORMATS[self._codec]
            if self._codec == "aac":
                stream.codec_context.bit_rate = _AAC_BITS_PER_SECOND_A_CHANNEL * num_channels
            stream.codec_context.time_base = Fraction(1, rate)
            stream.codec_context.open()
        except (FFmpegError, ValueError) as error:
            raise InputError(
                f"track '{title}': {self._codec} cannot hold {num_channels} channels at {rate} Hz "
                "in MP4; choose flac, or resample first"
            ) from error
        # Players show one or the other.
        stream.metadata.update(title=title, handler_name=title)
        return stream

    def _encode(self, block: Float32[np.ndarray, "C n"]) -> None:
        if block.shape[1] == 0:
            return
        if self._codec == "flac":
            block = quantise(block, 16, f"track '{self._track.title}'").astype(np.int16)
        samples = np.ascontiguousarray(block.T.reshape(1, -1))
        name = _FRAME_FORMATS[self._codec]
        frame = av.AudioFrame.from_ndarray(samples, format=name, layout=self._layout)
        frame.sample_rate = self._track.sample_rate_hz
        frame.time_base = Fraction(1, self._track.sample_rate_hz)
        frame.pts = self._position
        self._position += block.shape[1]
        self._output.mux(self._stream.encode(frame))
