"""Decompose signals into the parts of BSS Eval; refine those whose rounding error is too large."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from avsep.evaluation.projection.least_squares import (
    DelayedReferences,
    ProjectedEnergy,
    ToeplitzSystems,
    inner,
)

Energies = Float64[Tensor, "*B Q"]

# Each energy may be off by this share of the smallest part: 10 log10(1 + 1e-7) is 4e-7 dB, below
# the 1e-6 dB to which scores agree with mir_eval.
_MAX_RELATIVE_ERROR = 1e-7
# Artifacts below this share of the explained energy count as none: their ratio is beyond 100 dB,
# where scores only mean "perfect".
_NEGLIGIBLE_ARTIFACTS = 1e-11
_EPSILON = 2.0**-52  # float64 epsilon, the rounding of an energy of 1
# References without energy in part of the band need the most steps; beyond these the problem is
# ill-posed.
_MAX_STEPS = 16
# Steps end when the next would gain less than this share of the acceptable error of the energy,
_SHARE_OF_LIMIT = 0.3
# or less than this, far below the last bit of an energy of 1.
_MIN_GAIN = 1e-17
# Energies near 1 are sums of many squares: their differences are known no better than this.
_ROUNDING = 2 * 2.0**-52
# Residual waveforms must give tiny parts too. Their steps end when the next would change the energy
# by less than this: an amplitude of 3e-13, which moves an SIR of 90 dB by less than 1e-7 dB.
_WAVEFORM_GAIN = 1e-25
# The gains of steps need not fall monotonically, but a gain that rises much is rounding.
_MAX_GAIN_RISE = 4.0
# Filters of squared length 1 whose waveform has less energy cancel, and leave only rounding.
_CANCELLED = 2.0**-80


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

    def unit_signals(
        self, mixtures: Int64[Tensor, "K X"], signals: Int64[Tensor, "K X"]
    ) -> Float64[Tensor, "K X longer"]:
        """Return some signals at energy 1 or 0, with room at the end for the delays."""
        scales = torch.where(self.norms > 0, 1 / self.norms, 0.0)[mixtures, signals]
        num_samples = self.signals.shape[-1]
        longer = scales.new_zeros(*scales.shape, num_samples + self.references[0].taps - 1)
        torch.mul(self.signals[mixtures, signals], scales[..., None], out=longer[..., :num_samples])
        return longer


def decompose(mixtures: Mixtures) -> Decomposition:
    """Return the parts [B, S, Q] of the signals as shares of their energies, within their limits.

    Most are differences of the energies that correlations give. Where their rounding errors may be
    too large, projections are refined on waveforms.
    """
    signal_energy, by_source, by_all = mixtures.energies()
    limit, limit_of_all = error_limits(signal_energy, by_source, by_all)
    inexact = exceeds_limit(by_source, limit).any(-1)  # B S
    if inexact.any():
        projection = _Projection.of_sources(mixtures, inexact.flatten().nonzero()[:, 0])
        refined = projection.energies(limit[inexact])
        by_source = by_source.replaced(inexact, refined)
    if by_all is not None and mixtures.by_all is not None:
        inexact = exceeds_limit(by_all, limit_of_all).flatten(1).any(1)  # B
        if inexact.any():
            projection = _Projection.of_all(mixtures, inexact.nonzero()[:, 0])
            # Several sources may be compared with one signal: the lowest of their limits holds.
            limits = limit_of_all[inexact].flatten(1).nan_to_num(nan=0.0)
            lowest = limits.new_full((len(limits), mixtures.signals.shape[1]), torch.inf)
            places = mixtures.compared.flatten().expand(len(limits), -1)
            refined = projection.energies(lowest.scatter_reduce(1, places, limits, "amin"))
            refined = refined.map(lambda values: values[:, mixtures.compared])
            by_all = by_all.replaced(inexact, refined)
    parts = subtract_energies(signal_energy, by_source, by_all)
    # Refined energies have other limits. Parts so tiny that they still exceed them are differences
    # of nearly equal energies, and only their waveforms give them exactly.
    limit, limit_of_all = error_limits(signal_energy, by_source, by_all)
    inexact = exceeds_limit(by_source, limit) | exceeds_limit(by_all or by_source, limit_of_all)
    for index in inexact.flatten(1).any(1).nonzero()[:, 0]:
        refined = _decompose_waveforms(mixtures, index)
        for field in fields(Decomposition):
            getattr(parts, field.name)[index] = getattr(refined, field.name)
    return parts


class _Projection:
    """Projections of signals onto references, more exact than by correlations alone, and slower."""

    def __init__(
        self,
        systems: ToeplitzSystems,
        references: Sequence[DelayedReferences],
        signals: Float64[Tensor, "K X longer"],
    ) -> None:
        self._systems = systems
        self._references = references
        self.signals = signals

    @classmethod
    def of_sources(cls, mixtures: Mixtures, index: Int64[Tensor, " K"]) -> Self:
        """Return the projections onto the own channels of some sources of all mixtures."""
        num_sources = len(mixtures.compared)
        mixture, source = index // num_sources, index % num_sources
        compared = mixtures.compared[source]
        signals = mixtures.unit_signals(mixture[:, None].expand_as(compared), compared)
        num_channels = mixtures.by_source.autocorrelations.shape[1]
        references = [
            mixtures.references[i // num_sources].channels(
                i % num_sources * num_channels, num_channels
            )
            for i in index.tolist()
        ]
        return cls(mixtures.by_source.pick(index), references, signals)

    @classmethod
    def of_all(cls, mixtures: Mixtures, index: Int64[Tensor, " K"]) -> Self:
        """Return the projections onto the channels of all sources of some mixtures."""
        assert mixtures.by_all is not None, "one source has no others"
        every = torch.arange(mixtures.signals.shape[1], device=index.device)
        signals = mixtures.unit_signals(*torch.broadcast_tensors(index[:, None], every))
        references = [mixtures.references[i] for i in index.tolist()]
        return cls(mixtures.by_all.pick(index), references, signals)

    def energies(self, limit: Float64[Tensor, "K X"]) -> ProjectedEnergy:
        """Return explained energies, accurate to a limit, and their error bounds.

        They are the energies of the signals less those of their residuals.
        """
        settled_gain = (_SHARE_OF_LIMIT * limit.nan_to_num(nan=0.0)).clamp(min=_MIN_GAIN)
        residuals, error = self._project(settled_gain)
        energy = inner(self.signals, self.signals) - inner(residuals, residuals)
        return ProjectedEnergy(energy, error + _ROUNDING)

    def residuals(self) -> Float64[Tensor, "K X longer"]:
        """Return the residual waveforms, in full precision."""
        settled_gain = self.signals.new_full(self.signals.shape[:2], _WAVEFORM_GAIN)
        return self._project(settled_gain)[0]

    def _project(
        self, settled_gain: Float64[Tensor, "K X"]
    ) -> tuple[Float64[Tensor, "K X longer"], Float64[Tensor, "K X"]]:
        return projection_residual(self._systems, self._references, self.signals, settled_gain)


def projection_residual(
    systems: ToeplitzSystems,
    references: Sequence[DelayedReferences],
    signals: Float64[Tensor, "K X longer"],
    settled_gain: Float64[Tensor, "K X"],
) -> tuple[Float64[Tensor, "K X longer"], Float64[Tensor, "K X"]]:
    """Compute residual waveforms after the projection, and bounds of their excess energy.

    The normal equations square the condition of the problem, and sound without energy in part of
    the band leaves them near singular. So they only precondition conjugate gradients on the
    residual itself (Bjorck, Numerical Methods for Least Squares Problems, chapter 7): the first
    step is their solution, later ones remove its rounding.

    Departure: mir_eval stops at that solution, or takes a pseudo-inverse where the equations are
    singular to the last bit. On sound low-passed by 8th-order filters it is off by up to 1 dB.

    Args:
        systems: least squares of the same references and signals.
        references: of each system, at energy 1.
        signals: waveforms of energy 1 or 0, with room for the delays at the end.
        settled_gain: iteration ends when a step would lower the residual's energy by less.
    """
    if not systems.energies.energy.isfinite().all():
        systems = systems.with_ridge()
    residuals = [_Residual(*each) for each in zip(references, signals, strict=True)]
    settled = torch.zeros_like(settled_gain, dtype=torch.bool)
    gain = torch.full_like(settled_gain, torch.inf)
    gradients, steps = systems.cross_correlations.clone(), systems.filters()
    for _ in range(_MAX_STEPS):
        last_gain, gain = gain, (gradients * steps).sum((-2, -1)).abs()
        # A gain that rises much is rounding: following it would add up to noise.
        settled = settled | (gain <= settled_gain)
        settled = settled | (gain >= _MAX_GAIN_RISE * last_gain)
        if settled.all():
            break
        for index in (~settled).any(-1).nonzero()[:, 0].tolist():
            residual = residuals[index]
            settled[index] |= residual.reduce(steps[index], settled[index])
            # Of the residual, not updated: errors of the correlations do not accumulate.
            gradient = references[index].correlate([residual.waveforms])
            gradients[index] = gradient.transpose(0, 1)
        steps = systems.solve(gradients)
    return torch.stack([residual.waveforms for residual in residuals]), gain


class _Residual:
    """Residuals of X signals after their projection on one system's references, step by step.

    Steps are made conjugate, and their lengths found, by inner products of waveforms, so that no
    step makes a residual larger.
    """

    def __init__(self, references: DelayedReferences, signals: Float64[Tensor, "X longer"]) -> None:
        self.waveforms = signals.clone()
        self._references = references
        self._last_change = torch.zeros_like(signals[:, :0])
        self._last_energy = signals.new_ones(len(signals))

    def reduce(
        self, step: Float64[Tensor, "X G taps"], settled: Bool[Tensor, " X"]
    ) -> Bool[Tensor, " X"]:
        """Subtract the filtered references as far as the residuals become smaller.

        Settled residuals stay as they are; so do those, marked in the result, whose step is
        rounding only.
        """
        change = self._references.filter_and_add(step)
        energy = inner(change, change)
        # Filters that cancel out (equal references) leave only rounding to follow.
        is_rounding = ~(energy > _CANCELLED * step.square().sum((-2, -1)))
        if self._last_change.numel():
            shared = inner(change, self._last_change) / self._last_energy
            change.addcmul_(self._last_change, shared[:, None], value=-1)
            energy = inner(change, change)
        stays = settled | is_rounding
        length = torch.where(stays, 0.0, inner(self.waveforms, change) / energy)
        self.waveforms.addcmul_(change, length[:, None], value=-1)
        self._last_change, self._last_energy = change, torch.where(stays, 1.0, energy)
        return is_rounding


def _decompose_waveforms(mixtures: Mixtures, index: Int64[Tensor, ""]) -> Decomposition:
    """Compute the waveforms of a mixture's parts and their energies [S, Q].

    They are exact where differences of energies are rounding.
    """
    compared = mixtures.compared
    sources = torch.arange(len(compared), device=index.device) + index * len(compared)
    projection = _Projection.of_sources(mixtures, sources)
    estimates, distortion = projection.signals, projection.residuals()
    artifacts = distortion
    if mixtures.by_all is not None:
        artifacts = _Projection.of_all(mixtures, index[None]).residuals()[0, compared]
    waveforms = (
        estimates - distortion,
        distortion,
        distortion - artifacts,
        estimates - artifacts,
        artifacts,
    )
    return Decomposition(*(inner(waveform, waveform) for waveform in waveforms))
