"""Separate videos: one stem per visible object and a residual, at the video's own rate."""

import os
from collections.abc import Sequence
from math import inf
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avsep.checkpoint import find_checkpoint, load_model, read_card
from avsep.devices import find_device, own_settings
from avsep.media.opening import MediaSource, source_name
from avsep.models.base import SeparationModel
from avsep.recipe import check_settings
from avsep.records import Clip
from avsep.separation.locating import find_in, locate_objects
from avsep.separation.output_folder import file_sha256
from avsep.separation.progress import Progress, no_progress
from avsep.separation.prompt_words import ObjectPrompts, PromptWords, resolve_prompts
from avsep.separation.prompts import check_needs_no_pictures, check_required_cues, resolve_labels
from avsep.separation.result import (
    ModelRecord,
    Result,
    SeparatedObject,
    StemBlock,
    objects_sha256,
)
from avsep.separation.settings import SeparatorSettings
from avsep.separation.sound_input import SoundSelection
from avsep.separation.stream import LoadedModel, SeparationStream
from avsep.separation.video_input import VideoInput
from avsep.vision.i3d import load_i3d

DEFAULT_MODEL = "avsep-mini"


def separate(
    video: MediaSource | Clip,
    objects: ObjectPrompts | None = None,
    *,
    text: Sequence[str] | str = (),
    model: str | os.PathLike[str] | SeparationModel = DEFAULT_MODEL,
    settings: SeparatorSettings | None = None,
    progress: Progress = no_progress,
    **overrides: object,
) -> Result:
    """Separate the sound of each visible object of a video; the rest is the residual.

    >>> separate("duet.mp4", ["violin@0.1,0.2,0.5,0.9", "piano"], rate="model")  # doctest: +SKIP

    Args:
        video: path, bytes, file object, or arrays as a `Clip`. With text prompts alone a sound
            without pictures will do: `Clip(waveform, sample_rate_hz)`.
        objects: prompts as on the command line ("violin@0.1,0.2,0.5,0.9"), `VisibleObject`s, or the
            path (`pathlib.Path`) of an objects.json; none: the file beside the video, or the
            objects of the clip, or all that the detector finds. A `VisibleObject` may have a point,
            a mask file, spans in which it sounds, or be excluded.
        text: text prompts: objects without a box, for a model that takes them.
        model: a name listed by `avsep models`, the path of a checkpoint, or a loaded model.
        settings: settings of the separation; none: the defaults of `SeparatorSettings`.
        progress: called with a stage in words, its seconds done, and all of its seconds or none;
            an exception that it raises cancels the separation and is raised again here.
        overrides: single settings by name, with the meaning, type and default that
            `SeparatorSettings` gives them: `rate`, `quality`, `start_seconds`, `end_seconds`,
            `audio_track`, `align`, `on_damage`, `detector`, `frame_rate_hz`,
            `keep_absent`, `overlap`, `seed`, `device`, `sources_at_once`, `i3d`.

    Raises:
        InputError: an unknown setting, model or detector, a value out of range, no objects that
            are given or found, a text prompt that the model does not take, no audio or frames,
            damaged audio, or I3D weights that are missing, unfit or not read by the model.
    """
    values = (settings or SeparatorSettings()).model_dump() | overrides
    checked = check_settings(values, SeparatorSettings, "separate")
    return Separator(model, checked).separate(video, objects, text=text, progress=progress)


class Separator:
    """A loaded model that separates any number of videos."""

    @own_settings()
    def __init__(
        self,
        model: str | os.PathLike[str] | SeparationModel = DEFAULT_MODEL,
        settings: SeparatorSettings | None = None,
    ) -> None:
        self.settings = settings or SeparatorSettings()
        self._device = find_device(self.settings.device)
        i3d = self.settings.i3d
        if isinstance(model, str | os.PathLike):
            loaded, self.record = load_model(_as_name(model), self._device), read_record(model, i3d)
        else:
            loaded, self.record = model, ModelRecord(name=type(model).__name__.lower())
        self.model = loaded.at_quality(self.settings.quality)
        check_required_cues(self.model.required_cues, self.record.name, i3d)
        self._i3d = None if i3d is None else load_i3d(i3d).to(self._device)

    @property
    def recorded_settings(self) -> SeparatorSettings:
        """Settings as the manifest records them."""
        return self.settings.as_recorded(self._device)

    @own_settings()
    def separate(
        self,
        video: MediaSource | Clip,
        objects: ObjectPrompts | None = None,
        *,
        text: Sequence[str] | str = (),
        progress: Progress = no_progress,
    ) -> Result:
        """Separate a video, as the function `separate` does; all stems are in memory at the end.

        Args:
            video: path, bytes, file object, or arrays as a `Clip`.
            objects: objects to separate.
            text: text prompts.
            progress: as in the function `separate`.
        """
        with self.stream(video, objects, text=text, progress=progress) as stream:
            blocks = list(stream.blocks())
            stems, mixture, residual = _join(blocks)
            manifest, gate = stream.manifest(), stream.gate
            return Result(
                objects=tuple(
                    SeparatedObject(
                        visible=item.visible,
                        label=item.label,
                        prompt_kind=item.prompt_kind,
                        stem=stems[index],
                        presence=manifest.objects[index].presence,
                        category=item.category,
                        category_from=item.category_from,
                        gate=None if gate is None else gate[index],
                    )
                    for index, item in enumerate(stream.objects)
                ),
                mixture=mixture,
                residual=residual,
                sample_rate_hz=stream.sample_rate_hz,
                manifest=manifest,
                video_input=stream.video_input,
            )

    def stream(
        self,
        video: MediaSource | Clip,
        objects: ObjectPrompts | None = None,
        *,
        text: Sequence[str] | str = (),
        words: PromptWords | None = None,
        progress: Progress = no_progress,
        max_gate_seconds: float = inf,
    ) -> SeparationStream:
        """Return the separation of a video as a stream of blocks, for videos of any length.

        >>> with Separator().stream("duet.mp4", ["violin", "piano"]) as stream:  # doctest: +SKIP
        ...     for block in stream.blocks():
        ...         block.stems  # [objects, channels, samples]

        Args:
            video: path, bytes, file object, or arrays as a `Clip`; a sound without pictures for
                text prompts alone.
            objects: objects to separate.
            text: text prompts.
            words: further prompts, in place of `text`.
            progress: as in `separate`.
            max_gate_seconds: length of the gates that are collected.

        Raises:
            InputError: prompts that cannot be read, no sound, or no pictures where prompts or model
                need them; the rest is raised while the stream is entered or read.
        """
        is_clip = isinstance(video, Clip)
        name = f"clip '{video.name}'" if is_clip else source_name(video)
        words = words or PromptWords(text)
        prompted = resolve_prompts(objects, video, name, video.objects if is_clip else (), words)
        # Prompts are cheaper to check than the video; a point may get a label from a detector.
        pointed = [item for item in prompted if item.needs_finding]
        located = resolve_labels(
            [item for item in prompted if not item.needs_finding], self.model, self.record.name
        )
        settings = self.settings
        selection = SoundSelection(
            settings.start_seconds,
            settings.end_seconds,
            settings.audio_track,
            settings.align,
            settings.on_damage,
        )
        video_input = VideoInput.open(video, selection)
        if not video_input.has_pictures:
            check_needs_no_pictures([*located, *pointed], self.model, self.record.name, name)
        categories = self.model.settings.categories
        finder = find_in(video_input, settings, str(self._device), progress, categories)
        visible = locate_objects(prompted, video_input, finder)
        if not prompted:
            visible = words.apply(visible)
        visible = resolve_labels(visible, self.model, self.record.name)
        loaded = LoadedModel(self.model, self.record, self._device, self._i3d)
        return SeparationStream(
            video_input,
            visible,
            loaded,
            self.settings,
            progress,
            max_gate_seconds=max_gate_seconds,
            objects_sha256=objects_sha256(prompted),
        )


def _join(
    blocks: list[StemBlock],
) -> tuple[Float32[np.ndarray, "S C N"], Float32[np.ndarray, "C N"], Float32[np.ndarray, "C N"]]:
    """Join the stems, mixture and residual of blocks, which are removed from the list."""
    num_samples = sum(block.mixture.shape[1] for block in blocks)
    num_objects, num_channels, _ = blocks[0].stems.shape
    stems = np.empty((num_objects, num_channels, num_samples), np.float32)
    mixture, residual = np.empty((2, num_channels, num_samples), np.float32)
    # Each block is freed once it is copied: with hours of audio, a second copy is gigabytes.
    begin = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        piece = slice(begin, begin + block.mixture.shape[1])
        stems[..., piece], mixture[:, piece] = block.stems, block.mixture
        residual[:, piece] = block.residual
        begin = piece.stop
    return stems, mixture, residual


def read_record(model: str | os.PathLike[str], i3d: Path | None) -> ModelRecord:
    """Read the record of a model, by name or path, and of the I3D weights it is given.

    Raises:
        InputError: an unknown model, or a file that is no checkpoint.
    """
    name = _as_name(model)
    card = read_card(name)
    return ModelRecord(
        name=str(name),
        system=card.model,
        metadata=card.metadata,
        sha256=file_sha256(find_checkpoint(name)),
        i3d_sha256=None if i3d is None else file_sha256(i3d),
    )


def _as_name(model: str | os.PathLike[str]) -> str | Path:
    return model if isinstance(model, str) else Path(model)
