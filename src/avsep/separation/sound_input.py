"""Read the sound of a video, or of a part of it, in blocks, and profile its first minute."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from math import log2

import numpy as np
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.media.audio import Align, AudioReader
from avsep.media.decoding import OnDamage
from avsep.media.opening import MediaSource, open_media, source_name
from avsep.media.streams import Track, choose_tracks, stated_seconds, zero_seconds
from avsep.records import Clip

# What is done with channels, offset and level is decided from this much sound.
PROFILED_SECONDS = 60.0
_BLOCK_SECONDS = 1.0
# A second whose samples deviate less from their mean is silent (-80 dB of full scale, three steps
# of 16 bits): the noise of a pause says nothing about the channels.
_SILENCE_PEAK = 1e-4
# Channels cancel each other if their mean has less than this part (-10 dB) of the energy that the
# mean of uncorrelated channels with their energies has.
_CANCELLED = 0.1
# Two channels are equal if the energy of their difference is at most this part of theirs: -60 dB,
# which a level difference of 0.012 dB amounts to.
_EQUAL_CHANNELS = 1e-6
# An offset is taken off where it is more than this part (-46 dB) of a channel's RMS, below which it
# changed stems of a duet by -44 dB (dgfnet-mini) and -23 dB (davis-mini); and more than the mean of
# as much noise has by chance, by so many standard deviations.
_OFFSET_SHARE, _OFFSET_DEVIATIONS = 0.005, 5
# Less sound than this has no offset that could be told from a low note.
_MIN_OFFSET_SECONDS = 0.25
# Sound outside of these levels (-40 to 0 dB of full scale) is brought to the third for the model,
# by a power of two, which rounds nothing. Models bring each window to a level of their own, but
# their limits of silence are fractions of full scale.
_LOWEST_RMS, _HIGHEST_RMS, _USUAL_RMS = 0.01, 1.0, 0.1


@dataclass(frozen=True)
class SoundSelection:
    """The sound of a video that is read: which part, which track, from where on.

    Attributes:
        start_seconds, end_seconds: the part to read, in seconds of the video's time line, as
            players show them; no end: all that follows.
        track: which audio track, see `AudioReader`.
        align: the sound begins with the picture, or with its own first sample.
        on_damage: reaction to damaged sound; for a file that was cut off there is a warning.
    """

    start_seconds: float = 0.0
    end_seconds: float | None = None
    track: Track | None = None
    align: Align = "picture"
    on_damage: OnDamage = "error"


@dataclass
class SoundInput:
    """The sound of a video or clip, which is read in blocks as often as needed.

    Attributes:
        source: path, bytes or file object, or a clip.
        selection: which part of it is read, and how.
        sample_rate_hz, num_channels: of the blocks.
        start_seconds: time of the first sample of the part, on the file's time line.
        offset_seconds: the same, counted from the first sample of the whole sound.
        warnings: what was done to the sound in the last reading, and what is missing of it.
    """

    source: MediaSource | Clip
    selection: SoundSelection = field(default_factory=SoundSelection)
    sample_rate_hz: int = field(init=False)
    num_channels: int = field(init=False)
    start_seconds: float = field(init=False)
    offset_seconds: float = field(init=False)
    warnings: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Open the sound and read its format."""
        if isinstance(self.source, Clip):
            self.num_channels = self.source.waveform.shape[0]
            self.sample_rate_hz, whole_start_seconds = self.source.sample_rate_hz, 0.0
        else:
            with self._open(seek_seconds=0.0) as reader:
                self.num_channels, self.sample_rate_hz = reader.num_channels, reader.sample_rate_hz
                whole_start_seconds = reader.start_seconds
        # On the grid of the samples.
        after = max(0.0, self.selection.start_seconds - whole_start_seconds)
        self._first = round(after * self.sample_rate_hz)
        self.offset_seconds = self._first / self.sample_rate_hz
        self.start_seconds = whole_start_seconds + self.offset_seconds

    @cached_property
    def stated_seconds(self) -> float:
        """Return the length of the part as the file states it, without decoding."""
        num_samples = round(self.stated_whole_seconds * self.sample_rate_hz)
        stop = num_samples if self._stop is None else min(num_samples, self._stop)
        return max(0, stop - self._first) / self.sample_rate_hz

    @property
    def stated_whole_seconds(self) -> float:
        """Return the length of the whole sound as the file states it."""
        if isinstance(self.source, Clip):
            return self.source.waveform.shape[1] / self.sample_rate_hz
        return self._stated_end_seconds

    def blocks(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Read the part in blocks of a second.

        Raises:
            InputError: the sound is damaged, unless that is skipped; or the part is empty.
        """
        num_read = 0
        with closing(self._decode()) as decoded:
            for block in self._cut(decoded):
                num_read += block.shape[1]
                yield block
        if num_read == 0:
            selection = self.selection
            begin = self.start_seconds - self.offset_seconds
            end = "its end" if selection.end_seconds is None else f"{selection.end_seconds:g} s"
            raise InputError(
                f"{self._name} has no sound from {selection.start_seconds:g} s to {end}; its sound "
                f"begins at {begin:g} s and is {self.stated_whole_seconds:g} s long: change "
                "--start or --end"
            )

    @property
    def _name(self) -> str:
        if isinstance(self.source, Clip):
            return f"clip '{self.source.name}'"
        return source_name(self.source)

    @property
    def _stop(self) -> int | None:
        """Return the first sample of the whole sound behind the part; none: it is all read."""
        if self.selection.end_seconds is None:
            return None
        seconds = self.selection.end_seconds - (self.start_seconds - self.offset_seconds)
        return max(0, round(seconds * self.sample_rate_hz))

    def _cut(
        self, blocks: Iterable[tuple[int, Float32[np.ndarray, "C _"]]]
    ) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Cut the part out of blocks that are given with the number of their first sample."""
        stop = self._stop
        for start, block in blocks:
            end = block.shape[1] if stop is None else stop - start
            piece = block[:, max(0, self._first - start) : max(0, end)]
            if piece.shape[1]:
                yield piece
            if stop is not None and start + block.shape[1] >= stop:
                return

    def _decode(self) -> Generator[tuple[int, Float32[np.ndarray, "C n"]], None, None]:
        """Read blocks, each with the number of its first sample in the whole sound."""
        if isinstance(self.source, Clip):
            waveform, step = self.source.waveform, round(_BLOCK_SECONDS * self.sample_rate_hz)
            for start in range(0, waveform.shape[1], max(1, step)):
                yield start, waveform[:, start : start + max(1, step)]
            return
        with self._open(self.start_seconds if self._first else 0.0) as reader:
            whole_start_seconds = self.start_seconds - self.offset_seconds
            start = round((reader.start_seconds - whole_start_seconds) * self.sample_rate_hz)
            try:
                for block in reader.blocks(_BLOCK_SECONDS):
                    yield start, block
                    start += block.shape[1]
            finally:
                # Not below the loop: a part ends before the file does.
                self.warnings = tuple(reader.warnings)

    def _open(self, seek_seconds: float) -> AudioReader:
        assert not isinstance(self.source, Clip), "a clip has all of its samples"
        return AudioReader(
            self.source,
            self.selection.track,
            self.selection.on_damage,
            self.selection.align,
            on_truncation="warn",
            seek_seconds=seek_seconds,
        )

    @cached_property
    def _stated_end_seconds(self) -> float:
        """Return the seconds from the sound's first sample to its end, as the file states it."""
        assert not isinstance(self.source, Clip), "a clip has all of its samples"
        with open_media(self.source) as container:
            name = source_name(self.source)
            (stream, *_), _ = choose_tracks(container, self.selection.track, name)
            zero = zero_seconds(container)
            assert stream.time_base is not None, "an audio stream has a time base"
            begin = (stream.start_time or 0) * stream.time_base
            end_seconds = begin + stated_seconds(container, stream) - zero
        return float(end_seconds) - (self.start_seconds - self.offset_seconds)


# The profile of the first minute


@dataclass(frozen=True)
class SoundProfile:
    """Properties of a sound, judged by its first minute that is not silent.

    Attributes:
        judged_seconds: length of the sound judged.
        offset: constant offset of each channel (DC) that is kept from the model; mostly 0.
        cancels: the mean of the channels is far quieter than they are: they cancel.
        loudest: number of the channel with the most energy.
        are_equal: the first and the last channel are equal.
        gain: power of two that brings the sound to a usual level; mostly 1.
    """

    judged_seconds: float
    offset: Float32[np.ndarray, "C 1"]
    cancels: bool
    loudest: int
    are_equal: bool
    gain: float

    def without_offset(self, block: Float32[np.ndarray, "C n"]) -> Float32[np.ndarray, "C n"]:
        """Subtract the offset from a block; the same array where there is none."""
        return block - self.offset if self.offset.any() else block

    @property
    def warning(self) -> str:
        """Return a warning about an offset; empty without one."""
        if not self.offset.any():
            return ""
        values = ", ".join(f"{value:.3g}" for value in self.offset[:, 0].tolist())
        return (
            f"the sound has a constant offset ({values} of full scale), which is in the residual "
            "and in no stem"
        )


def profile_sound(
    blocks: Iterable[Float32[np.ndarray, "C _"]], sample_rate_hz: int
) -> SoundProfile:
    """Profile a sound by its first minute, silent seconds left out; a silent sound as a whole."""
    sounding, silent = _Sums(), _Sums()
    for block in blocks:
        deviation = np.abs(block - block.mean(axis=1, keepdims=True)).max(initial=0.0)
        (sounding if deviation > _SILENCE_PEAK else silent).add(block)
        if sounding.num_samples >= PROFILED_SECONDS * sample_rate_hz:
            break
    sums = sounding if sounding.num_samples else silent
    return sums.profile(sample_rate_hz)


class _Sums:
    """Sums over samples, in double precision, from which a profile is computed."""

    def __init__(self) -> None:
        self.num_samples = 0
        self._values: np.ndarray | None = None

    def add(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Add the samples of a block: first and second moments of channels, mean, difference."""
        # The channels, their mean, and the difference of the first and the last.
        mean = block.mean(axis=0, keepdims=True, dtype=np.float32)
        rows = np.concatenate([block, mean, block[:1] - block[-1:]]).astype(np.float64)
        values = np.stack([rows.sum(axis=1), np.square(rows).sum(axis=1)])
        self._values = values if self._values is None else self._values + values
        self.num_samples += block.shape[1]

    def profile(self, sample_rate_hz: int) -> SoundProfile:
        """Compute the profile."""
        if self._values is None:
            raise AssertionError("a sound has at least one block")
        sums, squares = self._values
        means = sums[:-2] / self.num_samples
        # Energies without the offset; rounding may leave a trace below zero.
        energies = (squares[:-2] - self.num_samples * means**2).clip(min=0)
        rms = np.sqrt(energies / self.num_samples)
        smallest = rms * max(_OFFSET_SHARE, _OFFSET_DEVIATIONS / np.sqrt(self.num_samples))
        is_long = self.num_samples >= _MIN_OFFSET_SECONDS * sample_rate_hz
        offset = np.where(is_long & (np.abs(means) > smallest), means, 0.0)
        # The rest of the profile is of what the model gets: an offset is taken off or stays.
        offsets = np.concatenate([offset, [offset.mean()], [offset[0] - offset[-1]]])
        left = squares - 2 * offsets * sums + self.num_samples * offsets**2
        channels, mean, difference = left[:-2].clip(min=0), left[-2], left[-1]
        num_channels = len(channels)
        # Energies of uncorrelated channels add up, and the mean scales amplitudes by 1 / C.
        uncorrelated = channels.sum() / num_channels**2
        level = float(np.sqrt(channels.mean() / self.num_samples))
        return SoundProfile(
            judged_seconds=self.num_samples / sample_rate_hz,
            offset=offset.astype(np.float32)[:, None],
            cancels=num_channels > 1 and bool(mean < _CANCELLED * uncorrelated),
            loudest=int(channels.argmax()),
            are_equal=bool(difference <= _EQUAL_CHANNELS * channels.sum()),
            gain=_usual_gain(level),
        )


def _usual_gain(rms: float) -> float:
    if rms == 0 or _LOWEST_RMS <= rms <= _HIGHEST_RMS:
        return 1.0
    return 2.0 ** round(log2(_USUAL_RMS / rms))


# The channels that a model reads

_Mix = Callable[[Float32[np.ndarray, "C n"]], Float32[np.ndarray, "channels n"]]


def mono_input(profile: SoundProfile) -> tuple[_Mix, str]:
    """Return the function that mixes audio down to one channel, and its description in words.

    The mean of the channels; where they cancel (one with inverted polarity), the loudest channel.
    """
    num_channels, loudest = len(profile.offset), profile.loudest
    if num_channels == 1:
        return (lambda block: block), "its one channel"
    if profile.cancels:
        words = f"channel {loudest + 1} of {num_channels}, the loudest, as their mean cancels out"
        return (lambda block: block[loudest : loudest + 1]), words
    words = f"the mean of {num_channels} channels"
    return (lambda block: block.mean(axis=0, keepdims=True, dtype=np.float32)), words


def binaural_input(profile: SoundProfile, name: str) -> tuple[_Mix, str, str]:
    """Return the function that gives a binaural model its two channels, and describe them.

    Returns:
        function, description, and a warning: equal channels contain no direction.

    Raises:
        InputError: more than two channels.
    """
    num_channels = len(profile.offset)
    if num_channels > 2:
        raise InputError(
            f"'{name}' has {num_channels} channels and this model reads two: give audio of two "
            "channels, left first, or choose another model with --model"
        )
    warning = ""
    if profile.are_equal:
        channels = "audio of one channel" if num_channels == 1 else "audio of two equal channels"
        warning = (
            f"{channels} contains no direction: this binaural model separates by the pictures alone"
        )
    words = "its two channels, as left and right ear"
    if num_channels == 1:
        words = "its one channel, for both ears"
    return (lambda block: np.broadcast_to(block, (2, block.shape[1]))), words, warning
