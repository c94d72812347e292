"""What lists say by themselves: repeats, and mixtures of videos that they should not have."""

from collections import Counter
from collections.abc import Iterator, Sequence

from avsep.data.categories import find_in
from avsep.data.checks.overlaps import by_set
from avsep.data.checks.reports import Finding, Item
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import TRAINING
from avsep.data.list_files import ListedClip


def look_at_contents(lists: Sequence[SplitList]) -> Iterator[Finding]:
    """Notes on repeats in each list; of mixtures, those of videos of the wrong lists are wrong."""
    for _, members in by_set(lists):
        trained = [one for one in members if one.role == TRAINING and not one.mixtures]
        for one in members:
            if not one.mixtures:
                yield from _repeated_videos(one)
                continue
            alike = [other for other in members if other.role == one.role and not other.mixtures]
            if one.role != TRAINING:
                yield from _trained_on(one, trained)
            yield from _not_listed(one, alike)
            yield from _repeated_mixtures(one)
            yield from _of_one_category(one)


def _repeated_videos(one: SplitList) -> Iterator[Finding]:
    """AVE lists passages: several of one video are no fault, but no videos of their own either."""
    counts = Counter(clip.id for clip in one.clips)
    items = [Item(name, f"{count} lines") for name, count in sorted(counts.items()) if count > 1]
    num_more = len(one.clips) - len(counts)
    if items:
        yield Finding(
            "lines of videos that stand there already", one.name, False, num_more,
            len(one.clips), "lines", tuple(items),
        )  # fmt: skip


def _trained_on(one: SplitList, trained: Sequence[SplitList]) -> Iterator[Finding]:
    known = frozenset[str]().union(*(other.ids for other in trained))
    common = one.ids & known
    hit = [mixture for mixture in one.mixtures if any(clip.id in common for clip in mixture)]
    if hit:
        items = tuple(Item(name) for name in sorted(common))
        yield Finding(
            "mixtures with a video of the training list", one.name, True, len(hit),
            len(one.mixtures), "mixtures", items,
        )  # fmt: skip


def _not_listed(one: SplitList, alike: Sequence[SplitList]) -> Iterator[Finding]:
    """Videos that the list of the mixtures' own role does not have, where there is such a list."""
    if not alike or one.role is None:
        return
    unknown = one.ids.difference(*(other.ids for other in alike))
    if unknown:
        items = tuple(Item(name) for name in sorted(unknown))
        yield Finding(
            f"videos of mixtures that no {one.role} list has", one.name, True, len(unknown),
            len(one.ids), "videos", items,
        )  # fmt: skip


def _repeated_mixtures(one: SplitList) -> Iterator[Finding]:
    counts = Counter(tuple(clip.id for clip in mixture) for mixture in one.mixtures)
    num_sets = len({frozenset(names) for names in counts})
    num_more = len(one.mixtures) - len(counts)
    if num_more:
        items = [
            Item(" + ".join(names), f"{count} lines")
            for names, count in sorted(counts.items())
            if count > 1
        ]
        yield Finding(
            f"lines that repeat a mixture: {len(counts)} distinct, {num_sets} whatever the order",
            one.name, False, num_more, len(one.mixtures), "lines", tuple(items),
        )  # fmt: skip


def _of_one_category(one: SplitList) -> Iterator[Finding]:
    """Mixtures of two sounds of one kind, which models that are told the category cannot part."""
    alike = [mixture for mixture in one.mixtures if _is_of_one_category(mixture)]
    if alike:
        items = tuple(
            Item(" + ".join(clip.id for clip in mixture), f"line {mixture[0].line}")
            for mixture in alike
        )
        yield Finding(
            "mixtures of one category", one.name, False, len(alike), len(one.mixtures),
            "mixtures", items,
        )  # fmt: skip


def _is_of_one_category(mixture: Sequence[ListedClip]) -> bool:
    labels = [clip.category for clip in mixture if clip.category is not None]
    return any(
        find_in([label], other) is not None
        for index, label in enumerate(labels)
        for other in labels[:index]
    )
