"""Find the lists of a folder, their roles (train, val, test) and the sets they form."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from avsep.data.checks.reports import Finding, Item, ListFacts
from avsep.data.list_files import (
    LIST_ENDINGS,
    ListedClip,
    lists_mixtures,
    read_list_file,
    read_pair_file,
    role_and_set,
    role_in,
)
from avsep.errors import InputError

# Folders of media, which are not searched for lists: they hold thousands of files, .json and .txt
# among them.
MEDIA_FOLDERS = {
    "audio", "binaural_audios", "detection_results", "features", "frames", "motion_features",
    "objects", "videos",
}  # fmt: skip
# Folders of alternative splits of one data set: each is used by itself, and none is a data set.
_FOLD = re.compile(r"(split|fold|run|seed|cv)[-_ ]?\d+")


@dataclass(frozen=True)
class SplitList:
    """One list of videos or mixtures.

    Attributes:
        name: path of the file, relative to the folder that was searched.
        set_name: the lists of one set are used together, for training, validation and test.
        role: train, val or test; None if its name contains no role.
        clips: one per line, or all sounds of its mixtures.
        mixtures: of a pair file.
        dataset: the top-level folder that is no role and no fold; None: outside any folder.
    """

    name: str
    set_name: str
    role: str | None
    clips: tuple[ListedClip, ...]
    mixtures: tuple[tuple[ListedClip, ...], ...] = ()
    dataset: str | None = None

    @property
    def ids(self) -> frozenset[str]:
        """The ids of its videos."""
        return frozenset(clip.id for clip in self.clips)

    @property
    def facts(self) -> ListFacts:
        """Its name, set, role and size for the report."""
        holds = "mixtures" if self.mixtures else "videos"
        num_lines = len(self.mixtures or self.clips)
        return ListFacts(self.name, self.set_name, self.role, holds, num_lines, len(self.ids))


def read_one_list(path: Path) -> SplitList:
    """Read a single list; its set is named by the words before its role, else by the file."""
    role, set_name = role_and_set(PurePosixPath(path.name))
    return _read(path, path.name, set_name or path.stem, role, None)


def find_lists(folder: Path) -> tuple[tuple[SplitList, ...], tuple[Finding, ...]]:
    """Find the lists in a folder and its subfolders, sorted, and the files that are none.

    An unreadable file is a problem if its name contains a role; else it may be something else than
    a list, such as a readme, and is a note.
    """
    lists, broken, others = [], [], []
    for path in _files(folder):
        place = PurePosixPath(path.relative_to(folder).as_posix())
        role, set_name = role_and_set(place)
        folders = (part for part in place.parts[:-1] if not role_in(part)[0])
        dataset = next((part for part in folders if not _FOLD.fullmatch(part.lower())), None)
        try:
            lists.append(_read(path, str(place), set_name or folder.resolve().name, role, dataset))
        except InputError as error:
            (broken if role else others).append(Item(str(place), str(error)))
    num_files = len(lists) + len(broken) + len(others)
    findings = [
        Finding(what, str(folder), is_wrong, len(items), num_files, "files", tuple(items))
        for what, is_wrong, items in (
            ("lists that cannot be read", True, broken),
            ("files that are no lists", False, others),
        )
        if items
    ]
    return tuple(lists), tuple(findings)


def _read(path: Path, name: str, set_name: str, role: str | None, dataset: str | None) -> SplitList:
    if lists_mixtures(path):
        mixtures = read_pair_file(path)
        clips = tuple(clip for mixture in mixtures for clip in mixture)
        return SplitList(name, set_name, role, clips, mixtures, dataset)
    return SplitList(name, set_name, role, read_list_file(path), dataset=dataset)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files with the ending of a list, sorted, without hidden files and media."""
    for parent, folders, names in os.walk(folder):
        # Assigned in place: os.walk descends into what remains.
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in MEDIA_FOLDERS
        )
        for name in sorted(names):
            if name.lower().endswith(LIST_ENDINGS) and not name.startswith("."):
                yield Path(parent) / name
