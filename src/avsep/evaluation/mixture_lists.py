"""Which mixtures are evaluated: the clips as they are, a published pair file, or pairs drawn."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from avsep.data.clips import TEST, ClipFiles
from avsep.data.dataset_categories import find_in
from avsep.data.draws import MAXIMUM_DRAWS, Draws, MixingSettings
from avsep.data.list_files import ListedClip, read_pair_file
from avsep.errors import InputError
from avsep.evaluation.mixtures import Mixture, Part, as_mixtures

# As many as Sound of Pixels draws.
DEFAULT_DRAWN = 256
# So many missing videos are named; the rest are counted.
_MOST_NAMED = 3


class PairSettings(BaseModel):
    """How mixtures of several clips are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_sources: int = Field(default=2, ge=2, le=4, description="sources in a drawn mixture")
    same_category_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of drawn mixtures in which two sources are of one category; in the "
        "others all categories differ",
    )
    rule: Literal["mean", "sum"] = Field(
        default="mean",
        description="mean: every source divided by their number (Sound of Pixels, iQuery on "
        "MUSIC); sum: nothing divided (iQuery on AVE)",
    )


@dataclass(frozen=True)
class MixtureList:
    """The mixtures of a benchmark.

    Attributes:
        unit: what to call them: clips or mixtures.
        remarks: what the reader of the figures has to know of the list.
    """

    mixtures: tuple[Mixture, ...]
    unit: str
    remarks: tuple[str, ...] = ()


def choose_mixtures(
    clips: Sequence[ClipFiles],
    *,
    pairs: Path | None = None,
    limit: int | None = None,
    settings: PairSettings | None = None,
    seed: int = 0,
) -> MixtureList:
    """The mixtures of a data set: of a pair file, the clips' own, or of solos that are drawn.

    Args:
        clips: all but a pair file, which decides itself, keep to those for testing where the data
            set has any.
        pairs: a published pair file.
        limit: only the first mixtures; of solos so many are drawn (256).
        settings: how sources of several clips are mixed.
        seed: of what is drawn.

    Raises:
        InputError: settings that change nothing here; no mixture can be made.
    """
    settings = settings or PairSettings()
    if pairs is not None:
        drawn_only = set(PairSettings.model_fields) - {"rule"}
        _check_used(settings, drawn_only, "a pair file says itself what is mixed")
        found = _listed(clips, pairs, settings)
        return replace(found, mixtures=found.mixtures[:limit])
    chosen, remarks = _for_testing(clips)
    if any(len(clip.sources) > 1 for clip in chosen):
        why = "each clip is a mixture of its own sources; solos are mixed, or the lines of --pairs"
        _check_used(settings, set(PairSettings.model_fields), why)
        return MixtureList(as_mixtures(chosen[:limit]), "clips", remarks)
    drawn, more = _drawn(chosen, limit or DEFAULT_DRAWN, settings, seed)
    return MixtureList(drawn, "mixtures", (*remarks, *more))


def _check_used(settings: PairSettings, unused: set[str], why: str) -> None:
    """An InputError for a setting that was given and would change nothing."""
    in_vain = sorted(settings.model_fields_set & unused)
    if in_vain:
        raise InputError(f"--set {in_vain[0]} changes nothing here: {why}")


def _for_testing(clips: Sequence[ClipFiles]) -> tuple[tuple[ClipFiles, ...], tuple[str, ...]]:
    """The clips for testing, or all where none is; and a remark where any list says so."""
    found = tuple(clip for clip in clips if clip.split == TEST)
    if found:
        num_others = len(clips) - len(found)
        is_all = f"{num_others} clips of other splits than '{TEST}' are not used"
        return found, (is_all,) if num_others else ()
    if any(clip.split for clip in clips):
        remark = f"no clip is of the split '{TEST}': all are used, those for training among them"
        return tuple(clips), (remark,)
    return tuple(clips), ()


def _mixture(parts: Sequence[Part], rule: str) -> Mixture:
    names = [
        part.clip.name if len(part.clip.sources) == 1 else f"{part.clip.name}#{part.place + 1}"
        for part in parts
    ]
    return Mixture(" + ".join(names), tuple(parts), rule)


# Drawn


def _drawn(
    clips: Sequence[ClipFiles], num_wanted: int, settings: PairSettings, seed: int
) -> tuple[tuple[Mixture, ...], tuple[str, ...]]:
    """Mixtures of different clips, no two of them alike; each source begins about as many."""
    parts = [Part(clip, place) for clip in clips for place in range(len(clip.sources))]
    mixing = MixingSettings(
        num_sources=settings.num_sources,
        same_category_probability=settings.same_category_probability,
    )
    names, categories = [part.clip.name for part in parts], [p.source.category for p in parts]
    only_alike = settings.same_category_probability == 1 and settings.num_sources == 2
    is_one_kind = len(set(categories)) == 1
    if only_alike or is_one_kind:
        mixing = mixing.model_copy(update={"distinct_categories": False})
    remarks = []
    if is_one_kind and not only_alike:
        remarks.append(f"any sources are mixed: all of them are called '{categories[0]}'")
    draws = Draws(names, categories, mixing)
    order = np.random.default_rng(seed).permutation(len(parts))
    found: dict[frozenset[int], tuple[int, ...]] = {}
    index = num_in_vain = 0
    # Until every source has begun so many in a row that were there already.
    while len(found) < num_wanted and num_in_vain < MAXIMUM_DRAWS * len(parts):
        generator = np.random.default_rng([seed, index])
        shown = draws.draw(int(order[index % len(parts)]), generator).shown
        num_in_vain = num_in_vain + 1 if frozenset(shown) in found else 0
        found.setdefault(frozenset(shown), shown)
        index += 1
    mixtures = [_mixture([parts[p] for p in shown], settings.rule) for shown in found.values()]
    if len(mixtures) < num_wanted:
        remarks.append(f"only {len(mixtures)} different mixtures could be drawn, not {num_wanted}")
    return tuple(mixtures), tuple(remarks)


# Of a pair file


def _listed(clips: Sequence[ClipFiles], path: Path, settings: PairSettings) -> MixtureList:
    """The mixtures of a pair file whose videos are all there; the others are told, and why."""
    mixtures, missing, num_lost = [], Counter[str](), 0
    listed = read_pair_file(path)
    by_id: dict[str, list[ClipFiles]] = defaultdict(list)
    for clip in clips:
        by_id[clip.name.rpartition("/")[2]].append(clip)
    for row in listed:
        found = [_find(one, by_id) for one in row]
        gone = {_name(one) for one, clip in zip(row, found, strict=True) if clip is None}
        missing.update(gone)
        num_lost += bool(gone)
        if not gone:
            parts = [Part(clip) for clip in found if clip is not None]
            mixtures.append(_mixture(parts, settings.rule))
    if not missing:
        return MixtureList(tuple(mixtures), "mixtures")
    named = [f"{name} ({count})" for name, count in missing.most_common(_MOST_NAMED)]
    rest = f" and {len(missing) - len(named)} more" if len(missing) > len(named) else ""
    remark = (
        f"{num_lost} of {len(listed)} mixtures of '{path.name}' are left out: {len(missing)} of "
        f"their videos are not in the data: {', '.join(named)}{rest}"
    )
    if not mixtures:
        raise InputError(f"{remark}; give the folder that holds them to --data")
    return MixtureList(tuple(mixtures), "mixtures", (remark,))


def _find(wanted: ListedClip, by_id: dict[str, list[ClipFiles]]) -> ClipFiles | None:
    """The clip of this id, and of this category where the list tells one."""
    for clip in by_id.get(wanted.id, []):
        if len(clip.sources) != 1:
            raise InputError(
                f"line {wanted.line} of the pair file names '{clip.name}', which holds "
                f"{len(clip.sources)} sources: pairs are made of clips with one"
            )
        if wanted.category is None or find_in([clip.sources[0].category], wanted.category) == 0:
            return clip
    return None


def _name(wanted: ListedClip) -> str:
    return f"{wanted.category}/{wanted.id}" if wanted.category else wanted.id
