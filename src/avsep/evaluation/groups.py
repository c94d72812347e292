"""Kinds of mixtures and of sources, so that one figure does not hide the easy and the hard."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from avsep.data.clips import ClipFiles
from avsep.data.toyband.folder import ClipPaths, read_record
from avsep.evaluation.protocol import PairScores

SAME, DIFFERENT = "same category", "different categories"
IN_HARMONY = "in harmony"
UNSEEN = "with an unseen sound"


def groups_of(clip: ClipFiles) -> tuple[str, ...]:
    """The groups a clip belongs to; none with a single source, which is not scored.

    Two of a kind among its sources make it one of `same category`. In harmony it is where a
    toyband's score says that all play together, in one tempo and one sequence of chords.
    """
    num_sources = len(clip.sources)
    if num_sources < 2:
        return ()
    categories = {source.category for source in clip.sources}
    found = [DIFFERENT if len(categories) == num_sources else SAME]
    if _plays_together(clip):
        found.append(IN_HARMONY)
    found.append(f"{num_sources} sources")
    if clip.unseen:
        found.append(UNSEEN)
    return tuple(found)


def in_order(groups: Iterable[str]) -> list[str]:
    """Groups each once, in the order of the tables."""
    rank = {DIFFERENT: 0, SAME: 1, IN_HARMONY: 2, UNSEEN: 4}
    return sorted(set(groups), key=lambda group: (rank.get(group, 3), group))


def by_category(
    pairs: Sequence[PairScores], protocol: str
) -> Mapping[str, Float64[np.ndarray, "sources 3"]]:
    """SDR, SIR, SAR of every source that counts, by the source's own category."""
    found: dict[str, list[np.ndarray]] = {}
    for pair in pairs:
        if pair.left_out_reason(protocol) is None:
            for category, row in zip(pair.categories, pair.counted_db(protocol), strict=True):
                found.setdefault(category, []).append(row)
    return {category: np.stack(found[category]) for category in sorted(found)}


def _plays_together(clip: ClipFiles) -> bool:
    path = ClipPaths(clip.video.parent, clip.name).score
    return path.is_file() and read_record(path).score.together
