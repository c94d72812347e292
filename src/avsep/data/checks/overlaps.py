"""Videos that stand in two lists which should have none in common, within a set and across sets.

Wrong is what makes a figure mean less than it says: within a set any video in two of train, val
and test; between sets a video that is held out (val, test) in one and trained on in the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, product

from avsep.data.checks.reports import Finding, Item
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import TEST, TRAINING, VALIDATION

# Held out, and where it must not be.
_WITHIN = ((TEST, TRAINING), (TEST, VALIDATION), (VALIDATION, TRAINING))
_HELD_OUT = (TEST, VALIDATION)
_WORDS = {TRAINING: "training", VALIDATION: "validation", TEST: "test"}
# Role -> the videos of a set that have it.
Roles = Mapping[str | None, frozenset[str]]


def overlaps_within(lists: Sequence[SplitList]) -> Iterator[Finding]:
    """Videos in two of the training, validation and test lists of one set."""
    for name, members in by_set(lists):
        roles = videos_by_role(members)
        for held_out, other in _WITHIN:
            where = f"{_WORDS[held_out]} videos in its {_WORDS[other]} list"
            yield from _overlap(roles, held_out, roles, other, where, name, is_wrong=True)


def overlaps_across(lists: Sequence[SplitList]) -> Iterator[Finding]:
    """Videos that one data set of a folder holds out and another one trains on.

    Sets of one uppermost folder are alternatives (the lists of two papers, five splits): nobody
    trains on one and tests on the other, so they are not compared, nor is what lies in no folder.
    """
    sets = [(name, members) for name, members in by_set(lists) if members[0].dataset]
    for (name, members), (other_name, others) in product(sets, sets):
        if members[0].dataset == others[0].dataset:
            continue
        roles, other_roles = videos_by_role(members), videos_by_role(others)
        for held_out in _HELD_OUT:
            what = f"{_WORDS[held_out]} videos in the training list of {other_name}"
            yield from _overlap(roles, held_out, other_roles, TRAINING, what, name, is_wrong=True)


def overlaps_against(lists: Sequence[SplitList], others: Sequence[SplitList]) -> Iterator[Finding]:
    """All that the lists of two places have in common, set by set.

    Beside what is held out here and trained on there, or the other way round, it is wrong where
    one of the places says of no list what it is for: then nothing tells that it is harmless. Where
    it does, its lists without a role are catalogues, which hold everything, and are left out.
    """
    says_nothing = not (_has_roles(lists) and _has_roles(others))
    for (name, members), (other_name, their_members) in product(by_set(lists), by_set(others)):
        roles, their_roles = videos_by_role(members), videos_by_role(their_members)
        for role, their_role in product(roles, their_roles):
            if not (says_nothing or (role and their_role)):
                continue
            is_leak = {TRAINING, *_HELD_OUT} >= {role, their_role} and (
                (role == TRAINING) != (their_role == TRAINING)
            )
            which = f"the {_WORDS[their_role]} list of {other_name}" if their_role else other_name
            what = f"{_WORDS[role]} videos" if role else "videos"
            yield from _overlap(
                roles, role, their_roles, their_role, f"{what} in {which}", name,
                is_wrong=is_leak or says_nothing,
            )  # fmt: skip


def by_set(lists: Sequence[SplitList]) -> list[tuple[str, list[SplitList]]]:
    """The lists of each set, by the set's name."""
    ordered = sorted(lists, key=lambda one: one.set_name)
    return [(name, list(members)) for name, members in groupby(ordered, lambda one: one.set_name)]


def videos_by_role(lists: Sequence[SplitList]) -> Roles:
    """The videos of each role; mixtures count only where no list of single videos has the role."""
    found: dict[str | None, frozenset[str]] = {}
    for role in (TEST, VALIDATION, TRAINING, None):
        alike = [one for one in lists if one.role == role]
        plain = [one for one in alike if not one.mixtures]
        if alike:
            found[role] = frozenset().union(*(one.ids for one in plain or alike))
    return found


def _has_roles(lists: Sequence[SplitList]) -> bool:
    return any(one.role for one in lists)


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
