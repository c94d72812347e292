"""The true sources of a batch, for separators that are made from them."""

from jaxtyping import Float
from torch import Tensor

from avsep.errors import InputError
from avsep.records import Batch


def sources_of(batch: Batch) -> Float[Tensor, "B S C N"]:
    """The true sources; InputError for a batch that holds none."""
    if batch.sources is None:
        raise InputError(
            "baselines and ceilings are made from the true sources, and this batch holds none: "
            "give a data set with stems"
        )
    return batch.sources
