"""From folders of clips to what a run trains on: lists, the library, mixtures, validation."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsep.data import open_dataset
from avsep.data.clips import ClipFiles, split_clips
from avsep.data.draws import Draws
from avsep.data.mixing import MixingSettings
from avsep.errors import InputError
from avsep.records import Batch
from avsep.training.library import SourceLibrary
from avsep.training.mixtures import AudioVisualMixtures
from avsep.training.recipe import TrainRecipe

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


def library_of(clips: Sequence[ClipFiles], model: Any, folder: Path) -> SourceLibrary:
    """The library of a list for a model; its `build` prepares what is missing."""
    return SourceLibrary.for_model(model, clips, folder)


def build(
    library: SourceLibrary, recipe: TrainRecipe, model: Any, num_workers: int | None = None
) -> Iterator[str]:
    """Prepare what is missing, naming each clip as it is ready; `mixing.broken` says how strict.

    `num_workers` is that of the library.
    """
    embed = model.embed if library.settings.embedder else None
    skip_broken = recipe.mixing.broken == "skip"
    yield from library.build(embed, num_workers=num_workers, skip_broken=skip_broken)


def mixtures_of(library: SourceLibrary, recipe: TrainRecipe, model: Any) -> AudioVisualMixtures:
    """The endless mixtures to train on."""
    return _mixtures(library, model, recipe.mixing, recipe.training.seed)


def validation_of(library: SourceLibrary, recipe: TrainRecipe, model: Any) -> list[Batch]:
    """Mixtures of the validation list as the field tests: in the middle, untouched, all sounding.

    The same ones each time, whatever the training mixes.
    """
    mixtures = _mixtures(library, model, _untouched(recipe), _VALIDATION_SEED)
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
        Draws(names, categories, mixing)
    except InputError as error:
        raise InputError(f"with the {len(clips)} clips {use}: {error}") from error


def _mixtures(
    library: SourceLibrary, model: Any, mixing: MixingSettings, seed: int
) -> AudioVisualMixtures:
    settings = model.settings
    return AudioVisualMixtures(library, settings.categories, mixing, settings.front_end, seed=seed)


def _refuse_held_out(folder: Path) -> None:
    """Clips that toyband made to test with are not to be trained on."""
    record = next(iter(sorted(folder.glob("*/score.json"))), None)
    if record is not None and json.loads(record.read_text(encoding="utf-8")).get("held_out"):
        raise InputError(
            f"'{folder}' holds clips of held-out notes (a seed of 1000 or more), which are to "
            "test with: train on a toyband folder of a smaller --seed"
        )
