"""Mixtures as batches for a separator: the sound of middle windows, and the cues of the sources."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avsep.cues.crops import CropSettings, ObjectCrops, extract_clip_crops
from avsep.cues.mirror import mirrored_cues, mirrored_ears
from avsep.cues.windows import window_cues
from avsep.data.categories import find_in
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
# Windows, and what is seen in them, of so many clips at most: all that MUSIC's test pairs mix.
_MOST_RECENT = 64


@dataclass(frozen=True)
class CueSettings:
    """What a separator reads of a clip beside its sound.

    Attributes:
        categories: the separator's own list, which the clip's words are looked up in.
        with_labels: it is told the true category; else the picture alone decides of what is seen.
        ablation: a name of TRIALS.
        with_i3d_features: it reads motion features, which lie beside a clip.
    """

    crops: CropSettings
    categories: tuple[str, ...]
    with_labels: bool = True
    ablation: str = "all"
    with_i3d_features: bool = False


class ClipReader:
    """Mixtures one after another: their sound, and what is seen of their sources.

    Only the current mixture is held, and the windows of the clips that were read last: in pairs
    the same video comes again and again.
    """

    def __init__(self, mixtures: Sequence[ClipFiles | Mixture], *, mirrored: bool = False) -> None:
        """`mirrored`: all as a mirror shows it, ears, boxes and pictures."""
        self.mixtures = as_mixtures(mixtures)
        self.mirrored = mirrored
        self._index = -1
        self._held: dict[object, object] = {}
        self._recent: OrderedDict[object, object] = OrderedDict()

    def batch(
        self, index: int, front_end: FrontEndSettings, cue_settings: CueSettings | None = None
    ) -> tuple[MixtureItem, Batch]:
        """A mixture of middle windows, and as a batch of one with the cues asked for."""
        if index != self._index:
            self._index, self._held = index, {}
        if front_end not in self._held:
            self._held[front_end] = self._mix(front_end)
        item: MixtureItem = self._held[front_end]  # type: ignore[assignment]
        batch = to_batch([item])
        if cue_settings is None:
            return item, batch
        cues = self._cues(self.mixtures[index].parts, cue_settings, front_end)

        def other_cues() -> Cues:
            return self._cues(self._other_parts(), cue_settings, front_end)

        cues = CUE_ABLATIONS[cue_settings.ablation](cues, other_cues)
        return item, replace(batch, cues=cues if cue_settings.with_labels else without_labels(cues))

    def _mix(self, front_end: FrontEndSettings) -> MixtureItem:
        mixture = self.mixtures[self._index]
        windows = [self._window(part.clip, front_end) for part in mixture.parts]
        item = mix_windows(mixture, windows)
        if not self.mirrored:
            return item
        mixed, sources = (
            np.ascontiguousarray(mirrored_ears(sound)) for sound in (item.mixture, item.sources)
        )
        return replace(item, mixture=mixed, sources=sources)

    def _cues(
        self, parts: Sequence[MixturePart], cue_settings: CueSettings, front_end: FrontEndSettings
    ) -> Cues:
        """Cues of parts, each in the middle window of its own clip."""
        object_crops = [self._looks(part.clip, cue_settings.crops, front_end) for part in parts]
        seen = [
            [
                None if cue is None else cue[:, part.place]
                for cue in (object_crop.crops, object_crop.crop_motion, object_crop.boxes)
            ]
            for part, object_crop in zip(parts, object_crops, strict=True)
        ]
        crops, crop_motion, boxes = (
            None if None in cues else torch.stack(cues, dim=1) for cues in zip(*seen, strict=True)
        )
        told = category_cue([part.source.category for part in parts], cue_settings.categories)
        is_visible = [part.clip.is_visible for part in parts]
        is_visible = None if all(is_visible) else torch.tensor([is_visible])
        cues = Cues(
            crops=crops,
            crop_motion=crop_motion,
            boxes=boxes,
            category=told[None],
            is_visible=is_visible,
        )
        if cue_settings.with_i3d_features:
            cues = self._with_motion(cues, [part.clip for part in parts])
        return mirrored_cues(cues) if self.mirrored else cues

    def _with_motion(self, cues: Cues, clips: Sequence[ClipFiles]) -> Cues:
        """The cues and the motion features of the clips that the objects are from, padded."""
        found = [torch.from_numpy(read_i3d_features(clip)).mT for clip in clips]  # K D each
        lengths = torch.tensor([len(features) for features in found])
        i3d_features = pad_sequence(found, batch_first=True).mT  # S D K
        padding = torch.arange(i3d_features.shape[2]) >= lengths[:, None]
        return replace(cues, i3d_features=i3d_features[None], i3d_padding=padding[None])

    def _window(self, clip: ClipFiles, front_end: FrontEndSettings) -> ClipWindow:
        repeat = self.mixtures[self._index].rule is not None
        return self._once(
            (clip, front_end, repeat), lambda: read_middle_window(clip, front_end, repeat=repeat)
        )

    def _looks(self, clip: ClipFiles, settings: CropSettings, front_end: FrontEndSettings) -> Cues:
        """What is seen of all of a clip's sources in its middle window."""
        window = self._window(clip, front_end)
        window_seconds = front_end.window_samples / front_end.sample_rate_hz
        moving = {"crop_motion"} if settings.with_crop_motion else set()
        required_cues = frozenset({"crops", "boxes", *moving})

        def object_crop() -> Cues:
            objects = [source.visible for source in clip.sources]
            object_crops = extract_clip_crops(
                clip, objects, settings, end_seconds=window.repeated_seconds
            )
            if window.repeated_seconds is not None:
                object_crops = [_again_and_again(one, window_seconds) for one in object_crops]
            nobody = torch.full((len(objects),), -1)
            return window_cues(
                object_crops, [window.start_seconds], window_seconds, nobody, required_cues
            )

        return self._once((clip, front_end, window.repeated_seconds, settings), object_crop)

    def _other_parts(self) -> list[MixturePart]:
        """A part for each of the current mixture's, from the next mixtures, none of its kinds."""
        own = self.mixtures[self._index]
        present, num_mixtures = set(own.categories), len(self.mixtures)
        found: list[MixturePart] = []
        for step in range(1, num_mixtures):
            parts = self.mixtures[(self._index + step) % num_mixtures].parts
            found += [
                part for part in parts if part.source.category not in present and part not in found
            ]
            if len(found) >= len(own.parts):
                return found[: len(own.parts)]
        raise InputError(
            f"the cues 'wrong' need {len(own.parts)} objects of other categories than clip "
            f"'{own.name}' shows, and the other clips hold {len(found)}: "
            "add clips of other instruments"
        )

    def _once(self, key: object, make: Callable[[], Value]) -> Value:
        """What was made under this key lately, or is now."""
        if key not in self._recent:
            self._recent[key] = make()
            if len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key]  # type: ignore[return-value]


def _again_and_again(object_crop: ObjectCrops, seconds: float) -> ObjectCrops:
    """A look whose movement begins anew until it lasts as long, as a short sound then does."""
    if object_crop.crop_motion is None:
        return object_crop
    num_frames = ceil(2 * seconds * object_crop.settings.motion_rate_hz)
    return replace(
        object_crop,
        crop_motion=object_crop.crop_motion.repeat(
            -(-num_frames // len(object_crop.crop_motion)), 1, 1
        ),
    )


def category_cue(labels: Sequence[str], categories: Sequence[str]) -> Int64[Tensor, " S"]:
    """The index of each label among categories; -1 where a model does not know the word."""
    found = [find_in(categories, label) for label in labels]
    return torch.tensor([-1 if index is None else index for index in found])
