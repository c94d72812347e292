"""Read mixtures as batches: audio of the middle windows, and the cues of their sources."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Literal, TypeVar, cast

import numpy as np
import torch

from avsep.cues.crop_stream import reach_seconds
from avsep.cues.crops import WHOLE_CLIP, CropSettings, extract_clip_crops
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
# Windows and their cues in memory: of all clips of MUSIC's test pairs, in which each video is used
# many times.
_NUM_WINDOWS = 64
# Crops of whole clips in memory: of one mixture, whose methods follow each other.
_NUM_CROPS = 4


# Where the category of a source comes from: its label, the model, or the namer.
CategorySource = Literal["given", "predicted", "named"]


@dataclass(frozen=True)
class CueSettings:
    """Cues that a method reads of a clip beside its sound.

    Attributes:
        crops: sizes and rates of its crops.
        categories: the method's own list, in which the clip's labels are looked up.
        labels: the true categories are given, left for the model to predict, or named by crops
            and mixture.
        ablation: a name of CUE_ABLATIONS.
        with_i3d_features: it reads I3D features, which are stored beside a clip.
    """

    crops: CropSettings
    categories: tuple[str, ...]
    labels: CategorySource = "given"
    ablation: str = "all"
    with_i3d_features: bool = False


class ClipReader:
    """Read the mixtures of a list, one at a time, with the cues of their sources.

    The current mixture is in memory, and the windows of the clips that were read last.
    """

    def __init__(self, mixtures: Sequence[ClipFiles | Mixture], *, mirrored: bool = False) -> None:
        """Read `mixtures` in any order; `mirrored`: channels, boxes and pictures change sides."""
        self.mixtures = as_mixtures(mixtures)
        self.mirrored = mirrored
        self._current: tuple[int, dict[object, MixtureItem]] = (-1, {})
        self._windows = _Recent(_NUM_WINDOWS)
        self._crops = _Recent(_NUM_CROPS)

    def batch(
        self, index: int, front_end: FrontEndSettings, cue_settings: CueSettings | None = None
    ) -> tuple[MixtureItem, Batch]:
        """Read a mixture of middle windows, also as a batch of one with the cues of `cue_settings`.

        Raises:
            InputError: a file cannot be read, or the ablation finds no other objects.
        """
        mixture = self.mixtures[index]
        if self._current[0] != index:
            self._current = (index, {})
        # Methods of one format are scored on the very same samples.
        items, key = self._current[1], front_end.window_format
        if key not in items:
            items[key] = self._mix(mixture, front_end)
        item = items[key]
        batch = to_batch([item])
        if cue_settings is None:
            return item, batch
        # Only mixed solos are repeated to fill a window, as in all released codes that mix them.
        repeat = mixture.rule is not None
        cues = self._cues(mixture.parts, cue_settings, front_end, repeat)

        # A function, since only the ablation "wrong" reads other clips.
        def other_cues() -> Cues:
            return self._cues(self._other_parts(index), cue_settings, front_end, repeat)

        cues = CUE_ABLATIONS[cue_settings.ablation](cues, other_cues)
        if cue_settings.labels != "given":
            cues = without_labels(cues)
        if cue_settings.labels == "named":
            # Not above: the namer's networks take long to import, and few evaluations name.
            from avsep.cues.naming import name_sources

            cues = name_sources(
                cues, cue_settings.categories, item.mixture[None], front_end.sample_rate_hz
            )
        return item, replace(batch, cues=cues)

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
        key = (clip, front_end.window_format, repeat)
        return self._windows.get(key, lambda: read_middle_window(clip, front_end, repeat=repeat))

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
            # Crops are extracted once for all models, which differ in what their windows take.
            extracted = settings.of_extraction(len(clip.sources))
            part = WHOLE_CLIP
            if window.repeated_seconds is None:
                # In whole seconds, so that models of like windows share them.
                reach = reach_seconds(settings, window_seconds)
                end_seconds = window.start_seconds + window_seconds
                part = max(0, floor(window.start_seconds - reach)), ceil(end_seconds + reach)
            extraction = (clip, extracted, window.repeated_seconds, part)
            shared = self._crops.get(extraction, lambda: extract_clip_crops(*extraction))
            sources = tuple(replace(crops, settings=settings) for crops in shared)
            if with_i3d_features:
                features = torch.from_numpy(read_i3d_features(clip))
                sources = tuple(replace(crops, i3d_features=features) for crops in sources)
            is_repeated = window.repeated_seconds is not None
            windows = [SourceWindow(crops, window.start_seconds, is_repeated) for crops in sources]
            return [window_cues([[source]], window_seconds) for source in windows]

        window_format, repeated = front_end.window_format, window.repeated_seconds
        key = (clip, window_format, repeated, settings, with_i3d_features)
        return self._windows.get(key, build)

    def _other_parts(self, index: int) -> list[MixturePart]:
        """Return as many parts as the mixture has, of the next mixtures, of other categories."""
        mixture = self.mixtures[index]
        present, num_mixtures = set(mixture.categories), len(self.mixtures)
        others: list[MixturePart] = []
        # From the next mixture on, so that the choice depends on the list alone.
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


class _Recent:
    """The most recently used values, each made once while it is among them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[object, object] = OrderedDict()

    def get(self, key: object, make: Callable[[], Value]) -> Value:
        """Return the value of a key."""
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return cast("Value", self._values[key])
