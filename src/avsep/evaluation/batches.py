"""Read mixtures as batches: audio of the middle windows, and the cues of their sources."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch

from avsep.cues.crops import CropSettings, extract_clip_crops
from avsep.cues.mirror import mirror_channels, mirror_cues
from avsep.cues.windows import SourceWindow, category_cue, join_cues, window_cues
from avsep.data.clips import ClipFiles, read_i3d_features
from avsep.data.mixing import MixtureItem, to_batch
from avsep.errors import InputError
from avsep.evaluation.cue_ablations import CUE_ABLATIONS, without_labels
from avsep.evaluation.mixtures import (
    ClipWindow,
    Mixture,
    MixturePart,
    as_mixtures,
    mix_windows,
    read_middle_window,
)
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings

Value = TypeVar("Value")
# Windows and their cues that are kept: those of all clips that MUSIC's test pairs mix, where the
# same video comes again and again.
_NUM_KEPT = 64


@dataclass(frozen=True)
class CueSettings:
    """Cues that a method reads of a clip beside its sound.

    Attributes:
        crops: sizes and rates of its crops.
        categories: the method's own list, in which the clip's labels are looked up.
        with_labels: the true categories are given; else they are predicted from the crops.
        ablation: a name of CUE_ABLATIONS.
        with_i3d_features: it reads I3D features, which are stored beside a clip.
    """

    crops: CropSettings
    categories: tuple[str, ...]
    with_labels: bool = True
    ablation: str = "all"
    with_i3d_features: bool = False


class ClipReader:
    """Read the mixtures of a list, one at a time, with the cues of their sources.

    The current mixture is held, and the windows of the clips that were read last.
    """

    def __init__(self, mixtures: Sequence[ClipFiles | Mixture], *, mirrored: bool = False) -> None:
        """Read `mixtures` in any order; `mirrored`: channels, boxes and pictures change sides."""
        self.mixtures = as_mixtures(mixtures)
        self.mirrored = mirrored
        self._current: tuple[int, dict[FrontEndSettings, MixtureItem]] = (-1, {})
        self._recent: OrderedDict[object, object] = OrderedDict()

    def batch(
        self, index: int, front_end: FrontEndSettings, cue_settings: CueSettings | None = None
    ) -> tuple[MixtureItem, Batch]:
        """Read a mixture of middle windows, also as a batch of one with the cues asked for.

        Raises:
            InputError: a file cannot be read, or the ablation finds no other objects.
        """
        mixture = self.mixtures[index]
        if self._current[0] != index:
            self._current = (index, {})
        items = self._current[1]
        if front_end not in items:
            items[front_end] = self._mix(mixture, front_end)
        item = items[front_end]
        batch = to_batch([item])
        if cue_settings is None:
            return item, batch
        # Only solos are repeated to fill a window, as all codes of the field do that mix them.
        repeat = mixture.rule is not None
        cues = self._cues(mixture.parts, cue_settings, front_end, repeat)

        def other_cues() -> Cues:
            return self._cues(self._other_parts(index), cue_settings, front_end, repeat)

        cues = CUE_ABLATIONS[cue_settings.ablation](cues, other_cues)
        return item, replace(batch, cues=cues if cue_settings.with_labels else without_labels(cues))

    def _mix(self, mixture: Mixture, front_end: FrontEndSettings) -> MixtureItem:
        repeat = mixture.rule is not None
        windows = [self._window(part.clip, front_end, repeat) for part in mixture.parts]
        item = mix_windows(mixture, windows)
        if not self.mirrored:
            return item
        mixed, sources = (
            np.ascontiguousarray(mirror_channels(sound)) for sound in (item.mixture, item.sources)
        )
        return replace(item, mixture=mixed, sources=sources)

    def _window(self, clip: ClipFiles, front_end: FrontEndSettings, repeat: bool) -> ClipWindow:
        return self._kept(
            (clip, front_end, repeat), lambda: read_middle_window(clip, front_end, repeat=repeat)
        )

    def _cues(
        self,
        parts: Sequence[MixturePart],
        cue_settings: CueSettings,
        front_end: FrontEndSettings,
        repeat: bool,
    ) -> Cues:
        """Build the cues of parts, each in the middle window of its own clip."""
        sources = [
            self._clip_cues(part.clip, cue_settings, front_end, repeat)[part.place]
            for part in parts
        ]
        category = category_cue([part.source.category for part in parts], cue_settings.categories)
        cues = replace(join_cues(sources, along="sources"), category=category[None])
        return mirror_cues(cues) if self.mirrored else cues

    def _clip_cues(
        self,
        clip: ClipFiles,
        cue_settings: CueSettings,
        front_end: FrontEndSettings,
        repeat: bool,
    ) -> list[Cues]:
        """Build the cues of each source of a clip in its middle window."""
        window = self._window(clip, front_end, repeat)
        settings, with_i3d_features = cue_settings.crops, cue_settings.with_i3d_features
        window_seconds = front_end.window_samples / front_end.sample_rate_hz

        def build() -> list[Cues]:
            sources = extract_clip_crops(clip, settings, end_seconds=window.repeated_seconds)
            if with_i3d_features:
                features = torch.from_numpy(read_i3d_features(clip))
                sources = tuple(replace(crops, i3d_features=features) for crops in sources)
            is_repeated = window.repeated_seconds is not None
            windows = [SourceWindow(crops, window.start_seconds, is_repeated) for crops in sources]
            return [window_cues([[source]], window_seconds) for source in windows]

        key = (clip, front_end, window.repeated_seconds, settings, with_i3d_features)
        return self._kept(key, build)

    def _other_parts(self, index: int) -> list[MixturePart]:
        """Return as many parts as the mixture has, of the next mixtures, of other categories."""
        mixture = self.mixtures[index]
        present, num_mixtures = set(mixture.categories), len(self.mixtures)
        others: list[MixturePart] = []
        for step in range(1, num_mixtures):
            parts = self.mixtures[(index + step) % num_mixtures].parts
            others += [
                part for part in parts if part.source.category not in present and part not in others
            ]
            if len(others) >= len(mixture.parts):
                return others[: len(mixture.parts)]
        raise InputError(
            f"the cues 'wrong' need {len(mixture.parts)} objects of other categories than clip "
            f"'{mixture.name}' shows, and the other clips hold {len(others)}: "
            "add clips of other instruments"
        )

    def _kept(self, key: object, make: Callable[[], Value]) -> Value:
        """Return what was made under this key lately, or make it now."""
        if key not in self._recent:
            self._recent[key] = make()
            if len(self._recent) > _NUM_KEPT:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return cast("Value", self._recent[key])
