"""Separates videos: each visible object's sound taken out of the whole, at the video's own rate."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch
from jaxtyping import Float32

from avsep.devices import find_device
from avsep.errors import InputError
from avsep.media.opening import MediaSource, source_name
from avsep.recipe import check_settings
from avsep.records import Clip, Quality, VisibleObject
from avsep.separation.inference import SeparationModel, WindowedInput, WindowInference, WindowOutput
from avsep.separation.manifest import ModelRecord, SeparatorSettings
from avsep.separation.prompts import (
    Objects,
    alike,
    check_needs,
    embedding,
    find_objects,
    is_visible,
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
        windowed, heard = self._passage(video_input, visible)
        network = WindowInference(self.model, self._device, self.settings.seed)
        windowed = replace(windowed, category=network.decide(windowed))
        video_input.warnings.extend(alike(visible, self._names(windowed)))
        answers: list[WindowOutput] = []

        def parts() -> Iterator[tuple[int, Float32[np.ndarray, "S C N"]]]:
            coming = network.answers(windowed, self.settings.sources_at_once)
            for answer in progress(coming, len(windowed.starts)) if progress else coming:
                yield answer.start, answer.parts
                # A copy: a view of nothing would hold all of the window.
                answers.append(replace(answer, parts=answer.parts[..., :0].copy()))

        stems = np.empty((len(visible), *windowed.target.shape), np.float32)
        written = 0
        for block in overlap_add(parts(), stems.shape[-1]):
            stems[..., written : written + block.shape[-1]] = block
            written += block.shape[-1]
        settings = self.settings.as_recorded(self._device)
        info = SeparationInfo(self.record, settings, heard, answers[0].sampling)
        return Result.of(
            video_input, self._objects(visible, stems, windowed, answers), windowed, info
        )

    def _passage(
        self, video_input: VideoInput, visible: Sequence[VisibleObject]
    ) -> tuple[WindowedInput, str]:
        """The video as windows are cut from it, and which channels are heard."""
        settings = self.model.settings
        rate_hz = settings.front_end.sample_rate_hz
        if settings.front_end.num_channels == 2:
            given, heard = hear_two_ears(video_input)
        else:
            given, heard = hear(video_input.sound.waveform)
        given = resample(given, video_input.sound.sample_rate_hz, rate_hz)
        target, target_rate_hz = video_input.sound.waveform, video_input.sound.sample_rate_hz
        if self.settings.rate == "model":
            target, target_rate_hz = given, rate_hz
        if min(given.shape[1], target.shape[1]) == 0:
            raise InputError(
                f"'{video_input.name}': its sound is too short to hear, less than a sample"
            )
        band = MaskResampler(settings.front_end, target_rate_hz)
        windowed = WindowedInput(
            target=target,
            heard=given,
            object_crops=video_input.object_crop(visible, settings.crops),
            category=torch.tensor(
                [-1 if one.category is None else one.category for one in visible]
            ),
            starts=window_starts(target.shape[1], band.window_samples, self.settings.overlap),
            band=band,
            i3d_features=None if self._i3d is None else video_input.i3d_features(self._i3d),
            is_visible=is_visible(visible),
            embedding=embedding(visible, self.model),
        )
        return windowed, heard

    def _objects(
        self,
        visible: Sequence[VisibleObject],
        stems: Float32[np.ndarray, "S C N"],
        windowed: WindowedInput,
        answers: Sequence[WindowOutput],
    ) -> tuple[SeparatedObject, ...]:
        """Stems and what the model told of each object."""
        energy = np.array([answer.energy for answer in answers])
        presence = energy @ np.stack([answer.presence for answer in answers])
        presence = presence / max(float(energy.sum()), 1e-12)
        gates = stitch_gates(windowed, answers)
        names, objects = self._names(windowed), []
        for index, one in enumerate(visible):
            category = names[index]
            objects.append(
                SeparatedObject(
                    visible=one,
                    label=one.label or category or "object",
                    known_by=known_by(one, self.model),
                    stem=stems[index],
                    presence=float(presence[index].clip(0, 1)),
                    category=category,
                    label_given=one.category is not None,
                    gate=None if gates is None else gates[index],
                )
            )
        return tuple(objects)

    def _names(self, windowed: WindowedInput) -> list[str | None]:
        """The category that is used for each object; none for a model without categories."""
        known = self.model.settings.categories
        return [known[number] if number >= 0 else None for number in windowed.category.tolist()]


def hear(waveform: Float32[np.ndarray, "C N"]) -> tuple[Float32[np.ndarray, "1 N"], str]:
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


def hear_two_ears(video_input: VideoInput) -> tuple[Float32[np.ndarray, "2 N"], str]:
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
    windowed: WindowedInput, answers: Sequence[WindowOutput]
) -> Float32[np.ndarray, "S h w"] | None:
    """The gates of all windows as one map over the whole sound; none for a model without."""
    gates = [answer.gate for answer in answers if answer.gate is not None]
    if not gates:
        return None
    columns_per_second = gates[0].shape[-1] / windowed.window_seconds
    starts = [round(windowed.seconds(answer.start) * columns_per_second) for answer in answers]
    duration_seconds = windowed.seconds(windowed.target.shape[1])
    num_columns = max(1, round(duration_seconds * columns_per_second))
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
