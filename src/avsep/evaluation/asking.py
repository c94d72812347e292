"""One contender asked about one mixture: what it answered, as sound, and the truth beside it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from avsep.data.mixing import MixedItem
from avsep.devices import to_device
from avsep.errors import InputError
from avsep.evaluation.baselines import waveforms
from avsep.evaluation.clip_batches import ClipReader
from avsep.evaluation.contenders import Contender
from avsep.records import Separation


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
