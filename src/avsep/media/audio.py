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
from avsep.media.opening import Source, open_media, reason, source_name
from avsep.media.streams import choose_audio, zero_seconds

# Time stamps may stray this far before sound is moved: less than anyone notices against the picture
# (ITU-R BT.1359 puts the threshold at 45 ms), more than any rounding of time stamps.
_STRAY_SECONDS = Fraction(40, 1000)
# Longer gaps are faulty time stamps, when the file does not say how long it is.
_LONGEST_GAP_SECONDS = 3600
# Sample format -> what is taken away, then divided by: powers of two, which is exact.
_SCALES = {"u8": (128, 2.0**7), "s16": (0, 2.0**15), "s32": (0, 2.0**31), "flt": (0, 1.0)}
# PyAV finds the end of a frame's planes by a null pointer. FFmpeg puts none behind eight and more,
# so to look at them ends the process.
_MOST_PLANES = 7


@dataclass(frozen=True)
class Sound:
    """The whole of one audio stream.

    Attributes:
        waveform: as decoded; lossy codecs may go beyond -1..1.
        start_seconds: time of the first sample on the file's time line, whose zero is the earliest
            start of video or audio (`streams.zero_seconds`); frame times count from there too.
        damage_seconds: where packets were skipped; silence stands in their place.
    """

    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    start_seconds: float
    damage_seconds: tuple[float, ...] = ()


def read_audio(
    source: Source, *, stream: int | None = None, on_damage: OnDamage = "raise"
) -> Sound:
    """One audio stream, whole; `AudioReader` gives the same in pieces of constant memory.

    Raises:
        InputError: no sound in it, or damaged (see `Damage`) unless `on_damage="skip"`.
    """
    with AudioReader(source, stream=stream, on_damage=on_damage) as reader:
        pieces = list(reader.blocks())
        return Sound(
            waveform=np.concatenate(pieces, axis=1),
            sample_rate_hz=reader.sample_rate_hz,
            start_seconds=reader.start_seconds,
            damage_seconds=tuple(reader.damage.times_seconds),
        )


def iterate_audio(
    source: Source, block_seconds: float = 10.0, *, stream: int | None = None
) -> Iterator[Float32[np.ndarray, "C n"]]:
    """The sound in blocks of one length, the last shorter; memory does not grow with the file."""
    with AudioReader(source, stream=stream) as reader:
        yield from reader.blocks(block_seconds)


@dataclass
class AudioReader:
    """One audio stream to be read once, in blocks; use it in a `with` statement.

    Inside the statement these are known:
        sample_rate_hz, num_channels, start_seconds: of what comes out, see `Sound`.
        damage: what was skipped so far.
    """

    source: Source
    stream: int | None = None  # number among the audio streams; none: the best
    on_damage: OnDamage = "raise"
    sample_rate_hz: int = field(init=False)
    num_channels: int = field(init=False)
    start_seconds: float = field(init=False)
    damage: Damage = field(init=False)

    def __enter__(self) -> Self:
        """Open the source and decode as far as the first frame."""
        name = source_name(self.source)
        with ExitStack() as stack:
            container = stack.enter_context(open_media(self.source))
            chosen = choose_audio(container, self.stream, name)
            self.damage = Damage(f"{name}: the sound", self.on_damage)
            frames = decode(container, chosen, self.damage)
            first = next((f for f in frames if isinstance(f, av.AudioFrame) and f.samples), None)
            if first is None:
                raise InputError(
                    f"{name} has an audio stream ({chosen.codec_context.name}) of which nothing "
                    "can be decoded; repair the file or give another"
                )
            self.sample_rate_hz = first.sample_rate
            self.num_channels = first.layout.nb_channels
            self._start = _time(first) if first.pts is not None else zero_seconds(container)
            self.start_seconds = float(self._start - zero_seconds(container))
            self._longest_gap = _longest_gap(container.duration)
            self._frames = chain([first], frames)
            self._samples = _Samples(first)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the source, unless it was given open."""
        self._stack.close()

    def blocks(self, block_seconds: float = 10.0) -> Iterator[Float32[np.ndarray, "C n"]]:
        """What has not been read yet, in blocks of one length, the last one shorter."""
        assert block_seconds > 0, f"block_seconds is {block_seconds}, it must be above 0"
        wanted = max(1, round(block_seconds * self.sample_rate_hz))
        pieces, num_held = [], 0
        for piece in self._pieces():
            while piece.shape[1]:
                part, piece = np.split(piece, [wanted - num_held], axis=1)
                pieces.append(part)
                num_held += part.shape[1]
                if num_held == wanted:
                    yield np.concatenate(pieces, axis=1)
                    pieces, num_held = [], 0
        if num_held:
            yield np.concatenate(pieces, axis=1)

    def _pieces(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Decoded frames, with silence where time stamps leave a gap."""
        start, position = self._start, 0
        rate = self.sample_rate_hz
        for frame in self._frames:
            assert isinstance(frame, av.AudioFrame), "an audio stream decodes to audio frames"
            if frame.pts is not None:
                lag = _time(frame) - start - Fraction(position, rate)
                if _STRAY_SECONDS < lag <= self._longest_gap:
                    for num_missing in _portions(round(lag * rate), rate):
                        yield np.zeros((self.num_channels, num_missing), np.float32)
                        position += num_missing
                elif abs(lag) > _STRAY_SECONDS:
                    # The clock of the file was set back or is wrong: go on from here by its steps.
                    start += lag
            for piece in self._converted(frame, position / rate):
                if not np.isfinite(piece).all():
                    self.damage.note(position / rate, "its samples are not numbers")
                    piece = np.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)
                yield piece
                position += piece.shape[1]

    def _converted(
        self, frame: av.AudioFrame, seconds: float
    ) -> Iterator[Float32[np.ndarray, "C n"]]:
        try:
            yield from self._samples.of(frame)
        except FFmpegError as error:
            self.damage.note(seconds, reason(error))


class _Samples:
    """Frames to float32 of one rate and layout: those of the first frame."""

    def __init__(self, first: av.AudioFrame) -> None:
        self._form = self._form_of(first)
        self._resampler: av.AudioResampler | None = None
        self._resampler_form: tuple[int, str, str] | None = None

    def of(self, frame: av.AudioFrame) -> Iterator[Float32[np.ndarray, "C n"]]:
        """The samples of a frame; FFmpeg converts one of unusual rate, layout or format."""
        form = self._form_of(frame)
        scale = _SCALES.get(form[2].removesuffix("p"))
        is_readable = not frame.format.is_planar or frame.layout.nb_channels <= _MOST_PLANES
        if form[:2] == self._form[:2] and scale is not None and is_readable:
            samples = _channels_first(frame)
            zero, full = scale
            if full == 1:
                # What is not a number stays what it is; to scale it would warn.
                yield samples
                return
            yield ((samples.astype(np.float64) - zero) / full).astype(np.float32)
            return
        if self._resampler is None or form != self._resampler_form:
            rate, layout, _ = self._form
            self._resampler = av.AudioResampler(format="flt", layout=layout, rate=rate)
            self._resampler_form = form
        for converted in self._resampler.resample(frame):
            yield _channels_first(converted)

    @staticmethod
    def _form_of(frame: av.AudioFrame) -> tuple[int, str, str]:
        return frame.sample_rate, frame.layout.name, frame.format.name


def _channels_first(frame: av.AudioFrame) -> Shaped[np.ndarray, "C n"]:
    samples = frame.to_ndarray()
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T


def _time(frame: av.AudioFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None, "the frame has a time stamp"
    return frame.pts * Fraction(frame.time_base)


def _longest_gap(duration_ticks: int | None) -> Fraction:
    """How much silence is believed: as much as the file is long."""
    if not duration_ticks:
        return Fraction(_LONGEST_GAP_SECONDS)
    return Fraction(duration_ticks, av.time_base)


def _portions(num_samples: int, num_at_most: int) -> Iterator[int]:
    """Counts that add up to `num_samples`, none above `num_at_most`."""
    for done in range(0, num_samples, num_at_most):
        yield min(num_at_most, num_samples - done)


# Write sound files: WAV and FLAC, whole or not at all, and never clipped in silence


Subtype = Literal["float", "pcm16", "pcm24"]

_BITS = {"pcm16": 16, "pcm24": 24}
_SOUNDFILE_SUBTYPES = {"float": "FLOAT", "pcm16": "PCM_16", "pcm24": "PCM_24"}
# File ending -> format and the subtypes it holds; the first is used when none is asked for.
_FORMATS: dict[str, tuple[str, tuple[Subtype, ...]]] = {
    ".wav": ("WAV", ("float", "pcm16", "pcm24")),
    ".flac": ("FLAC", ("pcm24", "pcm16")),
}
# WAV counts its bytes in 32 bits; the header takes less than this much of them.
_LARGEST_WAV_BYTES = 2**32 - 2**16
_MOST_FLAC_CHANNELS = 8


def write_audio(
    path: str | os.PathLike[str],
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    subtype: Subtype | None = None,
) -> None:
    """Write one sound file, .wav (float, pcm16, pcm24) or .flac (pcm24, pcm16).

    Float is exact, PCM is rounded to the nearest step without dither. PCM holds -1..1 only.

    Raises:
        InputError: another ending or subtype, samples beyond what PCM holds, no place to write.
    """
    with AudioWriter(path, waveform.shape[0], sample_rate_hz, subtype) as writer:
        writer.write(waveform)


class AudioWriter:
    """A sound file written block by block; it appears under its name when all went well."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_channels: int,
        sample_rate_hz: int,
        subtype: Subtype | None = None,
    ) -> None:
        self.path = Path(path)
        self._format, self.subtype = _format_of(self.path, subtype)
        if self._format == "FLAC" and num_channels > _MOST_FLAC_CHANNELS:
            raise InputError(
                f"'{self.path}': FLAC holds up to {_MOST_FLAC_CHANNELS} channels, this has "
                f"{num_channels}; write .wav"
            )
        self._num_channels, self._sample_rate_hz = num_channels, sample_rate_hz
        self._num_bytes = 0

    def __enter__(self) -> Self:
        """Open a temporary name beside the path."""
        with ExitStack() as stack:
            part = stack.enter_context(atomic_file(self.path))
            stack.enter_context(_writing(self.path))
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
        """Give the file its name, or remove it if something went wrong."""
        self._stack.__exit__(kind, error, trace)

    def write(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Append a block."""
        bits = _BITS.get(self.subtype, 32)
        self._num_bytes += block.size * bits // 8
        if self._format == "WAV" and self._num_bytes > _LARGEST_WAV_BYTES:
            raise InputError(f"'{self.path}': WAV ends at 4 GiB; write .flac, or a shorter piece")
        if self.subtype == "float":
            self._file.write(block.T)
            return
        # soundfile takes the upper bits of 32, which leaves no rounding to it.
        self._file.write(quantise(block, bits, f"'{self.path}'").T << (32 - bits))


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What libsndfile meets while it writes, a full disk above all, as an InputError."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        why = error.error_string.rstrip(".")
        raise InputError(
            f"'{path}' cannot be written ({why}): the disk is full, or no such file can hold "
            "this sound"
        ) from error


def quantise(
    waveform: Float32[np.ndarray, "C N"], num_bits: int, what: str
) -> Int32[np.ndarray, "C N"]:
    """Samples as whole steps of `2**(1 - num_bits)`, to the nearest.

    Exactly +1, one step above what PCM holds, becomes the highest step; beyond -1..1 is refused.

    Raises:
        InputError: samples beyond -1..1 or not numbers; the message begins with `what`.
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    if not peak <= 1.0:
        raise InputError(
            f"{what}: the loudest sample is {peak:.4g}, {num_bits}-bit PCM holds -1..1; write "
            "float .wav, or make the sound quieter first"
        )
    full = 2 ** (num_bits - 1)
    return np.minimum(np.rint(waveform.astype(np.float64) * full), full - 1).astype(np.int32)


def _format_of(path: Path, subtype: Subtype | None) -> tuple[str, Subtype]:
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
