"""Read audio: any container in, float32 blocks out, placed by the time stamps of the file."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, Self

import numpy as np
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.media.decoding import OnDamage, OnTruncation
from avsep.media.opening import MediaSource, open_media, source_name
from avsep.media.streams import (
    PAIR,
    Track,
    audio_streams,
    choose_tracks,
    picture_seconds,
    unstated_place_warning,
    zero_seconds,
)
from avsep.media.track_reader import LONGEST_SILENCE_SECONDS, TrackReader

Align = Literal["sound", "picture"]


@dataclass(frozen=True)
class Audio:
    """A decoded audio stream.

    Attributes:
        waveform: samples as decoded; lossy codecs may exceed -1..1.
        start_seconds: time of the first sample on the file's time line, whose zero is the earliest
            start of video or audio (`streams.zero_seconds`); frame times count from there too.
        damage_seconds: times of skipped packets, which are replaced by silence.
        warnings: what was done to the sound, and what is missing; each a sentence without the
            name of the file.
        priming_samples, padding_samples: codec samples taken off the beginning and the end.
    """

    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    start_seconds: float
    damage_seconds: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    priming_samples: int = 0
    padding_samples: int = 0


def read_audio(
    source: MediaSource,
    *,
    track: Track | None = None,
    on_damage: OnDamage = "error",
    align: Align = "sound",
) -> Audio:
    """Read the whole audio; `AudioReader` reads blocks in constant memory and explains the options.

    Raises:
        InputError: no audio, no such track, or damaged or cut off unless `on_damage="skip"`.
    """
    with AudioReader(source, track=track, on_damage=on_damage, align=align) as reader:
        empty = np.zeros((reader.num_channels, 0), np.float32)
        blocks = [empty, *reader.blocks()]
        return Audio(
            waveform=np.concatenate(blocks, axis=1),
            sample_rate_hz=reader.sample_rate_hz,
            start_seconds=reader.start_seconds,
            damage_seconds=tuple(reader.damage_seconds),
            warnings=tuple(reader.warnings),
            priming_samples=reader.priming_samples,
            padding_samples=reader.padding_samples,
        )


def iterate_audio(
    source: MediaSource, block_seconds: float = 10.0, *, track: Track | None = None
) -> Iterator[Float32[np.ndarray, "C n"]]:
    """Read audio in blocks of equal length, the last one shorter, in constant memory.

    Raises:
        InputError: no audio, no such track, damaged or cut off.
    """
    with AudioReader(source, track=track) as reader:
        yield from reader.blocks(block_seconds)


@dataclass
class AudioReader:
    """A context manager that reads the audio of a file once, in blocks.

    Arguments:
        source: path, bytes or file object.
        track: number from 1, language ("eng"), "mix": the sum of all tracks, or "pair": the first
            two tracks of one channel as left and right. None: the default track, and a warning that
            names the others.
        on_damage: "error" raises for damaged parts and files that were cut off; "skip" reads as far
            as it goes, with silence for what cannot be decoded, and a warning for each.
        align: "sound" begins with the first sample; "picture" begins with the first picture, if
            there is one: silence before sound that starts later, sound before it is cut off.
        on_truncation: "warn" reads a file that was cut off as far as it goes, with a warning that
            says what is missing; "error" does as `on_damage` says.
        seek_seconds: time of the file's time line that is needed first. Where the container has an
            exact index the reader begins shortly before it, else where it always does.

    Attributes, from entering on:
        sample_rate_hz, num_channels, start_seconds: of the samples returned, see `Audio`.

    Attributes, complete when all blocks are read:
        warnings, damage_seconds, priming_samples, padding_samples: see `Audio`.
    """

    source: MediaSource
    track: Track | None = None
    on_damage: OnDamage = "error"
    align: Align = "sound"
    on_truncation: OnTruncation = "error"
    seek_seconds: float = 0.0
    sample_rate_hz: int = field(init=False)
    num_channels: int = field(init=False)
    start_seconds: float = field(init=False)

    def __enter__(self) -> Self:
        """Open the source and decode its first frame."""
        name = source_name(self.source)
        with ExitStack() as stack:
            container = stack.enter_context(open_media(self.source))
            chosen, self._warnings = choose_tracks(container, self.track, name)
            all_streams = audio_streams(container)
            picture = picture_seconds(container) if self.align == "picture" else None
            zero = zero_seconds(container)
            self._warnings += unstated_place_warning(container, chosen)
            self._readers: list[TrackReader] = []
            for place, stream in enumerate(chosen):
                # Packets of several tracks come in any order: each has a container of its own.
                if place:
                    container = stack.enter_context(open_media(self.source))
                self._readers.append(
                    TrackReader(
                        self.source,
                        container,
                        all_streams.index(stream),
                        self.on_damage,
                        self.on_truncation,
                        self.seek_seconds,
                    )
                )
            self._check_mix(name)
            # All went well: the containers stay open until `__exit__`.
            self._stack = stack.pop_all()
        self.sample_rate_hz = self._readers[0].sample_rate_hz
        counts = [reader.num_channels for reader in self._readers]
        self.num_channels = sum(counts) if self.track == PAIR else max(counts)
        start = min(reader.start_seconds for reader in self._readers)
        self._silence, self._surplus = 0, 0  # samples to put before the sound, or to cut off it
        self.start_seconds = start
        if picture is not None and not any(reader.has_sought for reader in self._readers):
            self._align(float(picture - zero))
        self._pieces = self._aligned()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the source, except for a file object of the caller."""
        self._stack.close()

    @property
    def warnings(self) -> list[str]:
        """Sentences on what was done to the sound so far; complete when all blocks are read."""
        of_tracks = (text for reader in self._readers for text in reader.warnings)
        # What is wrong with the file is wrong with each of its tracks.
        return list(dict.fromkeys([*self._warnings, *of_tracks]))

    @property
    def damage_seconds(self) -> list[float]:
        """Times of the packets skipped so far."""
        return sorted(
            seconds for reader in self._readers for seconds in reader.damage.times_seconds
        )

    @property
    def priming_samples(self) -> int:
        """Samples of priming taken off the beginning; of several tracks, the most."""
        return max(reader.priming_samples for reader in self._readers)

    @property
    def padding_samples(self) -> int:
        """Samples of padding taken off the end so far; of several tracks, the most."""
        return max(reader.padding_samples for reader in self._readers)

    def blocks(self, block_seconds: float = 10.0) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Read the remaining samples in blocks of equal length, the last one shorter."""
        assert block_seconds > 0, f"block_seconds is {block_seconds}, it must be above 0"
        block_samples = max(1, round(block_seconds * self.sample_rate_hz))
        yield from _equal_blocks(self._pieces, block_samples)

    def _align(self, picture_seconds: float) -> None:
        """Begin with the picture: set the silence before the sound, or how much of it is cut."""
        late_seconds = self.start_seconds - picture_seconds
        if abs(late_seconds) > LONGEST_SILENCE_SECONDS:
            self._warnings.append(
                f"sound and picture start {abs(late_seconds):.0f} s apart by their time "
                "stamps, which cannot be right; the sound begins with its first sample"
            )
            return
        late_samples = round(late_seconds * self.sample_rate_hz)
        self._silence, self._surplus = max(0, late_samples), max(0, -late_samples)
        self.start_seconds = picture_seconds
        if self._surplus:
            self._warnings.append(
                f"the sound starts {self._surplus / self.sample_rate_hz:.3f} s before the "
                "picture; what precedes the picture is cut off"
            )

    def _check_mix(self, name: str) -> None:
        """Raise an InputError for tracks that cannot be added sample by sample."""
        rates = {reader.sample_rate_hz for reader in self._readers}
        counts = {reader.num_channels for reader in self._readers}
        # One channel is added to all channels of the others.
        if len(rates) > 1 or len(counts - {1}) > 1:
            listed = ", ".join(
                f"{reader.num_channels} channels at {reader.sample_rate_hz} Hz"
                for reader in self._readers
            )
            raise InputError(
                f"{name}: tracks of different rates or channels cannot be joined ({listed}); "
                "choose one by its number"
            )

    def _aligned(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Return the sound with silence before it, or less what precedes the picture."""
        rate, surplus = self.sample_rate_hz, self._surplus
        yield from _silence(self.num_channels, self._silence, rate)
        for piece in self._joined():
            cut = min(surplus, piece.shape[1])
            surplus -= cut
            yield piece[:, cut:]

    def _joined(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Return the sound of the one track, the sum of all, or a pair side by side."""
        if len(self._readers) == 1:
            yield from self._readers[0].pieces()
            return
        start, rate = min(reader.start_seconds for reader in self._readers), self.sample_rate_hz
        tracks = [_equal_blocks(_from_start(reader, start), rate) for reader in self._readers]
        for blocks in zip_longest(*tracks):
            num_samples = max(block.shape[1] for block in blocks if block is not None)
            padded = [
                np.zeros((reader.num_channels, num_samples), np.float32)
                if block is None
                else np.pad(block, ((0, 0), (0, num_samples - block.shape[1])))
                for block, reader in zip(blocks, self._readers, strict=True)
            ]
            if self.track == PAIR:
                yield np.concatenate(padded)
            else:
                total = np.zeros((self.num_channels, num_samples), np.float32)
                for block in padded:
                    total += block
                yield total


def _from_start(reader: TrackReader, start_seconds: float) -> Iterator[Float32[np.ndarray, "C n"]]:
    """Return a track with silence from an earlier time on."""
    rate = reader.sample_rate_hz
    num_samples = round((reader.start_seconds - start_seconds) * rate)
    yield from _silence(reader.num_channels, num_samples, rate)
    yield from reader.pieces()


def _silence(
    num_channels: int, num_samples: int, piece_samples: int
) -> Iterator[Float32[np.ndarray, "C n"]]:
    """Return silence in pieces, so that it needs no more memory than sound."""
    for done in range(0, num_samples, piece_samples):
        yield np.zeros((num_channels, min(piece_samples, num_samples - done)), np.float32)


def _equal_blocks(
    pieces: Iterator[Float32[np.ndarray, "C _"]], block_samples: int
) -> Iterator[Float32[np.ndarray, "C n"]]:
    """Cut and join pieces to blocks of equal length, the last one shorter."""
    parts: list[Float32[np.ndarray, "C _"]] = []
    num_buffered = 0
    for piece in pieces:
        while piece.shape[1]:
            part, piece = np.split(piece, [block_samples - num_buffered], axis=1)
            parts.append(part)
            num_buffered += part.shape[1]
            if num_buffered == block_samples:
                yield np.concatenate(parts, axis=1)
                parts, num_buffered = [], 0
    if num_buffered:
        yield np.concatenate(parts, axis=1)
