"""The data of a training: clip lists, their caches, endless mixtures and validation batches."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int64
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avsep.cues.cache import CachedSource, SourceCache, SourceCacheSettings, fingerprint
from avsep.cues.mirror import mirror_channels, mirror_sources
from avsep.cues.windows import (
    CropSelection,
    SourceWindow,
    cut_crops,
    join_cues,
    select_lowest,
    spread_evenly,
    window_cues,
)
from avsep.data import open_dataset
from avsep.data.categories import category_indices
from avsep.data.clips import ClipFiles, split_clips
from avsep.data.mixing import (
    MixingSettings,
    MixtureItem,
    SampledMixture,
    cut_windows,
    mix_sampled,
    sample_centres,
    to_batch,
)
from avsep.data.mixture_sampler import MixtureSampler, is_unseen
from avsep.devices import to_device
from avsep.errors import InputError
from avsep.models.base import ModelSettings, SeparationModel
from avsep.parallel import initialize_loader_worker
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.training.recipe import TrainRecipe

# The same validation mixtures for every seed of a training.
_VALIDATION_SEED = 1_000_000
# Validation mixtures that go through the model at once.
_VALIDATION_BATCH = 8
# Batches that each worker prepares ahead.
_PREFETCHED_BATCHES = 4


@dataclass(frozen=True)
class ClipLists:
    """The lists to train and validate on; the third, to test on, is never opened by a training."""

    training: tuple[ClipFiles, ...] = ()
    validation: tuple[ClipFiles, ...] = ()

    @property
    def num_sources(self) -> int:
        """Number of sources to train on."""
        return sum(len(clip.sources) for clip in self.training)


def read_lists(recipe: TrainRecipe) -> ClipLists:
    """Read the clips of the recipe's folders, and split them for training and validation.

    Raises:
        InputError: no folder, a folder of held-out toyband clips, or too few clips to mix.
    """
    if not recipe.data:
        raise InputError("no data: give --data DIR, a folder of clips (docs/data.md)")
    training: list[ClipFiles] = []
    validation: list[ClipFiles] = []
    for name in recipe.data:
        folder = Path(name)
        _refuse_held_out(folder)
        first, second = split_clips(open_dataset(folder), recipe.training.validation_share)
        training.extend(first)
        validation.extend(second)
    if not training or not validation:
        raise InputError(
            f"{len(training)} clips to train on and {len(validation)} to validate with: there "
            "must be some of each; give more clips, or another --set training.validation_share"
        )
    # Both before anything is cached: a list that cannot be mixed would fail after hours of work.
    _check_mixing(training, recipe.mixing, "to train on")
    _check_mixing(validation, validation_mixing(recipe), "to validate with")
    return ClipLists(tuple(training), tuple(validation))


def validation_mixing(recipe: TrainRecipe) -> MixingSettings:
    """Return the mixing of the field's tests: middle windows, no gain, nothing silent."""
    # What defines the task is the recipe's; augmentation has its defaults, which are off.
    return MixingSettings(
        num_sources=recipe.mixing.num_sources,
        distinct_categories=recipe.mixing.distinct_categories,
        unseen_categories=recipe.mixing.unseen_categories,
        rule=recipe.mixing.rule,
        gain_range=(1.0, 1.0),
        position="middle",
    )


def cache_settings(model: SeparationModel, resize_pixels: int | None = None) -> SourceCacheSettings:
    """Return the cache settings of a model: its rate, its cues, crops as maps of its encoder.

    With `resize_pixels` the crops themselves, of this side: squares are cut out of them in training
    and encoded at every step.
    """
    settings, required_cues = model.settings, model.required_cues
    # Crop motion is ten pictures a second: not extracted for a model that does not read it.
    changes = {
        "with_crop_motion": "crop_motion" in required_cues,
        "crop_pixels": resize_pixels or settings.crops.crop_pixels,
    }
    is_encoded = "crops" in required_cues and resize_pixels is None
    return SourceCacheSettings(
        sample_rate_hz=settings.front_end.sample_rate_hz,
        num_channels=settings.front_end.num_channels,
        crops=settings.crops.model_copy(update=changes),
        embedder=fingerprint(model.frozen_encoder) if is_encoded else "",
        with_i3d_features="i3d_features" in required_cues,
    )


def default_cache() -> Path:
    """Return the default folder of cached sources: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "avsep" / "sources"


class DataModule(LightningDataModule):
    """Lists, caches, mixtures and validation batches of a recipe, each made when first needed.

    Order of use: construct (reads the lists), `build_caches`, then `mixtures`, `validation` and the
    loader of Lightning.
    """

    def __init__(
        self,
        recipe: TrainRecipe,
        cache_folder: Path | None = None,
        num_workers: int | None = None,
        lists: ClipLists | None = None,
    ) -> None:
        """Read the recipe's lists unless given.

        `num_workers` processes build the caches and mix; none: the default of the caches, and the
        recipe's to mix. Errors are those of `read_lists`.
        """
        super().__init__()
        self.recipe = recipe
        self.lists = read_lists(recipe) if lists is None else lists
        self.cache_folder = cache_folder or default_cache()
        self.num_workers = num_workers
        # Set by a run that resumes: the first batch is that of this step.
        self.first_step = 0
        self._caches: tuple[SourceCache, SourceCache] | None = None
        self._settings = ModelSettings()

    @property
    def num_clips(self) -> int:
        """Number of clips to cache."""
        return len(self.lists.training) + len(self.lists.validation)

    @property
    def num_sources(self) -> int:
        """Number of sources to train on; those of clips that were skipped do not count."""
        return self.lists.num_sources if self._caches is None else len(self._caches[0])

    @property
    def skipped(self) -> list[str]:
        """Reason of each clip that was left out while the caches were built."""
        return [reason for cache in self._caches or () for reason in cache.skipped]

    @property
    def caches(self) -> tuple[SourceCache, SourceCache]:
        """The caches to train and to validate on."""
        assert self._caches is not None, "build_caches comes first"
        return self._caches

    def build_caches(self, model: SeparationModel) -> Iterator[str]:
        """Cache what is missing for a model, and yield the name of each clip as it is done.

        Raises:
            InputError: a clip cannot be read, and `mixing.broken` of the recipe is "error".
        """
        training = cache_settings(model, self.recipe.mixing.resize_pixels)
        self._caches = (
            SourceCache(self.lists.training, training, self.cache_folder),
            # Validation crops nothing at random, as the papers' tests.
            SourceCache(self.lists.validation, cache_settings(model), self.cache_folder),
        )
        self._settings = model.settings
        for cache in self._caches:
            yield from cache.build(
                model.precompute if cache.settings.embedder else None,
                num_workers=self.num_workers,
                skip_broken=self.recipe.mixing.broken == "skip",
            )

    @cached_property
    def mixtures(self) -> "MixAndSeparateDataset":
        """The endless mixtures to train on."""
        return self._mixtures(self.caches[0], self.recipe.mixing, self.recipe.training.seed)

    @cached_property
    def validation(self) -> list[Batch]:
        """The validation batches, the same for every setting of the training's mixing."""
        mixtures = self._mixtures(self.caches[1], validation_mixing(self.recipe), _VALIDATION_SEED)
        # Made once and held in memory; they are few, and scored many times.
        items = [mixtures[index] for index in range(self.recipe.training.num_validation)]
        starts = range(0, len(items), _VALIDATION_BATCH)
        return [mixtures.collate(items[start : start + _VALIDATION_BATCH]) for start in starts]

    def _mixtures(
        self, cache: SourceCache, mixing: MixingSettings, seed: int
    ) -> "MixAndSeparateDataset":
        settings = self._settings
        return MixAndSeparateDataset(
            cache,
            settings.categories,
            mixing,
            settings.front_end,
            crop_pixels=settings.crops.crop_pixels,
            seed=seed,
        )

    def train_dataloader(self) -> "DataLoader[AudioVisualItem]":
        """Load the batches from `first_step` on, without end; workers change none of them."""
        # Each mixture depends on seed and index alone, so the order of workers changes nothing.
        training, num_workers = self.recipe.training, self.num_workers
        num_workers = training.num_workers if num_workers is None else num_workers
        return DataLoader(
            self.mixtures,
            batch_sampler=StepBatches(training.batch_size, self.first_step),
            collate_fn=self.mixtures.collate,
            num_workers=num_workers,
            # A forked process may hang on locks that threads of this one held.
            multiprocessing_context="spawn" if num_workers else None,
            prefetch_factor=_PREFETCHED_BATCHES if num_workers else None,
            persistent_workers=num_workers > 0,
            worker_init_fn=initialize_loader_worker,
        )

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch to the device; Lightning itself does not move frozen records."""
        return to_device(batch, device)


class StepBatches(Sampler[list[int]]):
    """Indices of the mixtures of each step: step s has s B to s B + B - 1, from any step on."""

    def __init__(self, batch_size: int, first_step: int = 0) -> None:
        self.batch_size = batch_size
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of indices without end."""
        step = self.first_step
        while True:
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))
            step += 1


@dataclass(frozen=True)
class AudioVisualItem:
    """One mixture, its references, and the cues of its sources as a batch of one."""

    mixed: MixtureItem
    cues: Cues


class MixAndSeparateDataset(Dataset[AudioVisualItem]):
    """Mixtures without end: item `index` depends on the seed and the index alone.

    Workers, machines and resumed runs therefore draw the same. In every stretch of as many mixtures
    as there are sources, each source begins one, in an order drawn for that stretch.
    """

    def __init__(
        self,
        cache: SourceCache,
        categories: Sequence[str],
        settings: MixingSettings | None = None,
        front_end: FrontEndSettings | None = None,
        *,
        crop_pixels: int | None = None,
        seed: int = 0,
    ) -> None:
        """Mix the sources of a cache; `categories` is the model's list.

        For a model without categories, such as DAVIS, every label becomes -1. `crop_pixels` is the
        side of the squares that are cut out of cached crops if the settings resize them.

        Raises:
            InputError: a category that the model does not have, or sources that cannot be mixed.
        """
        self.cache = cache
        self.settings = settings or MixingSettings()
        self.front_end = front_end or FrontEndSettings()
        self.crop_pixels = crop_pixels or cache.settings.crops.crop_pixels
        self.seed = seed
        cached, needed = (
            f"{part.sample_rate_hz} Hz in {part.num_channels} channels"
            for part in (cache.settings, self.front_end)
        )
        if cached != needed:
            raise InputError(
                f"sources cached at {cached} cannot be mixed at {needed}: cache them for this model"
            )
        labels = [source.category for source in cache.sources]
        # -1 is "not given" in `Cues.category`; what is never a target needs no category.
        self._category_of = [-1] * len(labels)
        if categories:
            visible = [n for n, label in enumerate(labels) if not is_unseen(label, self.settings)]
            indices = category_indices([labels[n] for n in visible], categories)
            for place, index in zip(visible, indices, strict=True):
                self._category_of[place] = index
        self.sampler = MixtureSampler(cache.clip_of, labels, self.settings)
        self._order: tuple[int, Int64[np.ndarray, " sources"]] | None = None

    def __getitem__(self, index: int) -> AudioVisualItem:
        """Make the mixture of this index; there is no last one."""
        # Seeds are [seed, 0, index] for mixtures and [seed, 1, stretch] for orders: never equal.
        # The calls below draw from it in a fixed order; another order makes other mixtures.
        generator = np.random.default_rng([self.seed, 0, index])
        draw = self.sampler.sample(self._first_source(index), generator)
        sounds = [self.cache[place] for place in draw.audible]
        num_samples = self.front_end.window_samples
        lengths = [sound.num_samples for sound in sounds]
        # Departure: the released codes draw a frame, 1 s or more from both ends (Sound of Pixels:
        # 8 s), and pad what is beyond them with zeros; here any window inside the sound is drawn.
        centres = sample_centres(draw, lengths, num_samples, self.settings, generator)
        windows = cut_windows(sounds, centres, num_samples)
        is_mirrored = self._draw_mirrored(draw, generator)
        windows[is_mirrored] = mirror_channels(windows[is_mirrored])
        mixed = mix_sampled(draw, windows, self.cache.sources, self.settings, generator)
        cues = self._cues(draw, sounds, centres, generator)
        if is_mirrored.any():
            # Offscreen sounds come after the targets, and have no cues.
            cues = mirror_sources(cues, is_mirrored[: len(draw.targets)])
        if self.settings.resize_pixels is not None:
            cues = cut_crops(cues, self.crop_pixels, generator)
        return AudioVisualItem(mixed, cues)

    def collate(self, items: list[AudioVisualItem]) -> Batch:
        """Stack items to a batch; I3D features of unequal length are padded."""
        mixed = to_batch([item.mixed for item in items])
        return Batch(mixed.mixture, mixed.sources, join_cues([item.cues for item in items]))

    def _first_source(self, index: int) -> int:
        """Return the source that begins the mixture of this index."""
        stretch, place = divmod(index, len(self.cache))
        if self._order is None or self._order[0] != stretch:
            # One order is remembered: the indices of a loader rise.
            generator = np.random.default_rng([self.seed, 1, stretch])
            self._order = stretch, generator.permutation(len(self.cache))
        return int(self._order[1][place])

    def _draw_mirrored(
        self, draw: SampledMixture, generator: np.random.Generator
    ) -> Bool[np.ndarray, " sounds"]:
        """Draw which sounds are mirrored; of those of one clip all or none."""
        share = self.settings.mirror_probability
        if not share:  # so that the numbers drawn afterwards stay as they were
            return np.zeros(len(draw.audible), dtype=bool)
        is_mirrored = generator.random(len(draw.audible)) < share
        is_mirrored[: draw.num_of_one_clip] = is_mirrored[0]
        return is_mirrored

    def _cues(
        self,
        draw: SampledMixture,
        sounds: Sequence[CachedSource],
        centres: Sequence[int],
        generator: np.random.Generator,
    ) -> Cues:
        num_samples, rate_hz = self.front_end.window_samples, self.front_end.sample_rate_hz
        windows = [
            SourceWindow(
                source,
                start_seconds=(centre - num_samples // 2) / rate_hz,
                is_repeated=source.num_samples < num_samples,
            )
            for source, centre in zip(sounds[: len(draw.targets)], centres, strict=False)
        ]
        cues = window_cues([windows], num_samples / rate_hz, select=self._selection(generator))
        return replace(cues, category=self._categories_of(draw))

    def _categories_of(self, draw: SampledMixture) -> Int64[Tensor, "1 S"]:
        return torch.tensor([[self._category_of[place] for place in draw.targets]])

    def _selection(self, generator: np.random.Generator) -> CropSelection:
        """Return the choice of crops: at random in training, evenly spread in the middle."""
        is_random = self.settings.position == "random"
        return partial(_select_crops, generator=generator, is_random=is_random)


def _select_crops(
    crops: Int64[np.ndarray, " crops"],
    num: int,
    *,
    generator: np.random.Generator,
    is_random: bool,
) -> Int64[np.ndarray, " K"]:
    drawn = generator.random(len(crops))  # drawn in any case, so that the rest stays the same
    return select_lowest(crops, drawn, num) if is_random else spread_evenly(crops, num)


def _check_mixing(clips: Sequence[ClipFiles], mixing: MixingSettings, purpose: str) -> None:
    """Check that mixtures can be drawn from a list, before anything is cached or written."""
    sources = [(str(n), source.category) for n, clip in enumerate(clips) for source in clip.sources]
    names, categories = zip(*sources, strict=True)
    try:
        MixtureSampler(names, categories, mixing)
    except InputError as error:
        raise InputError(f"with the {len(clips)} clips {purpose}: {error}") from error


def _refuse_held_out(folder: Path) -> None:
    """Raise InputError for a folder of toyband clips that are made to test with."""
    record = next(iter(sorted(folder.glob("*/score.json"))), None)
    if record is not None and json.loads(record.read_text(encoding="utf-8")).get("held_out"):
        raise InputError(
            f"'{folder}' holds clips of held-out notes (a seed of 1000 or more), which are to "
            "test with: train on a toyband folder of a smaller --seed"
        )
