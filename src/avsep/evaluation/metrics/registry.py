"""The registry of metrics beside SDR, SIR and SAR, all with one signature."""

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
SourceValues = Float64[np.ndarray, " S"]
Channels = Float64[np.ndarray, "C S N"]
# From references, estimates, mixture and the sampling rate in Hz to a value per channel and source.
ByChannel = Callable[
    [Channels, Channels, Float64[np.ndarray, "C N"], int], Float64[np.ndarray, "C S"]
]


@dataclass(frozen=True)
class MetricInputs:
    """Waveforms to compare, and intermediate results that several metrics share."""

    references: Sources
    estimates: Sources
    mixture: Float64[np.ndarray, "C N"]
    sample_rate_hz: int

    @cached_property
    def by_channel_db(self) -> Float64[np.ndarray, "C S 3"]:
        """SDR, SIR, SAR of each channel alone; NaN where a reference is silent in it."""
        table_db = np.full((*self.references.shape[1::-1], 3), np.nan)
        sounding = self.references.any(axis=-1).all(axis=0)
        for channel in np.flatnonzero(sounding):
            truth, guess = self.references[:, channel], self.estimates[:, channel]
            table_db[channel] = bss_eval(truth, guess).table_db
        return table_db


Compute = Callable[[MetricInputs], SourceValues]

# FAD compares distributions of many sounds, so that only folders have it, not single sources.
SET_METRICS = ("fad",)


@dataclass(frozen=True)
class Metric:
    """A metric with one value for every source of a mixture.

    Attributes:
        label: head of its column in tables.
        unit: "dB", "µs", or "" without a unit.
        formula: the formula in words, and its source.
        compute: function from waveforms to a value per source.
        needs_mixture: True if the mixture enters the formula.
        channels: the only number of channels it is defined for; None for any.
        package: package to install; None if avsep installs it.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    formula: str
    compute: Compute
    needs_mixture: bool = False
    channels: int | None = None
    package: str | None = None

    @property
    def key(self) -> str:
        """The name in JSON and CSV, with the unit: `si_sdr_db`."""
        words = [*self.name.split("-"), self.unit.lower().replace("µ", "u")]
        return "_".join(word for word in words if word)

    @property
    def is_score(self) -> bool:
        """True if it is a ratio in dB, with a floor and rounding only above 100 dB."""
        return self.unit == "dB" and self.higher_is_better


def measure(
    names: Sequence[str],
    references: Shaped[np.ndarray, "S C N"],
    estimates: Shaped[np.ndarray, "S C N"],
    mixture: Shaped[np.ndarray, "C N"] | None,
    sample_rate_hz: int,
) -> dict[str, SourceValues]:
    """Compute the named metrics of each source, in the order of the names.

    Metrics of one channel are computed channel by channel and averaged; a channel in which a
    reference is silent is left out, as by `avsep score`.

    Args:
        mixture: sound before separation; may be None unless a metric needs it.

    Raises:
        InputError: an unknown name, a missing package, a metric that needs a mixture or another
            number of channels; unequal shapes, NaN, references that are silent in every channel.
    """
    chosen = choose_metrics(names)
    num_channels = references.shape[1]
    for metric in chosen:
        if metric.channels not in (None, num_channels):
            raise InputError(
                f"{metric.name} needs {metric.channels} channels, the sound has {num_channels}; "
                f"leave {metric.name} out, or give sound of {metric.channels} channels"
            )
        if metric.needs_mixture and mixture is None:
            raise InputError(f"{metric.name} needs the mixture: give it, by --mixture FILE")
    # float64 for all: float32 rounding of sums over minutes of sound would show in the dB.
    truth, guess = (waveforms.astype(np.float64) for waveforms in (references, estimates))
    sound = truth.sum(axis=0) if mixture is None else mixture.astype(np.float64)
    inputs = MetricInputs(truth, guess, sound, sample_rate_hz)
    return {metric.name: metric.compute(inputs) for metric in chosen}


def choose_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return the metrics of these names, each once.

    Raises:
        InputError: unknown name (the error lists the known ones), or a missing package.
    """
    for name in names:
        # Checked before any file is read or scored, packages included.
        if name in SET_METRICS:
            raise InputError(
                f"{name} compares sets of sounds: use avsep score with a folder for --reference "
                "and one for --estimate"
            )
        if name not in METRICS:
            raise unknown_name("metric", name, [*METRICS, *SET_METRICS])
        package = METRICS[name].package
        if package is not None:
            require_package(package, name)
    return tuple(METRICS[name] for name in dict.fromkeys(names))


def mean_values(
    values: Float64[np.ndarray, "first *rest"],
) -> Float64[np.ndarray, "*rest"]:
    """Return the mean over the first axis without NaN; NaN where all are NaN.

    -inf where any value is -inf, even beside inf, the SIR of a single source.

    >>> mean_values(np.array([[1.0, np.inf, np.nan], [2.0, -np.inf, 4.0]]))
    array([ 1.5, -inf,  4. ])
    """
    # inf - inf would be NaN: silence in one channel must not become "no value".
    lowest = np.isneginf(values).any(axis=0)
    counted = ~np.isnan(values)
    total = np.where(counted & ~lowest, values, 0.0).sum(axis=0)
    count = counted.sum(axis=0)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.where(lowest, -np.inf, mean)


def _by_channel(score: ByChannel) -> Compute:
    """Average a single-channel metric over the channels in which every reference sounds."""

    def compute(inputs: MetricInputs) -> SourceValues:
        sounding = np.asarray(inputs.references.any(axis=-1).all(axis=0))
        if not sounding.any():
            sounding = ~sounding  # so that the metric's own error names the silent reference
        truth, guess = (
            waveforms[:, sounding].swapaxes(0, 1)
            for waveforms in (inputs.references, inputs.estimates)
        )
        return mean_values(score(truth, guess, inputs.mixture[sounding], inputs.sample_rate_hz))

    return compute


def _sa_sdr(inputs: MetricInputs) -> SourceValues:
    """Return one value of the mixture, over all channels, repeated for every source."""
    num_sources = len(inputs.references)
    pooled = (
        waveforms.reshape(num_sources, -1) for waveforms in (inputs.references, inputs.estimates)
    )
    return np.full(num_sources, sa_sdr_db(*pooled))


def _ild_error(inputs: MetricInputs) -> SourceValues:
    return ild_error_db(inputs.references, inputs.estimates)


def _itd_error(inputs: MetricInputs) -> SourceValues:
    return itd_error_us(inputs.references, inputs.estimates, inputs.sample_rate_hz)


def _at_one_ear(ear: int, column: int) -> Compute:
    """Select SDR, SIR or SAR of BSS Eval v3 at one ear; NaN where a reference is silent there."""
    return lambda inputs: inputs.by_channel_db[ear, :, column]


def _clap(inputs: MetricInputs) -> SourceValues:
    embedder = ClapEmbedder.load()
    pairs = zip(inputs.references, inputs.estimates, strict=True)
    return np.array(
        [
            clap_score(*(embedder.embed(waveform, inputs.sample_rate_hz) for waveform in pair))
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
        "that projection against what the other references add (Le Roux et al., ICASSP 2019)",
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
        _by_channel(lambda truth, guess, mixture, _: sdr_improvement_db(truth, guess, mixture)),
        needs_mixture=True,
    ),
    Metric(
        "si-sdri",
        "SI-SDRi",
        "dB",
        True,
        "SI-SDR minus that of the mixture as the estimate",
        _by_channel(
            lambda truth, guess, mixture, _: sdr_improvement_db(
                truth, guess, mixture, scale_invariant=True
            )
        ),
        needs_mixture=True,
    ),
    Metric(
        "sa-sdr",
        "SA-SDR",
        "dB",
        True,
        "energy of all sources against that of all errors, one value a mixture (von Neumann et "
        "al., ICASSP 2022)",
        _sa_sdr,
    ),
    *(
        Metric(
            f"{ratio}-{side}",
            f"{ratio.upper()} {side}",
            "dB",
            True,
            f"{ratio.upper()} of BSS Eval v3 at the {side} ear alone",
            _at_one_ear(ear, column),
            channels=2,
        )
        for ear, side in enumerate(("left", "right"))
        for column, ratio in enumerate(("sdr", "sir"))
    ),
    Metric(
        "ild-error",
        "ILD error",
        "dB",
        False,
        "distance of 10 log10(energy left / right) from the reference's (Veluri et al., UIST 2023)",
        _ild_error,
        channels=2,
    ),
    Metric(
        "itd-error",
        "ITD error",
        "µs",
        False,
        "distance of the delay between the ears, by GCC-PHAT within 1 ms, from the reference's "
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
# In the order in which help and errors list them.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
