"""A data set's clips as batches for a separator: the middle window's sound, and its cues."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avsep.data.clips import ClipFiles, read_motion
from avsep.data.dataset_categories import find_in
from avsep.data.mixing import MixedItem, crop, mixture_of, to_batch
from avsep.errors import InputError
from avsep.evaluation.clip_looks import look_at_clip
from avsep.evaluation.trials import TRIALS, untold
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.vision.looks import Look, LookSettings
from avsep.vision.window_cues import window_cues

Value = TypeVar("Value")


@dataclass(frozen=True)
class Reading:
    """What a separator reads of a clip beside its sound.

    Attributes:
        categories: the separator's own list, which the clip's words are looked up in.
        is_told: it is told the true category; else the picture alone decides.
        trial: a name of TRIALS.
        with_motion: it reads motion features, which lie beside a clip.
    """

    looks: LookSettings
    categories: tuple[str, ...]
    is_told: bool = True
    trial: str = "all"
    with_motion: bool = False


class ClipReader:
    """The clips of a data set one after another; only the current one is held in memory."""

    def __init__(self, clips: Sequence[ClipFiles]) -> None:
        self.clips = tuple(clips)
        self._index = -1
        self._held: dict[object, object] = {}

    def batch(
        self, index: int, front_end: FrontEndSettings, reading: Reading | None = None
    ) -> tuple[MixedItem, Batch]:
        """The middle window of a clip, and as a batch of one with the cues asked for."""
        if index != self._index:
            self._index, self._held = index, {}
        item, start_seconds = self._once((index, front_end), lambda: self._window(front_end))
        batch = to_batch([item])
        if reading is None:
            return item, batch
        sources = range(len(self.clips[index].sources))
        own = [(index, source) for source in sources]
        cues = self._cues(own, reading, front_end, start_seconds)

        def strangers() -> Cues:
            return self._cues(self._strangers(), reading, front_end, start_seconds)

        cues = TRIALS[reading.trial](cues, strangers)
        return item, replace(batch, cues=cues if reading.is_told else untold(cues))

    def _window(self, front_end: FrontEndSettings) -> tuple[MixedItem, float]:
        """The middle window, and when it begins; before the clip does, where that is shorter."""
        whole = mixture_of(self.clips[self._index], front_end, whole=True)
        num_samples, window_samples = len(whole.mixture), front_end.window_samples
        sounds = [
            crop(sound, num_samples // 2, window_samples)
            for sound in (whole.mixture, *whole.sources)
        ]
        start_seconds = (num_samples // 2 - window_samples // 2) / front_end.sample_rate_hz
        return replace(whole, mixture=sounds[0], sources=np.stack(sounds[1:])), start_seconds

    def _cues(
        self,
        objects: Sequence[tuple[int, int]],
        reading: Reading,
        front_end: FrontEndSettings,
        start_seconds: float,
    ) -> Cues:
        """Cues of objects, each given as clip and source in it."""
        window_seconds = front_end.window_samples / front_end.sample_rate_hz
        shown = [self._looks(clip, reading.looks)[source] for clip, source in objects]
        labels = [self.clips[clip].sources[source].category for clip, source in objects]
        needs = frozenset({"crops", "movement"} if reading.looks.with_movement else {"crops"})
        told = category_cue(labels, reading.categories)
        cues = window_cues(shown, [start_seconds], window_seconds, told, needs)
        if reading.with_motion:
            cues = self._with_motion(cues, [clip for clip, _ in objects])
        return cues

    def _with_motion(self, cues: Cues, clips: Sequence[int]) -> Cues:
        """The cues and the motion features of the clips that the objects are from, padded."""
        found = [torch.from_numpy(read_motion(self.clips[clip])).mT for clip in clips]  # K D each
        lengths = torch.tensor([len(features) for features in found])
        motion = pad_sequence(found, batch_first=True).mT  # S D K
        padding = torch.arange(motion.shape[2]) >= lengths[:, None]
        return replace(cues, motion=motion[None], motion_padding=padding[None])

    def _looks(self, index: int, settings: LookSettings) -> tuple[Look, ...]:
        clip = self.clips[index]
        objects = [source.visible for source in clip.sources]
        return self._once((index, settings), lambda: look_at_clip(clip, objects, settings))

    def _strangers(self) -> list[tuple[int, int]]:
        """An object for each source of the current clip, from the next clips, none of its kinds."""
        own = self.clips[self._index].sources
        present = {source.category for source in own}
        num_clips, found = len(self.clips), []
        for step in range(1, num_clips):
            index = (self._index + step) % num_clips
            for place, source in enumerate(self.clips[index].sources):
                if source.category not in present:
                    found.append((index, place))
            if len(found) >= len(own):
                return found[: len(own)]
        raise InputError(
            f"the cues 'wrong' need {len(own)} objects of other categories than clip "
            f"'{self.clips[self._index].name}' shows, and the other clips hold {len(found)}: "
            "add clips of other instruments"
        )

    def _once(self, key: object, make: Callable[[], Value]) -> Value:
        """What was made for the current clip under this key, or is now."""
        if key not in self._held:
            self._held[key] = make()
        return self._held[key]  # type: ignore[return-value]


def category_cue(labels: Sequence[str], categories: Sequence[str]) -> Int64[Tensor, " S"]:
    """The index of each label among categories; -1 where a model does not know the word."""
    found = [find_in(categories, label) for label in labels]
    return torch.tensor([-1 if index is None else index for index in found])
