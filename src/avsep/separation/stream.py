"""Separate a video as a stream: blocks of mixture, stems and residual, in bounded memory."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import ceil
from typing import Self

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from avsep.cues.crop_stream import CropStream, reach_seconds
from avsep.cues.crops import CropSettings, SourceCues, blank_crops
from avsep.devices import own_settings
from avsep.errors import InputError
from avsep.models.base import SeparationModel
from avsep.records import Batch, VisibleObject
from avsep.separation.inference import (
    GateJoiner,
    WindowInference,
    WindowInputs,
    WindowOutput,
    WindowSound,
)
from avsep.separation.progress import Progress, StageClock
from avsep.separation.prompts import embed_prompts, prompt_kind, warn_indistinguishable
from avsep.separation.result import (
    CategorySource,
    Manifest,
    ModelRecord,
    ObjectInfo,
    SeparationInfo,
    SeparationTotals,
    StemBlock,
    StemSamples,
    build_manifest,
)
from avsep.separation.settings import SeparatorSettings
from avsep.separation.sound_input import binaural_input, mono_input, profile_sound
from avsep.separation.spans import StemSpans
from avsep.separation.treatment import Treatment, choose_treatments
from avsep.separation.video_input import VideoInput
from avsep.sound.activity import listen
from avsep.sound.resampling import BlockResampler, MaskResampler
from avsep.sound.windows import OverlapAdd, SampleBuffer, window_starts, window_step
from avsep.vision.i3d import I3D

# An object's category is predicted once, from this many crops spread over the whole video. A
# window has only three by default (CropSettings.num_crops).
_CATEGORY_CROPS = 9


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to separate: on its device, with its record and the I3D network it needs."""

    model: SeparationModel
    record: ModelRecord
    device: torch.device
    i3d: I3D | None


class SeparationStream:
    """A separation under way; a context manager that closes the video.

    Sound is decoded once, window by window, and crops are taken from one pass over the frames, as
    far as the windows need them. Memory does not depend on the length of the video.

    Attributes:
        video_input: the video.
        sample_rate_hz, num_channels: of all blocks.

    Attributes, from entering on:
        objects: labels and categories of the objects, in the order given; those that are excluded
            are among them, and their stems are silent.
        clock: sums up the time of stages; the consumer of the blocks adds its own.
        gate: once all blocks were read, the gate of each object; none for a model without one.
    """

    def __init__(
        self,
        video_input: VideoInput,
        visible: Sequence[VisibleObject],
        loaded: LoadedModel,
        settings: SeparatorSettings,
        progress: Progress,
        *,
        max_gate_seconds: float,
        objects_sha256: str,
    ) -> None:
        self.video_input, self._objects_sha256 = video_input, objects_sha256
        self._visible, self._loaded, self._settings = tuple(visible), loaded, settings
        self._progress, self._max_gate_seconds = progress, max_gate_seconds
        self.clock = StageClock()
        self.gate: Float32[np.ndarray, "S h w"] | None = None
        self._at_model_rate = settings.rate == "model"
        source = loaded.model.settings.front_end if self._at_model_rate else video_input.sound
        self.sample_rate_hz, self.num_channels = source.sample_rate_hz, source.num_channels

    @own_settings()
    def __enter__(self) -> Self:
        """Open the video, read its first window and settle the categories.

        Raises:
            InputError: no sound, damaged sound, or channels that the model does not read.
        """
        with ExitStack() as stack:
            model, sound = self._loaded.model, self.video_input.sound
            with self.clock.measure("decoding"):
                self._profile = profile_sound(sound.blocks(), sound.sample_rate_hz)
            if self._profile.warning:
                self.video_input.warnings.append(self._profile.warning)
            self._choose_channels()
            self._choose_treatments()
            with self.clock.measure("vision"):
                self._crops = stack.enter_context(self._open_crops())
            windows = self._windows()
            # What it holds is freed with it, where not all of it is read.
            stack.callback(windows.close)
            # Closed before the windows and the video, which its thread reads.
            self._pool = stack.enter_context(ThreadPoolExecutor(1))
            self._inputs = self._window_inputs()
            first = next(windows)
            self._all_windows = chain([first], windows)
            self._inference = WindowInference(
                model, self._loaded.device, self._settings.seed, self.clock
            )
            self.objects = self._settle_categories(first)
            self._totals = SeparationTotals(len(self._visible))
            self._gates = GateJoiner(self._inputs, self._max_gate_seconds)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the video."""
        self._stack.close()

    def blocks(self) -> Iterator[StemBlock]:
        """Separate, and return each block of mixture, stems and residual once it is final.

        Blocks follow each other without a gap, and can be read once.
        """
        blocks = self._blocks()
        while True:
            # Between the blocks the caller's settings hold.
            with own_settings():
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def _blocks(self) -> Iterator[StemBlock]:
        joined, batches = OverlapAdd(), self._batches()
        # While the network separates one batch, a thread decodes and crops the next.
        coming = self._pool.submit(next, batches, None)
        while (item := coming.result()) is not None:
            coming = self._pool.submit(next, batches, None)
            for output in self._outputs(*item):
                begin = joined.position
                stems = joined.add(output.start, output.stems)
                self._totals.add_window(output, self._places)
                if output.gate is not None:
                    self._gates.add(output.start, output.gate)
                if stems.shape[-1]:
                    yield self._block(begin, stems)
            self._needed_from = joined.position
        begin = joined.position
        yield self._block(begin, joined.finish(self._target.end))
        # Closing notes the damage of the frames.
        self._stack.close()
        self._warn_of_sound()
        gates = self._gates.finish(self._inputs.to_seconds(self._target.end))
        if gates is not None:
            self.gate = np.zeros((len(self._visible), *gates.shape[1:]), gates.dtype)
            self.gate[self._places] = gates

    def _outputs(self, windows: Sequence[WindowSound], batch: Batch) -> Iterator[WindowOutput]:
        if self._uses_model:
            return self._inference.outputs(self._inputs, windows, batch)
        return (WindowOutput.silent(window, len(self._places)) for window in windows)

    def manifest(self) -> Manifest:
        """Return the manifest; all blocks must have been read."""
        sound = self.video_input.sound
        settings = self._settings.as_recorded(self._loaded.device)
        info = SeparationInfo(
            self._objects_sha256,
            self._loaded.record,
            settings,
            self._input_channels,
            self._profile,
        )
        stem_samples = StemSamples(
            self.sample_rate_hz, self.num_channels, self._target.end, self._num_input_samples
        )
        run = self.clock.record(self._num_input_samples / sound.sample_rate_hz)
        return build_manifest(self.video_input, info, self.objects, self._totals, stem_samples, run)

    # Preparation

    def _choose_channels(self) -> None:
        """Choose the channels that the model reads, and the rate and channels of the stems."""
        front_end, sound = self._loaded.model.settings.front_end, self.video_input.sound
        if front_end.num_channels == 2:
            self._mix, self._input_channels, warning = binaural_input(
                self._profile, self.video_input.name
            )
            if warning:
                self.video_input.warnings.append(warning)
        else:
            self._mix, self._input_channels = mono_input(self._profile)
        offset = self._profile.offset
        self._target_offset = self._mix(offset) if self._at_model_rate else offset
        self._spans = StemSpans(self._visible, sound.start_seconds, self.sample_rate_hz)
        self._target = SampleBuffer(self.num_channels)
        self._mixture = SampleBuffer(front_end.num_channels)
        self._num_input_samples = 0
        self._needed_from = 0

    def _open_crops(self) -> AbstractContextManager[CropStream | None]:
        """Open the crops of the model's objects; none if it has none, or all are text prompts."""
        objects = [item for item in self._modelled if item.is_visible]
        if not objects or not self._uses_model:
            return nullcontext()
        settings = self._crop_settings
        needs_motion = "crop_motion" in self._loaded.model.required_cues
        with_motion = settings.with_crop_motion and needs_motion
        return self.video_input.stream_crops(objects, settings, with_motion=with_motion)

    @property
    def _crop_settings(self) -> CropSettings:
        # A box given by the user is cropped, also by models that are trained on whole frames of
        # clips with one player.
        settings = self._loaded.model.settings.crops
        return settings.model_copy(update={"whole_when_alone": False})

    def _window_inputs(self) -> WindowInputs:
        """Return what all windows share, categories as far as they are given."""
        model = self._loaded.model
        # Levels are the model's business where it does not bring them to one of its own.
        gain = 1.0 if model.settings.input_rms is None else self._profile.gain
        return WindowInputs(
            objects=self._object_cues(),
            category=torch.tensor(
                [-1 if item.category is None else item.category for item in self._modelled]
            ),
            mask_resampler=MaskResampler(model.settings.front_end, self.sample_rate_hz),
            embedding=embed_prompts(self._modelled, model),
            gain=gain,
            at_model_rate=self._at_model_rate,
        )

    def _object_cues(self) -> tuple[SourceCues, ...]:
        """Return the cues of each object; those with a text prompt alone get a black crop."""
        features = None
        if self._loaded.i3d is not None and self._uses_model:
            # As in the papers: features of the whole video, the same for every window and source.
            with self.clock.measure("vision"):
                features = self.video_input.i3d_features(self._loaded.i3d)
        streamed = iter(self._crops.objects if self._crops else ())
        (blank,) = blank_crops(1, self._crop_settings)
        cues = (next(streamed, blank) if item.is_visible else blank for item in self._modelled)
        return tuple(replace(item, i3d_features=features) for item in cues)

    def _choose_treatments(self) -> None:
        """Listen to the sound, name the objects without a label, and choose those to model."""
        with self.clock.measure("presence"):
            activity = listen(self._blocks_to_hear(), self.video_input.sound.sample_rate_hz)
        self._treatments = choose_treatments(
            self._visible,
            self._loaded.model,
            activity,
            self._spread_crops,
            keep_absent=self._settings.keep_absent,
        )
        chosen = [index for index, item in enumerate(self._treatments) if item.kind == "model"]
        # The windows need an object; where none is the model's, its network is not run.
        self._uses_model = bool(chosen)
        self._places = chosen or list(range(len(self._visible)))
        self._modelled = tuple(
            self._visible[index].model_copy(update={"category": treatment.category})
            if (treatment := self._treatments[index]).category is not None
            else self._visible[index]
            for index in self._places
        )
        lines = (item.warning for item in self._treatments)
        self.video_input.warnings.extend(dict.fromkeys(line for line in lines if line))

    def _blocks_to_hear(self) -> Iterator[Float32[np.ndarray, "C _"]]:
        """Yield the sound, which is heard as a whole before the first stem is written."""
        sound, num_samples = self.video_input.sound, 0
        for block in sound.blocks():
            yield block
            num_samples += block.shape[1]
            seconds = num_samples / sound.sample_rate_hz
            stage = f"{self.video_input.file_name}: listening"
            self._progress(stage, seconds, sound.stated_seconds)

    def _settle_categories(self, first: WindowSound) -> tuple[ObjectInfo, ...]:
        """Predict the categories that are not given, from crops of the whole video."""
        model = self._loaded.model
        reads_category = "category" in model.required_cues
        if reads_category and bool((self._inputs.category < 0).any()) and self._crops:
            with self.clock.measure("vision"):
                crops = self._category_crops()
            with self.clock.measure("network"):
                category = self._inference.categories(self._inputs, first, crops)
            self._inputs = replace(self._inputs, category=category)
        names: list[str | None] = [None] * len(self._visible)
        for place, index in zip(self._places, self._inputs.category.tolist(), strict=True):
            if index >= 0 and self._treatments[place].kind == "model":
                names[place] = model.settings.categories[index]
        modelled_names = [names[place] for place in self._places]
        self.video_input.warnings.extend(warn_indistinguishable(self._modelled, modelled_names))
        return tuple(
            self._object_info(visible, category, treatment)
            for visible, category, treatment in zip(
                self._visible, names, self._treatments, strict=True
            )
        )

    def _object_info(
        self, visible: VisibleObject, category: str | None, treatment: Treatment
    ) -> ObjectInfo:
        return ObjectInfo(
            visible=visible,
            label=treatment.label or visible.label or category or "object",
            prompt_kind=prompt_kind(visible, self._loaded.model),
            category=category,
            category_from=None if category is None else _category_source(visible, treatment),
            separated_as=treatment.kind,
            presence=treatment.presence,
        )

    def _category_crops(self) -> UInt8[Tensor, "1 S K 3 H W"]:
        visible = [index for index, item in enumerate(self._modelled) if item.is_visible]
        places = [self._places[index] for index in visible]
        crops = dict(zip(visible, self._spread_crops(places), strict=True))
        (blank,) = blank_crops(1, self._crop_settings)
        black = blank.crops.expand(_CATEGORY_CROPS, -1, -1, -1)
        return torch.stack([crops.get(index, black) for index in range(len(self._modelled))])[None]

    def _spread_crops(self, places: Sequence[int]) -> Sequence[UInt8[Tensor, "K 3 H W"]]:
        """Return crops over the whole video of the objects at some places."""
        objects = [self._visible[place] for place in places]
        return tuple(self.video_input.spread_crops(objects, self._crop_settings, _CATEGORY_CROPS))

    # Windows and blocks

    def _batches(self) -> Iterator[tuple[list[WindowSound], Batch]]:
        """Cut windows and build their batches; what no later window reads is forgotten."""
        at_once = max(1, self._settings.sources_at_once // len(self._modelled))
        while windows := list(islice(self._all_windows, at_once)):
            with self.clock.measure("vision"):
                batch = self._inputs.batch(windows, self._loaded.model.required_cues)
            start = windows[-1].start
            self._mixture.drop_before(self._inputs.model_start(start))
            if self._crops:
                self._crops.drop_before(self._inputs.to_seconds(start), self._inputs.window_seconds)
            # The blocks that are returned need the target longer than the windows do.
            self._target.drop_before(min(self._needed_from, start))
            yield windows, batch

    def _windows(self) -> Generator[WindowSound, None, None]:
        """Cut the windows of the sound; the last one is moved back to end with it."""
        resampler = self._inputs.mask_resampler
        window_samples = resampler.window_samples
        step = window_step(window_samples, self._settings.overlap)
        # A window is cut when more sound follows, so that it is not the last; and when the crops
        # that it may read are all within the sound.
        ahead = reach_seconds(self._crop_settings, self._inputs.window_seconds)
        ahead_samples = window_samples + ceil(ahead * self.sample_rate_hz)
        model_samples = resampler.front_end.window_samples
        start = 0
        for _ in self._read():
            while (
                self._target.end > start + ahead_samples
                and self._mixture.end >= self._inputs.model_start(start) + model_samples
            ):
                yield self._cut(start)
                start += step
        if min(self._mixture.end, self._target.end) == 0:
            raise InputError(
                f"'{self.video_input.name}': its audio is too short to separate, less than one "
                "sample; give a longer video"
            )
        if self._crops:
            self._crops.end_at(self._inputs.to_seconds(self._target.end))
        previous = start - step
        for start in window_starts(self._target.end, window_samples, self._settings.overlap):
            if start > previous:
                yield self._cut(start)

    def _read(self) -> Iterator[None]:
        """Read the sound block by block into the buffers of target and mixture."""
        sound, front_end = self.video_input.sound, self._loaded.model.settings.front_end
        resampler = BlockResampler(
            front_end.num_channels, sound.sample_rate_hz, front_end.sample_rate_hz
        )
        blocks = sound.blocks()
        while True:
            with self.clock.measure("decoding"):
                block = next(blocks, None)
                if block is None:
                    self._append(None, resampler.flush())
                    break
                self._num_input_samples += block.shape[1]
                self._append(block, resampler.push(self._mix(self._profile.without_offset(block))))
            yield
        yield

    def _append(
        self,
        block: Float32[np.ndarray, "C n"] | None,
        mixture: Float32[np.ndarray, "channels m"],
    ) -> None:
        """Append a block of the sound, and what the resampler has finished of it."""
        self._mixture.append(mixture)
        if self._at_model_rate:
            self._target.append(mixture + self._target_offset)
        elif block is not None:
            self._target.append(block)

    def _cut(self, start: int) -> WindowSound:
        resampler = self._inputs.mask_resampler
        target = self._target.cut(start, resampler.window_samples)
        if self._target_offset.any():
            # Padding beyond the end stays zero.
            target[:, : self._target.end - start] -= self._target_offset
        mixture = self._mixture.cut(
            self._inputs.model_start(start), resampler.front_end.window_samples
        )
        return WindowSound(start, target, mixture)

    def _block(self, begin: int, stems: Float32[np.ndarray, "S C n"]) -> StemBlock:
        """Add mixture and residual to stems that are final, and silence what is not to sound."""
        mixture = self._target.cut(begin, stems.shape[-1])
        stems = self._spans.apply(begin, self._all_stems(mixture, stems))
        for index, item in enumerate(self._visible):
            if item.is_excluded:
                self._totals.add_excluded(index, stems[index])
                stems[index] = 0
        block = StemBlock.build(mixture, stems)
        self._totals.add_block(block)
        self._progress(
            f"{self.video_input.file_name}: separating",
            self._inputs.to_seconds(begin + stems.shape[-1]),
            self.video_input.sound.stated_seconds,
        )
        return block

    def _all_stems(
        self, mixture: Float32[np.ndarray, "C n"], modelled: Float32[np.ndarray, "M C n"]
    ) -> Float32[np.ndarray, "S C n"]:
        """Add the stems of objects that are not the model's: shares of the rest, or silence."""
        kinds = [item.kind for item in self._treatments]
        if all(kind == "model" for kind in kinds):
            return modelled
        stems = np.zeros((len(kinds), *modelled.shape[1:]), np.float32)
        if "model" in kinds:
            stems[self._places] = modelled
        rest = [index for index, kind in enumerate(kinds) if kind == "rest"]
        if rest:
            # The stems of the others are zero so far.
            stems[rest] = (mixture - stems.sum(axis=0)) / np.float32(len(rest))
        return stems

    def _warn_of_sound(self) -> None:
        if self._totals.is_silent:
            self.video_input.warnings.append("the audio is silent throughout")
        self.video_input.warnings.extend(self._spans.warnings(self._target.end))
        self.video_input.warnings.extend(self.video_input.sound.warnings)


def _category_source(visible: VisibleObject, treatment: Treatment) -> CategorySource:
    """Return where the category of an object comes from."""
    if treatment.is_by_sound:
        return "heard"
    # A label that is near to a category gives it too.
    by_label = visible.label is not None and treatment.category is not None
    if visible.category is None and not by_label:
        return "predicted"
    return "detected" if visible.is_named_by_detector else "given"
