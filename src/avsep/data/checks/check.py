"""One place, whatever it is, checked as a whole: its lists, its clips, and what others share."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from avsep.data import dataset_of
from avsep.data.checks.list_contents import look_at_contents
from avsep.data.checks.overlaps import overlaps_across, overlaps_against, overlaps_within
from avsep.data.checks.reports import (
    CheckReport,
    ClipJob,
    ClipReport,
    Finding,
    in_order,
    report_findings,
)
from avsep.data.checks.split_lists import SplitList, find_lists, read_one_list
from avsep.data.fair_play import SOUNDS_FOLDER, open_fair_play
from avsep.data.list_files import LIST_ENDINGS
from avsep.data.prepared import INDEX_NAME, open_prepared
from avsep.data.toyband import open_toyband
from avsep.errors import InputError

# Data set -> its lists, what is wrong with them, and its clips to be seen.
_OPENERS = {
    "prepared": open_prepared,
    "toyband": open_toyband,
    "fair-play": open_fair_play,
}


@dataclass(frozen=True)
class DataCheck:
    """A place that was opened: what its lists say is known, its clips are still to be read.

    Attributes:
        kind: a name of `avsep.data.DATASETS`, or lists.
        findings: of its lists, alone and against others.
        jobs: one a clip: each reads all that belongs to it.
    """

    data: str
    kind: str
    lists: tuple[SplitList, ...]
    findings: tuple[Finding, ...]
    jobs: tuple[ClipJob, ...] = ()

    def examine(self, num_threads: int = 0) -> Iterator[ClipReport]:
        """Read every clip, in order; 0 threads: one a core. A file is never held as a whole."""
        # Decoding leaves Python's lock, so threads do, and start at once.
        with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
            try:
                yield from pool.map(lambda job: job(), self.jobs)
            finally:
                pool.shutdown(cancel_futures=True)

    def report(self, reports: Iterable[ClipReport] | None = None) -> CheckReport:
        """All that was found; `reports` are what `examine` gives, which is called without them."""
        found, clips = report_findings(self.examine() if reports is None else reports, self.data)
        return CheckReport(
            data=self.data,
            kind=self.kind,
            findings=in_order([*self.findings, *found]),
            lists=tuple(one.facts for one in self.lists),
            num_clips=len(clips) if self.kind != "lists" else None,
            durations_seconds=tuple(clip.seconds for clip in clips if clip.seconds is not None),
        )


def open_check(data: Path, against: Sequence[Path] = ()) -> DataCheck:
    """Open a folder of any data set, one list or a folder of lists.

    Args:
        data: what is checked.
        against: others of any of these kinds, of which the videos alone are looked at.

    Raises:
        InputError: a place that is none of these, or a single list that cannot be read.
    """
    kind, lists, found, jobs = _open(data)
    findings = [
        *found,
        *overlaps_within(lists),
        *overlaps_across(lists),
        *(look_at_contents(lists) if kind == "lists" else ()),
    ]
    for other in against:
        findings += overlaps_against(lists, _lists_of(other))
    return DataCheck(str(data), kind, tuple(lists), tuple(findings), tuple(jobs))


def _lists_of(other: Path) -> list[SplitList]:
    """The lists of another place, their sets called after it."""
    kind, lists, _, _ = _open(other)
    own_name = other.resolve().name
    has_sets = kind == "lists" and other.is_dir()
    return [
        replace(
            one,
            set_name=f"{other}/{one.set_name}"
            if has_sets and one.set_name != own_name
            else str(other),
        )
        for one in lists
    ]


def _open(
    place: Path,
) -> tuple[str, Sequence[SplitList], Sequence[Finding], Sequence[ClipJob]]:
    if place.name == INDEX_NAME and place.is_file():
        place = place.parent
    if not place.is_dir():
        return "lists", [read_one_list(place)], [], []
    kind = dataset_of(place)
    if kind is not None:
        return kind, *_OPENERS[kind](place)
    lists, findings = find_lists(place)
    if not lists and not any(finding.is_wrong for finding in findings):
        raise InputError(
            f"'{place}' holds nothing to check: neither {INDEX_NAME} of a prepared folder "
            f"(docs/data.md shows how to write it), nor {SOUNDS_FOLDER} of FAIR-Play, nor toyband "
            f"clips, nor lists ({', '.join(LIST_ENDINGS)})"
        )
    return "lists", lists, findings, []
