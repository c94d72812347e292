"""Training data: clip lists, cached sources, mixtures and validation batches."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from avsep.cues.cache import CachedSource, SourceCache
from avsep.cues.mirror import mirrored_cues, mirrored_ears
from avsep.data import open_dataset
from avsep.data.categories import category_indices
from avsep.data.clips import ClipFiles, split_clips
from avsep.data.mixing import (
    MixingSettings,
    MixtureItem,
    MixtureSampler,
    SampledMixture,
    cut_windows,
    mix_sampled,
    sample_centres,
    to_batch,
)
from avsep.errors import InputError
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.training.recipe import TrainRecipe

# Mixtures with their cues, made of prepared sources: what a model trains and is validated on


@dataclass(frozen=True)
class AudioVisualItem:
    """One mixture, its truth, and what is seen of its sources: cues of a batch of one."""

    mixed: MixtureItem
    cues: Cues


class MixAndSeparateDataset:
    """Mixtures without end: item `index` depends on the seed and the index alone.

    Workers, machines and resumed runs so draw the same. In every stretch of as many mixtures as
    there are sources, each source begins one, in an order drawn for that stretch.
    """

    def __init__(
        self,
        cache: SourceCache,
        categories: Sequence[str],
        settings: MixingSettings | None = None,
        front_end: FrontEndSettings | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Mixtures of a library's sources; `categories` is the model's list.

        A model without categories, such as DAVIS, is told none, whatever the labels are. Raises
        InputError for a category the model does not know, and sources that cannot be mixed.
        """
        self.cache = cache
        self.settings = settings or MixingSettings()
        self.front_end = front_end or FrontEndSettings()
        self.seed = seed
        made, wanted = (
            f"{one.sample_rate_hz} Hz in {one.num_channels} channels"
            for one in (cache.settings, self.front_end)
        )
        if made != wanted:
            raise InputError(
                f"sources prepared at {made} cannot be mixed at {wanted}: prepare them anew"
            )
        labels = [source.category for source in cache.sources]
        unknown = [-1] * len(labels)
        self._category_of = category_indices(labels, categories) if categories else unknown
        self.sampler = MixtureSampler(cache.clip_of, labels, self.settings)
        self._order: tuple[int, Int64[np.ndarray, " sources"]] | None = None

    def item(self, index: int) -> AudioVisualItem:
        """The mixture of this index; there is no last one."""
        generator = np.random.default_rng([self.seed, 0, index])
        draw = self.sampler.sample(self._first(index), generator)
        sounds = [self.cache[place] for place in draw.audible]
        num_samples = self.front_end.window_samples
        lengths = [sound.num_samples for sound in sounds]
        centres = sample_centres(draw, lengths, num_samples, self.settings, generator)
        windows = cut_windows(sounds, centres, num_samples)
        is_mirrored = self._mirrored(draw, generator)
        windows[is_mirrored] = mirrored_ears(windows[is_mirrored])
        mixed = mix_sampled(draw, windows, self.cache.sources, self.settings, generator)
        cues = self._cues(draw, sounds, centres, generator)
        if is_mirrored.any():
            cues = _mirrored_where(cues, is_mirrored[: len(draw.targets)])
        return AudioVisualItem(mixed, cues)

    def _mirrored(
        self, draw: SampledMixture, generator: np.random.Generator
    ) -> Bool[np.ndarray, " heard"]:
        """Which sounds are taken as a mirror has them; those of one clip all or none."""
        share = self.settings.mirror_probability
        if not share:  # so that what is drawn afterwards stays as it was
            return np.zeros(len(draw.audible), dtype=bool)
        drawn = generator.random(len(draw.audible)) < share
        if draw.is_one_clip:
            drawn[: len(draw.targets)] = drawn[0]
        return drawn

    def collate(self, items: list[AudioVisualItem]) -> Batch:
        """Items as one batch; motion features of unequal length are padded."""
        mixed = to_batch([item.mixed for item in items])
        return Batch(mixed.mixture, mixed.sources, join_cues([item.cues for item in items]))

    def _first(self, index: int) -> int:
        """The source that begins this mixture."""
        stretch, place = divmod(index, len(self.cache))
        if self._order is None or self._order[0] != stretch:
            generator = np.random.default_rng([self.seed, 1, stretch])
            self._order = stretch, generator.permutation(len(self.cache))
        return int(self._order[1][place])

    def _cues(
        self,
        draw: SampledMixture,
        sounds: Sequence[CachedSource],
        centres: Sequence[int],
        generator: np.random.Generator,
    ) -> Cues:
        num_samples, rate_hz = self.front_end.window_samples, self.front_end.sample_rate_hz
        seen = []
        for source, centre in zip(sounds[: len(draw.targets)], centres, strict=False):
            start_seconds = (centre - num_samples // 2) / rate_hz
            seen.append(self._seen(source, start_seconds, generator))
        category = torch.tensor([[self._category_of[place] for place in draw.targets]])
        i3d_features, i3d_padding = padded(
            [source.i3d_features for source in sounds[: len(draw.targets)]]
        )
        stacked = {name: _stack([one[name] for one in seen]) for name in seen[0]}
        is_visible = [source.is_visible for source in sounds[: len(draw.targets)]]
        stacked["is_visible"] = None if all(is_visible) else torch.tensor([is_visible])
        return Cues(
            category=category, i3d_features=i3d_features, i3d_padding=i3d_padding, **stacked
        )

    def _seen(
        self,
        source: CachedSource,
        start_seconds: float,
        generator: np.random.Generator,
    ) -> dict[str, Tensor | None]:
        """Crops and movement of one source in the window that begins then."""
        settings = self.cache.settings.crops
        window_seconds = self.front_end.window_samples / self.front_end.sample_rate_hz
        rows = source.crop_rows(start_seconds, window_seconds)
        drawn = generator.random(len(rows))  # drawn in any case, so that the rest stays the same
        if self.settings.position == "random":
            chosen = choose_rows(rows, drawn, settings.num_crops)
        else:
            spread = np.linspace(0, len(rows) - 1, settings.num_crops)
            chosen = rows[spread.round().astype(int)]
        num_moves = round(window_seconds * settings.motion_rate_hz)
        return {
            "crops": source.crops(chosen),
            "appearance": source.appearance(chosen),
            "boxes": source.boxes(chosen),
            "crop_motion": source.crop_motion(start_seconds, num_moves),
        }


def choose_rows(
    rows: Int64[np.ndarray, " rows"], drawn: Float64[np.ndarray, " rows"], num_crops: int
) -> Int64[np.ndarray, " K"]:
    """So many rows in order of time, those with the lowest numbers drawn; few are repeated."""
    return np.sort(np.resize(rows[drawn.argsort()], num_crops))


def padded(
    i3d_features: Sequence[Float[Tensor, "D _"] | None],
) -> tuple[Float[Tensor, "1 S D K"] | None, Bool[Tensor, "1 S K"] | None]:
    """Motion features of several sources at one length, and where they are padding.

    None where a source has none.
    """
    known = [one for one in i3d_features if one is not None]
    if len(known) < len(i3d_features):
        return None, None
    longest = max(one.shape[1] for one in known)
    features = torch.stack([pad(one, (0, longest - one.shape[1])) for one in known])
    lengths = torch.tensor([one.shape[1] for one in known])
    return features[None], (torch.arange(longest) >= lengths[:, None])[None]


def join_cues(cues: Sequence[Cues]) -> Cues:
    """Cues of several batches as those of one; a cue that one of them lacks is left out.

    Where some say what is pictured, all is in those that do not.
    """
    if any(one.is_visible is not None for one in cues):
        cues = [replace(one, is_visible=_pictured(one)) for one in cues]
    joined: dict[str, Tensor | None] = {}
    longest = max(0 if one.i3d_features is None else one.i3d_features.shape[3] for one in cues)
    for name in (field.name for field in fields(Cues)):
        values = [value for one in cues if (value := getattr(one, name)) is not None]
        if name == "i3d_features":
            values = [pad(value, (0, longest - value.shape[3])) for value in values]
        elif name == "i3d_padding":
            values = [pad(value, (0, longest - value.shape[2]), value=True) for value in values]
        joined[name] = torch.cat(values) if len(values) == len(cues) else None
    return Cues(**joined)


def _pictured(cues: Cues) -> Bool[Tensor, "B S"]:
    """Which sources are seen, also where it is not said because all are."""
    if cues.is_visible is not None:
        return cues.is_visible
    values = (getattr(cues, field.name) for field in fields(Cues))
    known = next(value for value in values if value is not None)
    return torch.ones(known.shape[:2], dtype=torch.bool, device=known.device)


def _mirrored_where(cues: Cues, is_mirrored: Bool[np.ndarray, " S"]) -> Cues:
    """Cues of a batch of one, those of some sources mirrored."""
    other, chosen = mirrored_cues(cues), torch.from_numpy(is_mirrored)
    mixed = {}
    for name in (field.name for field in fields(Cues)):
        value = getattr(cues, name)
        if value is not None:
            place = chosen.view(1, -1, *[1] * (value.dim() - 2))
            mixed[name] = torch.where(place, getattr(other, name), value)
    return Cues(**mixed)


def _stack(values: Sequence[Tensor | None]) -> Tensor | None:
    """What every source has, as a batch of one; none where a source lacks it."""
    known = [value for value in values if value is not None]
    return torch.stack(known)[None] if len(known) == len(values) else None


# Validation is the same for every seed of a training.
_VALIDATION_SEED = 1_000_000
# Validation mixtures that go through the model at once.
_BATCH = 8


@dataclass(frozen=True)
class ClipLists:
    """Two of the three lists; the third, to test on, is never opened by a training."""

    training: tuple[ClipFiles, ...]
    validation: tuple[ClipFiles, ...]

    @property
    def num_sources(self) -> int:
        """Sources to train on."""
        return sum(len(clip.sources) for clip in self.training)


def read_lists(recipe: TrainRecipe) -> ClipLists:
    """The clips of the recipe's folders, for training and for validation.

    Raises:
        InputError: no folder, one of held-out toyband clips, or too few clips.
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
    return ClipLists(tuple(training), tuple(validation))


def check_mixing(lists: ClipLists, recipe: TrainRecipe) -> None:
    """See that mixtures can be drawn from both lists, before anything is prepared or written.

    Raises an InputError where there are too few clips or categories.
    """
    _check_draws(lists.training, recipe.mixing, "to train on")
    _check_draws(lists.validation, _untouched(recipe), "to validate with")


def library_of(clips: Sequence[ClipFiles], model: Any, folder: Path) -> SourceCache:
    """The library of a list for a model; its `build` prepares what is missing."""
    return SourceCache.for_model(model, clips, folder)


def build(
    cache: SourceCache, recipe: TrainRecipe, model: Any, num_workers: int | None = None
) -> Iterator[str]:
    """Prepare what is missing, naming each clip as it is ready; `mixing.broken` says how strict.

    `num_workers` is that of the library.
    """
    precompute = model.precompute if cache.settings.embedder else None
    skip_broken = recipe.mixing.broken == "skip"
    yield from cache.build(precompute, num_workers=num_workers, skip_broken=skip_broken)


def mixtures_of(cache: SourceCache, recipe: TrainRecipe, model: Any) -> MixAndSeparateDataset:
    """The endless mixtures to train on."""
    return _mixtures(cache, model, recipe.mixing, recipe.training.seed)


def validation_of(cache: SourceCache, recipe: TrainRecipe, model: Any) -> list[Batch]:
    """Mixtures of the validation list as the field tests: in the middle, untouched, all sounding.

    The same ones each time, whatever the training mixes.
    """
    mixtures = _mixtures(cache, model, _untouched(recipe), _VALIDATION_SEED)
    items = [mixtures.item(index) for index in range(recipe.training.num_validation)]
    return [
        mixtures.collate(items[start : start + _BATCH]) for start in range(0, len(items), _BATCH)
    ]


def _untouched(recipe: TrainRecipe) -> MixingSettings:
    return MixingSettings(
        num_sources=recipe.mixing.num_sources,
        distinct_categories=recipe.mixing.distinct_categories,
        rule=recipe.mixing.rule,
        gain_range=(1.0, 1.0),
        position="middle",
    )


def _check_draws(clips: Sequence[ClipFiles], mixing: MixingSettings, use: str) -> None:
    sources = [(str(n), one.category) for n, clip in enumerate(clips) for one in clip.sources]
    names, categories = zip(*sources, strict=True)
    try:
        MixtureSampler(names, categories, mixing)
    except InputError as error:
        raise InputError(f"with the {len(clips)} clips {use}: {error}") from error


def _mixtures(
    cache: SourceCache, model: Any, mixing: MixingSettings, seed: int
) -> MixAndSeparateDataset:
    settings = model.settings
    return MixAndSeparateDataset(cache, settings.categories, mixing, settings.front_end, seed=seed)


def _refuse_held_out(folder: Path) -> None:
    """Clips that toyband made to test with are not to be trained on."""
    record = next(iter(sorted(folder.glob("*/score.json"))), None)
    if record is not None and json.loads(record.read_text(encoding="utf-8")).get("held_out"):
        raise InputError(
            f"'{folder}' holds clips of held-out notes (a seed of 1000 or more), which are to "
            "test with: train on a toyband folder of a smaller --seed"
        )
