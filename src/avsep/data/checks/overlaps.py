"""Find videos in two lists that must share none, within one set of lists and across sets.

An overlap is a problem if it makes scores too good: within a set any video in two of train, val and
test; between sets a video that is held out (val, test) in one and in the training list of another.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, product

from avsep.data.checks.reports import Finding, Item
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import TEST, TRAINING, VALIDATION

# Held-out role, and the role whose lists must not contain its videos. Each pair of roles once.
_WITHIN = ((TEST, TRAINING), (TEST, VALIDATION), (VALIDATION, TRAINING))
_HELD_OUT = (TEST, VALIDATION)
_WORDS = {TRAINING: "training", VALIDATION: "validation", TEST: "test"}
# Role -> the videos of a set that have this role.
Roles = Mapping[str | None, frozenset[str]]


def overlaps_within(lists: Sequence[SplitList]) -> Iterator[Finding]:
    """Yield the videos in two of the training, validation and test lists of one set."""
    for name, members in by_set(lists):
        roles = videos_by_role(members)
        for held_out, other in _WITHIN:
            where = f"{_WORDS[held_out]} videos in its {_WORDS[other]} list"
            yield from _overlap(roles, held_out, roles, other, where, name, is_wrong=True)


def overlaps_across(lists: Sequence[SplitList]) -> Iterator[Finding]:
    """Yield the videos that one data set of a folder holds out and another one trains on.

    Sets in the same top-level folder are alternatives (the lists of two papers, five splits) and
    are never used together: they are not compared. Nor are lists outside any folder.
    """
    sets = [(name, members) for name, members in by_set(lists) if members[0].dataset]
    # Ordered pairs: each direction, held out here and trained on there, is a finding of its own.
    for (name, members), (other_name, others) in product(sets, sets):
        if members[0].dataset == others[0].dataset:
            continue
        roles, other_roles = videos_by_role(members), videos_by_role(others)
        for held_out in _HELD_OUT:
            what = f"{_WORDS[held_out]} videos in the training list of {other_name}"
            yield from _overlap(roles, held_out, other_roles, TRAINING, what, name, is_wrong=True)


def overlaps_against(lists: Sequence[SplitList], others: Sequence[SplitList]) -> Iterator[Finding]:
    """Yield all videos that the lists of two places share, set by set.

    A video that is held out in one place and in a training list of the other is a problem. If one
    place has no list with a role, every shared video is a problem, since its use is unknown. If it
    has some, its lists without a role are catalogues of everything and are not compared.
    """
    is_use_unknown = not (_has_roles(lists) and _has_roles(others))
    for (name, members), (other_name, other_members) in product(by_set(lists), by_set(others)):
        roles, other_roles = videos_by_role(members), videos_by_role(other_members)
        for role, other_role in product(roles, other_roles):
            if not (is_use_unknown or (role and other_role)):
                continue
            is_leak = {TRAINING, *_HELD_OUT} >= {role, other_role} and (
                (role == TRAINING) != (other_role == TRAINING)
            )
            where = f"the {_WORDS[other_role]} list of {other_name}" if other_role else other_name
            what = f"{_WORDS[role]} videos" if role else "videos"
            yield from _overlap(
                roles, role, other_roles, other_role, f"{what} in {where}", name,
                is_wrong=is_leak or is_use_unknown,
            )  # fmt: skip


def by_set(lists: Sequence[SplitList]) -> list[tuple[str, list[SplitList]]]:
    """Group lists by the name of their set, sorted."""

    def set_name(split_list: SplitList) -> str:
        return split_list.set_name

    return [
        (name, list(members)) for name, members in groupby(sorted(lists, key=set_name), set_name)
    ]


def videos_by_role(lists: Sequence[SplitList]) -> Roles:
    """Return the videos of each role.

    Lists of mixtures count only for a role that has no list of single videos.
    """
    videos: dict[str | None, frozenset[str]] = {}
    for role in (TEST, VALIDATION, TRAINING, None):
        same_role = [split_list for split_list in lists if split_list.role == role]
        # A pair file names videos of the test list again; its own leaks are reported as mixtures.
        singles = [split_list for split_list in same_role if not split_list.mixtures]
        if same_role:
            videos[role] = frozenset().union(*(member.ids for member in singles or same_role))
    return videos


def _has_roles(lists: Sequence[SplitList]) -> bool:
    return any(split_list.role for split_list in lists)


def _overlap(
    roles: Roles,
    role: str | None,
    other_roles: Roles,
    other_role: str | None,
    what: str,
    where: str,
    *,
    is_wrong: bool,
) -> Iterator[Finding]:
    videos = roles.get(role, frozenset())
    common = videos & other_roles.get(other_role, frozenset())
    if common:
        items = tuple(Item(name) for name in sorted(common))
        yield Finding(what, where, is_wrong, len(common), len(videos), "videos", items)
