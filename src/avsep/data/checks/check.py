"""Check a folder of clips, a list or a folder of lists, alone and against others."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from avsep.data import describe_datasets, find_dataset
from avsep.data.checks.list_contents import check_list_contents
from avsep.data.checks.overlaps import overlaps_across, overlaps_against, overlaps_within
from avsep.data.checks.reports import (
    CheckReport,
    ClipJob,
    ClipReport,
    Finding,
    report_findings,
    sort_findings,
)
from avsep.data.checks.split_lists import SplitList, find_lists, read_one_list
from avsep.data.datasets import DatasetExamination
from avsep.data.list_files import LIST_ENDINGS
from avsep.data.prepared import INDEX_NAME
from avsep.devices import available_cores
from avsep.errors import InputError

# The kind of a single list or a folder of lists, beside the names of the data sets.
LISTS = "lists"


@dataclass(frozen=True)
class DataCheck:
    """A folder or list that was opened: its lists are read and compared, its clips not yet.

    Attributes:
        data: the path as given.
        kind: a name of `avsep.data.DATASETS`, or "lists".
        findings: about its lists, alone and against others.
        jobs: one per clip; each reads all files of the clip.
    """

    data: str
    kind: str
    lists: tuple[SplitList, ...]
    findings: tuple[Finding, ...]
    jobs: tuple[ClipJob, ...] = ()

    def examine(self, num_threads: int = 0) -> Iterator[ClipReport]:
        """Check every clip in parallel, in order; 0 threads: one per core."""
        # Decoding releases Python's lock: threads suffice, and start faster than processes.
        with ThreadPoolExecutor(num_threads or available_cores()) as pool:
            try:
                yield from pool.map(lambda job: job(), self.jobs)
            finally:
                pool.shutdown(cancel_futures=True)

    def report(self, reports: Iterable[ClipReport] | None = None) -> CheckReport:
        """Collect all findings; `reports` are those of `examine`, which runs if they are None."""
        clip_findings, clips = report_findings(
            self.examine() if reports is None else reports, self.data
        )
        return CheckReport(
            data=self.data,
            kind=self.kind,
            findings=sort_findings([*self.findings, *clip_findings]),
            lists=tuple(split_list.facts for split_list in self.lists),
            num_clips=len(clips) if self.kind != LISTS else None,
            durations_seconds=tuple(clip.seconds for clip in clips if clip.seconds is not None),
        )


def open_check(data: Path, against: Sequence[Path] = ()) -> DataCheck:
    """Open a folder of any data set, one list or a folder of lists.

    Args:
        data: the folder or list to check.
        against: others of any of these kinds; only their lists of videos are compared.

    Raises:
        InputError: a path of another kind, or a single list that cannot be read.
    """
    kind, opened = _open(data)
    findings = [
        *opened.findings,
        *overlaps_within(opened.lists),
        *overlaps_across(opened.lists),
        # The lists of a data set are made from its clips, each of which has one line by nature.
        *(check_list_contents(opened.lists) if kind == LISTS else ()),
    ]
    for other in against:
        findings += overlaps_against(opened.lists, _other_lists(other))
    return DataCheck(str(data), kind, opened.lists, tuple(findings), opened.jobs)


def _other_lists(other: Path) -> list[SplitList]:
    """Read the lists of another path, with its name in the names of their sets."""
    kind, opened = _open(other)
    folder_name = other.resolve().name
    has_sets = kind == LISTS and other.is_dir()
    return [
        replace(
            split_list,
            set_name=f"{other}/{split_list.set_name}"
            if has_sets and split_list.set_name != folder_name
            else str(other),
        )
        for split_list in opened.lists
    ]


def _open(place: Path) -> tuple[str, DatasetExamination]:
    """Return the kind of a path and its lists, findings and clip checks."""
    # The index of a prepared folder is a natural thing to type, and no list of videos itself.
    if place.name == INDEX_NAME and place.is_file():
        place = place.parent
    if not place.is_dir():
        return LISTS, DatasetExamination((read_one_list(place),), (), ())
    dataset = find_dataset(place)
    if dataset is not None:
        return dataset.name, dataset.examine(place)
    lists, findings = find_lists(place)
    if not lists and not any(finding.is_wrong for finding in findings):
        raise InputError(
            f"'{place}' holds nothing to check: it is {describe_datasets()}, nor does it hold "
            f"lists ({', '.join(LIST_ENDINGS)}); docs/check.md shows what can be checked"
        )
    return LISTS, DatasetExamination(lists, findings, ())
