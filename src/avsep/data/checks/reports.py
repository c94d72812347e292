"""Check one clip and collect the findings of all: problems, notes and counts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from avsep.data.clips import read_picture
from avsep.errors import InputError
from avsep.media.audio import AudioReader
from avsep.sound.front_end import FrontEndSettings

# Letters of a reason that still fits into a table beside others.
_SHORT_REASON = 60


@dataclass(frozen=True)
class Item:
    """One video or file that a finding is about, and what is to be said of it alone."""

    name: str
    why: str = ""


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        what: was found: "test videos in its validation list".
        where: the set of lists or the folder.
        is_wrong: figures of this data would mislead, or a run would stop; else it is a note.
        num, of, unit: how many of how many videos, mixtures, lines or clips.
        items: every one of them, in order.
    """

    what: str
    where: str
    is_wrong: bool
    num: int
    of: int
    unit: str
    items: tuple[Item, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For a program to read."""
        return {
            "wrong": self.is_wrong,
            "what": self.what,
            "where": self.where,
            "found": self.num,
            "of": self.of,
            "unit": self.unit,
            "items": [
                {"name": item.name} | ({"why": item.why} if item.why else {}) for item in self.items
            ],
        }


@dataclass(frozen=True)
class ListFacts:
    """One list that was read: whose it is, what it is for, and how much stands in it."""

    name: str
    set_name: str
    role: str | None
    holds: str  # videos or mixtures
    num_lines: int
    num_videos: int

    def as_json(self) -> dict[str, object]:
        """For a program to read."""
        return {
            "list": self.name,
            "set": self.set_name,
            "role": self.role,
            "holds": self.holds,
            "lines": self.num_lines,
            "videos": self.num_videos,
        }


@dataclass(frozen=True)
class CheckReport:
    """All that a check says of one place; `durations_seconds` are those of the clips it heard."""

    data: str
    kind: str
    findings: tuple[Finding, ...]
    lists: tuple[ListFacts, ...] = ()
    num_clips: int | None = None
    durations_seconds: tuple[float, ...] = ()

    @property
    def is_well(self) -> bool:
        """Nothing is wrong; there may be notes."""
        return not any(finding.is_wrong for finding in self.findings)

    @property
    def counts(self) -> str:
        """What was looked at, in words."""
        parts = []
        if self.num_clips is not None:
            parts.append(_many(self.num_clips, "clip"))
        else:
            num_lines = sum(facts.num_lines for facts in self.lists)
            parts.append(f"{_many(len(self.lists), 'list')} of {_many(num_lines, 'line')}")
        if self.durations_seconds:
            shortest, middle, longest = self.duration_spread
            parts.append(
                f"{sum(self.durations_seconds):.0f} s of sound (shortest {shortest:.2f} s, median "
                f"{middle:.2f} s, longest {longest:.2f} s)"
            )
        return ", ".join(parts)

    @property
    def verdict(self) -> str:
        """One line: whether all is well, and what was looked at."""
        num_wrong = sum(finding.is_wrong for finding in self.findings)
        num_notes = len(self.findings) - num_wrong
        notes = f", {_many(num_notes, 'note')}" if num_notes else ""
        words = f"{num_wrong} wrong" if num_wrong else "all is well"
        return f"{self.data}: {words}{notes}; {self.counts}"

    @property
    def duration_spread(self) -> tuple[float, float, float]:
        """Shortest, median and longest clip in seconds; one clip at least was heard."""
        seconds = self.durations_seconds
        return min(seconds), median(seconds), max(seconds)

    def table(self, most_names: int = 3) -> tuple[list[str], list[list[str]]]:
        """Head and rows, what is wrong first; of longer lists of names the first few."""
        rows = [
            [
                "WRONG" if finding.is_wrong else "note",
                finding.what,
                finding.where,
                f"{finding.num} of {finding.of} {finding.unit}",
                _names(finding.items, most_names),
            ]
            for finding in self.findings
        ]
        return ["", "what", "where", "found", "which"], rows

    def as_json(self) -> dict[str, object]:
        """Everything, in a fixed order."""
        durations = None
        if self.durations_seconds:
            shortest, middle, longest = self.duration_spread
            durations = {
                "shortest": shortest,
                "median": middle,
                "longest": longest,
                "total": sum(self.durations_seconds),
            }
        return {
            "data": self.data,
            "kind": self.kind,
            "well": self.is_well,
            "findings": [finding.as_json() for finding in self.findings],
            "clips": self.num_clips,
            "durations_seconds": durations,
            "lists": [facts.as_json() for facts in self.lists],
        }


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What is wrong first, else as it was found; the order of the table and of the JSON."""
    return tuple(sorted(findings, key=lambda finding: not finding.is_wrong))


def _names(items: Sequence[Item], most: int) -> str:
    """The first few names, with their reasons where these are short or the only one."""
    shown = ", ".join(
        f"{item.name} ({item.why})"
        if item.why and (len(item.why) <= _SHORT_REASON or len(items) == 1)
        else item.name
        for item in items[:most]
    )
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown


def _many(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# What can be wrong with one clip, and how its sounds are listened to


# A peak of -80 dB, three steps of 16 bits: below lies what silence is recorded as.
SILENCE_PEAK = 1e-4
_FRONT_END = FrontEndSettings()
WINDOW_SECONDS = _FRONT_END.window_samples / _FRONT_END.sample_rate_hz

UNUSABLE_LINE = "lines of index.csv that cannot be used"
LISTED_TWICE = "clips that index.csv lists twice"
MISSING = "missing files"
UNREADABLE = "files that cannot be read"
SILENT = "silent sounds"
LENGTHS = "sound and pictures of different length"
GAPS = "pictures missing in between"
EMPTY = "empty detections"
MISFIT = "stems that do not add up to the sound of the video"
MOTION = "wrong motion features"
NO_MOTION = "clips without the motion features that others have"
OFFSCREEN = "clips that are heard and not seen"
SHORT = f"clips shorter than a window of {WINDOW_SECONDS:.2f} s"
UNLISTED = "sounds that index.csv does not list"
NO_VIDEO = "folders of clips without their video"

# Kind of fault -> whether it is wrong, or only worth knowing; in the order of the table.
FAULT_KINDS: dict[str, bool] = {
    UNUSABLE_LINE: True,
    LISTED_TWICE: True,
    MISSING: True,
    UNREADABLE: True,
    SILENT: True,
    EMPTY: True,
    LENGTHS: True,
    GAPS: True,
    MISFIT: True,
    MOTION: True,
    NO_MOTION: False,
    OFFSCREEN: False,
    SHORT: False,
    UNLISTED: False,
    NO_VIDEO: False,
}


@dataclass(frozen=True)
class Fault:
    """One thing about one clip: its kind, of `FAULT_KINDS`, the file and what is the matter."""

    kind: str
    name: str
    why: str = ""


@dataclass(frozen=True)
class ClipReport:
    """What was found of one clip.

    Attributes:
        seconds: how long it sounds; none where it cannot be heard.
        motion_width: features a time of its motion file; none without one that can be read.
        is_visible: there are pictures of which motion features could be made.
    """

    clip: str
    faults: tuple[Fault, ...] = ()
    seconds: float | None = None
    motion_width: int | None = None
    is_visible: bool = True


@dataclass(frozen=True)
class ClipJob:
    """One clip that is still to be looked at."""

    clip: str
    look: Callable[[], ClipReport]

    def __call__(self) -> ClipReport:
        """Look; where the file system itself says no, that is what is the matter with the clip."""
        try:
            return self.look()
        except OSError as error:
            return ClipReport(self.clip, (Fault(UNREADABLE, self.clip, str(error)),))


@dataclass(frozen=True)
class AudioCheck:
    """A sound file from end to end."""

    seconds: float
    peak: float


def check_audio(path: Path) -> AudioCheck:
    """Length and peak of a sound, read in blocks of constant memory; InputError where damaged."""
    num_samples, peak = 0, 0.0
    with AudioReader(path) as reader:
        for block in reader.blocks():
            num_samples += block.shape[1]
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        return AudioCheck(num_samples / reader.sample_rate_hz, peak)


def sound_faults(path: Path, name: str) -> tuple[float | None, list[Fault]]:
    """How long a sound file lasts, and what is wrong with it; `name` is what it is called."""
    try:
        heard = check_audio(path)
    except InputError as error:
        return None, [Fault(UNREADABLE, name, str(error))]
    num_missing = _bytes_missing(path)
    if num_missing > 0:
        why = f"it was cut off: {num_missing} of the bytes that its header counts are missing"
        return heard.seconds, [Fault(UNREADABLE, name, why)]
    if heard.peak < SILENCE_PEAK:
        return heard.seconds, [Fault(SILENT, name, f"peak {heard.peak:.1g}")]
    return heard.seconds, []


def length_faults(name: str, seconds: float | None) -> Iterator[Fault]:
    """Whether a clip called `name` fills no window."""
    if seconds is not None and seconds < WINDOW_SECONDS:
        yield Fault(SHORT, name, f"{seconds:.2f} s")


def pictures_faults(pictures: Sequence[Path], name: str) -> Iterator[Fault]:
    """What is wrong with the pictures of a folder called `name`, one at least, in their order."""
    try:
        read_picture(pictures[0])
    except InputError as error:
        yield Fault(UNREADABLE, f"{name}/{pictures[0].name}", str(error))
    for path in pictures[1:]:
        if not path.is_file() or path.stat().st_size == 0:
            yield Fault(UNREADABLE, f"{name}/{path.name}", "it has no bytes")
    numbers = [int(path.stem) for path in pictures if path.stem.isdecimal()]
    num_missing = max(numbers) - min(numbers) + 1 - len(set(numbers)) if numbers else 0
    if num_missing:
        why = f"{num_missing} of the numbers {min(numbers)} to {max(numbers)}"
        yield Fault(GAPS, name, why)


def _bytes_missing(path: Path) -> int:
    """How much of a WAV file is not there; FFmpeg takes what is for the whole of it."""
    with path.open("rb") as file:
        head = file.read(8)
    counted = int.from_bytes(head[4:], "little")
    # What was written to a pipe has one of these numbers, as nobody knew.
    if not head.startswith(b"RIFF") or counted in (0, 2**32 - 1):
        return 0
    return len(head) + counted - path.stat().st_size


def report_findings(
    reports: Iterable[ClipReport], where: str
) -> tuple[list[Finding], list[ClipReport]]:
    """A finding for each kind of fault that any clip has, and the clips as they were given.

    Motion features of other widths than most clips have are faults too: no model reads both.
    """
    clips = list(reports)
    faults = [(clip.clip, fault) for clip in clips for fault in clip.faults]
    faults += _odd_widths(clips)
    findings = []
    for kind, is_wrong in FAULT_KINDS.items():
        alike = [(name, fault) for name, fault in faults if fault.kind == kind]
        if alike:
            items = tuple(Item(fault.name, fault.why) for _, fault in alike)
            num_clips = len({name for name, _ in alike})
            findings.append(Finding(kind, where, is_wrong, num_clips, len(clips), "clips", items))
    return findings, clips


def _odd_widths(clips: Sequence[ClipReport]) -> Iterator[tuple[str, Fault]]:
    """Clips whose motion features are unlike most, or missing though others have them."""
    widths = Counter(clip.motion_width for clip in clips if clip.motion_width is not None)
    if not widths:
        return
    usual = max(widths, key=lambda width: (widths[width], width))
    for clip in clips:
        if clip.motion_width is None:
            if clip.is_visible and not any(fault.kind == MOTION for fault in clip.faults):
                yield clip.clip, Fault(NO_MOTION, clip.clip)
        elif clip.motion_width != usual:
            why = f"{clip.motion_width} features a time, most clips have {usual}"
            yield clip.clip, Fault(MOTION, clip.clip, why)
