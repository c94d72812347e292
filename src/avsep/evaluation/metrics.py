"""Every score beside SDR, SIR and SAR, by name: one signature, whatever it measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Shaped

from avsep.errors import InputError, unknown_name
from avsep.evaluation.scale_invariant import sa_sdr_db, sdr_improvement_db, si_bss_eval

Sources = Float64[np.ndarray, "S C N"]
Heard = Float64[np.ndarray, "C N"]
Figures = Float64[np.ndarray, " S"]
Compute = Callable[[Sources, Sources, Heard, int], Figures]
Channels = Float64[np.ndarray, "C S N"]
# References, estimates, mixture, and the sampling rate in Hz, to a figure a channel and source.
ByChannel = Callable[[Channels, Channels, Heard, int], Float64[np.ndarray, "C S"]]


@dataclass(frozen=True)
class Metric:
    """A score of every source of a mixture.

    Attributes:
        label: head of a column.
        unit: "dB", "µs", or "" where there is none.
        what: the formula in words, and its source.
        compute: references, estimates, mixture, sampling rate in Hz to a figure a source.
        needs_mixture: the mixture enters the figure.
        channels: the only number of channels it is defined for; none: any.
        package: of an optional plug-in, what to install.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    what: str
    compute: Compute
    needs_mixture: bool = False
    channels: int | None = None
    package: str | None = None

    @property
    def key(self) -> str:
        """Its name in JSON and CSV, with the unit: `si_sdr_db`."""
        words = [*self.name.split("-"), self.unit.lower().replace("µ", "u")]
        return "_".join(word for word in words if word)


def measure(
    names: Sequence[str],
    references: Shaped[np.ndarray, "S C N"],
    estimates: Shaped[np.ndarray, "S C N"],
    mixture: Shaped[np.ndarray, "C N"] | None,
    sample_rate_hz: int,
) -> dict[str, Figures]:
    """The figures of each source by the metrics named, in the order of their names.

    Scores of one channel are taken channel by channel and averaged; a channel in which a reference
    is silent is left out, as by `avsep score`.

    Args:
        mixture: what was separated; none will do unless a metric needs it.

    Raises:
        InputError: an unknown name, a missing package, a metric that needs a mixture or another
            number of channels; unequal shapes, NaN, references that are silent in every channel.
    """
    chosen = [find_metric(name) for name in names]
    num_channels = references.shape[1]
    for metric in chosen:
        if metric.channels not in (None, num_channels):
            raise InputError(
                f"{metric.name} is of {metric.channels} channels, the sound has {num_channels}; "
                f"leave {metric.name} out, or give sound of {metric.channels} channels"
            )
        if metric.needs_mixture and mixture is None:
            raise InputError(f"{metric.name} needs the mixture: give it, by --mixture FILE")
    truth, guess = (given.astype(np.float64) for given in (references, estimates))
    heard = truth.sum(axis=0) if mixture is None else mixture.astype(np.float64)
    return {metric.name: metric.compute(truth, guess, heard, sample_rate_hz) for metric in chosen}


def find_metric(name: str) -> Metric:
    """A metric by its name.

    Raises:
        InputError: there is none of that name; known ones are listed.
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return METRICS[name]


def mean_db(scores_db: Float64[np.ndarray, "first *rest"]) -> Float64[np.ndarray, "*rest"]:
    """The mean over the first axis, -inf where any is: one source has an SIR of inf beside it."""
    lowest = np.isneginf(scores_db).any(axis=0)
    return np.where(lowest, -np.inf, np.where(lowest, 0.0, scores_db).mean(axis=0))


def _by_channel(score: ByChannel) -> Compute:
    """A score of one channel as one of all that sound in every reference: their mean."""

    def compute(
        references: Sources, estimates: Sources, mixture: Heard, sample_rate_hz: int
    ) -> Figures:
        sounding = np.asarray(references.any(axis=-1).all(axis=0))
        if not sounding.any():
            sounding = ~sounding  # so that the error names the silent reference
        truth, guess = (x[:, sounding].swapaxes(0, 1) for x in (references, estimates))
        return mean_db(score(truth, guess, mixture[sounding], sample_rate_hz))

    return compute


def _sa_sdr(references: Sources, estimates: Sources, _: Heard, __: int) -> Figures:
    """One figure of the mixture, all channels together, beside every source."""
    num_sources = len(references)
    pooled = (x.reshape(num_sources, -1) for x in (references, estimates))
    return np.full(num_sources, sa_sdr_db(*pooled))


_ALL = (
    Metric(
        "si-sdr",
        "SI-SDR",
        "dB",
        True,
        "the estimate's projection on its reference against the rest (Le Roux et al., ICASSP 2019)",
        _by_channel(lambda truth, guess, *_: si_bss_eval(truth, guess).sdr_db),
    ),
    Metric(
        "si-sir",
        "SI-SIR",
        "dB",
        True,
        "that projection against what other references add (Le Roux et al., ICASSP 2019)",
        _by_channel(lambda truth, guess, *_: si_bss_eval(truth, guess).sir_db),
    ),
    Metric(
        "si-sar",
        "SI-SAR",
        "dB",
        True,
        "what all references explain against the rest (Le Roux et al. 2019, as fast_bss_eval)",
        _by_channel(lambda truth, guess, *_: si_bss_eval(truth, guess).sar_db),
    ),
    Metric(
        "sdri",
        "SDRi",
        "dB",
        True,
        "SDR of BSS Eval v3 minus that of the mixture as the estimate",
        _by_channel(lambda truth, guess, heard, _: sdr_improvement_db(truth, guess, heard)),
        needs_mixture=True,
    ),
    Metric(
        "si-sdri",
        "SI-SDRi",
        "dB",
        True,
        "SI-SDR minus that of the mixture as the estimate",
        _by_channel(
            lambda truth, guess, heard, _: sdr_improvement_db(
                truth, guess, heard, scale_invariant=True
            )
        ),
        needs_mixture=True,
    ),
    Metric(
        "sa-sdr",
        "SA-SDR",
        "dB",
        True,
        "energy of all sources against that of all errors, one figure a mixture (von Neumann et "
        "al., ICASSP 2022)",
        _sa_sdr,
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
