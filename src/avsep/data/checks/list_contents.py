"""Check the contents of lists: repeated lines, and mixtures of videos from wrong lists."""

from collections import Counter
from collections.abc import Iterator, Sequence

from avsep.data.categories import find_in
from avsep.data.checks.overlaps import by_set
from avsep.data.checks.reports import Finding, Item
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import TRAINING
from avsep.data.list_files import ListedClip


def check_list_contents(lists: Sequence[SplitList]) -> Iterator[Finding]:
    """Yield notes on repeated lines, and problems of mixtures with videos from wrong lists."""
    for _, members in by_set(lists):
        training = [other for other in members if other.role == TRAINING and not other.mixtures]
        for pairs in members:
            if not pairs.mixtures:
                yield from _repeated_videos(pairs)
                continue
            same_role = [
                other for other in members if other.role == pairs.role and not other.mixtures
            ]
            if pairs.role != TRAINING:
                yield from _training_videos(pairs, training)
            yield from _unlisted_videos(pairs, same_role)
            yield from _repeated_mixtures(pairs)
            yield from _same_category_mixtures(pairs)


def _repeated_videos(videos: SplitList) -> Iterator[Finding]:
    """Yield a note on videos that are on several lines of a list."""
    # Not a problem: AVE lists passages, several of one video. But N lines are then fewer videos.
    counts = Counter(clip.id for clip in videos.clips)
    items = [Item(name, f"{count} lines") for name, count in sorted(counts.items()) if count > 1]
    num_repeats = len(videos.clips) - len(counts)
    if items:
        yield Finding(
            "repeated lines of a video", videos.name, False, num_repeats,
            len(videos.clips), "lines", tuple(items),
        )  # fmt: skip


def _training_videos(pairs: SplitList, training: Sequence[SplitList]) -> Iterator[Finding]:
    """Yield a problem if held-out mixtures contain videos of the set's training list."""
    common = pairs.ids & frozenset[str]().union(*(other.ids for other in training))
    leaking = [mixture for mixture in pairs.mixtures if any(clip.id in common for clip in mixture)]
    if leaking:
        items = tuple(Item(name) for name in sorted(common))
        yield Finding(
            "mixtures with a video of the training list", pairs.name, True, len(leaking),
            len(pairs.mixtures), "mixtures", items,
        )  # fmt: skip


def _unlisted_videos(pairs: SplitList, same_role: Sequence[SplitList]) -> Iterator[Finding]:
    """Yield a problem if videos of the mixtures are in no list of the same role of the set."""
    if not same_role or pairs.role is None:
        return
    unlisted = pairs.ids.difference(*(other.ids for other in same_role))
    if unlisted:
        items = tuple(Item(name) for name in sorted(unlisted))
        yield Finding(
            f"videos of mixtures that no {pairs.role} list has", pairs.name, True, len(unlisted),
            len(pairs.ids), "videos", items,
        )  # fmt: skip


def _repeated_mixtures(pairs: SplitList) -> Iterator[Finding]:
    """Yield a note on mixtures that are listed more than once."""
    # The scores of a repeated mixture count twice in a mean. a + b and b + a are one mixture too,
    # but score tables of the field count them as two: both numbers are stated.
    counts = Counter(tuple(clip.id for clip in mixture) for mixture in pairs.mixtures)
    num_sets = len({frozenset(names) for names in counts})
    num_repeats = len(pairs.mixtures) - len(counts)
    if num_repeats:
        items = [
            Item(" + ".join(names), f"{count} lines")
            for names, count in sorted(counts.items())
            if count > 1
        ]
        yield Finding(
            f"lines that repeat a mixture: {len(counts)} distinct, {num_sets} in any order",
            pairs.name, False, num_repeats, len(pairs.mixtures), "lines", tuple(items),
        )  # fmt: skip


def _same_category_mixtures(pairs: SplitList) -> Iterator[Finding]:
    """Yield a note on mixtures of two sources of one category."""
    # A model conditioned on the category alone gets the same condition for both sources.
    mixtures = [mixture for mixture in pairs.mixtures if _repeats_category(mixture)]
    if mixtures:
        items = tuple(
            Item(" + ".join(clip.id for clip in mixture), f"line {mixture[0].line}")
            for mixture in mixtures
        )
        yield Finding(
            "mixtures of one category", pairs.name, False, len(mixtures), len(pairs.mixtures),
            "mixtures", items,
        )  # fmt: skip


def _repeats_category(mixture: Sequence[ListedClip]) -> bool:
    labels = [clip.category for clip in mixture if clip.category is not None]
    return any(
        find_in([label], other) is not None
        for index, label in enumerate(labels)
        for other in labels[:index]
    )
