"""Kinds of mixtures and of sources, so that one figure does not hide the easy and the hard."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from avsep.data.clips import ClipFiles
from avsep.data.toyband.folder import ClipPaths, read_record
from avsep.evaluation.mixtures import Mixture
from avsep.evaluation.protocol import PairScores

SAME, DIFFERENT = "same category", "different categories"
IN_HARMONY = "in harmony"
UNSEEN = "with an unseen sound"


def groups_of(mixture: Mixture) -> tuple[str, ...]:
    """The groups a mixture belongs to; none with a single source, which is not scored.

    Two of a kind among its sources make it one of `same category`. In harmony it is where a
    toyband's score says that all play together, in one tempo and one sequence of chords.
    """
    num_sources = len(mixture.parts)
    if num_sources < 2:
        return ()
    found = [DIFFERENT if len(set(mixture.categories)) == num_sources else SAME]
    clip = mixture.parts[0].clip if mixture.rule is None else None
    if clip is not None and _plays_together(clip):
        found.append(IN_HARMONY)
    found.append(f"{num_sources} sources")
    if clip is not None and clip.unseen:
        found.append(UNSEEN)
    return tuple(found)


def in_order(groups: Iterable[str]) -> list[str]:
    """Groups each once, in the order of the tables."""
    rank = {DIFFERENT: 0, SAME: 1, IN_HARMONY: 2, UNSEEN: 4}
    return sorted(set(groups), key=lambda group: (rank.get(group, 3), group))


def by_category(
    pairs: Sequence[PairScores], protocol: str
) -> Mapping[str, tuple[Float64[np.ndarray, "sources 3"], Int64[np.ndarray, " sources"]]]:
    """SDR, SIR, SAR of every source that counts by its own category, and which pair it is of."""
    found: dict[str, list[tuple[np.ndarray, int]]] = {}
    for place, pair in enumerate(pairs):
        if pair.left_out_reason(protocol) is None:
            for category, row in zip(pair.categories, pair.counted_db(protocol), strict=True):
                found.setdefault(category, []).append((row, place))
    return {
        category: (
            np.stack([row for row, _ in found[category]]),
            np.array([place for _, place in found[category]], np.int64),
        )
        for category in sorted(found)
    }


def _plays_together(clip: ClipFiles) -> bool:
    path = ClipPaths(clip.video.parent, clip.name).score
    return path.is_file() and read_record(path).score.together
