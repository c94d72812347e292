"""Write audio files block by block: WAV, FLAC, Opus and AAC, complete or not at all."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

import av
import numpy as np
import soundfile
from av.error import FFmpegError
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.media.atomic import atomic_file
from avsep.media.audio_encoding import (
    AudioCodec,
    AudioEncoder,
    check_channels,
    encodable_rate_hz,
    quantise,
)
from avsep.media.opening import ffmpeg_message

Subtype = Literal["float", "pcm16", "pcm24"]

_BITS = {"pcm16": 16, "pcm24": 24}
_SOUNDFILE_SUBTYPES = {"float": "FLOAT", "pcm16": "PCM_16", "pcm24": "PCM_24"}
# File ending -> format and its subtypes, the default first.
_FORMATS: dict[str, tuple[str, tuple[Subtype, ...]]] = {
    ".wav": ("WAV", ("float", "pcm16", "pcm24")),
    ".flac": ("FLAC", ("pcm24", "pcm16")),
}
# File ending -> lossy codec, and FFmpeg's name of the container.
_LOSSY_FORMATS: dict[str, tuple[AudioCodec, str]] = {
    ".opus": ("opus", "ogg"),
    ".m4a": ("aac", "ipod"),
}
_ENDINGS = (*_FORMATS, *_LOSSY_FORMATS)
# WAV stores its size in 32 bits; 2**16 of them leave room for the header.
_LARGEST_WAV_BYTES = 2**32 - 2**16
_COPIED_FRAMES = 2**18


def write_audio(
    path: str | os.PathLike[str],
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    subtype: Subtype | None = None,
) -> None:
    """Write an audio file atomically.

    .wav holds float (the default), pcm16 or pcm24; .flac pcm24 (the default) or pcm16; .opus and
    .m4a (AAC) are lossy. Float is exact. PCM is rounded to the nearest step without dither, and
    limited to -1..1.

    Raises:
        InputError: another ending or subtype, samples beyond -1..1 in PCM, channels or a rate that
            the format does not hold, `path` not writable.
    """
    with AudioWriter(path, waveform.shape[0], sample_rate_hz, subtype) as writer:
        writer.write(waveform)


class AudioWriter:
    """A context manager that writes an audio file block by block, atomically.

    A .wav that grows beyond 4 GiB becomes RF64, the same with sizes of 64 bits.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_channels: int,
        sample_rate_hz: int,
        subtype: Subtype | None = None,
    ) -> None:
        self.path = Path(path)
        _check_format(self.path, num_channels, sample_rate_hz, subtype)
        self._num_channels, self._sample_rate_hz = num_channels, sample_rate_hz
        self._subtype: Subtype | None = subtype

    def __enter__(self) -> Self:
        """Open a temporary file beside the path."""
        ending = self.path.suffix.lower()
        with ExitStack() as stack:
            part = stack.enter_context(atomic_file(self.path))
            stack.enter_context(_input_errors(self.path))
            self._file: _File
            if ending in _LOSSY_FORMATS:
                codec, container = _LOSSY_FORMATS[ending]
                sound = _Format(container, "", self._num_channels, self._sample_rate_hz)
                self._file = _LossyFile(part, sound, codec, self.path.stem)
            else:
                kind, subtypes = _FORMATS[ending]
                subtype = self._subtype or subtypes[0]
                sound = _Format(kind, subtype, self._num_channels, self._sample_rate_hz)
                self._file = _ExactFile(part, sound, f"'{self.path}'")
            stack.callback(lambda: self._file.close())
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
            InputError: samples beyond -1..1 in PCM.
        """
        self._file.write(block)


def _check_format(
    path: Path, num_channels: int, sample_rate_hz: int, subtype: Subtype | None
) -> None:
    """Check that the format of a file's ending holds a sound.

    Raises:
        InputError: another ending or subtype, too many channels, another rate.
    """
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise InputError(
            f"'{path}': sound is written as {' or '.join(_ENDINGS)}; change the ending"
        )
    if ending in _LOSSY_FORMATS:
        _check_lossy(path, num_channels, sample_rate_hz, subtype)
        return
    name, subtypes = _FORMATS[ending]
    if subtype is not None and subtype not in subtypes:
        raise InputError(
            f"'{path}': {name} does not hold '{subtype}'; choose one of {', '.join(subtypes)}"
        )
    if name == "FLAC":
        check_channels("flac", num_channels, f"'{path}'")


def _check_lossy(
    path: Path, num_channels: int, sample_rate_hz: int, subtype: Subtype | None
) -> None:
    codec = _LOSSY_FORMATS[path.suffix.lower()][0]
    if subtype is not None:
        raise InputError(f"'{path}': {codec} is lossy and does not hold '{subtype}'; leave it out")
    check_channels(codec, num_channels, f"'{path}'")
    rate_hz = encodable_rate_hz(codec, sample_rate_hz)
    if rate_hz != sample_rate_hz:
        raise InputError(
            f"'{path}': {codec} holds no sound at {sample_rate_hz} Hz; resample it to {rate_hz} Hz "
            "first, or write .wav"
        )


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Convert errors of libsndfile and FFmpeg, mostly a full disk, to InputError."""
    try:
        yield
    except (soundfile.LibsndfileError, FFmpegError) as error:
        is_sndfile = isinstance(error, soundfile.LibsndfileError)
        problem = error.error_string.rstrip(".") if is_sndfile else ffmpeg_message(error)
        raise InputError(
            f"'{path}' cannot be written ({problem}): the disk is full, or the format does not "
            "support this rate or number of channels"
        ) from error


# Open files


@dataclass(frozen=True)
class _Format:
    """Format of a file: its kind and subtype (none for lossy ones), channels and rate."""

    kind: str
    subtype: Subtype | Literal[""]
    num_channels: int
    sample_rate_hz: int


class _File(Protocol):
    """A file to which blocks are appended."""

    def write(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Append a block."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...


class _ExactFile:
    """WAV or FLAC, written by libsndfile."""

    def __init__(self, part: Path, sound: _Format, name: str) -> None:
        self._part, self._sound, self._name = part, sound, name
        self._file = self._open(sound.kind)
        self._can_grow = sound.kind != "WAV"
        self._num_bytes = 0

    def write(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Append a block, rounded in PCM."""
        bits = _BITS.get(self._sound.subtype, 32)
        self._num_bytes += block.size * bits // 8
        if not self._can_grow and self._num_bytes > _LARGEST_WAV_BYTES:
            self._convert_to_rf64()
        if self._sound.subtype == "float":
            self._file.write(block.T)
            return
        # libsndfile drops the lower bits of int32 samples: shifted up, there is nothing to round.
        self._file.write(quantise(block, bits, self._name).T << (32 - bits))

    def close(self) -> None:
        """Complete the header."""
        self._file.close()

    def _open(self, kind: str) -> soundfile.SoundFile:
        return soundfile.SoundFile(
            self._part,
            mode="w",
            samplerate=self._sound.sample_rate_hz,
            channels=self._sound.num_channels,
            format=kind,
            subtype=_SOUNDFILE_SUBTYPES[self._sound.subtype],
        )

    def _convert_to_rf64(self) -> None:
        """Copy what is written into an RF64 file and go on there.

        Not RF64 from the start, since editors and libraries exist that read WAV alone; soundfile
        does not offer libsndfile's way of deciding when the file is closed.
        """
        self._file.close()
        earlier = self._part.with_name(f"{self._part.name}.wav")
        self._part.rename(earlier)
        try:
            self._file = self._open("RF64")
            # As integers PCM is copied bit by bit.
            kind = "float32" if self._sound.subtype == "float" else "int32"
            with soundfile.SoundFile(earlier) as file:
                for block in file.blocks(_COPIED_FRAMES, dtype=kind, always_2d=True):
                    self._file.write(block)
        finally:
            earlier.unlink()
        self._can_grow = True


class _LossyFile:
    """Opus or AAC, written by FFmpeg."""

    def __init__(self, part: Path, sound: _Format, codec: AudioCodec, title: str) -> None:
        options = {}
        if sound.kind == "ipod":
            # The edit list, which tells players where the sound begins and ends, then counts
            # samples; by default it counts milliseconds.
            timescale = str(sound.sample_rate_hz)
            options = {"movflags": "+faststart", "movie_timescale": timescale}
        # The prefix keeps FFmpeg from interpreting the folder's name as a protocol.
        name = f"file:{part.absolute()}"
        self._container = av.open(name, "w", format=sound.kind, options=options)
        self._encoder = AudioEncoder(
            self._container, title, sound.num_channels, sound.sample_rate_hz, codec
        )

    def write(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Encode a block."""
        self._container.mux(self._encoder.encode(block))

    def close(self) -> None:
        """Encode what is held back, and complete the file."""
        try:
            self._container.mux(self._encoder.flush())
        finally:
            self._container.close()
