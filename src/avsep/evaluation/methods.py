"""Methods to compare by name, and one method run on one mixture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32

from avsep.checkpoint import SUFFIX, load_model, shipped_names
from avsep.data.mixing import MixedItem
from avsep.devices import to_device
from avsep.errors import InputError, unknown_name
from avsep.evaluation.baselines import BASELINES, READS, waveforms
from avsep.evaluation.batches import ClipReader, Reading
from avsep.evaluation.cue_ablations import TRIALS, WORD
from avsep.records import Separates, Separation
from avsep.sound.front_end import FrontEnd, FrontEndSettings

CPU = torch.device("cpu")
Labels = Literal["both", "told", "picture"]
# Where a model has the category from, and what that is called in tables.
_WAYS = {"told": "true category", "picture": "picture"}


@dataclass(frozen=True)
class Contender:
    """One row: a separator at its own front end, and what it reads of each clip.

    Attributes:
        reads: in words; of a model, where the category comes from.
        reading: none for those that look at nothing.
    """

    name: str
    separator: Separates
    front_end: FrontEnd
    reads: str
    reading: Reading | None = None

    @property
    def is_model(self) -> bool:
        """Whether it looks at something; baselines do not."""
        return self.reading is not None


def find_contenders(
    names: Sequence[str],
    labels: str = "both",
    trials: Sequence[str] = ("all",),
    device: torch.device = CPU,
    *,
    with_baselines: bool = True,
    num_channels: Literal[1, 2] | None = None,
) -> tuple[Contender, ...]:
    """The rows that names stand for, each name once: baselines first, all of them unless not asked.

    A name is a baseline, a shipped model or the path of a checkpoint. A model has a row for every
    way it learns of the category and every trial, and is loaded onto the device. All hear with as
    many channels: those told, else two where one of the models has two ears.

    Raises:
        InputError: an unknown name, way or trial, with the known ones; nobody asked; a model that
            does not go by words alone, asked to.
    """
    if labels not in get_args(Labels):
        raise unknown_name("labels", labels, get_args(Labels))
    for trial in trials:
        if trial not in TRIALS:
            raise unknown_name("cues", trial, TRIALS)
    if not names and not with_baselines:
        raise InputError("nobody is asked: name a model of `avsep models` or a checkpoint")
    models = {name: load_model(name, device) for name in model_names(names)}
    own = [model.settings.front_end.num_channels for model in models.values()]
    channels: Literal[1, 2] = num_channels or max(own, default=1)
    front_end = FrontEnd(FrontEndSettings(num_channels=channels))
    found = [
        Contender(name, make(front_end), front_end, READS[name])
        for name, make in BASELINES.items()
        if with_baselines or name in names
    ]
    for model, short in zip(models.values(), _short(list(models)), strict=True):
        for row in model_contenders(short, model, labels, trials):
            hears = row.front_end.settings.model_copy(update={"num_channels": channels})
            found.append(replace(row, front_end=FrontEnd(hears)))
    return tuple(found)


def model_names(names: Sequence[str]) -> list[str]:
    """Those among names that are models, each once; an InputError for one that means nothing."""
    models = [name for name in dict.fromkeys(names) if name not in BASELINES]
    for name in models:
        if name not in shipped_names() and not _is_place(name):
            raise unknown_name("separator", name, [*BASELINES, *shipped_names()])
    return models


def model_contenders(
    name: str, model: Any, labels: str = "both", trials: Sequence[str] = ("all",)
) -> Iterator[Contender]:
    """The rows of one model of the contract, in eval mode; it stays as it is.

    One that does not read the category goes by the picture, whatever the labels.
    """
    settings = model.settings
    front_end = FrontEnd(settings.front_end)
    ways = tuple(_WAYS) if labels == "both" else (labels,)
    for way in ways if "category" in model.needs else ("picture",):
        for trial in dict.fromkeys(trials):
            if trial == WORD:
                _check_stored_words(name, model)
            reading = Reading(
                settings.looks,
                settings.categories,
                is_told=way == "told",
                trial=trial,
                with_motion="motion" in model.needs,
            )
            reads = "word" if trial == WORD else _WAYS[way]
            if "boxes" in model.needs:
                reads += ", place"
            yield Contender(_row(name, way, trial), model, front_end, reads, reading)


def _row(name: str, way: str, trial: str) -> str:
    """What a row is called, such as "dgfnet-mini (told, swapped)"."""
    if trial == WORD:
        return f"{name} ({WORD})"
    return f"{name} ({way})" if trial == "all" else f"{name} ({way}, {trial})"


def _check_stored_words(name: str, model: Any) -> None:
    if "category" in model.needs or not model.settings.categories:
        raise InputError(
            f"the cues '{WORD}' are for models with stored words, and '{name}' has none: leave it "
            "out, or choose other cues"
        )


def _short(names: Sequence[str]) -> list[str]:
    """Names for tables: of files the last two parts, mini/model for runs/mini/model.safetensors.

    All stay as they are where two would become the same.
    """
    short = [
        "/".join(Path(name).with_suffix("").parts[-2:]) if name.endswith(SUFFIX) else name
        for name in names
    ]
    return short if len(set(short)) == len(short) else list(names)


def _is_place(name: str) -> bool:
    """Whether a name reads as a file, or as owner/name of a hub."""
    return name.endswith(SUFFIX) or "/" in name or Path(name).exists()


# One contender asked about one mixture: what it answered, as sound, and the truth beside it


@dataclass(frozen=True)
class Asked:
    """A mixture and what one contender makes of it.

    Attributes:
        separation: the answer as given, a batch of one, on the contender's device.
        estimates: the answer as sound, at the contender's own rate.
        references: the true sources, cut to the samples the estimates have.
    """

    item: MixedItem
    separation: Separation
    estimates: Float32[np.ndarray, "S C N"]
    references: Float32[np.ndarray, "S C N"]


def ask(
    contender: Contender, reader: ClipReader, index: int, seed: int, device: torch.device
) -> Asked:
    """What a contender answers for the mixture of this index.

    A contender that samples draws from the seed and the index alone. A model among the contenders
    is on the device. An answer that is not a number throughout is an InputError.
    """
    item, batch = reader.batch(index, contender.front_end.settings, contender.reading)
    generator = torch.Generator(device).manual_seed(seed * 1_000_003 + index)
    with torch.inference_mode():
        answer = contender.separator.separate(to_device(batch, device), generator=generator)
        estimates = waveforms(answer, contender.front_end)[0].float().cpu().numpy()  # S C N
    if not np.isfinite(estimates).all():
        raise InputError(
            f"'{contender.name}' answers '{reader.mixtures[index].name}' with NaN or infinite "
            "samples: no score is defined; leave it out, or train it again"
        )
    references = item.sources[..., : estimates.shape[-1]]
    return Asked(item, answer, estimates, references)
