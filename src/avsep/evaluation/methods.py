"""Find the methods to compare by name, and run one method on one mixture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float32

from avsep.checkpoint import SUFFIX, load_model, shipped_names
from avsep.data.mixing import MixtureItem
from avsep.devices import to_device
from avsep.errors import InputError, unknown_name
from avsep.evaluation.baselines import BASELINES, INPUTS, waveforms
from avsep.evaluation.batches import CategorySource, ClipReader, CueSettings
from avsep.evaluation.cue_ablations import CUE_ABLATIONS, WORD
from avsep.models.base import SeparationMethod, SeparationModel
from avsep.records import Separation
from avsep.sound.front_end import FrontEnd, FrontEndSettings

CPU = torch.device("cpu")
Labels = Literal["both", "given", "predicted", "named"]
# Source of the category -> its words in the column `inputs` of the tables.
_LABEL_INPUTS = {
    "given": "label given",
    "predicted": "label predicted",
    "named": "label by the namer",
}


@dataclass(frozen=True)
class Method:
    """One row of the tables: a baseline or model, its front end and its inputs.

    Attributes:
        inputs: the inputs beside the mixture, in words; of a model also the source of the category.
        cue_settings: none for baselines, which read no cues.
    """

    name: str
    separator: SeparationMethod
    front_end: FrontEnd
    inputs: str
    cue_settings: CueSettings | None = None

    @property
    def is_model(self) -> bool:
        """True if the method reads cues; baselines do not."""
        return self.cue_settings is not None


def find_methods(
    names: Sequence[str],
    labels: str = "both",
    ablations: Sequence[str] = ("all",),
    device: torch.device = CPU,
    *,
    with_baselines: bool = True,
    num_channels: Literal[1, 2] | None = None,
    sampling: Mapping[str, object] | None = None,
) -> tuple[Method, ...]:
    """Return the methods for a list of names, each once, baselines first.

    A name is a baseline, a shipped model or the path of a checkpoint. A model has one method for
    each source of the category and each cue ablation. All methods read the same number of channels.

    Args:
        names: baselines need no name here while `with_baselines` is set.
        labels: source of the category: given, predicted, both of them, or named by the namer.
        ablations: names of CUE_ABLATIONS.
        device: the models are loaded onto it.
        with_baselines: add all baselines and ceilings.
        num_channels: of every method; without it two if any model is binaural, else one.
        sampling: changed sampling settings of the models that generate.

    Raises:
        InputError: an unknown name, label source or ablation, with the known ones; no name at all;
            the ablation `word` for a model without stored words; an unknown sampling setting, or
            one where no model generates.
    """
    if labels not in get_args(Labels):
        raise unknown_name("labels", labels, get_args(Labels))
    for ablation in ablations:
        if ablation not in CUE_ABLATIONS:
            raise unknown_name("cues", ablation, CUE_ABLATIONS)
    if not names and not with_baselines:
        raise InputError("no method is named: name a model of `avsep models` or a checkpoint")
    models = {name: load_model(name, device) for name in model_names(names)}
    models = _resampled(models, sampling or {})
    is_binaural = any(model.settings.front_end.num_channels == 2 for model in models.values())
    channels: Literal[1, 2] = num_channels or (2 if is_binaural else 1)
    front_end = FrontEnd(FrontEndSettings(num_channels=channels))
    methods = [
        Method(name, make(front_end), front_end, INPUTS[name])
        for name, make in BASELINES.items()
        if with_baselines or name in names
    ]
    for model, name in zip(models.values(), _short_names(list(models)), strict=True):
        for method in model_methods(name, model, labels, ablations):
            # All methods are scored on the same channels, so that their scores are comparable.
            settings = method.front_end.settings.model_copy(update={"num_channels": channels})
            methods.append(replace(method, front_end=FrontEnd(settings)))
    return tuple(methods)


def model_names(names: Sequence[str]) -> list[str]:
    """Return the names that are models, each once; InputError for an unknown name."""
    models = [name for name in dict.fromkeys(names) if name not in BASELINES]
    for name in models:
        if name not in shipped_names() and not _is_path(name):
            raise unknown_name("method", name, [*BASELINES, *shipped_names()])
    return models


def model_methods(
    name: str, model: SeparationModel, labels: str = "both", ablations: Sequence[str] = ("all",)
) -> Iterator[Method]:
    """Yield the methods of one model in eval mode: each label source with each ablation.

    A model that does not read the category has one method for each ablation, whatever the labels;
    one that cannot predict it has no methods with predicted labels.

    Raises:
        InputError: predicted labels alone, and the model cannot predict them.
    """
    settings = model.settings
    front_end = FrontEnd(settings.front_end)
    sources: Sequence[CategorySource | None] = [None]
    if "category" in model.required_cues:
        sources = ("given", "predicted") if labels == "both" else (cast("CategorySource", labels),)
        if not model.predicts_category:
            if labels in ("predicted", "named"):
                raise InputError(f"'{name}' predicts no category: give --labels given")
            sources = ("given",)
        if labels == "named":
            _check_named(name, settings.categories)
    for source in sources:
        for ablation in dict.fromkeys(ablations):
            if ablation == WORD:
                _check_stored_words(name, model)
            cue_settings = CueSettings(
                settings.crops,
                settings.categories,
                # A model that reads no category is not given one: pictures alone are its cue.
                labels=source or "predicted",
                ablation=ablation,
                with_i3d_features="i3d_features" in model.required_cues,
            )
            inputs = WORD if ablation == WORD else _LABEL_INPUTS.get(source or "", "picture")
            if "boxes" in model.required_cues:
                inputs += ", boxes"
            method_name = _method_name(name, source, ablation)
            yield Method(method_name, model, front_end, inputs, cue_settings)


def _resampled(
    models: dict[str, SeparationModel], sampling: Mapping[str, object]
) -> dict[str, SeparationModel]:
    """Return the models with changed sampling settings."""
    changed = {name: model.with_sampling(sampling) for name, model in models.items()}
    if sampling and all(changed[name] is model for name, model in models.items()):
        raise InputError(
            f"sampling.{next(iter(sampling))} is a setting of models that generate, such as "
            "davis-mini: name one, or leave the setting out"
        )
    return changed


def _method_name(name: str, source: str | None, ablation: str) -> str:
    """Return the name of a method, such as "dgfnet-mini (given, swapped)"."""
    words = [word for word in (source, ablation) if word not in (None, "all")]
    return f"{name} ({', '.join(words)})" if words else name


def _check_named(name: str, categories: Sequence[str]) -> None:
    from avsep.cues.naming import unnamed_categories  # its networks take long to import

    if unnamed := unnamed_categories(categories):
        raise InputError(
            f"the namer has no word for {len(unnamed)} of the categories of '{name}', such as "
            f"'{unnamed[0]}', which therefore predicts its own: give --labels predicted"
        )


def _check_stored_words(name: str, model: SeparationModel) -> None:
    if model.text_prompts != "category":
        raise InputError(
            f"the cues '{WORD}' are for models with stored words, and '{name}' has none: leave it "
            "out, or choose other cues"
        )


def _short_names(names: Sequence[str]) -> list[str]:
    """Return names for tables: the last two parts of a path, mini/model for runs/mini/model.

    All names stay whole if two would become equal.
    """
    short = [
        "/".join(Path(name).with_suffix("").parts[-2:]) if name.endswith(SUFFIX) else name
        for name in names
    ]
    return short if len(set(short)) == len(short) else list(names)


def _is_path(name: str) -> bool:
    """Return True if a name is a file, or owner/name of a model hub."""
    return name.endswith(SUFFIX) or "/" in name or Path(name).exists()


# Running one method on one mixture


@dataclass(frozen=True)
class Prediction:
    """A mixture and the estimates of one method.

    Attributes:
        separation: the method's output, a batch of one, on the method's device.
        estimates: the output as waveforms, at the sample rate of the method's front end.
        references: the true sources, cut to the length of the estimates.
    """

    item: MixtureItem
    separation: Separation
    estimates: Float32[np.ndarray, "S C N"]
    references: Float32[np.ndarray, "S C N"]


def run_method(
    method: Method, reader: ClipReader, index: int, seed: int, device: torch.device
) -> Prediction:
    """Return a method's estimates of the mixture at an index, beside the references.

    Args:
        method: a model must be on the device.
        reader: of the list of mixtures.
        index: position in that list.
        seed: of methods that sample.
        device: of the batch.

    Raises:
        InputError: the estimates hold NaN or infinite samples.
    """
    item, batch = reader.batch(index, method.front_end.settings, method.cue_settings)
    # Noise depends on seed and index alone: neither the order nor the number of workers matters.
    # The prime keeps the streams of different seeds apart for lists of up to a million mixtures.
    generator = torch.Generator(device).manual_seed(seed * 1_000_003 + index)
    with torch.inference_mode():
        separation = method.separator.separate(to_device(batch, device), generator=generator)
        estimates = waveforms(separation, method.front_end)[0].float().cpu().numpy()  # S C N
    if not np.isfinite(estimates).all():
        raise InputError(
            f"the estimates of '{method.name}' for '{reader.mixtures[index].name}' hold NaN or "
            "infinite samples: no score is defined; leave it out, or train it again"
        )
    # The inverse STFT returns whole hops, fewer samples than the window.
    references = item.sources[..., : estimates.shape[-1]]
    return Prediction(item, separation, estimates, references)
