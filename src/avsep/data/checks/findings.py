"""What a check found: things that are wrong, things worth knowing, and the counts of it all."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

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
