"""Separate videos: one stem per visible object and a residual, at the video's own rate."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from avsep.checkpoint import load_model, read_card
from avsep.cues.crops import ObjectCrops
from avsep.devices import find_device
from avsep.errors import InputError
from avsep.media.opening import MediaSource, source_name
from avsep.models.base import SeparationModel
from avsep.recipe import check_settings
from avsep.records import Clip, VisibleObject
from avsep.separation.inference import (
    WindowedInput,
    WindowInference,
    WindowOutput,
    stitch_gates,
)
from avsep.separation.prompts import (
    ObjectPrompts,
    check_required_cues,
    embed_prompts,
    prompt_kind,
    resolve_labels,
    resolve_prompts,
    warn_indistinguishable,
)
from avsep.separation.result import (
    CategorySource,
    ModelRecord,
    Result,
    SeparatedObject,
    SeparationInfo,
)
from avsep.separation.settings import SeparatorSettings
from avsep.separation.video_input import VideoInput
from avsep.sound.resampling import MaskResampler, resample
from avsep.sound.windows import overlap_add, window_starts
from avsep.vision.i3d import load_i3d

DEFAULT_MODEL = "dgfnet-mini"
# Channels cancel each other if their mean has less than this part (-10 dB) of the energy that the
# mean of uncorrelated channels with their energies has.
_CANCELLED = 0.1
# Two channels are equal if the energy of their difference is at most this part of theirs: -60 dB,
# which a level difference of 0.012 dB amounts to.
_EQUAL_CHANNELS = 1e-6

# Passes window outputs on, given their number and a description, for a progress bar.
Progress = Callable[[Iterable[WindowOutput], int, str], Iterable[WindowOutput]]


def separate(
    video: MediaSource | Clip,
    objects: ObjectPrompts | None = None,
    *,
    text: Sequence[str] | str = (),
    model: str | os.PathLike[str] | SeparationModel = DEFAULT_MODEL,
    settings: SeparatorSettings | None = None,
    **overrides: object,
) -> Result:
    """Separate the sound of each visible object of a video; the rest is the residual.

    >>> separate("duet.mp4", ["violin@0.1,0.2,0.5,0.9", "piano"], rate="model")  # doctest: +SKIP

    Args:
        video: path, bytes, file object, or arrays as a `Clip`.
        objects: prompts as on the command line ("violin@0.1,0.2,0.5,0.9"), `VisibleObject`s, or the
            path (`pathlib.Path`) of an objects.json; none: the file beside the video, or the
            objects of the clip.
        text: text prompts: objects without a box, for a model that takes them.
        model: a name listed by `avsep models`, the path of a checkpoint, or a loaded model.
        settings: settings of the separation; none: the defaults of `SeparatorSettings`.
        overrides: single settings by name, with the meaning, type and default that
            `SeparatorSettings` gives them: `rate`, `quality`, `overlap`, `seed`, `device`,
            `sources_at_once`, `i3d`.

    Raises:
        InputError: an unknown setting or model, a value out of range, no objects, a text prompt
            that the model does not take, no audio or frames, damaged audio, or I3D weights that
            are missing, unfit or not read by the model.
    """
    values = (settings or SeparatorSettings()).model_dump() | overrides
    checked = check_settings(values, SeparatorSettings, "separate")
    return Separator(model, checked).separate(video, objects, text=text)


class Separator:
    """A loaded model that separates any number of videos."""

    def __init__(
        self,
        model: str | os.PathLike[str] | SeparationModel = DEFAULT_MODEL,
        settings: SeparatorSettings | None = None,
    ) -> None:
        self.settings = settings or SeparatorSettings()
        self._device = find_device(self.settings.device)
        if isinstance(model, str | os.PathLike):
            loaded, self.record = _load_model(model, self._device)
        else:
            loaded, self.record = model, ModelRecord(name=type(model).__name__.lower())
        self.model = loaded.at_quality(self.settings.quality)
        i3d = self.settings.i3d
        check_required_cues(self.model.required_cues, self.record.name, i3d)
        self._i3d = None if i3d is None else load_i3d(i3d).to(self._device)

    def separate(
        self,
        video: MediaSource | Clip,
        objects: ObjectPrompts | None = None,
        *,
        text: Sequence[str] | str = (),
        progress: Progress | None = None,
    ) -> Result:
        """Separate a video, as the function `separate` does.

        Args:
            video: path, bytes, file object, or arrays as a `Clip`.
            objects: objects to separate.
            text: text prompts.
            progress: passes the outputs of the windows on, given their number and a description.
        """
        is_clip = isinstance(video, Clip)
        name = f"clip '{video.name}'" if is_clip else source_name(video)
        # Prompts are cheap to check, and opening the video decodes all of its audio.
        visible = resolve_prompts(objects, video, name, video.objects if is_clip else (), text)
        visible, warnings = resolve_labels(visible, self.model, self.record.name)
        video_input = VideoInput.open(video)
        video_input.warnings.extend(warnings)
        windowed, input_channels = self._windowed_input(video_input, visible)
        inference = WindowInference(self.model, self._device, self.settings.seed)
        windowed = replace(windowed, category=inference.categories(windowed))
        categories = self.model.settings.categories
        names = [categories[k] if k >= 0 else None for k in windowed.category.tolist()]
        video_input.warnings.extend(warn_indistinguishable(visible, names))
        outputs: list[WindowOutput] = []

        def window_stems() -> Iterator[tuple[int, Float32[np.ndarray, "S C N"]]]:
            windows = inference.outputs(windowed, self.settings.sources_at_once)
            if progress:
                title = f"{video_input.file_name}, windows"
                windows = progress(windows, len(windowed.starts), title)
            for output in windows:
                yield output.start, output.stems
                # An empty copy: an empty view would keep the stems of all windows in memory.
                outputs.append(replace(output, stems=output.stems[..., :0].copy()))

        # Blocks are written into their place as they are final, so each stem is held once.
        stems = np.empty((len(visible), *windowed.target.shape), np.float32)
        written = 0
        for block in overlap_add(window_stems(), stems.shape[-1]):
            stems[..., written : written + block.shape[-1]] = block
            written += block.shape[-1]
        settings = self.settings.as_recorded(self._device)
        info = SeparationInfo(self.record, settings, input_channels, outputs[0].sampling)
        separated = self._objects(visible, names, stems, windowed, outputs)
        return Result.build(video_input, separated, windowed, info)

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
                f"'{video_input.name}': its audio is too short to separate, less than one sample; "
                "give a longer video"
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
            embedding=embed_prompts(visible, self.model),
        )
        return windowed, input_channels

    def _object_cues(
        self, video_input: VideoInput, visible: Sequence[VisibleObject]
    ) -> tuple[ObjectCrops, ...]:
        objects = video_input.object_crops(visible, self.model.settings.crops)
        if self._i3d is None:
            return objects
        # As in the papers: features of the whole video, the same for every window and source.
        features = video_input.i3d_features(self._i3d)
        return tuple(replace(crops, i3d_features=features) for crops in objects)

    def _objects(
        self,
        visible: Sequence[VisibleObject],
        categories: Sequence[str | None],
        stems: Float32[np.ndarray, "S C N"],
        windowed: WindowedInput,
        outputs: Sequence[WindowOutput],
    ) -> tuple[SeparatedObject, ...]:
        """Combine stems, categories, presence and gates of the objects."""
        # Weighted by energy: in a quiet window presence is unreliable, and in silence undefined.
        energy = np.array([output.energy for output in outputs])
        presence = energy @ np.stack([output.presence for output in outputs])
        # Silence sums to 0, which any small divisor keeps at 0.
        presence = presence / max(float(energy.sum()), 1e-12)
        gates = stitch_gates(windowed, outputs)
        objects = []
        for index, (item, category) in enumerate(zip(visible, categories, strict=True)):
            source: CategorySource = "predicted" if item.category is None else "given"
            objects.append(
                SeparatedObject(
                    visible=item,
                    label=item.label or category or "object",
                    prompt_kind=prompt_kind(item, self.model),
                    stem=stems[index],
                    # Rounding of the weighted mean may leave 0..1.
                    presence=float(presence[index].clip(0, 1)),
                    category=category,
                    category_from=None if category is None else source,
                    gate=None if gates is None else gates[index],
                )
            )
        return tuple(objects)


# The channels that a model reads


def downmix(waveform: Float32[np.ndarray, "C N"]) -> tuple[Float32[np.ndarray, "1 N"], str]:
    """Mix audio down to one channel, and describe it in words.

    The mean of the channels; where they cancel (one with inverted polarity), the loudest channel.
    """
    num_channels = len(waveform)
    if num_channels == 1:
        return waveform, "its one channel"
    mean = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    energies = np.square(waveform, dtype=np.float64).sum(axis=1)
    # Energies of uncorrelated channels add up, and the mean scales amplitudes by 1 / C.
    uncorrelated = energies.sum() / num_channels**2
    if np.square(mean, dtype=np.float64).sum() >= _CANCELLED * uncorrelated:
        return mean, f"the mean of {num_channels} channels"
    loudest = int(energies.argmax())
    words = f"channel {loudest + 1} of {num_channels}, the loudest, as their mean cancels out"
    return waveform[loudest : loudest + 1], words


def binaural_input(video_input: VideoInput) -> tuple[Float32[np.ndarray, "2 N"], str]:
    """Return the two channels for a binaural model, and describe them in words.

    Equal channels add a warning to `video_input`: they contain no direction.

    Raises:
        InputError: more than two channels.
    """
    waveform = video_input.sound.waveform
    if len(waveform) > 2:
        raise InputError(
            f"'{video_input.name}' has {len(waveform)} channels and this model reads two: give "
            "audio of two channels, left first, or choose another model with --model"
        )
    difference = float(np.square(waveform[0] - waveform[-1], dtype=np.float64).sum())
    if difference <= _EQUAL_CHANNELS * float(np.square(waveform, dtype=np.float64).sum()):
        channels = "audio of one channel" if len(waveform) == 1 else "audio of two equal channels"
        video_input.warnings.append(
            f"{channels} contains no direction: this binaural model separates by the pictures alone"
        )
    words = "its one channel, for both ears"
    if len(waveform) == 2:
        words = "its two channels, as left and right ear"
    return np.broadcast_to(waveform, (2, waveform.shape[1])), words


def _load_model(
    name: str | os.PathLike[str], device: torch.device
) -> tuple[SeparationModel, ModelRecord]:
    """Load a model by name or path, and describe its checkpoint."""
    name = name if isinstance(name, str) else Path(name)
    card = read_card(name)
    return load_model(name, device), ModelRecord(
        name=str(name), system=card.model, metadata=card.metadata
    )
