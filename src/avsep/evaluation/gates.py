"""Measure DGFNet's gate: the share of visual features that it lets into the audio features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32

from avsep.data.clips import ClipFiles
from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.methods import Method

Means = Float[np.ndarray, " samples"]


@dataclass(frozen=True)
class GateSample:
    """The gate of one source: sigma, mean over channels; 1 admits the whole audio-visual product.

    Attributes:
        method: name of the method, which holds the cue ablation.
        gate: on the bottleneck's frequencies and frames.
    """

    method: str
    clip: str
    category: str
    gate: Float32[np.ndarray, "f t"]

    @property
    def mean(self) -> float:
        """The mean gate of the sample, one value in the histogram of DGFNet's Figure 6."""
        return float(self.gate.mean())


@dataclass(frozen=True)
class PairedDifference:
    """The change of the mean gate from one cue ablation to another, on the same samples.

    Attributes:
        mean: of the differences; negative if the second ablation closes the gate.
        margin: half the width of the mean's 95 % interval, from its standard error.
        share_lower: share of samples whose gate is lower under the second ablation.
    """

    mean: float
    margin: float
    share_lower: float


def measure_gates(clips: Sequence[ClipFiles], methods: Sequence[Method]) -> Iterator[GateSample]:
    """Yield the gate of each source of each clip with several sources, method by method.

    Raises:
        InputError: a method without a gate.
    """
    reader = ClipReader(clips)
    for index, clip in enumerate(clips):
        if len(clip.sources) < 2:
            continue
        for method in methods:
            gates = _read_gates(method, reader, index)
            for source, gate in zip(clip.sources, gates, strict=True):
                yield GateSample(method.name, clip.name, source.category, gate)


def gate_shares(means: Means) -> dict[str, float]:
    """Return the shares of low, medium and high mean gates (DGFNet, section 4.2.4).

    >>> gate_shares(np.array([0.2, 0.5, 0.5, 0.65]))
    {'below 0.3': 0.25, '0.4 to 0.6': 0.5, 'above 0.7': 0.0}
    """
    # The paper's three ranges; they leave gaps, so the shares need not sum to 1.
    return {
        "below 0.3": float(np.mean(means < 0.3)),
        "0.4 to 0.6": float(np.mean((means >= 0.4) & (means <= 0.6))),
        "above 0.7": float(np.mean(means > 0.7)),
    }


def paired_difference(means: Means, others: Means) -> PairedDifference:
    """Return the second ablation minus the first, sample by sample; at least two samples."""
    assert len(means) == len(others) > 1, "the same samples under both ablations, two at least"
    # Gates differ far more from source to source than from ablation to ablation: the pairing
    # removes that spread from the standard error.
    differences = others - means
    standard_error = differences.std(ddof=1) / np.sqrt(len(differences))
    return PairedDifference(
        mean=float(differences.mean()),
        margin=float(1.96 * standard_error),
        share_lower=float(np.mean(differences < 0)),
    )


def _read_gates(method: Method, reader: ClipReader, index: int) -> Float32[np.ndarray, "S f t"]:
    _, batch = reader.batch(index, method.front_end.settings, method.cue_settings)
    with torch.inference_mode():
        gates = method.separator.separate(batch).metadata.get("gate")
    if not isinstance(gates, torch.Tensor):
        raise InputError(f"'{method.name}' has no gate: give a model with fusion = 'gate'")
    return gates[0].float().numpy()
