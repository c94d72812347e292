"""The mixtures of an evaluation: clips as they are, a published pair file, or sampled pairs."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field

from avsep.data.categories import find_in
from avsep.data.clips import TEST, ClipFiles, SourceFile, read_sound
from avsep.data.list_files import ListedClip, read_pair_file
from avsep.data.mixing import (
    MAXIMUM_DRAWS,
    MixingSettings,
    MixtureItem,
    MixtureSampler,
    Waveform,
    crop,
    cut_windows,
    mix,
)
from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings


@dataclass(frozen=True)
class Part:
    """One source of a mixture: the clip it is of, and its place in that clip."""

    clip: ClipFiles
    place: int = 0

    @property
    def source(self) -> SourceFile:
        """Its sound, category and object."""
        return self.clip.sources[self.place]


@dataclass(frozen=True)
class Mixture:
    """One mixture of a benchmark.

    Attributes:
        name: of the clip, or of all clips.
        parts: its sources, in the order in which they are scored.
        rule: how sounds of several clips are added up (`MixingSettings.rule`); none: the parts are
            one clip's, which sounds as it is, with what is unseen in it.
    """

    name: str
    parts: tuple[Part, ...]
    rule: str | None = None

    @property
    def categories(self) -> tuple[str, ...]:
        """Of each source."""
        return tuple(part.source.category for part in self.parts)

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the clips it is made of, each once."""
        return tuple(dict.fromkeys(part.clip.name for part in self.parts))


def own_mixture(clip: ClipFiles) -> Mixture:
    """A clip as the mixture of its own sources."""
    return Mixture(clip.name, tuple(Part(clip, place) for place in range(len(clip.sources))))


def as_mixtures(given: Sequence[ClipFiles | Mixture]) -> tuple[Mixture, ...]:
    """Mixtures, among which a clip stands for that of its own sources."""
    return tuple(one if isinstance(one, Mixture) else own_mixture(one) for one in given)


@dataclass(frozen=True)
class ClipWindow:
    """The window in the middle of a clip's sounds.

    Attributes:
        sounds: its sources, then what is unseen.
        start_seconds: of the window; before the clip begins where that is shorter.
        repeated_seconds: length of a clip that is shorter and sounds again and again; none: it
            does not.
    """

    sounds: Float32[np.ndarray, "heard C N"]
    start_seconds: float
    repeated_seconds: float | None = None


def middle_of(clip: ClipFiles, front_end: FrontEndSettings, *, repeat: bool) -> ClipWindow:
    """The window in the middle of a clip; InputError for stems of unequal length.

    A clip that is shorter stands between zeros or, with `repeat`, is repeated, as all codes of the
    field do with the solos they mix.
    """
    rate_hz, num_samples = front_end.sample_rate_hz, front_end.window_samples
    paths = (*(source.path for source in clip.sources), *clip.offscreen)
    sounds = [Waveform(read_sound(path, rate_hz, front_end.num_channels)) for path in paths]
    lengths = {sound.num_samples for sound in sounds}
    if len(lengths) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    length = lengths.pop()
    is_repeated = repeat and length < num_samples
    centre = (length * -(-num_samples // length) if is_repeated else length) // 2
    if is_repeated:
        windows = cut_windows(sounds, [centre] * len(sounds), num_samples)
    else:
        windows = np.stack([crop(sound, centre, num_samples) for sound in sounds])
    start_seconds = (centre - num_samples // 2) / rate_hz
    return ClipWindow(windows, start_seconds, length / rate_hz if is_repeated else None)


def mix_windows(mixture: Mixture, windows: Sequence[ClipWindow]) -> MixtureItem:
    """The sound of a mixture and its truth.

    Args:
        mixture: what is mixed.
        windows: of each part's clip, in the order of the parts.
    """
    if mixture.rule is None:
        stems = windows[0].sounds
        chosen = stems[[part.place for part in mixture.parts]]
        return MixtureItem(stems.sum(axis=0), chosen, mixture.videos, mixture.categories)
    sounds = np.stack(
        [window.sounds[part.place] for part, window in zip(mixture.parts, windows, strict=True)]
    )
    mixed, levelled = mix(sounds, mixture.rule)
    names = tuple(part.clip.name for part in mixture.parts)
    return MixtureItem(mixed, levelled, names, mixture.categories)


# Which mixtures are evaluated: the clips as they are, a published pair file, or pairs drawn


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
        warnings: what the reader of the figures has to know of the list.
    """

    mixtures: tuple[Mixture, ...]
    unit: str
    warnings: tuple[str, ...] = ()


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
    chosen, warnings = _for_testing(clips)
    if any(len(clip.sources) > 1 for clip in chosen):
        why = "each clip is a mixture of its own sources; solos are mixed, or the lines of --pairs"
        _check_used(settings, set(PairSettings.model_fields), why)
        return MixtureList(as_mixtures(chosen[:limit]), "clips", warnings)
    drawn, more = _drawn(chosen, limit or DEFAULT_DRAWN, settings, seed)
    return MixtureList(drawn, "mixtures", (*warnings, *more))


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
    warnings = []
    if is_one_kind and not only_alike:
        warnings.append(f"any sources are mixed: all of them are called '{categories[0]}'")
    draws = MixtureSampler(names, categories, mixing)
    order = np.random.default_rng(seed).permutation(len(parts))
    found: dict[frozenset[int], tuple[int, ...]] = {}
    index = num_in_vain = 0
    # Until every source has begun so many in a row that were there already.
    while len(found) < num_wanted and num_in_vain < MAXIMUM_DRAWS * len(parts):
        generator = np.random.default_rng([seed, index])
        targets = draws.sample(int(order[index % len(parts)]), generator).targets
        num_in_vain = num_in_vain + 1 if frozenset(targets) in found else 0
        found.setdefault(frozenset(targets), targets)
        index += 1
    mixtures = [_mixture([parts[p] for p in targets], settings.rule) for targets in found.values()]
    if len(mixtures) < num_wanted:
        warnings.append(f"only {len(mixtures)} different mixtures could be drawn, not {num_wanted}")
    return tuple(mixtures), tuple(warnings)


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
