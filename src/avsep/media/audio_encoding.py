"""Encode sound with FFmpeg's encoders, as a track of an open container."""

from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from jaxtyping import Float32, Int32

from avsep.errors import InputError

AudioCodec = Literal["flac", "aac", "opus"]

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
# FFmpeg's encoder of Opus (libopus, 8.0) exchanges channels of 5.0 and 6.1.
_NUM_CHANNELS: dict[AudioCodec, tuple[int, ...]] = {
    "flac": tuple(_LAYOUTS),
    "aac": tuple(_LAYOUTS),
    "opus": (1, 2, 3, 4, 6, 8),
}
_ENCODERS: dict[AudioCodec, str] = {"flac": "flac", "aac": "aac", "opus": "libopus"}
# Sample formats of the encoders. FLAC gets 16-bit samples, which it keeps exactly; AAC is for
# players without FLAC. Frames are interleaved for all, as PyAV cannot fill eight planes.
_ENCODER_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "fltp", "opus": "flt"}
_FRAME_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "flt", "opus": "flt"}
# Of FFmpeg's two searches for AAC's step sizes the quicker one, and none of the tools that save
# bits: with them it takes 1.4 times as long, and at these rates noise is not lower in real videos.
_ENCODER_OPTIONS: dict[AudioCodec, dict[str, str]] = {
    "flac": {},
    "aac": {
        "aac_coder": "fast", "aac_ms": "0", "aac_is": "0", "aac_pns": "0", "aac_tns": "0",
    },
    "opus": {},
}  # fmt: skip
# The rate at which stereo AAC-LC (192 kbit/s) is usually taken as transparent; Opus needs less.
_BITS_PER_SECOND_PER_CHANNEL = 96_000
# Sample rates of the lossy codecs; FLAC takes any.
_RATES_HZ: dict[AudioCodec, tuple[int, ...]] = {
    "aac": (
        8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000,
    ),
    "opus": (48000,),
}  # fmt: skip
_USUAL_RATE_HZ = 48000


def check_channels(codec: AudioCodec, num_channels: int, name: str) -> None:
    """Check that a codec holds a number of channels.

    Raises:
        InputError: it does not; the message begins with `name`.
    """
    allowed = _NUM_CHANNELS[codec]
    if num_channels not in allowed:
        *most, last = map(str, allowed)
        raise InputError(
            f"{name} has {num_channels} channels, {codec} holds {', '.join(most)} or {last}: write "
            "float .wav, or give fewer channels"
        )


def encodable_rate_hz(codec: AudioCodec, sample_rate_hz: int) -> int:
    """Return the rate at which a codec can hold sound of some rate: the same, or 48,000 Hz.

    >>> encodable_rate_hz("opus", 44100), encodable_rate_hz("aac", 44100)
    (48000, 44100)
    """
    rates = _RATES_HZ.get(codec, (sample_rate_hz,))
    return sample_rate_hz if sample_rate_hz in rates else _USUAL_RATE_HZ


def quantise(
    waveform: Float32[np.ndarray, "C N"], num_bits: int, name: str
) -> Int32[np.ndarray, "C N"]:
    """Round samples to the nearest step of `2**(1 - num_bits)` and return the steps.

    +1 is one step above the largest number of PCM and becomes that number.

    Raises:
        InputError: samples beyond -1..1 or not finite; the message begins with `name`.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    # Negated, because every comparison with NaN is false.
    if not peak <= 1.0:
        raise InputError(
            f"{name}: the loudest sample is {peak:.4g}, {num_bits}-bit PCM holds -1..1; write "
            "float .wav, or make the sound quieter first"
        )
    full_scale = 2 ** (num_bits - 1)
    steps = np.rint(waveform.astype(np.float64) * full_scale)
    return np.minimum(steps, full_scale - 1).astype(np.int32)


class AudioEncoder:
    """Encode one titled track of an open container, block by block; the caller muxes the packets.

    So that tracks may be encoded in threads of their own, while one writes them.
    """

    def __init__(
        self,
        output: OutputContainer,
        title: str,
        num_channels: int,
        sample_rate_hz: int,
        codec: AudioCodec,
        *,
        start_seconds: float = 0.0,
        bits_per_second: int = _BITS_PER_SECOND_PER_CHANNEL,
    ) -> None:
        """Add the track to a container; `bits_per_second` is a channel's, of lossy codecs."""
        self._output, self._title = output, title
        self._codec: AudioCodec = codec
        self._bits_per_second = bits_per_second
        self._sample_rate_hz = sample_rate_hz
        self._position = round(start_seconds * sample_rate_hz)
        self._stream = self._add_stream(num_channels)
        self.set_default(True)

    def set_default(self, is_default: bool) -> None:
        """Set whether players select this track at the start; before the first sample."""
        self._stream.disposition = Disposition.default if is_default else Disposition(0)

    @property
    def position_seconds(self) -> float:
        """Return the time on the time line up to which the track is encoded."""
        return self._position / self._sample_rate_hz

    def encode(self, block: Float32[np.ndarray, "C n"]) -> list[Packet]:
        """Encode the next samples, and return the packets that are complete.

        Raises:
            InputError: samples beyond -1..1 with flac.
        """
        if block.shape[1] == 0:
            return []
        if self._codec == "flac":
            # Rounded here, not by FFmpeg, so that stems in the video equal those in 16-bit files.
            block = quantise(block, 16, f"track '{self._title}'").astype(np.int16)
        samples = np.ascontiguousarray(block.T.reshape(1, -1))
        frame_format = _FRAME_FORMATS[self._codec]
        frame = av.AudioFrame.from_ndarray(samples, format=frame_format, layout=self._layout)
        frame.sample_rate = self._sample_rate_hz
        frame.time_base = Fraction(1, self._sample_rate_hz)
        frame.pts = self._position
        self._position += block.shape[1]
        return self._stream.encode(frame)

    def flush(self) -> list[Packet]:
        """Return what the encoder holds back; nothing follows."""
        return self._stream.encode(None)

    def _add_stream(self, num_channels: int) -> av.AudioStream:
        """Add an audio stream with title, layout and sample format to the file."""
        title, rate, codec = self._title, self._sample_rate_hz, self._codec
        check_channels(codec, num_channels, f"track '{title}'")
        self._layout = _LAYOUTS[num_channels]
        try:
            options = _ENCODER_OPTIONS[codec]
            stream = self._output.add_stream(
                _ENCODERS[codec], rate=rate, layout=self._layout, options=options
            )
            assert isinstance(stream, av.AudioStream), "all of these encode audio"
            stream.codec_context.format = _ENCODER_FORMATS[codec]
            if codec != "flac":
                stream.codec_context.bit_rate = self._bits_per_second * num_channels
            stream.codec_context.time_base = Fraction(1, rate)
            stream.codec_context.open()
        except (FFmpegError, ValueError) as error:
            raise InputError(
                f"track '{title}': {codec} cannot hold {num_channels} channels at {rate} Hz; "
                "choose flac, or resample first"
            ) from error
        # Some players show the title, others the handler name.
        stream.metadata.update(title=title, handler_name=title)
        return stream
