"""Check sound files: damage, silence, level, DC offset, channels, and a digest of the samples."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from avsep.data.checks.reports import (
    ALTERED,
    CLIPPED,
    DEAD_CHANNEL,
    EARS,
    OFFSET,
    QUIET,
    SILENT,
    UNREADABLE,
    Fault,
    SoundReport,
)
from avsep.errors import InputError
from avsep.media.audio import AudioReader

# -80 dB, three steps of 16 bits: recorded silence and dither stay below, music does not.
SILENCE_PEAK = 1e-4
# -60 dB: after the 16 bits of a file its noise of rounding is 38 dB below, and can be heard.
_QUIET_RMS = 1e-3
# Full scale of 16 bits is 1 - 2^-15. Three such samples in a row are one "over" of level meters.
_FULL_SCALE = 1 - 2**-14
# A mean of a tenth of the RMS is a hundredth of the energy, which is at 0 Hz.
_OFFSET_SHARE = 0.1
# Channels are equal if their difference has at most this part of the energy: -60 dB.
_EQUAL_CHANNELS = 1e-6


@dataclass
class AudioCheck:
    """Measures of a whole sound file, block by block, each over time.

    Attributes:
        lowest, highest, total, energy: of each channel: smallest and largest sample, and sums of
            samples and of their squares.
        num_clipped: runs of three or more samples at full scale, of all channels.
        difference: energy of the difference of the first and the last channel.
        warnings: what was done to the sound as it was read, as in `Audio`.
    """

    sample_rate_hz: int
    num_channels: int
    num_samples: int = 0
    lowest: Float64[np.ndarray, " C"] = field(init=False)
    highest: Float64[np.ndarray, " C"] = field(init=False)
    total: Float64[np.ndarray, " C"] = field(init=False)
    energy: Float64[np.ndarray, " C"] = field(init=False)
    num_clipped: int = 0
    difference: float = 0.0
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.num_channels
        self.lowest, self.highest = np.full(shape, np.inf), np.full(shape, -np.inf)
        self.total, self.energy = np.zeros(shape), np.zeros(shape)
        self._digest = hashlib.blake2b(digest_size=16)
        self._digest.update(f"{self.sample_rate_hz} {self.num_channels}".encode())
        self._last = np.zeros((shape, 3), bool)

    def add(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Measure the next samples."""
        self.num_samples += block.shape[1]
        self.lowest = np.minimum(self.lowest, block.min(axis=1))
        self.highest = np.maximum(self.highest, block.max(axis=1))
        self.total += block.sum(axis=1, dtype=np.float64)
        self.energy += np.square(block, dtype=np.float64).sum(axis=1)
        self.difference += float(np.square(block[0] - block[-1], dtype=np.float64).sum())
        # In the order of time, so that the digest is the same however a decoder cuts blocks.
        self._digest.update(np.ascontiguousarray(block.T).data)
        # With the last three samples of the block before. A run is counted at its third sample.
        full = np.concatenate([self._last, np.abs(block) >= _FULL_SCALE], axis=1)
        thirds = full[:, 3:] & full[:, 2:-1] & full[:, 1:-2] & ~full[:, :-3]
        self.num_clipped += int(thirds.sum())
        self._last = full[:, -3:]

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_samples / self.sample_rate_hz

    @property
    def digest(self) -> str:
        """Digest of rate, channels and samples."""
        return self._digest.hexdigest()

    @property
    def peak(self) -> float:
        """Largest magnitude of a sample."""
        return float(np.maximum(-self.lowest, self.highest).max())

    @property
    def swing(self) -> Float64[np.ndarray, " C"]:
        """Half the distance between smallest and largest sample of each channel."""
        return (self.highest - self.lowest) / 2

    @property
    def offset(self) -> Float64[np.ndarray, " C"]:
        """Mean of each channel."""
        return self.total / self.num_samples

    @property
    def rms(self) -> Float64[np.ndarray, " C"]:
        """RMS of each channel without its mean."""
        return np.sqrt(np.maximum(self.energy / self.num_samples - self.offset**2, 0))


def check_audio(path: Path) -> AudioCheck:
    """Decode a sound file to its end, in blocks of constant memory.

    Raises:
        InputError: a missing or damaged file.
    """
    with AudioReader(path) as reader:
        audio = AudioCheck(reader.sample_rate_hz, reader.num_channels)
        for block in reader.blocks():
            audio.add(block)
        audio.warnings = tuple(reader.warnings)
    return audio


def sound_faults(
    path: Path, name: str, *, is_binaural: bool = False
) -> tuple[SoundReport | None, list[Fault]]:
    """Return the report of a sound file, None if it is unreadable, and its faults.

    Args:
        path: the sound file, or a video.
        name: of the file in the report.
        is_binaural: True if it must have two ears.
    """
    try:
        audio = check_audio(path)
    except InputError as error:
        return None, [Fault(UNREADABLE, name, str(error))]
    is_silent = bool(audio.swing.max() < SILENCE_PEAK)
    report = SoundReport(name, audio.seconds, audio.sample_rate_hz, audio.digest, is_silent)
    if is_silent:
        offset = ", a DC offset alone" if audio.peak >= SILENCE_PEAK else ""
        return report, [Fault(SILENT, name, f"peak {audio.peak:.1g}{offset}: remove it")]
    faults = [*_level_faults(audio, name), *_channel_faults(audio, name, is_binaural)]
    # A training reads them alike, without a word.
    faults += [Fault(ALTERED, name, text) for text in audio.warnings]
    return report, faults


def _level_faults(audio: AudioCheck, name: str) -> Iterator[Fault]:
    """Yield what is wrong with the level of a sound that is not silent."""
    loudest = float(audio.rms.max())
    if loudest < _QUIET_RMS:
        why = f"RMS {20 * np.log10(loudest):.0f} dB: remove it, or make it louder"
        yield Fault(QUIET, name, why)
    if audio.num_clipped:
        runs = "run" if audio.num_clipped == 1 else "runs"
        why = f"{audio.num_clipped} {runs} of 3 or more samples at full scale: take the original"
        yield Fault(CLIPPED, name, why)
    # Of the loudest channel: one that is all but silent has a mean of rounding alone.
    channel = int(audio.rms.argmax())
    offset = float(audio.offset[channel])
    if abs(offset) > _OFFSET_SHARE * loudest:
        why = f"mean {offset:+.2g}, RMS without it {loudest:.2g}: subtract the mean"
        yield Fault(OFFSET, name, why)


def _channel_faults(audio: AudioCheck, name: str, is_binaural: bool) -> Iterator[Fault]:
    """Yield what is wrong with the channels of a sound that is not silent."""
    silent = [f"{k + 1}" for k in range(audio.num_channels) if audio.swing[k] < SILENCE_PEAK]
    kind = EARS if is_binaural else DEAD_CHANNEL
    if silent:
        why = f"channel {', '.join(silent)} of {audio.num_channels} is silent"
        yield Fault(kind, name, f"{why}: remove the channel or the file")
    elif is_binaural and audio.num_channels != 2:
        yield Fault(
            kind, name, f"number of channels {audio.num_channels}: two are needed, left first"
        )
    elif is_binaural and audio.difference <= _EQUAL_CHANNELS * float(audio.energy.sum()):
        yield Fault(
            kind, name, "both channels are equal, which is no direction: take the binaural original"
        )
