"""Cache prepared sources: audio at the rate of the model, crops and features, a file a source."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int16, Int64, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avsep.cues.crops import CropSettings, extract_clip_crops
from avsep.data.clips import ClipFiles, SourceFile, file_facts, read_i3d_features, read_sound
from avsep.errors import InputError
from avsep.media.atomic import atomic_file, make_folder
from avsep.parallel import initialize_loader_worker
from avsep.records import Cues

# One prepared source in its file: sound, crops, boxes and movement, read piece by piece


# What 16 bits hold: sounds are kept as these steps of their peak.
FULL_SCALE = 32767


class CachedSource:
    """One source in its file; of everything only the rows asked for are read."""

    def __init__(self, path: Path, crops: CropSettings) -> None:
        self._settings = crops
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"'{path}' is not prepared or damaged ({error}): remove it if it is there and run "
                "again"
            ) from error
        self._names = set(self._file.keys())
        self._peak = float(self._file.get_tensor("peak")) if "peak" in self._names else 1.0

    @property
    def num_samples(self) -> int:
        """How long it sounds."""
        return self._num_rows("waveform")

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """A stretch of the sound."""
        steps: Int16[Tensor, "n C"] = self._file.get_slice("waveform")[start:stop]
        return steps.numpy().T.astype(np.float32) / FULL_SCALE * self._peak

    @property
    def is_visible(self) -> bool:
        """Somebody sees it; else its crops are black and only its word tells."""
        return "not_visible" not in self._names

    @cached_property
    def i3d_features(self) -> Float[Tensor, "D K"] | None:
        """Motion features of the whole clip, where it has some."""
        return (
            self._file.get_tensor("i3d_features").float() if "i3d_features" in self._names else None
        )

    def crop_rows(self, start_seconds: float, window_seconds: float) -> Int64[np.ndarray, " K"]:
        """Which crops lie in a window, as `ObjectCrops.crops_within` has them."""
        shown = "appearance" if "appearance" in self._names else "crops"
        return self._settings.crops_within(self._num_rows(shown), start_seconds, window_seconds)

    def crops(self, rows: Int64[np.ndarray, " K"]) -> UInt8[Tensor, "K 3 H W"] | None:
        """These crops, where they were kept."""
        return self._rows("crops", rows)

    def appearance(self, rows: Int64[np.ndarray, " K"]) -> Float[Tensor, "K D h w"] | None:
        """The image encoder's maps of these crops, where there are any."""
        return self._rows("appearance", rows)

    def boxes(self, rows: Int64[np.ndarray, " K"]) -> Float[Tensor, "K 4"] | None:
        """Where these crops were cut out."""
        return self._rows("boxes", rows)

    def crop_motion(self, start_seconds: float, num_frames: int) -> UInt8[Tensor, "M h w"] | None:
        """So many pictures of movement from a time on, the first and last repeated beyond.

        A clip that is shorter than that begins anew, as its sound then does.
        """
        if "crop_motion" not in self._names:
            return None
        first = round(start_seconds * self._settings.motion_rate_hz)
        num_rows, rows = self._num_rows("crop_motion"), np.arange(first, first + num_frames)
        rows = rows % num_rows if num_rows < num_frames else rows.clip(0, num_rows - 1)
        return self._rows("crop_motion", rows)

    def _rows(self, name: str, rows: Int64[np.ndarray, " K"]) -> Shaped[Tensor, "K *rest"] | None:
        if name not in self._names:
            return None
        first = int(rows.min())
        piece = self._file.get_slice(name)[first : int(rows.max()) + 1]
        return piece[torch.from_numpy(rows - first)]

    def _num_rows(self, name: str) -> int:
        return self._file.get_slice(name).get_shape()[0]


# Changes with what the files hold, so that those of an older avsep are made again.
_FORMAT = 2
# As many crops go through the image encoder at once.
_EMBED_AT_ONCE = 32
# So few missing clips are prepared before other processes would have started.
_FEW_CLIPS = 4
# Each process holds a PyTorch of its own; more of them wait for the disk.
_MOST_WORKERS = 8

Embed = Callable[[Cues], Cues]


class SourceCacheSettings(BaseModel):
    """What is kept of each source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: int = Field(default=11025, gt=0, description="rate the model works at")
    num_channels: Literal[1, 2] = Field(default=1, description="that the model hears")
    crops: CropSettings = CropSettings()
    embedder: str = Field(
        default="", description="fingerprint of the image encoder whose maps are kept; none: crops"
    )
    with_crops: bool = Field(default=True, description="crops are kept, beside any maps")
    with_i3d_features: bool = Field(default=False, description="motion features are needed")


class SourceCache:
    """All sources of a list of clips, each prepared in a file of its own, read piece by piece.

    Departure: the papers cut and flip the pictures at random at every step (section 4.1.4 of
    DGFNet). Here each crop goes through the frozen image encoder once, as it is; which of a
    window's crops a step is shown is drawn at random.

    A file's name is a digest of what it is made from: clip, stem, boxes, settings and image
    encoder. Whatever has not changed is never prepared again, by this run or another.
    """

    def __init__(
        self, clips: Sequence[ClipFiles], settings: SourceCacheSettings, folder: Path
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.skipped: list[str] = []
        self._set_clips(clips)

    @classmethod
    def for_model(
        cls, model: nn.Module, clips: Sequence[ClipFiles], folder: Path, *, with_crops: bool = False
    ) -> "SourceCache":
        """The library a model trains on: at its rate, with the cues it needs, crops as maps."""
        settings: Any = model.settings
        required_cues: Any = model.required_cues
        crops = settings.crops.model_copy(
            update={"with_crop_motion": "crop_motion" in required_cues}
        )
        preparation = SourceCacheSettings(
            sample_rate_hz=settings.front_end.sample_rate_hz,
            num_channels=settings.front_end.num_channels,
            crops=crops,
            embedder=fingerprint(model) if "crops" in required_cues else "",
            with_crops=with_crops,
            with_i3d_features="i3d_features" in required_cues,
        )
        return cls(clips, preparation, folder)

    def _set_clips(self, clips: Sequence[ClipFiles]) -> None:
        self.clips = tuple(clips)
        self.sources: tuple[SourceFile, ...] = tuple(s for clip in clips for s in clip.sources)
        # Clips of different folders may bear one name.
        self.clip_of: tuple[str, ...] = tuple(
            str(clip.video) for clip in clips for _ in clip.sources
        )
        self._paths = tuple(path for clip in clips for path in self.paths_of(clip))

    def __len__(self) -> int:
        """How many sources it holds."""
        return len(self.sources)

    def __getitem__(self, index: int) -> "CachedSource":
        """A source, opened for reading."""
        return CachedSource(self._paths[index], self.settings.crops)

    def paths_of(self, clip: ClipFiles) -> list[Path]:
        """Where each source of a clip is or will be; a file that is missing is an InputError."""
        # Neither changes a file: how many crops a window is shown, a lone object whole but by box.
        no_matter = {"crops": {"num_crops", "whole_when_alone"}}
        made_with = self.settings.model_dump_json(exclude=no_matter)
        visible = self.settings.crops.seen([source.visible for source in clip.sources])
        seen = file_facts(clip.video)
        i3d_features = [] if clip.i3d_features is None else file_facts(clip.i3d_features)
        paths = []
        for source, one in zip(clip.sources, visible, strict=True):
            boxes = one.model_dump_json(include={"boxes"})
            facts = [
                _FORMAT,
                made_with,
                clip.name,
                *seen,
                *i3d_features,
                *file_facts(source.path),
                boxes,
            ]
            digest = hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()
            paths.append(self.folder / f"{digest[:32]}.safetensors")
        return paths

    def missing(self) -> list[ClipFiles]:
        """The clips of which a source is not prepared."""
        return [clip for clip, is_ready in self._ready() if not is_ready]

    def _ready(self) -> Iterator[tuple[ClipFiles, bool]]:
        paths = iter(self._paths)
        for clip in self.clips:
            own = list(islice(paths, len(clip.sources)))
            yield clip, all(path.is_file() for path in own)

    def build(
        self,
        precompute: Embed | None = None,
        *,
        num_workers: int | None = None,
        skip_broken: bool = False,
    ) -> Iterator[str]:
        """Prepare what is missing and yield the name of each clip as it is ready.

        A run that was killed goes on where it was.

        Args:
            precompute: a model's `precompute`, whose fingerprint the settings bear.
            num_workers: processes that read and embed clips; 0: this one; none: as many as there
                are cores, 8 at most.
            skip_broken: clips that cannot be read are left out of the library, the reason of each
                in `skipped`; else the first stops.
        """
        assert (precompute is not None) == bool(self.settings.embedder), (
            "embedder and fingerprint differ"
        )
        make_folder(self.folder)
        ready = list(self._ready())
        yield from (clip.name for clip, is_ready in ready if is_ready)
        missing = [clip for clip, is_ready in ready if not is_ready]
        broken: set[str] = set()
        read = _read_all(_Reading(tuple(missing), self.settings, precompute), num_workers)
        for clip, found in zip(missing, read, strict=True):
            if isinstance(found, InputError):
                if not skip_broken:
                    raise found
                self.skipped.append(str(found))
                broken.add(str(clip.video))
            else:
                self._write(clip, found)
            yield clip.name
        if broken:
            self._set_clips([clip for clip in self.clips if str(clip.video) not in broken])

    def _write(self, clip: ClipFiles, sources: list["Arrays"]) -> None:
        for path, arrays in zip(self.paths_of(clip), sources, strict=True):
            with atomic_file(path) as part:
                save_file({name: np.ascontiguousarray(kept) for name, kept in arrays.items()}, part)


def fingerprint(model: nn.Module) -> str:
    """A digest of a model's frozen parts, on which alone what it makes of a crop may depend.

    Empty where nothing is frozen: then the crops themselves are kept.
    """
    digest = hashlib.sha256()
    has_any = False
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            has_any = True
            for part, value in [*module.named_parameters(recurse=False), *module.named_buffers()]:
                digest.update(f"{name}.{part}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32] if has_any else ""


def maps_of(
    crops: UInt8[np.ndarray, "K 3 H W"], precompute: Embed
) -> Float16[np.ndarray, "K D h w"]:
    """What a model's image encoder makes of crops."""
    pieces = []
    with torch.no_grad():
        for piece in torch.from_numpy(crops).split(_EMBED_AT_ONCE):
            found = precompute(Cues(crops=piece[None, None])).appearance
            assert found is not None, "embed turns crops into appearance"
            pieces.append(found[0, 0].half().cpu().numpy())
    return np.concatenate(pieces)


# Reading clips, in other processes where there are many


Arrays = dict[str, Shaped[np.ndarray, "..."]]


@dataclass(frozen=True)
class _Reading(Dataset[list[Arrays] | InputError]):
    """Clips as a data set of PyTorch: what is kept of each source."""

    clips: tuple[ClipFiles, ...]
    settings: SourceCacheSettings
    precompute: Embed | None

    def __getitem__(self, index: int) -> list[Arrays] | InputError:
        try:
            sources = _read_clip(self.clips[index], self.settings)
        except InputError as error:
            return error
        if self.precompute is not None:
            for arrays in sources:
                arrays["appearance"] = maps_of(arrays["crops"], self.precompute)
                if not self.settings.with_crops:
                    del arrays["crops"]
        return sources

    def __len__(self) -> int:
        return len(self.clips)


def default_workers() -> int:
    """How many processes prepare clips unless told: one a core, 8 at most."""
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def _read_all(reading: _Reading, num_workers: int | None) -> Iterator[list[Arrays] | InputError]:
    """What is kept of each clip, in order; a few clips ahead of what has been taken."""
    if num_workers is None:
        num_workers = 0 if len(reading) <= _FEW_CLIPS else default_workers()
    if not num_workers:
        yield from map(reading.__getitem__, range(len(reading)))
        return
    # A loader keeps order, reads ahead within bounds, and its workers end with this process.
    yield from DataLoader(
        reading,
        batch_size=None,
        num_workers=min(num_workers, len(reading)),
        collate_fn=_as_it_is,
        worker_init_fn=initialize_loader_worker,
        multiprocessing_context="spawn",
        generator=torch.Generator(),  # else it would draw from the global one
    )


def _read_clip(clip: ClipFiles, settings: SourceCacheSettings) -> list[Arrays]:
    rate_hz, channels = settings.sample_rate_hz, settings.num_channels
    sounds = [read_sound(source.path, rate_hz, channels) for source in clip.sources]
    end_seconds = max(sound.shape[1] for sound in sounds) / rate_hz
    objects = [source.visible for source in clip.sources]
    object_crops = extract_clip_crops(clip, objects, settings.crops, end_seconds=end_seconds)
    shared: Arrays = {} if clip.is_visible else {"not_visible": np.array(True)}
    if settings.with_i3d_features:
        shared["i3d_features"] = read_i3d_features(clip).astype(np.float16)
    found = []
    for sound, object_crop in zip(sounds, object_crops, strict=True):
        peak = max(1.0, float(np.abs(sound).max()))
        steps = np.rint(sound.T / peak * FULL_SCALE).astype(np.int16)
        arrays = {"waveform": steps, "crops": object_crop.crops.numpy(), **shared}
        arrays["boxes"] = object_crop.boxes.numpy()
        if peak > 1:  # beyond full scale, as files of floats may be and resampled ones are
            arrays["peak"] = np.array(peak, np.float32)
        if object_crop.crop_motion is not None:
            arrays["crop_motion"] = object_crop.crop_motion.numpy()
        found.append(arrays)
    return found


def _as_it_is(found: list[Arrays] | InputError) -> list[Arrays] | InputError:
    return found
