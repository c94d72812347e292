"""Decompose signals into the parts of BSS Eval; refine those whose rounding error is too large."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from avsep.evaluation.projection.least_squares import (
    DelayedReferences,
    ProjectedEnergy,
    ToeplitzSystems,
    norms,
)
from avsep.evaluation.projection.refinement import WaveformProjection

Energies = Float64[Tensor, "*B Q"]

# Each energy may be off by this share of the smallest part: 10 log10(1 + 1e-7) is 4e-7 dB, below
# the 1e-6 dB to which scores agree with mir_eval.
_MAX_RELATIVE_ERROR = 1e-7
# Artifacts below this share of the explained energy count as none: their ratio is beyond 100 dB,
# where scores only mean "perfect".
_NEGLIGIBLE_ARTIFACTS = 1e-11
_EPSILON = 2.0**-52  # float64 epsilon, the rounding of an energy of 1


@dataclass(frozen=True)
class Decomposition:
    """Energies of the parts of Q signals, each compared with one source.

    Attributes:
        target: energy explained by the source's own delayed references.
        distortion: the rest of the signal.
        interference: energy explained by the references of all sources beyond the target.
        explained: energy explained by the references of all sources.
        artifacts: energy that no reference explains.
    """

    target: Energies
    distortion: Energies
    interference: Energies
    explained: Energies
    artifacts: Energies


def subtract_energies(
    signal_energy: Energies, by_source: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> Decomposition:
    """Compute the parts of signals as differences of projected energies.

    Projections are orthogonal, so that energies of parts are differences of energies.

    Args:
        signal_energy: 1, or 0 for silent signals, whose parts are all 0.
        by_source: energy explained by the references of the compared source.
        by_all: energy explained by the references of all sources; None with a single source, whose
            interference is 0.
    """
    target, explained = by_source.energy, (by_all or by_source).energy
    # A perfect estimate has no artifacts but rounding, and rounding may be negative.
    artifacts = (signal_energy - explained).clamp(min=_EPSILON)
    parts = (target, signal_energy - target, explained - target, explained, artifacts)
    return Decomposition(*(torch.where(signal_energy > 0, part, 0.0) for part in parts))


def error_limits(
    signal_energy: Energies, by_source: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> tuple[Energies, Energies]:
    """Return the largest acceptable errors of `by_source` and `by_all`.

    An error within its limit changes no part by more than 1e-7 of it. Silent signals have limits of
    inf, since all their parts are 0.
    """
    target = by_source.energy
    smallest = torch.minimum(target, signal_energy - target)
    smallest_of_all = smallest
    if by_all is not None:
        artifacts = signal_energy - by_all.energy
        has_none = artifacts + by_all.error < _NEGLIGIBLE_ARTIFACTS * by_all.energy
        artifacts = torch.where(has_none, torch.inf, artifacts)
        # Interference is a difference of both energies, and limits the error of either.
        shared = torch.minimum(by_all.energy - target, artifacts)
        # An energy of unknown error gives no meaningful interference: do not limit the other by it.
        smallest_of_all = torch.where(by_source.error.isfinite(), shared, artifacts)
        smallest = torch.where(by_all.error.isfinite(), torch.minimum(smallest, shared), smallest)
    sounds = signal_energy > 0
    return (
        torch.where(sounds, _MAX_RELATIVE_ERROR * smallest, torch.inf),
        torch.where(sounds, _MAX_RELATIVE_ERROR * smallest_of_all, torch.inf),
    )


def exceeds_limit(energies: ProjectedEnergy, limit: Energies) -> Bool[Tensor, "*B Q"]:
    """Mark energies whose error may exceed the limit; NaN is marked too."""
    return ~(energies.error <= limit)  # not `>`, which is False for NaN


# Refinement in full precision, of near-singular systems and of tiny parts


@dataclass(frozen=True)
class Mixtures:
    """A batch of mixtures whose S sources of C channels, G = S C, are projected upon.

    Attributes:
        references: all channels of each mixture, at energy 1.
        signals: waveforms; silent ones have parts of 0.
        norms: of the signals.
        compared: indices of the signals that each source is compared with.
        by_source: the systems of each source's channels and the signals that it is compared with;
            those of one mixture follow each other.
        by_all: the systems of all channels and all signals; None with a single source.
    """

    references: Sequence[DelayedReferences]
    signals: Float64[Tensor, "B R N"]
    norms: Float64[Tensor, "B R"]
    compared: Int64[Tensor, "S Q"]
    by_source: ToeplitzSystems
    by_all: ToeplitzSystems | None

    def energies(self) -> tuple[Energies, ProjectedEnergy, ProjectedEnergy | None]:
        """Return the signals' energies, 1 or 0, and what source and all sources explain of them."""
        num_sources = len(self.compared)
        by_source = self.by_source.energies.map(lambda x: x.unflatten(0, (-1, num_sources)))
        by_all = self.by_all and self.by_all.energies.map(lambda x: x[:, self.compared])
        sounds = (self.norms > 0).to(self.norms.dtype)
        return sounds[:, self.compared], by_source, by_all

    def unit_signal(self, mixture: int, signal: int) -> Float64[Tensor, " longer"]:
        """Return a signal at energy 1 or 0, with room at the end for the delays."""
        waveform, norm = self.signals[mixture, signal], self.norms[mixture, signal]
        longer = waveform.new_zeros(len(waveform) + self.references[0].taps - 1)
        torch.div(waveform, torch.where(norm > 0, norm, 1.0), out=longer[: len(waveform)])
        return longer

    def project_on_sources(self, index: Int64[Tensor, " K"]) -> WaveformProjection:
        """Return projections onto the own channels of some sources, counted over all mixtures."""
        num_sources, num_channels = len(self.compared), self.by_source.autocorrelations.shape[1]
        places = [divmod(i, num_sources) for i in index.tolist()]
        compared = self.compared.tolist()

        def signal(k: int, x: int) -> Float64[Tensor, " longer"]:
            mixture, source = places[k]
            return self.unit_signal(mixture, compared[source][x])

        references = [
            self.references[mixture].channels(source * num_channels, num_channels)
            for mixture, source in places
        ]
        return WaveformProjection(self.by_source.pick(index), references, signal)

    def project_on_all(self, index: Int64[Tensor, " K"]) -> WaveformProjection:
        """Return projections onto the channels of all sources of some mixtures."""
        assert self.by_all is not None, "one source has no others"
        mixtures = index.tolist()
        references = [self.references[mixture] for mixture in mixtures]
        return WaveformProjection(
            self.by_all.pick(index), references, lambda k, x: self.unit_signal(mixtures[k], x)
        )


def decompose(mixtures: Mixtures) -> Decomposition:
    """Return the parts [B, S, Q] of the signals as shares of their energies, within their limits.

    Most are differences of the energies that correlations give. Where their rounding errors may be
    too large, projections are refined on waveforms.
    """
    signal_energy, by_source, by_all = mixtures.energies()
    refined = refined_of_all = torch.zeros_like(by_source.energy, dtype=torch.bool)
    # Refined energies lower the limits of those that they are subtracted from: once more.
    for _ in range(2):
        limit, limit_of_all = error_limits(signal_energy, by_source, by_all)
        inexact = exceeds_limit(by_source, limit) & ~refined
        by_source = _refine_by_source(mixtures, by_source, inexact, limit)
        refined = refined | inexact
        if by_all is not None:
            inexact = exceeds_limit(by_all, limit_of_all) & ~refined_of_all
            by_all = _refine_by_all(mixtures, by_all, inexact, limit_of_all)
            refined_of_all = refined_of_all | inexact
    parts = subtract_energies(signal_energy, by_source, by_all)
    # Parts so tiny that refined energies still exceed their limits are differences of nearly equal
    # energies, and only their waveforms give them exactly.
    limit, limit_of_all = error_limits(signal_energy, by_source, by_all)
    inexact = exceeds_limit(by_source, limit) | exceeds_limit(by_all or by_source, limit_of_all)
    for index in inexact.flatten(1).any(1).nonzero()[:, 0]:
        exact_parts = _decompose_waveforms(mixtures, index)
        for field in fields(Decomposition):
            getattr(parts, field.name)[index] = getattr(exact_parts, field.name)
    return parts


def _refine_by_source(
    mixtures: Mixtures,
    by_source: ProjectedEnergy,
    inexact: Bool[Tensor, "B S Q"],
    limit: Energies,
) -> ProjectedEnergy:
    """Refine the inexact energies that the compared source explains."""
    chosen = inexact.any(-1)
    if not chosen.any():
        return by_source
    projection = mixtures.project_on_sources(chosen.flatten().nonzero()[:, 0])
    refined = projection.energies(limit.where(inexact, torch.inf)[chosen])
    return by_source.replaced(inexact, refined.map(lambda values: values[inexact[chosen]]))


def _refine_by_all(
    mixtures: Mixtures,
    by_all: ProjectedEnergy,
    inexact: Bool[Tensor, "B S Q"],
    limit: Energies,
) -> ProjectedEnergy:
    """Refine the inexact energies that all sources explain."""
    chosen = inexact.flatten(1).any(1)  # B
    if not chosen.any():
        return by_all
    projection = mixtures.project_on_all(chosen.nonzero()[:, 0])
    # Several sources may be compared with one signal: the lowest of their limits holds.
    limits = (
        limit.where(inexact, torch.inf)[chosen].flatten(1).nan_to_num(nan=0.0, posinf=torch.inf)
    )
    lowest = limits.new_full((len(limits), mixtures.signals.shape[1]), torch.inf)
    places = mixtures.compared.flatten().expand_as(limits)
    refined = projection.energies(lowest.scatter_reduce(1, places, limits, "amin"))
    return by_all.replaced(
        inexact, refined.map(lambda values: values[:, mixtures.compared][inexact[chosen]])
    )


def _decompose_waveforms(mixtures: Mixtures, index: Int64[Tensor, ""]) -> Decomposition:
    """Compute the waveforms of a mixture's parts and their energies [S, Q].

    They are exact where differences of energies are rounding.
    """
    compared = mixtures.compared
    sources = torch.arange(len(compared), device=index.device) + index * len(compared)
    projection = mixtures.project_on_sources(sources)
    estimates, (distortion, _) = projection.signals(), projection.residuals()
    artifacts = distortion
    if mixtures.by_all is not None:
        artifacts = mixtures.project_on_all(index[None]).residuals()[0][0, compared]
    waveforms = (
        estimates - distortion,
        distortion,
        distortion - artifacts,
        estimates - artifacts,
        artifacts,
    )
    return Decomposition(*(norms(waveform).square() for waveform in waveforms))
