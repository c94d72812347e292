"""Which lists lie in a place, which of them belong together, and what each is for."""

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
    role_and_owner,
    role_in,
)
from avsep.errors import InputError

# Folders of media in which lists are never looked for: they hold a file or more for each video.
MEDIA_FOLDERS = {
    "audio", "binaural_audios", "detection_results", "features", "frames", "motion_features",
    "objects", "videos",
}  # fmt: skip
# Alternative ways to split one data set: each is trained and tested on by itself.
_FOLD = re.compile(r"(split|fold|run|seed|cv)[-_ ]?\d+")


@dataclass(frozen=True)
class SplitList:
    """One list.

    Attributes:
        name: of the file, from the place that was looked at.
        set_name: the lists of one set are trained, validated and tested on together.
        dataset: the uppermost folder it lies in that is no role and no fold; none: directly in the
            place.
        role: train, val, test; none where its name does not say.
        clips: one a line, or all the sounds of its mixtures.
        mixtures: of a pair file.
    """

    name: str
    set_name: str
    role: str | None
    clips: tuple[ListedClip, ...]
    mixtures: tuple[tuple[ListedClip, ...], ...] = ()
    dataset: str | None = None

    @property
    def ids(self) -> frozenset[str]:
        """The videos that it names."""
        return frozenset(clip.id for clip in self.clips)

    @property
    def facts(self) -> ListFacts:
        """What to say of it."""
        holds = "mixtures" if self.mixtures else "videos"
        num_lines = len(self.mixtures or self.clips)
        return ListFacts(self.name, self.set_name, self.role, holds, num_lines, len(self.ids))


def read_one_list(path: Path) -> SplitList:
    """A list by itself; its set is called after what stands before its role, or its folder."""
    role, owner = role_and_owner(PurePosixPath(path.name))
    return _read(path, path.name, owner or path.stem, role, None)


def find_lists(folder: Path) -> tuple[tuple[SplitList, ...], tuple[Finding, ...]]:
    """The lists of a folder and of those in it, by name, and what is wrong with files like them.

    A file that cannot be read is wrong where its name says a role; otherwise it may well be
    something else than a list, and a note says that it was not read.
    """
    lists, broken, others = [], [], []
    for path in _files(folder):
        place = PurePosixPath(path.relative_to(folder).as_posix())
        role, owner = role_and_owner(place)
        folders = (part for part in place.parts[:-1] if not role_in(part)[0])
        dataset = next((part for part in folders if not _FOLD.fullmatch(part.lower())), None)
        try:
            lists.append(_read(path, str(place), owner or folder.resolve().name, role, dataset))
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
    """Files that end like lists, by name; not hidden ones, nor those of folders of media."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in MEDIA_FOLDERS
        )
        for name in sorted(names):
            if name.lower().endswith(LIST_ENDINGS) and not name.startswith("."):
                yield Path(parent) / name
