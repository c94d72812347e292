"""List the names of baselines, shipped weights and systems with their sizes and scores."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import nn

from avsep.checkpoint import find_checkpoint, read_card, shipped_names
from avsep.errors import InputError
from avsep.evaluation.baselines import BASELINES, DESCRIPTIONS
from avsep.models import MODELS


@dataclass(frozen=True)
class ModelInfo:
    """One entry of `avsep models`.

    Attributes:
        kind: baseline (and ceiling): computed from the true sources; weights: trained and shipped;
            system: a paper's network, to be trained.
        num_trained, num_frozen: parameters; of a system at the paper's size.
        missing: the package to install before a system can be built and its parameters counted.
        categories: those that shipped weights distinguish.
        measured: scores from the checkpoint's metadata, by what was measured.
    """

    name: str
    kind: Literal["baseline", "weights", "system"]
    description: str
    num_trained: int | None = None
    num_frozen: int | None = None
    missing: str | None = None
    megabytes: float | None = None
    categories: tuple[str, ...] | None = None
    measured: dict[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the fields that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def list_models() -> Iterator[ModelInfo]:
    """Yield baselines and ceilings, then shipped weights, then systems."""
    for name in BASELINES:
        yield ModelInfo(name, "baseline", DESCRIPTIONS[name])
    for name in shipped_names():
        yield _weights_info(name)
    for name, model in MODELS.items():
        description = (model.__doc__ or "").partition("\n")[0].rstrip(".")
        try:
            yield ModelInfo(name, "system", description, *count_parameters(model))
        except InputError as error:
            yield ModelInfo(name, "system", description, missing=str(error))


def count_parameters(model: type[nn.Module]) -> tuple[int, int]:
    """Return the numbers of trained and of frozen parameters of the paper's network.

    Raises:
        InputError: a package is missing that the network is built with.
    """
    # On the meta device parameters have shapes and no memory: the largest network has 75 million.
    with torch.device("meta"):
        network = model()
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in network.parameters()) - trained


def _weights_info(name: str) -> ModelInfo:
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
