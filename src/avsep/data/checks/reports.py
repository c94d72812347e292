"""Report what a check finds: faults of each clip, findings of all clips and lists, counts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings

# Characters of a reason that still fits into a table cell beside other names.
_SHORT_REASON = 60
# The window of most models; a shorter clip is padded or repeated, which is allowed.
_FRONT_END = FrontEndSettings()
WINDOW_SECONDS = _FRONT_END.window_samples / _FRONT_END.sample_rate_hz

UNUSABLE_LINE = "lines of index.csv that cannot be used"
LISTED_TWICE = "clips that index.csv lists twice"
MISSING = "missing files"
UNREADABLE = "files that cannot be read"
SILENT = "silent sounds"
QUIET = "sounds that are nearly silent"
CLIPPED = "clipped sounds"
OFFSET = "sounds with a DC offset"
DEAD_CHANNEL = "sounds with a silent channel"
ALTERED = "sounds that are read in part or with changes"
EARS = "binaural sounds without two different ears"
LEAKS = "equal sounds in two of train, val and test"
DUPLICATES = "equal sounds under two names"
RATES = "sounds of another sample rate than most"
LENGTHS = "sound and pictures of different length"
GAPS = "pictures missing in between"
SIZES = "frames of different sizes"
EMPTY = "empty detections"
MISFIT = "stems that do not add up to the sound of the video"
MOTION = "wrong motion features"
NO_BOXES = "clips without the detected boxes that others have"
NO_MOTION = "clips without the motion features that others have"
AUDIO_ONLY = "audio-only clips"
SHORT = f"clips shorter than a window of {WINDOW_SECONDS:.2f} s"
UNLISTED = "sounds that index.csv does not list"
NO_VIDEO = "folders of clips without their video"

# Kind of fault -> True for a problem, False for a note; in the order of the table. A problem stops
# a run or makes scores misleading.
FAULT_KINDS: dict[str, bool] = {
    UNUSABLE_LINE: True,
    LISTED_TWICE: True,
    MISSING: True,
    UNREADABLE: True,
    SILENT: True,
    EARS: True,
    LEAKS: True,
    EMPTY: True,
    LENGTHS: True,
    GAPS: True,
    SIZES: True,
    MISFIT: True,
    MOTION: True,
    QUIET: False,
    CLIPPED: False,
    OFFSET: False,
    DEAD_CHANNEL: False,
    ALTERED: False,
    DUPLICATES: False,
    RATES: False,
    NO_BOXES: False,
    NO_MOTION: False,
    AUDIO_ONLY: False,
    SHORT: False,
    UNLISTED: False,
    NO_VIDEO: False,
}


@dataclass(frozen=True)
class Item:
    """One video or file of a finding, with the reason if it has one of its own."""

    name: str
    why: str = ""


@dataclass(frozen=True)
class Finding:
    """One row of the table of a check.

    Attributes:
        what: the kind of finding, such as "test videos in its validation list".
        where: the set of lists or the folder.
        is_wrong: True for a problem: scores on this data would mislead, or a run would stop; False
            for a note.
        num, of, unit: `num` of `of` videos, mixtures, lines or clips.
        items: all of them, in order.
    """

    what: str
    where: str
    is_wrong: bool
    num: int
    of: int
    unit: str
    items: tuple[Item, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
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
    """Name, set, role and size of one list that was read."""

    name: str
    set_name: str
    role: str | None
    holds: str  # videos or mixtures
    num_lines: int
    num_videos: int

    def as_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
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
    """The result of checking one folder or list; `durations_seconds` has the readable clips'."""

    data: str
    kind: str
    findings: tuple[Finding, ...]
    lists: tuple[ListFacts, ...] = ()
    num_clips: int | None = None
    durations_seconds: tuple[float, ...] = ()

    @property
    def is_well(self) -> bool:
        """True if there is no problem; there may be notes."""
        return not any(finding.is_wrong for finding in self.findings)

    @property
    def counts(self) -> str:
        """The numbers of clips or lists that were checked, in words."""
        parts = []
        if self.num_clips is not None:
            parts.append(_count(self.num_clips, "clip"))
        else:
            num_lines = sum(facts.num_lines for facts in self.lists)
            parts.append(f"{_count(len(self.lists), 'list')} of {_count(num_lines, 'line')}")
        if self.durations_seconds:
            shortest, middle, longest = self.duration_spread
            parts.append(
                f"{sum(self.durations_seconds):.0f} s of sound (shortest {shortest:.2f} s, median "
                f"{middle:.2f} s, longest {longest:.2f} s)"
            )
        return ", ".join(parts)

    @property
    def verdict(self) -> str:
        """One line: the numbers of problems and notes, and what was checked."""
        num_wrong = sum(finding.is_wrong for finding in self.findings)
        num_notes = len(self.findings) - num_wrong
        notes = f", {_count(num_notes, 'note')}" if num_notes else ""
        words = f"{num_wrong} wrong" if num_wrong else "all is well"
        return f"{self.data}: {words}{notes}; {self.counts}"

    @property
    def duration_spread(self) -> tuple[float, float, float]:
        """Duration of the shortest, median and longest clip in seconds; needs one readable clip."""
        seconds = self.durations_seconds
        return min(seconds), median(seconds), max(seconds)

    def table(self, most_names: int = 3) -> tuple[list[str], list[list[str]]]:
        """Return the head and rows of the table, with the first few names of each finding."""
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
        """Return the whole report as JSON values, in a fixed order."""
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


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sort problems before notes, each in the order given; that of the table and of the JSON."""
    # sorted() is stable.
    return tuple(sorted(findings, key=lambda finding: not finding.is_wrong))


def _names(items: Sequence[Item], most: int) -> str:
    """Join the first names, each with its reason if that is short or there is one name only."""
    listed = ", ".join(
        f"{item.name} ({item.why})"
        if item.why and (len(item.why) <= _SHORT_REASON or len(items) == 1)
        else item.name
        for item in items[:most]
    )
    return f"{listed} and {len(items) - most} more" if len(items) > most else listed


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# Faults of single clips


@dataclass(frozen=True)
class Fault:
    """One fault of one clip: its kind (of `FAULT_KINDS`), the file and the reason."""

    kind: str
    name: str
    why: str = ""


@dataclass(frozen=True)
class SoundReport:
    """A sound file that was read to its end.

    Attributes:
        digest: of rate, channels and samples: equal for equal sounds in files of other formats.
        is_silent: True if it is silent; silence is equal everywhere.
    """

    name: str
    seconds: float
    sample_rate_hz: int
    digest: str
    is_silent: bool = False


@dataclass(frozen=True)
class ClipReport:
    """The faults of one clip.

    Attributes:
        sound: the sound of the clip; None if it cannot be read.
        split: train, val or test; None if it has none, or several.
        motion_width: number of motion features per time step; None without a readable file.
        is_visible: True if there are frames to compute motion features from.
    """

    clip: str
    faults: tuple[Fault, ...] = ()
    sound: SoundReport | None = None
    motion_width: int | None = None
    is_visible: bool = True
    split: str | None = None

    @property
    def seconds(self) -> float | None:
        """Duration of its sound; None if that cannot be read."""
        return self.sound and self.sound.seconds


@dataclass(frozen=True)
class ClipJob:
    """The check of one clip, to be run in a worker thread."""

    clip: str
    check: Callable[[], ClipReport]

    def __call__(self) -> ClipReport:
        """Check the clip; a file that cannot be read is a fault of the clip."""
        try:
            return self.check()
        except (OSError, InputError) as error:
            return ClipReport(self.clip, (Fault(UNREADABLE, self.clip, str(error)),))


def report_findings(
    reports: Iterable[ClipReport], where: str
) -> tuple[list[Finding], list[ClipReport]]:
    """Collect the faults of all clips into one finding per kind; return the clip reports too.

    Motion features of another width than most clips have are faults: no model reads both.
    """
    clips = list(reports)
    faults = [(clip.clip, fault) for clip in clips for fault in clip.faults]
    faults += _motion_width_faults(clips)
    faults += _equal_sound_faults(clips)
    faults += _rate_faults(clips)
    findings = []
    for kind, is_wrong in FAULT_KINDS.items():
        of_kind = [(name, fault) for name, fault in faults if fault.kind == kind]
        if of_kind:
            items = tuple(Item(fault.name, fault.why) for _, fault in of_kind)
            # Several files of one clip may have the same fault: clips are counted, files listed.
            num_clips = len({name for name, _ in of_kind})
            findings.append(Finding(kind, where, is_wrong, num_clips, len(clips), "clips", items))
    return findings, clips


def _equal_sound_faults(clips: Sequence[ClipReport]) -> Iterator[tuple[str, Fault]]:
    """Yield the clips whose sound an earlier clip has too."""
    first_of: dict[str, ClipReport] = {}
    for clip in clips:
        if clip.sound is None or clip.sound.is_silent:
            continue
        first = first_of.setdefault(clip.sound.digest, clip)
        if first is clip or first.sound is None:
            continue
        splits = {first.split, clip.split}
        is_leak = len(splits) == 2 and None not in splits
        split = f" in {first.split}" if is_leak else ""
        why = f"equal to {first.sound.name}{split}: remove one of them"
        yield clip.clip, Fault(LEAKS if is_leak else DUPLICATES, clip.sound.name, why)


def _rate_faults(clips: Sequence[ClipReport]) -> Iterator[tuple[str, Fault]]:
    """Yield clips whose sound has another sample rate than most."""
    rates = Counter(clip.sound.sample_rate_hz for clip in clips if clip.sound)
    if len(rates) < 2:
        return
    usual = max(rates, key=lambda rate: (rates[rate], rate))
    for clip in clips:
        if clip.sound and clip.sound.sample_rate_hz != usual:
            why = f"{clip.sound.sample_rate_hz} Hz, most have {usual} Hz; it is resampled"
            yield clip.clip, Fault(RATES, clip.sound.name, why)


def _motion_width_faults(clips: Sequence[ClipReport]) -> Iterator[tuple[str, Fault]]:
    """Yield clips whose motion features differ in width from most, or are missing."""
    widths = Counter(clip.motion_width for clip in clips if clip.motion_width is not None)
    if not widths:
        return
    # Of two equally common widths the larger one, so that the report is always the same.
    usual = max(widths, key=lambda width: (widths[width], width))
    for clip in clips:
        if clip.motion_width is None:
            if clip.is_visible and not any(fault.kind == MOTION for fault in clip.faults):
                yield clip.clip, Fault(NO_MOTION, clip.clip)
        elif clip.motion_width != usual:
            why = f"{clip.motion_width} features per time step, most clips have {usual}"
            yield clip.clip, Fault(MOTION, clip.clip, why)
