"""Cache the sources of clips on disk: sound at the model's rate and cues, one file a source."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int16, Int64, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from avsep.cues.crops import CropSettings, ObjectCrops, SourceCues, extract_clip_crops
from avsep.cues.windows import CUE_KINDS
from avsep.data.clips import ClipFiles, SourceFile, file_facts, read_i3d_features, read_sound
from avsep.devices import available_cores
from avsep.errors import InputError
from avsep.media.atomic import atomic_file, make_folder
from avsep.parallel import initialize_loader_worker
from avsep.records import Cues

# Part of every file's name: raised when the content of the files changes.
_FORMAT = 3
# Sounds are stored as 16-bit steps of their peak.
FULL_SCALE = 32767
# Crops that go through the image encoder at once.
_ENCODE_AT_ONCE = 32
# With fewer missing clips, starting other processes would take longer than the work.
_FEW_CLIPS = 4
# Each worker process holds its own PyTorch; more of them wait for the disk.
_MOST_WORKERS = 8

Precompute = Callable[[Cues], Cues]
Arrays = dict[str, Shaped[np.ndarray, "..."]]


class SourceCacheSettings(BaseModel):
    """Contents of a source's cache file: rates, channels, crops and encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: int = Field(default=11025, gt=0, description="sampling rate of the model")
    num_channels: Literal[1, 2] = Field(default=1, description="channels that the model reads")
    crops: CropSettings = CropSettings()
    embedder: str = Field(
        default="",
        description="fingerprint of the image encoder whose maps are stored; empty: crops are",
    )
    with_i3d_features: bool = Field(default=False, description="store I3D motion features")


class SourceCache:
    """Cache of the sources of a list of clips, one file for each source.

    A file's name is a digest of what it is made from: clip, stem, boxes, settings and image
    encoder. An unchanged source is therefore never cached again, by this run or another.
    """

    def __init__(
        self, clips: Sequence[ClipFiles], settings: SourceCacheSettings, folder: Path
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.skipped: list[str] = []
        self._set_clips(clips)

    def _set_clips(self, clips: Sequence[ClipFiles]) -> None:
        self.clips = tuple(clips)
        self.sources: tuple[SourceFile, ...] = tuple(s for clip in clips for s in clip.sources)
        # By the path of the video, as clips of different folders may have one name.
        self.clip_of: tuple[str, ...] = tuple(
            str(clip.video) for clip in clips for _ in clip.sources
        )
        self._paths = tuple(path for clip in clips for path in self.paths_of(clip))

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.sources)

    def __getitem__(self, index: int) -> "CachedSource":
        """Open a source for reading."""
        return CachedSource(self._paths[index], self.settings.crops)

    def paths_of(self, clip: ClipFiles) -> list[Path]:
        """Return the path of each source of a clip; InputError for a missing file of the clip."""
        # How many crops a window gets changes no file; a lone object's box is in the digest.
        irrelevant = {"crops": {"num_crops", "selection", "stride", "whole_when_alone"}}
        settings = self.settings.model_dump_json(exclude=irrelevant)
        objects = self.settings.crops.boxed_objects([source.visible for source in clip.sources])
        shared = [_FORMAT, settings, clip.name, *file_facts(clip.video)]
        if clip.i3d_features is not None:
            shared += file_facts(clip.i3d_features)
        paths = []
        for source, visible in zip(clip.sources, objects, strict=True):
            boxes = visible.model_dump_json(include={"boxes"})
            content = "\n".join(map(str, [*shared, *file_facts(source.path), boxes]))
            digest = hashlib.sha256(content.encode()).hexdigest()
            paths.append(self.folder / f"{digest[:32]}.safetensors")
        return paths

    def missing(self) -> list[ClipFiles]:
        """Return the clips with a source that is not cached."""
        return [clip for clip, is_cached in self._clips_with_state() if not is_cached]

    def _clips_with_state(self) -> Iterator[tuple[ClipFiles, bool]]:
        paths = iter(self._paths)
        for clip in self.clips:
            own_paths = list(islice(paths, len(clip.sources)))
            yield clip, all(path.is_file() for path in own_paths)

    def build(
        self,
        precompute: Precompute | None = None,
        *,
        num_workers: int | None = None,
        skip_broken: bool = False,
    ) -> Iterator[str]:
        """Cache what is missing, and yield the name of each clip as it is done.

        A build that was killed continues where it stopped.

        Args:
            precompute: `precompute` of the model whose fingerprint is in the settings.
            num_workers: processes that read and encode clips; 0: this one; none: one a core, 8 at
                most.
            skip_broken: leave out clips that cannot be read, with the reason of each in `skipped`;
                else the first one raises.

        Raises:
            InputError: a clip cannot be read.
        """
        assert (precompute is not None) == bool(self.settings.embedder), (
            "the encoder and its fingerprint go together"
        )
        make_folder(self.folder)
        states = list(self._clips_with_state())
        yield from (clip.name for clip, is_cached in states if is_cached)
        missing = [clip for clip, is_cached in states if not is_cached]
        broken: set[str] = set()
        results = _read_clips(_ClipReads(tuple(missing), self.settings, precompute), num_workers)
        for clip, arrays in zip(missing, results, strict=True):
            if isinstance(arrays, InputError):
                if not skip_broken:
                    raise arrays
                self.skipped.append(str(arrays))
                broken.add(str(clip.video))
            else:
                self._write(clip, arrays)
            yield clip.name
        if broken:
            self._set_clips([clip for clip in self.clips if str(clip.video) not in broken])

    def _write(self, clip: ClipFiles, sources: list[Arrays]) -> None:
        for path, arrays in zip(self.paths_of(clip), sources, strict=True):
            with atomic_file(path) as part:
                contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
                save_file(contiguous, part)


class CachedSource(SourceCues):
    """One cached source, read lazily: only the rows that are used are loaded from its file."""

    def __init__(self, path: Path, settings: CropSettings) -> None:
        self.settings = settings
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"'{path}' is not cached or damaged ({error}): remove it if it exists and run again"
            ) from error
        self._names = set(self._file.keys())
        self._peak = float(self._file.get_tensor("peak")) if "peak" in self._names else 1.0
        self.is_visible = "not_visible" not in self._names

    @property
    def num_samples(self) -> int:
        """Length of the sound."""
        return self.num_rows("waveform")

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """Read samples `start` to `stop` of the sound."""
        steps: Int16[Tensor, "n C"] = self._file.get_slice("waveform")[start:stop]
        return steps.numpy().T.astype(np.float32) / FULL_SCALE * self._peak

    def num_rows(self, cue: str) -> int:
        """Return the number of rows of a cue; 0 where it is not cached."""
        return self._file.get_slice(cue).get_shape()[0] if cue in self._names else 0

    def rows(self, cue: str, indices: Int64[np.ndarray, " K"]) -> Shaped[Tensor, "K *row"]:
        """Read rows of a cue, in one piece from the first to the last of them."""
        first = int(indices.min())
        piece = self._file.get_slice(cue)[first : int(indices.max()) + 1]
        return piece[torch.from_numpy(indices - first)]

    def whole(self, cue: str) -> Shaped[Tensor, "..."]:
        """Read all of a cue; half precision becomes single."""
        value = self._file.get_tensor(cue)
        return value.float() if value.dtype == torch.float16 else value


def fingerprint(model: nn.Module) -> str:
    """Digest a model's frozen parts, which alone decide the maps it makes of a crop.

    Empty where nothing is frozen: then the crops themselves are cached.
    """
    digest = hashlib.sha256()
    is_any_frozen = False
    for name, module in model.named_modules():
        # A module without parameters of its own may hold the colours that its parts are given.
        parameters = list(module.parameters(recurse=False)) or list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            is_any_frozen = True
            buffers = module.named_buffers(recurse=False)
            for part, value in [*module.named_parameters(recurse=False), *buffers]:
                digest.update(f"{name}.{part}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32] if is_any_frozen else ""


def encode_crops(
    crops: UInt8[np.ndarray, "K 3 H W"], precompute: Precompute
) -> Float16[np.ndarray, "K D h w"]:
    """Run a model's frozen image encoder on crops, in pieces of bounded memory."""
    pieces = []
    with torch.no_grad():
        for piece in torch.from_numpy(crops).split(_ENCODE_AT_ONCE):
            appearance = precompute(Cues(crops=piece[None, None])).appearance
            assert appearance is not None, "precompute turns crops into appearance"
            pieces.append(appearance[0, 0].half().cpu().numpy())
    return np.concatenate(pieces)


def default_workers() -> int:
    """Return the default number of processes that build a cache: one a core, 8 at most."""
    return min(available_cores(), _MOST_WORKERS)


# Reading clips, in worker processes where there are many


@dataclass(frozen=True)
class _ClipReads(Dataset[list[Arrays] | InputError]):
    """The arrays to cache of each clip, as a data set of PyTorch; errors are items too."""

    clips: tuple[ClipFiles, ...]
    settings: SourceCacheSettings
    precompute: Precompute | None

    def __getitem__(self, index: int) -> list[Arrays] | InputError:
        try:
            sources = _read_clip(self.clips[index], self.settings)
        except InputError as error:
            return error
        if self.precompute is not None:
            for arrays in sources:
                arrays["appearance"] = encode_crops(arrays.pop("crops"), self.precompute)
        return sources

    def __len__(self) -> int:
        return len(self.clips)


def _read_clips(clips: _ClipReads, num_workers: int | None) -> Iterator[list[Arrays] | InputError]:
    """Yield the arrays of each clip in order, read a few clips ahead."""
    if num_workers is None:
        num_workers = 0 if len(clips) <= _FEW_CLIPS else default_workers()
    if not num_workers:
        yield from map(clips.__getitem__, range(len(clips)))
        return
    # A loader keeps order, reads ahead within bounds, and its workers end with this process.
    yield from DataLoader(
        clips,
        batch_size=None,
        num_workers=min(num_workers, len(clips)),
        collate_fn=_unchanged,
        worker_init_fn=initialize_loader_worker,
        multiprocessing_context="spawn",
        # Without one the loader draws a seed from the global generator, and weights that are
        # initialised afterwards would depend on the number of workers.
        generator=torch.Generator(),
    )


def _read_clip(clip: ClipFiles, settings: SourceCacheSettings) -> list[Arrays]:
    rate_hz, channels = settings.sample_rate_hz, settings.num_channels
    sounds = [read_sound(source.path, rate_hz, channels) for source in clip.sources]
    end_seconds = max(sound.shape[1] for sound in sounds) / rate_hz
    object_crops = extract_clip_crops(clip, settings.crops, end_seconds=end_seconds)
    if settings.with_i3d_features:
        # In half precision, which halves the file.
        features = torch.from_numpy(read_i3d_features(clip)).half()
        object_crops = [replace(crops, i3d_features=features) for crops in object_crops]
    return [_arrays(sound, cues) for sound, cues in zip(sounds, object_crops, strict=True)]


def _arrays(sound: Float32[np.ndarray, "C N"], cues: ObjectCrops) -> Arrays:
    """Convert the sound and cues of a source to the arrays of its file."""
    # Quieter sounds have the steps of 16-bit audio files, and need no peak beside them.
    peak = max(1.0, float(np.abs(sound).max()))
    arrays: Arrays = {"waveform": np.rint(sound.T / peak * FULL_SCALE).astype(np.int16)}
    arrays |= {name: cues.whole(name).numpy() for name in CUE_KINDS if cues.num_rows(name)}
    if not cues.is_visible:
        arrays["not_visible"] = np.array(True)
    if peak > 1:  # beyond full scale, as files of floats may be and resampled ones are
        arrays["peak"] = np.array(peak, np.float32)
    return arrays


def _unchanged(arrays: list[Arrays] | InputError) -> list[Arrays] | InputError:
    return arrays
