"""Sample which sources form a mixture."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from avsep.data.categories import find_in
from avsep.data.mixing import MixingSettings, SampledMixture
from avsep.errors import InputError

# Attempts to sample a mixture before an error. A first source may leave no valid partners although
# the list has valid mixtures; a list without any must not loop forever.
MAXIMUM_DRAWS = 20
# Rejection sampling of a partner is fast where most sources are valid. After this many rejections
# few are, and listing them all is faster than going on.
_REJECTIONS = 30
# Of the additional sources, how many are of `unseen_categories` where the list has some.
_UNSEEN_SHARE = 0.5


def is_unseen(category: str, settings: MixingSettings) -> bool:
    """True for a category whose sources are heard in mixtures and are never targets."""
    return find_in(settings.unseen_categories, category) is not None


class MixtureSampler:
    """Sample mixtures from a list of sources, each given by its clip and its category."""

    def __init__(
        self, clips: Sequence[str], categories: Sequence[str], settings: MixingSettings
    ) -> None:
        self.clips = tuple(clips)
        self.categories = tuple(categories)
        self.settings = settings
        self._of_clip: dict[str, list[int]] = defaultdict(list)
        self._of_category: dict[str, list[int]] = defaultdict(list)
        self._visible: list[int] = []
        self._unseen: list[int] = []
        for index, (clip, category) in enumerate(zip(clips, categories, strict=True)):
            if is_unseen(category, settings):
                self._unseen.append(index)
                continue
            self._visible.append(index)
            self._of_clip[clip].append(index)
            self._of_category[category].append(index)
        self._large_clips = [
            members for members in self._of_clip.values() if len(members) >= settings.num_sources
        ]
        self._check_enough()

    def sample(self, first: int, generator: np.random.Generator) -> SampledMixture:
        """Sample a mixture whose first source is `first`, or another if that cannot be.

        It cannot if it is unseen, or has no partners.

        Raises:
            InputError: no mixture found that satisfies the settings.
        """
        settings = self.settings
        if is_unseen(self.categories[first], settings):
            first = self._draw(self._visible, generator)
        # One number decides between three kinds of mixture, so that their shares add up to 1.
        kind = generator.random()
        is_one_clip = kind < settings.same_clip_probability
        if is_one_clip:
            targets = self._sample_one_clip(first, generator)
        else:
            with_same_category = (
                kind < settings.same_clip_probability + settings.same_category_probability
            )
            targets = self._sample_different_clips(first, with_same_category, generator)
        num_of_one_clip = len(targets) if is_one_clip else 0
        # The check of the list makes a partner all but sure; without one there is an extra less,
        # which a batch cannot have.
        for _ in range(settings.extra_sources):
            extra = self._sample_partner(targets, self._visible, generator)
            if extra is None:
                raise self._too_few()
            targets.append(extra)
        offscreen = None
        if generator.random() < settings.offscreen_probability:
            is_other = self._unseen and generator.random() < _UNSEEN_SHARE
            candidates = self._unseen if is_other else self._visible
            offscreen = self._sample_partner(targets, candidates, generator)
        return SampledMixture(tuple(targets), offscreen, num_of_one_clip, settings.extra_sources)

    def _sample_one_clip(self, first: int, generator: np.random.Generator) -> list[int]:
        """Sample sources of the first one's clip, or of a random clip if that has too few."""
        members = self._of_clip[self.clips[first]]
        targets = [first]
        if len(members) < self.settings.num_sources:
            members = self._large_clips[generator.integers(len(self._large_clips))]
            targets = [members[generator.integers(len(members))]]
        others = [index for index in members if index != targets[0]]
        order = generator.permutation(len(others))[: self.settings.num_sources - 1]
        return targets + [others[position] for position in order]

    def _sample_different_clips(
        self, first: int, with_same_category: bool, generator: np.random.Generator
    ) -> list[int]:
        """Sample sources of different clips and, if set, of different categories.

        With `with_same_category` the second source is of the first one's category.
        """
        for _ in range(MAXIMUM_DRAWS):
            targets = [first]
            if with_same_category:
                candidates = self._of_category[self.categories[first]]
                partner = self._sample_partner(targets, candidates, generator, any_category=True)
                targets += [] if partner is None else [partner]
            while len(targets) < self.settings.num_sources:
                partner = self._sample_partner(targets, self._visible, generator)
                if partner is None:
                    break
                targets.append(partner)
            else:
                return targets
            # These targets leave no valid partner: start again from another source.
            first = self._draw(self._visible, generator)
        raise self._too_few()

    @staticmethod
    def _draw(indices: Sequence[int], generator: np.random.Generator) -> int:
        return indices[int(generator.integers(len(indices)))]

    def _too_few(self) -> InputError:
        settings = self.settings
        return InputError(
            f"found no {settings.num_sources + settings.extra_sources} sources of different clips"
            f"{' and categories' if settings.distinct_categories else ''} in a list of "
            f"{len(self._visible)}: add clips, or set fewer sources (mixing.num_sources)"
        )

    def _sample_partner(
        self,
        targets: Sequence[int],
        candidates: Sequence[int],
        generator: np.random.Generator,
        *,
        any_category: bool = False,
    ) -> int | None:
        """Sample one of the valid candidates, all equally likely; None if there is none."""
        clips = {self.clips[index] for index in targets}
        is_any = any_category or not self.settings.distinct_categories
        categories = set() if is_any else {self.categories[index] for index in targets}

        def is_valid(index: int) -> bool:
            return self.clips[index] not in clips and self.categories[index] not in categories

        for _ in range(_REJECTIONS):
            index = self._draw(candidates, generator)
            if is_valid(index):
                return index
        partners = [index for index in candidates if is_valid(index)]
        return partners[generator.integers(len(partners))] if partners else None

    def _check_enough(self) -> None:
        """Raise an InputError if the list is too small for any mixture under the settings."""
        settings = self.settings
        others = settings.extra_sources + (settings.offscreen_probability > 0)
        needed = settings.num_sources + others
        if settings.same_clip_probability > 0 and not self._large_clips:
            raise InputError(
                f"same_clip_probability needs clips of {settings.num_sources} sources at least, "
                "and the list holds none: set it to 0"
            )
        # If every mixture is of one clip, only additional sources need another one.
        if settings.same_clip_probability == 1:
            needed = 1 + others
        if len(self._of_clip) < needed:
            raise InputError(
                f"mixtures of {needed} sources need as many clips, and the list holds "
                f"{len(self._of_clip)}: add clips, or set fewer sources (mixing.num_sources)"
            )
        if settings.distinct_categories and len(self._of_category) < needed:
            raise InputError(
                f"mixtures of {needed} distinct categories cannot be made of "
                f"{len(self._of_category)}; set distinct_categories = false to mix sources of one "
                "category"
            )
