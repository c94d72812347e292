"""What every separator is measured between: the mixture itself below, ideal masks above."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Generator, Tensor

from avsep.evaluation.nmf_mfcc import NmfMfcc
from avsep.evaluation.truth import sources_of
from avsep.records import Batch, Separates, Separation
from avsep.sound.front_end import FrontEnd
from avsep.sound.masks import MAXIMUM_RATIO, binary_mask, ratio_mask


class MixtureBaseline:
    """Answers the mixture for every source: the score that doing nothing has."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """The mixture's magnitude, once for each source."""
        sources = sources_of(batch)
        magnitude, phase = self.front_end.spectrogram(batch.mixture)
        magnitudes = magnitude[:, None].expand(-1, sources.shape[1], -1, -1, -1)  # B S C F T
        return Separation(magnitudes, sources.new_ones(sources.shape[:2]), phase)


class IdealMask:
    """Answers with the masks that the true sources give: the ceiling of mask-based separators."""

    def __init__(
        self,
        front_end: FrontEnd,
        kind: Literal["ratio", "binary"] = "ratio",
        *,
        maximum: float = MAXIMUM_RATIO,
        logarithmic: bool = True,
    ) -> None:
        self.front_end = front_end
        self.kind = kind
        self.maximum = maximum
        self.logarithmic = logarithmic

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """The mixture's magnitude times each source's own mask."""
        sources = sources_of(batch)
        mixture, phase = self.front_end.spectrogram(batch.mixture)
        magnitudes, _ = self.front_end.spectrogram(sources)  # B S C F T
        masks = self._masks(magnitudes, mixture[:, None])
        sounding = (sources.abs().sum((-1, -2)) > 0).to(sources.dtype)
        return Separation(mixture[:, None] * masks, sounding, phase)

    def _masks(
        self, sources: Float[Tensor, "B S C F T"], mixture: Float[Tensor, "B 1 C F T"]
    ) -> Float[Tensor, "B S C F T"]:
        """Masks on the linear axis, by way of the logarithmic one where networks predict them."""
        if self.logarithmic:
            sources, mixture = self.front_end.to_rows(sources), self.front_end.to_rows(mixture)
        if self.kind == "ratio":
            masks = ratio_mask(sources, mixture, self.maximum)
        else:
            masks = binary_mask(sources, mixture)
        if self.logarithmic:
            masks = self.front_end.to_bins(masks)
        # A binary mask is decided on the linear axis again, as the papers' codes do when they test.
        return (masks > 0.5).to(masks.dtype) if self.kind == "binary" else masks


# Name -> how it is made. The order is the order of rows in every table.
BASELINES: dict[str, Callable[[FrontEnd], Separates]] = {
    "mixture": MixtureBaseline,
    "nmf-mfcc": NmfMfcc,
    "ideal-ratio-mask": lambda front_end: IdealMask(front_end, "ratio"),
    "ideal-binary-mask": lambda front_end: IdealMask(front_end, "binary"),
}
# Name -> what it is, in the words of `avsep models`.
DESCRIPTIONS = {
    "mixture": "baseline: the mixture as every estimate, the score of doing nothing",
    "nmf-mfcc": "baseline: NMF templates of the mixture sorted by timbre; learns and sees nothing",
    "ideal-ratio-mask": "ceiling: ratio masks made from the true sources, phase of the mixture",
    "ideal-binary-mask": "ceiling: binary masks made from the true sources, phase of the mixture",
}
# Name -> what it reads beside the mixture, for the table of results.
READS = {
    "mixture": "nothing",
    "nmf-mfcc": "true order",
    "ideal-ratio-mask": "true sources",
    "ideal-binary-mask": "true sources",
}


def waveforms(
    separation: Separation, front_end: FrontEnd, num_samples: int | None = None
) -> Float[Tensor, "B S C N"]:
    """The estimates as sound: each magnitude under the mixture's phase."""
    return front_end.waveform(separation.magnitudes, separation.phase[:, None], num_samples)
