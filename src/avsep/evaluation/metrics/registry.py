"""Every score beside SDR, SIR and SAR, by name: one signature, whatever it measures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Shaped

from avsep.errors import InputError, require_package, unknown_name
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.metrics.binaural_errors import ild_error_db, itd_error_us
from avsep.evaluation.metrics.plugins import ClapEmbedder, clap_score, pesq_mos
from avsep.evaluation.metrics.scale_invariant import sa_sdr_db, sdr_improvement_db, si_bss_eval
from avsep.evaluation.metrics.spectral_distance import spectral_distance

Sources = Float64[np.ndarray, "S C N"]
Figures = Float64[np.ndarray, " S"]
Channels = Float64[np.ndarray, "C S N"]
# References, estimates, mixture and the sampling rate in Hz, to a figure a channel and source.
ByChannel = Callable[
    [Channels, Channels, Float64[np.ndarray, "C N"], int], Float64[np.ndarray, "C S"]
]


@dataclass(frozen=True)
class Sounds:
    """What is compared, and what several metrics need of it, which is found once."""

    references: Sources
    estimates: Sources
    mixture: Float64[np.ndarray, "C N"]
    sample_rate_hz: int

    @cached_property
    def by_channel_db(self) -> Float64[np.ndarray, "C S 3"]:
        """SDR, SIR, SAR of each channel alone; NaN where a reference is silent in it."""
        found = np.full((*self.references.shape[1::-1], 3), np.nan)
        sounding = self.references.any(axis=-1).all(axis=0)
        for channel in np.flatnonzero(sounding):
            truth, guess = self.references[:, channel], self.estimates[:, channel]
            found[channel] = bss_eval(truth, guess).table_db
        return found


Compute = Callable[[Sounds], Figures]

# These compare sets of sounds, so they are no figures of a source, and folders alone have them.
SET_METRICS = ("fad",)


@dataclass(frozen=True)
class Metric:
    """A score of every source of a mixture.

    Attributes:
        label: head of a column.
        unit: "dB", "µs", or "" where there is none.
        what: the formula in words, and its source.
        compute: from sounds to a figure a source.
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

    @property
    def is_score(self) -> bool:
        """Whether it has a floor and a height above which there is only rounding."""
        return self.unit == "dB" and self.higher_is_better


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
    chosen = choose_metrics(names)
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
    sounds = Sounds(truth, guess, heard, sample_rate_hz)
    return {metric.name: metric.compute(sounds) for metric in chosen}


def choose_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, each once.

    Raises:
        InputError: there is none of that name, and known ones are listed; its package is missing.
    """
    for name in names:
        if name in SET_METRICS:
            raise InputError(
                f"{name} compares sets of sounds: it is a figure of avsep score, with a folder for "
                "--reference and one for --estimate"
            )
        if name not in METRICS:
            raise unknown_name("metric", name, [*METRICS, *SET_METRICS])
        package = METRICS[name].package
        if package is not None:
            require_package(package, name)
    return tuple(METRICS[name] for name in dict.fromkeys(names))


def mean_figures(
    figures: Float64[np.ndarray, "first *rest"],
) -> Float64[np.ndarray, "*rest"]:
    """The mean over the first axis of those that are numbers, NaN where none is.

    -inf where any is -inf, since one source has an SIR of inf beside it.

    >>> mean_figures(np.array([[1.0, np.inf, np.nan], [2.0, -np.inf, 4.0]]))
    array([ 1.5, -inf,  4. ])
    """
    lowest = np.isneginf(figures).any(axis=0)
    counted = ~np.isnan(figures)
    total = np.where(counted & ~lowest, figures, 0.0).sum(axis=0)
    count = counted.sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.where(lowest, -np.inf, mean)


def _by_channel(score: ByChannel) -> Compute:
    """A score of one channel as one of all that sound in every reference: their mean."""

    def compute(sounds: Sounds) -> Figures:
        sounding = np.asarray(sounds.references.any(axis=-1).all(axis=0))
        if not sounding.any():
            sounding = ~sounding  # so that the error names the silent reference
        truth, guess = (
            given[:, sounding].swapaxes(0, 1) for given in (sounds.references, sounds.estimates)
        )
        return mean_figures(score(truth, guess, sounds.mixture[sounding], sounds.sample_rate_hz))

    return compute


def _sa_sdr(sounds: Sounds) -> Figures:
    """One figure of the mixture, all channels together, beside every source."""
    num_sources = len(sounds.references)
    pooled = (given.reshape(num_sources, -1) for given in (sounds.references, sounds.estimates))
    return np.full(num_sources, sa_sdr_db(*pooled))


def _ild_error(sounds: Sounds) -> Figures:
    return ild_error_db(sounds.references, sounds.estimates)


def _itd_error(sounds: Sounds) -> Figures:
    return itd_error_us(sounds.references, sounds.estimates, sounds.sample_rate_hz)


def _at_one_ear(ear: int, figure: int) -> Compute:
    """SDR, SIR or SAR of BSS Eval v3 at one ear alone; NaN where a reference is silent there."""
    return lambda sounds: sounds.by_channel_db[ear, :, figure]


def _clap(sounds: Sounds) -> Figures:
    embedder = ClapEmbedder.load()
    pairs = zip(sounds.references, sounds.estimates, strict=True)
    return np.array(
        [
            clap_score(*(embedder.embed(waveform, sounds.sample_rate_hz) for waveform in pair))
            for pair in pairs
        ]
    )


def _pesq(
    truth: Channels, guess: Channels, _: Float64[np.ndarray, "C N"], sample_rate_hz: int
) -> Float64[np.ndarray, "C S"]:
    num_channels, num_sources, _num_samples = truth.shape
    return np.array(
        [
            [pesq_mos(truth[c, s], guess[c, s], sample_rate_hz) for s in range(num_sources)]
            for c in range(num_channels)
        ]
    )


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
    *(
        Metric(
            f"{figure}-{side}",
            f"{figure.upper()} {side}",
            "dB",
            True,
            f"{figure.upper()} of BSS Eval v3 at the {side} ear alone",
            _at_one_ear(ear, column),
            channels=2,
        )
        for ear, side in enumerate(("left", "right"))
        for column, figure in enumerate(("sdr", "sir"))
    ),
    Metric(
        "ild-error",
        "ILD error",
        "dB",
        False,
        "how far 10 log10(energy left / right) is from the reference's (Veluri et al., UIST 2023)",
        _ild_error,
        channels=2,
    ),
    Metric(
        "itd-error",
        "ITD error",
        "µs",
        False,
        "how far the delay between the ears, by GCC-PHAT within 1 ms, is from the reference's "
        "(Veluri et al., UIST 2023)",
        _itd_error,
        channels=2,
    ),
    Metric(
        "spectral",
        "MR-STFT",
        "",
        False,
        "spectral convergence and log magnitude distance, mean of three resolutions (Yamamoto et "
        "al., ICASSP 2020)",
        _by_channel(lambda truth, guess, *_: spectral_distance(truth, guess)),
    ),
    Metric(
        "pesq",
        "PESQ",
        "",
        True,
        "wide-band PESQ of speech at 16 kHz (ITU-T P.862.2)",
        _by_channel(_pesq),
        package="pesq",
    ),
    Metric(
        "clap",
        "CLAP",
        "",
        True,
        "cosine between the CLAP embeddings of estimate and reference (Wu et al., ICASSP 2023)",
        _clap,
        package="transformers",
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
