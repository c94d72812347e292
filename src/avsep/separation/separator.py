"""Separates videos: each visible object's sound taken out of the whole, at the video's own rate."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float32

from avsep.cues.crops import ObjectCrops
from avsep.devices import find_device
from avsep.errors import InputError
from avsep.media.opening import MediaSource, source_name
from avsep.models.base import SeparationModel
from avsep.recipe import check_settings
from avsep.records import Clip, Quality, VisibleObject
from avsep.separation.inference import WindowedInput, WindowInference, WindowOutput
from avsep.separation.manifest import ModelRecord, SeparatorSettings
from avsep.separation.prompts import (
    Objects,
    alike,
    check_needs,
    embedding,
    find_objects,
    known_by,
    tell,
)
from avsep.separation.result import Result, SeparatedObject, SeparationInfo
from avsep.separation.video_input import VideoInput
from avsep.sound.resampling import MaskResampler, resample
from avsep.sound.windows import overlap_add, window_starts
from avsep.vision.i3d import load_i3d

DEFAULT_MODEL = "dgfnet-mini"
# Channels whose mean has less than this part of the energy of unrelated ones cancel each other.
_CANCELLED = 0.1

# Channels that differ by less than this part of their energy, 60 dB, are the same.
_SAME_EARS = 1e-6

# Passes answers on while it shows how many of how many have gone by.
Progress = Callable[[Iterable[WindowOutput], int], Iterable[WindowOutput]]


class Choices(TypedDict, total=False):
    """What may be chosen of `SeparatorSettings` in the call of `separate`."""

    rate: Literal["native", "model"]
    quality: Quality
    seed: int
    device: str
    i3d: str | os.PathLike[str] | None


def separate(
    video: MediaSource | Clip,
    objects: Objects | None = None,
    *,
    text: Sequence[str] | str = (),
    model: str | os.PathLike[str] | SeparationModel = DEFAULT_MODEL,
    **choices: Unpack[Choices],
) -> Result:
    """The sound of each visible object of a video, and what is left.

    Args:
        video: path, bytes, file object, or arrays as a `Clip`.
        objects: words as on the command line ("violin@0.1,0.2,0.5,0.9"), `VisibleObject`s, or the
            path (`pathlib.Path`) of an objects.json; none: the file beside the video, the clip's.
        text: a word for each object that is known by its word alone, for a model that knows words.
        model: a name that `avsep models` lists, a checkpoint, or a loaded model.
        rate: of the stems: "native", the video's own with all channels, or "model", with those
            that the model hears.
        quality: "fast", "balanced" or "best", of models that sample.
        seed: of models that draw at random.
        device: as PyTorch names it; auto is the fastest here.
        i3d: file of I3D's weights, for a model that reads motion features.

    Raises:
        InputError: no such rate, quality or seed, no objects, a word that the model does not know,
            no sound, no pictures, damaged sound, an unknown model, weights of I3D missing, unfit or
            not read by the model.
    """
    settings = check_settings(dict(choices), SeparatorSettings, "separate")
    return Separator(model, settings).separate(video, objects, text=text)


class Separator:
    """A model loaded once, for any number of videos."""

    def __init__(
        self,
        model: str | os.PathLike[str] | SeparationModel = DEFAULT_MODEL,
        settings: SeparatorSettings | None = None,
    ) -> None:
        self.settings = settings or SeparatorSettings()
        self._device = find_device(self.settings.device)
        if isinstance(model, str | os.PathLike):
            loaded, self.record = _load(model, self._device)
        else:
            loaded, self.record = model, ModelRecord(name=type(model).__name__.lower())
        self.model = loaded.at_quality(self.settings.quality)
        i3d = self.settings.i3d
        check_needs(self.model.required_cues, self.record.name, i3d)
        self._i3d = None if i3d is None else load_i3d(i3d).to(self._device)

    def separate(
        self,
        video: MediaSource | Clip,
        objects: Objects | None = None,
        *,
        text: Sequence[str] | str = (),
        progress: Progress | None = None,
    ) -> Result:
        """As the function `separate` has it; `progress` is handed the windows and their number."""
        is_clip = isinstance(video, Clip)
        name = f"clip '{video.name}'" if is_clip else source_name(video)
        visible = find_objects(objects, video, name, video.objects if is_clip else (), text)
        visible, warnings = tell(visible, self.model, self.record.name)
        video_input = VideoInput.open(video)
        video_input.warnings.extend(warnings)
        windowed, input_channels = self._windowed_input(video_input, visible)
        inference = WindowInference(self.model, self._device, self.settings.seed)
        windowed = replace(windowed, category=inference.categories(windowed))
        video_input.warnings.extend(alike(visible, self._names(windowed)))
        outputs: list[WindowOutput] = []

        def window_stems() -> Iterator[tuple[int, Float32[np.ndarray, "S C N"]]]:
            windows = inference.outputs(windowed, self.settings.sources_at_once)
            for output in progress(windows, len(windowed.starts)) if progress else windows:
                yield output.start, output.stems
                # A copy of nothing: a view would keep all of the window in memory.
                outputs.append(replace(output, stems=output.stems[..., :0].copy()))

        stems = np.empty((len(visible), *windowed.target.shape), np.float32)
        written = 0
        for block in overlap_add(window_stems(), stems.shape[-1]):
            stems[..., written : written + block.shape[-1]] = block
            written += block.shape[-1]
        settings = self.settings.as_recorded(self._device)
        info = SeparationInfo(self.record, settings, input_channels, outputs[0].sampling)
        separated = self._objects(visible, stems, windowed, outputs)
        return Result.of(video_input, separated, windowed, info)

    def _windowed_input(
        self, video_input: VideoInput, visible: Sequence[VisibleObject]
    ) -> tuple[WindowedInput, str]:
        """Prepare a video for windows; also describe the channels that the model reads."""
        settings = self.model.settings
        rate_hz = settings.front_end.sample_rate_hz
        if settings.front_end.num_channels == 2:
            mixture, input_channels = binaural_input(video_input)
        else:
            mixture, input_channels = downmix(video_input.sound.waveform)
        mixture = resample(mixture, video_input.sound.sample_rate_hz, rate_hz)
        target, target_rate_hz = video_input.sound.waveform, video_input.sound.sample_rate_hz
        if self.settings.rate == "model":
            target, target_rate_hz = mixture, rate_hz
        if min(mixture.shape[1], target.shape[1]) == 0:
            raise InputError(
                f"'{video_input.name}': its sound is too short to separate, less than a sample"
            )
        resampler = MaskResampler(settings.front_end, target_rate_hz)
        windowed = WindowedInput(
            target=target,
            mixture=mixture,
            objects=self._object_cues(video_input, visible),
            category=torch.tensor(
                [-1 if item.category is None else item.category for item in visible]
            ),
            starts=window_starts(target.shape[1], resampler.window_samples, self.settings.overlap),
            mask_resampler=resampler,
            embedding=embedding(visible, self.model),
        )
        return windowed, input_channels

    def _object_cues(
        self, video_input: VideoInput, visible: Sequence[VisibleObject]
    ) -> tuple[ObjectCrops, ...]:
        objects = video_input.object_crops(visible, self.model.settings.crops)
        if self._i3d is None:
            return objects
        # Of the whole video, for every window and source alike, as in the papers.
        features = video_input.i3d_features(self._i3d)
        return tuple(replace(crops, i3d_features=features) for crops in objects)

    def _objects(
        self,
        visible: Sequence[VisibleObject],
        stems: Float32[np.ndarray, "S C N"],
        windowed: WindowedInput,
        outputs: Sequence[WindowOutput],
    ) -> tuple[SeparatedObject, ...]:
        """Join the stems with what the model reports of each object."""
        # A quiet window says little of whether an object sounds: weighted by energy.
        energy = np.array([output.energy for output in outputs])
        presence = energy @ np.stack([output.presence for output in outputs])
        presence = presence / max(float(energy.sum()), 1e-12)
        gates = stitch_gates(windowed, outputs)
        names, objects = self._names(windowed), []
        for index, item in enumerate(visible):
            category = names[index]
            objects.append(
                SeparatedObject(
                    visible=item,
                    label=item.label or category or "object",
                    known_by=known_by(item, self.model),
                    stem=stems[index],
                    presence=float(presence[index].clip(0, 1)),
                    category=category,
                    label_given=item.category is not None,
                    gate=None if gates is None else gates[index],
                )
            )
        return tuple(objects)

    def _names(self, windowed: WindowedInput) -> list[str | None]:
        """Return the name of each object's category; none for a model without categories."""
        categories = self.model.settings.categories
        return [categories[k] if k >= 0 else None for k in windowed.category.tolist()]


def downmix(waveform: Float32[np.ndarray, "C N"]) -> tuple[Float32[np.ndarray, "1 N"], str]:
    """What a model of one channel is given of a sound, and that in words.

    The mean of the channels; where that cancels (one channel upside down), the loudest channel.
    """
    num_channels = len(waveform)
    if num_channels == 1:
        return waveform, "its one channel"
    mean = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    energies = np.square(waveform, dtype=np.float64).sum(axis=1)
    unrelated = energies.sum() / num_channels**2
    if np.square(mean, dtype=np.float64).sum() >= _CANCELLED * unrelated:
        return mean, f"the mean of {num_channels} channels"
    loudest = int(energies.argmax())
    words = f"channel {loudest + 1} of {num_channels}, the loudest, as their mean cancels out"
    return waveform[loudest : loudest + 1], words


def binaural_input(video_input: VideoInput) -> tuple[Float32[np.ndarray, "2 N"], str]:
    """What a model with two ears is given of a scene's sound, and that in words.

    A remark tells where both ears hear the same, so that nothing says where a sound is. More than
    two channels are an InputError.
    """
    waveform = video_input.sound.waveform
    if len(waveform) > 2:
        raise InputError(
            f"'{video_input.name}' has {len(waveform)} channels and this model has two: give "
            "sound of two channels, left first, or choose another model with --model"
        )
    difference = float(np.square(waveform[0] - waveform[-1], dtype=np.float64).sum())
    if difference <= _SAME_EARS * float(np.square(waveform, dtype=np.float64).sum()):
        both = "its one channel" if len(waveform) == 1 else "its two channels are the same, which"
        video_input.warnings.append(
            f"{both} tells nothing of where a sound comes from: this model, made for two ears, "
            "goes by what it sees alone"
        )
    ears = np.broadcast_to(waveform, (2, waveform.shape[1]))
    return ears, "its two channels, as left and right ear"


def stitch_gates(
    windowed: WindowedInput, outputs: Sequence[WindowOutput]
) -> Float32[np.ndarray, "S h w"] | None:
    """Join the gates of all windows to one map over the whole sound; none without a gate."""
    gates = [output.gate for output in outputs if output.gate is not None]
    if not gates:
        return None
    columns_per_second = gates[0].shape[-1] / windowed.window_seconds
    starts = [round(windowed.to_seconds(output.start) * columns_per_second) for output in outputs]
    num_columns = max(1, round(windowed.duration_seconds * columns_per_second))
    num_columns = min(num_columns, starts[-1] + gates[0].shape[-1])
    placed = zip(starts, gates, strict=True)
    return np.concatenate(list(overlap_add(placed, num_columns)), axis=-1)


def _load(
    name: str | os.PathLike[str], device: torch.device
) -> tuple[SeparationModel, ModelRecord]:
    """A model by name or path, and what its checkpoint tells."""
    from avsep.checkpoint import load_model, read_card

    name = name if isinstance(name, str) else Path(name)
    card = read_card(name)
    return load_model(name, device), ModelRecord(
        name=str(name), system=card.model, metadata=card.metadata
    )
