"""Which sources a mixture is made of: of other clips, of one category, of one clip, unseen ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.errors import InputError

# A mixture is drawn anew this often before a list is given up.
MAXIMUM_DRAWS = 20
# Partners are drawn blindly this often before all that may join are listed, which takes longer.
_BLIND_DRAWS = 30


class MixingSettings(BaseModel):
    """How sources are drawn, and at what level they are added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_sources: int = Field(default=2, ge=2, le=4, description="sources in a mixture")
    distinct_categories: bool = Field(
        default=True,
        description="no two sources of one category (iQuery, DAVIS); clips always differ",
    )
    same_category_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures in which two sources are of one category all the same",
    )
    own_clip_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures whose sources are of one clip, as they sound together: the "
        "same window, their own levels under a common factor, their own categories",
    )
    unseen_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures that hold one more sound, of another clip, which is neither "
        "seen nor a target",
    )
    rule: Literal["mean", "sum", "mean-undivided"] = Field(
        default="mean",
        description="mean: every source divided by their number, targets alike (Sound of Pixels, "
        "iQuery, LAVSS); sum: nothing divided (iQuery on AVE); mean-undivided: the mixture is the "
        "mean, targets keep their level (DAVIS)",
    )
    gain_range: tuple[float, float] = Field(
        default=(0.5, 1.5), description="each source is scaled by a factor drawn from here"
    )
    equaliser_db: float = Field(
        default=0.0,
        ge=0,
        description="ours: each sound goes through an equaliser drawn anew, its octaves raised or "
        "lowered by this much (standard deviation); 0: none",
    )
    mirror_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="ours: share of clips that are mixed as a mirror shows them, ears, boxes and "
        "pictures alike; more than none needs a model that reads no motion features",
    )
    silent_probability: float = Field(
        default=0.0, ge=0, lt=1, description="that a source, all but one, is silent though seen"
    )
    position: Literal["random", "middle"] = Field(
        default="random",
        description="where in its file a source is cut and which crops are shown; middle, and "
        "crops evenly spread, for testing",
    )
    broken: Literal["error", "skip"] = Field(
        default="error", description="a file that cannot be read stops, or is redrawn and counted"
    )
    repeats: int = Field(default=1, ge=1, description="mixtures a source begins in one epoch")

    @model_validator(mode="after")
    def _in_bounds(self) -> "MixingSettings":
        if not 0 < self.gain_range[0] <= self.gain_range[1]:
            raise ValueError(f"gain_range {self.gain_range} must hold 0 < lowest <= highest")
        if self.own_clip_probability + self.same_category_probability > 1:
            raise ValueError(
                "own_clip_probability and same_category_probability are shares of all mixtures: "
                "together they must not exceed 1"
            )
        return self


@dataclass(frozen=True)
class Draw:
    """What one mixture is made of, as places in the list of sources.

    Attributes:
        shown: the targets.
        unseen: what is heard beside them, or none.
        is_one_clip: the targets are of one clip.
    """

    shown: tuple[int, ...]
    unseen: int | None = None
    is_one_clip: bool = False

    @property
    def heard(self) -> tuple[int, ...]:
        """All sources in the mixture, the targets first."""
        return self.shown if self.unseen is None else (*self.shown, self.unseen)


class Draws:
    """Draws from a list of sources, each given as the clip it is of and its category."""

    def __init__(
        self, clips: Sequence[str], categories: Sequence[str], settings: MixingSettings
    ) -> None:
        self.clips = tuple(clips)
        self.categories = tuple(categories)
        self.settings = settings
        self._of_clip: dict[str, list[int]] = defaultdict(list)
        self._of_category: dict[str, list[int]] = defaultdict(list)
        for place, (clip, category) in enumerate(zip(clips, categories, strict=True)):
            self._of_clip[clip].append(place)
            self._of_category[category].append(place)
        self._everything = range(len(self.clips))
        self._large_clips = [
            places for places in self._of_clip.values() if len(places) >= settings.num_sources
        ]
        self._check_enough()

    def draw(self, first: int, generator: np.random.Generator) -> Draw:
        """A mixture that begins with this source, or with another where it finds no partners."""
        settings = self.settings
        kind = generator.random()
        is_one_clip = kind < settings.own_clip_probability
        if is_one_clip:
            shown = self._of_one_clip(first, generator)
        else:
            is_alike = kind < settings.own_clip_probability + settings.same_category_probability
            shown = self._of_other_clips(first, is_alike, generator)
        unseen = None
        if generator.random() < settings.unseen_probability:
            unseen = self._partner(shown, self._everything, generator)
        return Draw(tuple(shown), unseen, is_one_clip)

    def _of_one_clip(self, first: int, generator: np.random.Generator) -> list[int]:
        """Sources of the first one's clip; where that holds too few, of any that does not."""
        places = self._of_clip[self.clips[first]]
        shown = [first]
        if len(places) < self.settings.num_sources:
            places = self._large_clips[generator.integers(len(self._large_clips))]
            shown = [places[generator.integers(len(places))]]
        others = [place for place in places if place != shown[0]]
        order = generator.permutation(len(others))[: self.settings.num_sources - 1]
        return shown + [others[place] for place in order]

    def _of_other_clips(
        self, first: int, is_alike: bool, generator: np.random.Generator
    ) -> list[int]:
        """Sources of clips, and where asked for of categories, that differ."""
        for _ in range(MAXIMUM_DRAWS):
            shown = [first]
            if is_alike:
                alike = self._of_category[self.categories[first]]
                partner = self._partner(shown, alike, generator, any_category=True)
                shown += [] if partner is None else [partner]
            while len(shown) < self.settings.num_sources:
                partner = self._partner(shown, self._everything, generator)
                if partner is None:
                    break
                shown.append(partner)
            else:
                return shown
            # This first source leaves too few partners: another one begins instead.
            first = int(generator.integers(len(self.clips)))
        raise InputError(
            f"found no {self.settings.num_sources} sources of different clips"
            f"{' and categories' if self.settings.distinct_categories else ''} in a list of "
            f"{len(self.clips)}: add clips, or ask for fewer sources"
        )

    def _partner(
        self,
        shown: Sequence[int],
        candidates: Sequence[int],
        generator: np.random.Generator,
        *,
        any_category: bool = False,
    ) -> int | None:
        """One of the candidates that may join, all being equally likely; none where none may."""
        clips = {self.clips[place] for place in shown}
        is_free = any_category or not self.settings.distinct_categories
        categories = set() if is_free else {self.categories[place] for place in shown}

        def may_join(place: int) -> bool:
            return self.clips[place] not in clips and self.categories[place] not in categories

        for _ in range(_BLIND_DRAWS):
            place = candidates[int(generator.integers(len(candidates)))]
            if may_join(place):
                return place
        partners = [place for place in candidates if may_join(place)]
        return partners[generator.integers(len(partners))] if partners else None

    def _check_enough(self) -> None:
        settings = self.settings
        needed = settings.num_sources + (settings.unseen_probability > 0)
        if settings.own_clip_probability > 0 and not self._large_clips:
            raise InputError(
                f"own_clip_probability needs clips of {settings.num_sources} sources at least, and "
                "the list holds none: set it to 0"
            )
        if settings.own_clip_probability == 1:
            needed = 1 + (settings.unseen_probability > 0)
        if len(self._of_clip) < needed:
            raise InputError(
                f"mixtures of {needed} sources need as many clips, and the list holds "
                f"{len(self._of_clip)}"
            )
        if settings.distinct_categories and len(self._of_category) < needed:
            raise InputError(
                f"mixtures of {needed} distinct categories cannot be made of "
                f"{len(self._of_category)}; set distinct_categories = false to mix sources of one "
                "category"
            )
