"""Read and write audio: any container in, WAV and FLAC out."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
import numpy as np
import soundfile
from av.error import FFmpegError
from jaxtyping import Float32, Int32, Shaped

from avsep.errors import InputError
from avsep.media.atomic import atomic_file
from avsep.media.decoding import Damage, OnDamage, decode
from avsep.media.opening import MediaSource, ffmpeg_message, open_media, source_name
from avsep.media.streams import choose_audio, zero_seconds

# Time stamps may deviate this much before sound is moved: below what viewers notice (ITU-R BT.1359
# puts the threshold at 45 ms), above any rounding of time stamps.
_TIMESTAMP_TOLERANCE_SECONDS = Fraction(40, 1000)
# Longest gap filled with silence in a file without a stated duration; longer gaps are faulty time
# stamps, and filling them could exhaust the memory.
_LONGEST_GAP_SECONDS = 3600
# Sample format -> zero point, and divisor: powers of two, so that the division is exact.
_SCALES = {"u8": (128, 2.0**7), "s16": (0, 2.0**15), "s32": (0, 2.0**31), "flt": (0, 1.0)}
# PyAV finds the end of a frame's planes by a null pointer, which FFmpeg omits from eight planes on:
# reading them crashes the process.
_MAX_READABLE_PLANES = 7

Subtype = Literal["float", "pcm16", "pcm24"]

_BITS = {"pcm16": 16, "pcm24": 24}
_SOUNDFILE_SUBTYPES = {"float": "FLOAT", "pcm16": "PCM_16", "pcm24": "PCM_24"}
# File ending -> format and its subtypes, the default first.
_FORMATS: dict[str, tuple[str, tuple[Subtype, ...]]] = {
    ".wav": ("WAV", ("float", "pcm16", "pcm24")),
    ".flac": ("FLAC", ("pcm24", "pcm16")),
}
# WAV stores its size in 32 bits; 2**16 of them leave room for the header.
_LARGEST_WAV_BYTES = 2**32 - 2**16
# The format stores the number of channels in three bits.
_MAX_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Audio:
    """A decoded audio stream.

    Attributes:
        waveform: samples as decoded; lossy codecs may exceed -1..1.
        start_seconds: time of the first sample on the file's time line, whose zero is the earliest
            start of video or audio (`streams.zero_seconds`); frame times count from there too.
        damage_seconds: times of skipped packets, which are replaced by silence.
    """

    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    start_seconds: float
    damage_seconds: tuple[float, ...] = ()


def read_audio(
    source: MediaSource, *, stream: int | None = None, on_damage: OnDamage = "raise"
) -> Audio:
    """Read a whole audio stream; `AudioReader` reads blocks in constant memory.

    Raises:
        InputError: no audio, or damaged (see `Damage`) unless `on_damage="skip"`.
    """
    with AudioReader(source, stream=stream, on_damage=on_damage) as reader:
        blocks = list(reader.blocks())
        return Audio(
            waveform=np.concatenate(blocks, axis=1),
            sample_rate_hz=reader.sample_rate_hz,
            start_seconds=reader.start_seconds,
            damage_seconds=tuple(reader.damage.times_seconds),
        )


def iterate_audio(
    source: MediaSource, block_seconds: float = 10.0, *, stream: int | None = None
) -> Iterator[Float32[np.ndarray, "C n"]]:
    """Read audio in blocks of equal length, the last one shorter, in constant memory.

    Raises:
        InputError: no audio, or damaged.
    """
    with AudioReader(source, stream=stream) as reader:
        yield from reader.blocks(block_seconds)


@dataclass
class AudioReader:
    """A context manager that reads one audio stream once, in blocks.

    Attributes, from entering on:
        sample_rate_hz, num_channels, start_seconds: of the samples returned, see `Audio`.
        damage: the packets skipped so far.
    """

    source: MediaSource
    stream: int | None = None  # number among the audio streams; none: the best
    on_damage: OnDamage = "raise"
    sample_rate_hz: int = field(init=False)
    num_channels: int = field(init=False)
    start_seconds: float = field(init=False)
    damage: Damage = field(init=False)

    def __enter__(self) -> Self:
        """Open the source and decode its first frame."""
        name = source_name(self.source)
        with ExitStack() as stack:
            container = stack.enter_context(open_media(self.source))
            stream = choose_audio(container, self.stream, name)
            self.damage = Damage(f"{name}: the sound", self.on_damage)
            frames = decode(container, stream, self.damage)
            for first in frames:
                assert isinstance(first, av.AudioFrame), "an audio stream decodes to audio frames"
                if first.samples:
                    break
            else:
                raise InputError(
                    f"{name} has an audio stream ({stream.codec_context.name}) of which nothing "
                    "can be decoded; repair the file or give another"
                )
            # Rate and channels come from the first frame, not from the header: that of HE-AAC may
            # state half the rate and one channel of two.
            self.sample_rate_hz = first.sample_rate
            self.num_channels = first.layout.nb_channels
            zero = zero_seconds(container)
            self._start = _frame_time(first) if first.pts is not None else zero
            self.start_seconds = float(self._start - zero)
            self._longest_gap_seconds = Fraction(_LONGEST_GAP_SECONDS)
            if container.duration:
                self._longest_gap_seconds = Fraction(container.duration, av.time_base)
            self._frames = chain([first], frames)
            self._converter = _SampleConverter(first)
            # All went well: the container stays open until `__exit__`.
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the source, except for a file object of the caller."""
        self._stack.close()

    def blocks(self, block_seconds: float = 10.0) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Read the remaining samples in blocks of equal length, the last one shorter."""
        assert block_seconds > 0, f"block_seconds is {block_seconds}, it must be above 0"
        block_samples = max(1, round(block_seconds * self.sample_rate_hz))
        pieces, num_buffered = [], 0
        for piece in self._pieces():
            while piece.shape[1]:
                part, piece = np.split(piece, [block_samples - num_buffered], axis=1)
                pieces.append(part)
                num_buffered += part.shape[1]
                if num_buffered == block_samples:
                    yield np.concatenate(pieces, axis=1)
                    pieces, num_buffered = [], 0
        if num_buffered:
            yield np.concatenate(pieces, axis=1)

    def _pieces(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Decode frames to samples and fill gaps between time stamps with silence."""
        start, position = self._start, 0
        rate = self.sample_rate_hz
        for frame in self._frames:
            assert isinstance(frame, av.AudioFrame), "an audio stream decodes to audio frames"
            if frame.pts is not None:
                gap = _frame_time(frame) - start - Fraction(position, rate)
                if _TIMESTAMP_TOLERANCE_SECONDS < gap <= self._longest_gap_seconds:
                    # In pieces of a second, so that long gaps need no more memory than sound.
                    for num_missing in _split_count(round(gap * rate), rate):
                        yield np.zeros((self.num_channels, num_missing), np.float32)
                        position += num_missing
                elif abs(gap) > _TIMESTAMP_TOLERANCE_SECONDS:
                    # The file's clock was reset or is wrong: continue relative to this frame.
                    start += gap
            try:
                pieces = list(self._converter.convert(frame))
            except FFmpegError as error:
                self.damage.record(position / rate, ffmpeg_message(error))
                continue
            for piece in pieces:
                if not np.isfinite(piece).all():
                    self.damage.record(position / rate, "its samples are not numbers")
                    piece = np.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)
                yield piece
                position += piece.shape[1]


class _SampleConverter:
    """Convert frames to float32 samples of the first frame's rate and layout."""

    def __init__(self, first: av.AudioFrame) -> None:
        self._rate, self._layout = first.sample_rate, first.layout.name
        self._resampler: av.AudioResampler | None = None
        self._resampler_input: tuple[int, str, str] | None = None

    def convert(self, frame: av.AudioFrame) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Convert a frame; FFmpeg resamples those of another rate, layout or sample format."""
        frame_format = (frame.sample_rate, frame.layout.name, frame.format.name)
        scale = _SCALES.get(frame_format[2].removesuffix("p"))
        is_readable = not frame.format.is_planar or frame.layout.nb_channels <= _MAX_READABLE_PLANES
        if frame_format[:2] == (self._rate, self._layout) and scale is not None and is_readable:
            samples = _channels_first(frame)
            zero, full_scale = scale
            if full_scale == 1:
                # Float samples pass through untouched: arithmetic on signalling NaNs would warn.
                yield samples
                return
            # float64 holds every 32-bit step, so that the only rounding is the one to float32.
            yield ((samples.astype(np.float64) - zero) / full_scale).astype(np.float32)
            return
        # FFmpeg's resampler fixes its input at the first frame; each new input needs a new one.
        if self._resampler is None or frame_format != self._resampler_input:
            self._resampler = av.AudioResampler("flt", self._layout, self._rate)
            self._resampler_input = frame_format
        for converted in self._resampler.resample(frame):
            yield _channels_first(converted)


def _channels_first(frame: av.AudioFrame) -> Shaped[np.ndarray, "C n"]:
    samples = frame.to_ndarray()
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T


def _frame_time(frame: av.AudioFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None, "the frame has a time stamp"
    return frame.pts * Fraction(frame.time_base)


def _split_count(num_samples: int, max_samples: int) -> Iterator[int]:
    """Split a count into parts of at most `max_samples`."""
    for done in range(0, num_samples, max_samples):
        yield min(max_samples, num_samples - done)


# Writing


def write_audio(
    path: str | os.PathLike[str],
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    subtype: Subtype | None = None,
) -> None:
    """Write an audio file atomically: .wav (float, pcm16, pcm24) or .flac (pcm24, pcm16).

    Float is exact. PCM is rounded to the nearest step without dither, and limited to -1..1.

    Raises:
        InputError: another ending or subtype, samples beyond -1..1 in PCM, `path` not writable.
    """
    with AudioWriter(path, waveform.shape[0], sample_rate_hz, subtype) as writer:
        writer.write(waveform)


class AudioWriter:
    """A context manager that writes an audio file block by block, atomically."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_channels: int,
        sample_rate_hz: int,
        subtype: Subtype | None = None,
    ) -> None:
        self.path = Path(path)
        self._format, self.subtype = _format_of_path(self.path, subtype)
        if self._format == "FLAC" and num_channels > _MAX_FLAC_CHANNELS:
            raise InputError(
                f"'{self.path}': FLAC holds up to {_MAX_FLAC_CHANNELS} channels, this has "
                f"{num_channels}; write .wav"
            )
        self._num_channels, self._sample_rate_hz = num_channels, sample_rate_hz
        self._num_bytes = 0

    def __enter__(self) -> Self:
        """Open a temporary file beside the path."""
        with ExitStack() as stack:
            part = stack.enter_context(atomic_file(self.path))
            stack.enter_context(_input_errors(self.path))
            self._file = stack.enter_context(
                soundfile.SoundFile(
                    part,
                    mode="w",
                    samplerate=self._sample_rate_hz,
                    channels=self._num_channels,
                    format=self._format,
                    subtype=_SOUNDFILE_SUBTYPES[self.subtype],
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the temporary file to the path, or delete it after an error."""
        self._stack.__exit__(kind, error, trace)

    def write(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Append a block.

        Raises:
            InputError: samples beyond -1..1 in PCM, or more bytes than a WAV file holds.
        """
        bits = _BITS.get(self.subtype, 32)
        self._num_bytes += block.size * bits // 8
        if self._format == "WAV" and self._num_bytes > _LARGEST_WAV_BYTES:
            raise InputError(f"'{self.path}': WAV ends at 4 GiB; write .flac, or a shorter piece")
        if self.subtype == "float":
            self._file.write(block.T)
            return
        # libsndfile drops the lower bits of int32 samples: shifted up, there is nothing to round.
        self._file.write(quantise(block, bits, f"'{self.path}'").T << (32 - bits))


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Convert errors of libsndfile, mostly a full disk, to InputError."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        problem = error.error_string.rstrip(".")
        raise InputError(
            f"'{path}' cannot be written ({problem}): the disk is full, or the format does not "
            "support this rate or number of channels"
        ) from error


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


def _format_of_path(path: Path, subtype: Subtype | None) -> tuple[str, Subtype]:
    """Return format and subtype by the file ending, or raise InputError."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(
            f"'{path}': sound is written as {' or '.join(_FORMATS)}; change the ending"
        )
    name, subtypes = _FORMATS[path.suffix.lower()]
    if subtype is not None and subtype not in subtypes:
        raise InputError(
            f"'{path}': {name} does not hold '{subtype}'; choose one of {', '.join(subtypes)}"
        )
    return name, subtype or subtypes[0]
