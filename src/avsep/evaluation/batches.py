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

from avsep.cues.crops import Look, LookSettings, look_at_clip
from avsep.cues.mirror import mirrored_cues, mirrored_ears
from avsep.cues.windows import window_cues
from avsep.data.categories import find_in
from avsep.data.clips import ClipFiles, read_motion
from avsep.data.mixing import MixedItem, to_batch
from avsep.errors import InputError
from avsep.evaluation.cue_ablations import TRIALS, untold
from avsep.evaluation.mixtures import (
    ClipWindow,
    Mixture,
    Part,
    as_mixtures,
    middle_of,
    mix_windows,
)
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings

Value = TypeVar("Value")
# Windows, and what is seen in them, of so many clips at most: all that MUSIC's test pairs mix.
_MOST_RECENT = 64


@dataclass(frozen=True)
class Reading:
    """What a separator reads of a clip beside its sound.

    Attributes:
        categories: the separator's own list, which the clip's words are looked up in.
        is_told: it is told the true category; else the picture alone decides of what is seen.
        trial: a name of TRIALS.
        with_motion: it reads motion features, which lie beside a clip.
    """

    looks: LookSettings
    categories: tuple[str, ...]
    is_told: bool = True
    trial: str = "all"
    with_motion: bool = False


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
        self, index: int, front_end: FrontEndSettings, reading: Reading | None = None
    ) -> tuple[MixedItem, Batch]:
        """A mixture of middle windows, and as a batch of one with the cues asked for."""
        if index != self._index:
            self._index, self._held = index, {}
        if front_end not in self._held:
            self._held[front_end] = self._mix(front_end)
        item: MixedItem = self._held[front_end]  # type: ignore[assignment]
        batch = to_batch([item])
        if reading is None:
            return item, batch
        cues = self._cues(self.mixtures[index].parts, reading, front_end)

        def strangers() -> Cues:
            return self._cues(self._strangers(), reading, front_end)

        cues = TRIALS[reading.trial](cues, strangers)
        return item, replace(batch, cues=cues if reading.is_told else untold(cues))

    def _mix(self, front_end: FrontEndSettings) -> MixedItem:
        mixture = self.mixtures[self._index]
        windows = [self._window(part.clip, front_end) for part in mixture.parts]
        item = mix_windows(mixture, windows)
        if not self.mirrored:
            return item
        mixed, sources = (
            np.ascontiguousarray(mirrored_ears(sound)) for sound in (item.mixture, item.sources)
        )
        return replace(item, mixture=mixed, sources=sources)

    def _cues(self, parts: Sequence[Part], reading: Reading, front_end: FrontEndSettings) -> Cues:
        """Cues of parts, each in the middle window of its own clip."""
        looks = [self._looks(part.clip, reading.looks, front_end) for part in parts]
        seen = [
            [
                None if cue is None else cue[:, part.place]
                for cue in (look.crops, look.movement, look.boxes)
            ]
            for part, look in zip(parts, looks, strict=True)
        ]
        crops, movement, boxes = (
            None if None in cues else torch.stack(cues, dim=1) for cues in zip(*seen, strict=True)
        )
        told = category_cue([part.source.category for part in parts], reading.categories)
        is_seen = [part.clip.is_seen for part in parts]
        pictured = None if all(is_seen) else torch.tensor([is_seen])
        cues = Cues(
            crops=crops, movement=movement, boxes=boxes, category=told[None], pictured=pictured
        )
        if reading.with_motion:
            cues = self._with_motion(cues, [part.clip for part in parts])
        return mirrored_cues(cues) if self.mirrored else cues

    def _with_motion(self, cues: Cues, clips: Sequence[ClipFiles]) -> Cues:
        """The cues and the motion features of the clips that the objects are from, padded."""
        found = [torch.from_numpy(read_motion(clip)).mT for clip in clips]  # K D each
        lengths = torch.tensor([len(features) for features in found])
        motion = pad_sequence(found, batch_first=True).mT  # S D K
        padding = torch.arange(motion.shape[2]) >= lengths[:, None]
        return replace(cues, motion=motion[None], motion_padding=padding[None])

    def _window(self, clip: ClipFiles, front_end: FrontEndSettings) -> ClipWindow:
        repeat = self.mixtures[self._index].rule is not None
        return self._once(
            (clip, front_end, repeat), lambda: middle_of(clip, front_end, repeat=repeat)
        )

    def _looks(self, clip: ClipFiles, settings: LookSettings, front_end: FrontEndSettings) -> Cues:
        """What is seen of all of a clip's sources in its middle window."""
        window = self._window(clip, front_end)
        window_seconds = front_end.window_samples / front_end.sample_rate_hz
        moving = {"movement"} if settings.with_movement else set()
        needs = frozenset({"crops", "boxes", *moving})

        def look() -> Cues:
            objects = [source.visible for source in clip.sources]
            looks = look_at_clip(clip, objects, settings, end_seconds=window.repeated_seconds)
            if window.repeated_seconds is not None:
                looks = [_again_and_again(one, window_seconds) for one in looks]
            nobody = torch.full((len(objects),), -1)
            return window_cues(looks, [window.start_seconds], window_seconds, nobody, needs)

        return self._once((clip, front_end, window.repeated_seconds, settings), look)

    def _strangers(self) -> list[Part]:
        """A part for each of the current mixture's, from the next mixtures, none of its kinds."""
        own = self.mixtures[self._index]
        present, num_mixtures = set(own.categories), len(self.mixtures)
        found: list[Part] = []
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


def _again_and_again(look: Look, seconds: float) -> Look:
    """A look whose movement begins anew until it lasts as long, as a short sound then does."""
    if look.movement is None:
        return look
    num_frames = ceil(2 * seconds * look.settings.movement_rate_hz)
    return replace(look, movement=look.movement.repeat(-(-num_frames // len(look.movement)), 1, 1))


def category_cue(labels: Sequence[str], categories: Sequence[str]) -> Int64[Tensor, " S"]:
    """The index of each label among categories; -1 where a model does not know the word."""
    found = [find_in(categories, label) for label in labels]
    return torch.tensor([-1 if index is None else index for index in found])
