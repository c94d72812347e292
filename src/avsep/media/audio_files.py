"""Write sound files: WAV and FLAC, whole or not at all, and never clipped in silence."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import soundfile
from jaxtyping import Float32, Int32

from avsep.errors import InputError
from avsep.media.whole_file import whole_file

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
            part = stack.enter_context(whole_file(self.path))
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
