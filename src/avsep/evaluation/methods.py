"""Methods to compare by name, and one method run on one mixture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32

from avsep.checkpoint import SUFFIX, load_model, shipped_names
from avsep.data.mixing import MixtureItem
from avsep.devices import to_device
from avsep.errors import InputError, unknown_name
from avsep.evaluation.baselines import BASELINES, INPUTS, waveforms
from avsep.evaluation.batches import ClipReader, CueSettings
from avsep.evaluation.cue_ablations import CUE_ABLATIONS, WORD
from avsep.models.base import SeparationMethod, SeparationModel
from avsep.records import Separation
from avsep.sound.front_end import FrontEnd, FrontEndSettings

CPU = torch.device("cpu")
Labels = Literal["both", "told", "picture"]
# Where a model has the category from, and what that is called in tables.
_WAYS = {"told": "true category", "picture": "picture"}


@dataclass(frozen=True)
class Method:
    """One row: a separator at its own front end, and what it reads of each clip.

    Attributes:
        reads: in words; of a model, where the category comes from.
        cue_settings: none for those that look at nothing.
    """

    name: str
    separator: SeparationMethod
    front_end: FrontEnd
    reads: str
    cue_settings: CueSettings | None = None

    @property
    def is_model(self) -> bool:
        """Whether it looks at something; baselines do not."""
        return self.cue_settings is not None


def find_methods(
    names: Sequence[str],
    labels: str = "both",
    ablations: Sequence[str] = ("all",),
    device: torch.device = CPU,
    *,
    with_baselines: bool = True,
    num_channels: Literal[1, 2] | None = None,
) -> tuple[Method, ...]:
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
    for ablation in ablations:
        if ablation not in CUE_ABLATIONS:
            raise unknown_name("cues", ablation, CUE_ABLATIONS)
    if not names and not with_baselines:
        raise InputError("nobody is asked: name a model of `avsep models` or a checkpoint")
    models = {name: load_model(name, device) for name in model_names(names)}
    is_binaural = any(model.settings.front_end.num_channels == 2 for model in models.values())
    channels: Literal[1, 2] = num_channels or (2 if is_binaural else 1)
    front_end = FrontEnd(FrontEndSettings(num_channels=channels))
    found = [
        Method(name, make(front_end), front_end, INPUTS[name])
        for name, make in BASELINES.items()
        if with_baselines or name in names
    ]
    for model, short in zip(models.values(), _short(list(models)), strict=True):
        for row in model_methods(short, model, labels, ablations):
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


def model_methods(
    name: str, model: SeparationModel, labels: str = "both", ablations: Sequence[str] = ("all",)
) -> Iterator[Method]:
    """The rows of one model of the contract, in eval mode; it stays as it is.

    One that does not read the category goes by the picture, whatever the labels.
    """
    settings = model.settings
    front_end = FrontEnd(settings.front_end)
    ways = tuple(_WAYS) if labels == "both" else (labels,)
    for way in ways if "category" in model.required_cues else ("picture",):
        for ablation in dict.fromkeys(ablations):
            if ablation == WORD:
                _check_stored_words(name, model)
            cue_settings = CueSettings(
                settings.crops,
                settings.categories,
                with_labels=way == "told",
                ablation=ablation,
                with_i3d_features="i3d_features" in model.required_cues,
            )
            reads = "word" if ablation == WORD else _WAYS[way]
            if "boxes" in model.required_cues:
                reads += ", place"
            yield Method(_row(name, way, ablation), model, front_end, reads, cue_settings)


def _row(name: str, way: str, ablation: str) -> str:
    """What a row is called, such as "dgfnet-mini (told, swapped)"."""
    if ablation == WORD:
        return f"{name} ({WORD})"
    return f"{name} ({way})" if ablation == "all" else f"{name} ({way}, {ablation})"


def _check_stored_words(name: str, model: SeparationModel) -> None:
    if model.text_prompts != "category":
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
class Prediction:
    """A mixture and what one contender makes of it.

    Attributes:
        separation: the answer as given, a batch of one, on the contender's device.
        estimates: the answer as sound, at the contender's own rate.
        references: the true sources, cut to the samples the estimates have.
    """

    item: MixtureItem
    separation: Separation
    estimates: Float32[np.ndarray, "S C N"]
    references: Float32[np.ndarray, "S C N"]


def ask(
    method: Method, reader: ClipReader, index: int, seed: int, device: torch.device
) -> Prediction:
    """What a contender answers for the mixture of this index.

    A contender that samples draws from the seed and the index alone. A model among the contenders
    is on the device. An answer that is not a number throughout is an InputError.
    """
    item, batch = reader.batch(index, method.front_end.settings, method.cue_settings)
    generator = torch.Generator(device).manual_seed(seed * 1_000_003 + index)
    with torch.inference_mode():
        answer = method.separator.separate(to_device(batch, device), generator=generator)
        estimates = waveforms(answer, method.front_end)[0].float().cpu().numpy()  # S C N
    if not np.isfinite(estimates).all():
        raise InputError(
            f"'{method.name}' answers '{reader.mixtures[index].name}' with NaN or infinite "
            "samples: no score is defined; leave it out, or train it again"
        )
    references = item.sources[..., : estimates.shape[-1]]
    return Prediction(item, answer, estimates, references)
