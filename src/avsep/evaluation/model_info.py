"""Everything that can be named where a separator is asked for, with what is known of it."""

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
    """One name.

    Attributes:
        kind: baseline and ceiling are made from the truth, weights are trained and ship, a system
            is a paper's network, to be trained.
        num_trained, num_frozen: parameters; of a system at the paper's size.
        missing: what to install before a system can be built and counted.
        categories: that shipped weights tell apart.
        measured: figures from the checkpoint's own record, by what they were measured at.
    """

    name: str
    kind: Literal["baseline", "weights", "system"]
    what: str
    num_trained: int | None = None
    num_frozen: int | None = None
    missing: str | None = None
    megabytes: float | None = None
    categories: tuple[str, ...] | None = None
    measured: dict[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """What is known, without what is not."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def list_models() -> Iterator[ModelInfo]:
    """Baselines and ceilings, then shipped weights, then systems."""
    for name in BASELINES:
        yield ModelInfo(name, "baseline", DESCRIPTIONS[name])
    for name in shipped_names():
        yield _weights(name)
    for name, model in MODELS.items():
        what = (model.__doc__ or "").partition("\n")[0].rstrip(".")
        try:
            yield ModelInfo(name, "system", what, *count_parameters(model))
        except InputError as error:
            yield ModelInfo(name, "system", what, missing=str(error))


def count_parameters(model: type[nn.Module]) -> tuple[int, int]:
    """Parameters that are trained, and frozen ones, of the paper's network; no memory is taken.

    Raises InputError where a package is missing that the network is built with.
    """
    with torch.device("meta"):
        network = model()
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in network.parameters()) - trained


def _weights(name: str) -> ModelInfo:
    card = read_card(name)
    size_bytes = find_checkpoint(name).stat().st_size
    return ModelInfo(
        name,
        "weights",
        f"{card.model}, trained and shipped",
        megabytes=round(size_bytes / 1e6, 1),
        categories=card.categories,
        measured=card.metadata.get("measured", card.metadata.get("validation")),
    )
