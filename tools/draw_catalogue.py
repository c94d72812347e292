"""Write catalogue.json: what help and `avsep models` print of modules that load PyTorch.

Run `python tools/draw_catalogue.py`; the package transformers is needed to count the parameters of
the systems that see by CLIP.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Literal, get_args, get_origin
from unittest.mock import patch

import torch
from pydantic import BaseModel
from torch import nn

from avsep.catalogue import CATALOGUE_FILE, ModelInfo, SettingHelp
from avsep.checkpoint import find_checkpoint, read_card, shipped_names
from avsep.conversion import SYSTEMS
from avsep.errors import InputError
from avsep.evaluation.baselines import BASELINES, DESCRIPTIONS
from avsep.evaluation.cue_ablations import CUE_ABLATIONS
from avsep.evaluation.metrics.registry import METRICS, SET_METRICS
from avsep.evaluation.mixtures import DEFAULT_NUM_MIXTURES
from avsep.evaluation.run import EvaluationSettings
from avsep.models import MODELS
from avsep.separation.separator import DEFAULT_MODEL
from avsep.separation.settings import OutputSettings, SeparatorSettings


def catalogue() -> str:
    """The text of the file as it should be."""
    values = {"models": [entry.as_json() for entry in list_models()], **names()}
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def names() -> dict[str, object]:
    """All but the models: names in registries, and settings."""
    return {
        "default_model": DEFAULT_MODEL,
        "separator_settings": dict(settings_help(SeparatorSettings)),
        "output_settings": dict(settings_help(OutputSettings)),
        "evaluation_settings": list(EvaluationSettings.model_fields),
        "num_mixtures": DEFAULT_NUM_MIXTURES,
        "metrics": list(METRICS),
        "set_metrics": list(SET_METRICS),
        "cue_ablations": list(CUE_ABLATIONS),
        "released_systems": list(SYSTEMS),
    }


def settings_help(settings: type[BaseModel]) -> Iterator[tuple[str, dict[str, object]]]:
    """The help of each field of settings, the description as a sentence."""
    for name, field in settings.model_fields.items():
        description = field.description or ""
        is_choice = get_origin(field.annotation) is Literal
        # JSON has no tuples.
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        choices = get_args(field.annotation) if is_choice else ()
        text = f"{description[:1].upper()}{description[1:]}."
        yield name, asdict(SettingHelp(text, choices, default))


def list_models() -> Iterator[ModelInfo]:
    """Baselines and ceilings, then shipped weights, then systems."""
    for name in BASELINES:
        yield ModelInfo(name, "baseline", DESCRIPTIONS[name])
    for name in shipped_names():
        yield weights_info(name)
    for name, model in MODELS.items():
        description = (model.__doc__ or "").partition("\n")[0].rstrip(".")
        numbers = count_parameters(model)
        yield ModelInfo(name, "system", description, *numbers, needed_package(model))


def count_parameters(model: type[nn.Module]) -> tuple[int, int]:
    """The numbers of trained and of frozen parameters of the paper's network."""
    # On the meta device parameters have shapes and no memory: the largest network has 75 million.
    with torch.device("meta"):
        network = model()
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in network.parameters()) - trained


def needed_package(model: type[nn.Module]) -> str | None:
    """The optional package that a network is built with, found by building it without."""
    with patch.dict(sys.modules, {"transformers": None}), torch.device("meta"):
        try:
            model()
        except InputError as error:
            (package,) = re.findall(r"pip install (\S+)", str(error))
            return package
    return None


def weights_info(name: str) -> ModelInfo:
    """What is known of shipped weights, from their model card."""
    card = read_card(name)
    size_bytes = find_checkpoint(name).stat().st_size
    return ModelInfo(
        name,
        "weights",
        f"{card.model}, trained and shipped",
        megabytes=round(size_bytes / 1e6, 1),
        categories=card.categories,
        # Without scores of a test set the metadata has those of the validation in training.
        measured=card.metadata.get("measured", card.metadata.get("validation")),
    )


def main() -> int:
    """Write the file."""
    CATALOGUE_FILE.write_text(catalogue(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
