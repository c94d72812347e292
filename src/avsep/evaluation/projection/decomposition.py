"""Decompose signals into the parts of BSS Eval; refine those whose rounding error is too large."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from avsep.evaluation.projection.least_squares import (
    DenseInverse,
    ProjectedEnergy,
    correlate,
    filter_and_add,
)
from avsep.evaluation.waveforms import unit_energy

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
# The gains of steps need not fall monotonically: on the low-passed noise of the tests a gain rose
# to at most twice the last while converging, and to 4 and 10 times where only rounding was left.
_MAX_GAIN_RISE = 4.0
# Steps end when the next would gain less than this share of the acceptable error of the energy,
_SHARE_OF_LIMIT = 0.3
# or less than this, far below the last bit of an energy of 1.
_MIN_GAIN = 1e-17
# Energies near 1 are sums of many squares: their differences are known no better than this.
_ROUNDING = 2 * 2.0**-52
# Residual waveforms must give tiny parts too. Their steps end when the next would change the energy
# by less than this: an amplitude of 3e-13, which moves an SIR of 90 dB by less than 1e-7 dB.
_WAVEFORM_GAIN = 1e-25
# A step whose waveform has less than this share of its expected energy is filters that cancel.
_CANCELLED = 1e-4


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
class MixtureSystem:
    """The least-squares systems of one mixture: S sources of C channels, G = S C, and R signals.

    Attributes:
        references: waveforms at any level.
        signals: waveforms at any level; silent ones have parts of 0.
        autocorrelations: inner products of the references, at energy 1, at every lag.
        cross_correlations: inner products of the signals and the delayed references, at energy 1.
        compared: indices of the signals that each source is compared with.
    """

    references: Float64[Tensor, "S C N"]
    signals: Float64[Tensor, "R N"]
    autocorrelations: Float64[Tensor, "G G lags"]
    cross_correlations: Float64[Tensor, "R G taps"]
    compared: Int64[Tensor, "S Q"]


def refine_decomposition(
    system: MixtureSystem, by_source: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> Decomposition:
    """Return the parts [S, Q] of the signals as shares of their energies, within their limits.

    Args:
        system: waveforms and correlations of the mixture.
        by_source, by_all: [S, Q], energies explained by each source's references and by all (None
            for one source); some exceed their error limits.
    """
    num_sources, num_channels, _ = system.references.shape
    compared = system.compared
    signal_energy = (system.signals != 0).any(-1).to(system.signals.dtype)[compared]
    by_source, by_all = by_source.map(torch.clone), by_all and by_all.map(torch.clone)
    projections = [
        _Projection(system, slice(i * num_channels, (i + 1) * num_channels))
        for i in range(num_sources)
    ]
    projection_by_all = _Projection(system, slice(None))
    limit, limit_of_all = error_limits(signal_energy, by_source, by_all)
    for index, inexact in enumerate(exceeds_limit(by_source, limit)):
        if inexact.any():
            refined = projections[index].by_residual(
                compared[index, inexact], limit[index, inexact]
            )
            by_source.energy[index, inexact], by_source.error[index, inexact] = refined
    if by_all is not None and (inexact := exceeds_limit(by_all, limit_of_all)).any():
        # Several sources may be compared with one signal: the lowest of their limits holds.
        rows, places = compared[inexact].unique(return_inverse=True)
        lowest = limit.new_full((len(rows),), torch.inf)
        lowest.scatter_reduce_(0, places, limit_of_all[inexact].nan_to_num(nan=0.0), "amin")
        energy, error = projection_by_all.by_residual(rows, lowest)
        by_all.energy[inexact], by_all.error[inexact] = energy[places], error[places]
    # Refined energies have other limits. Parts so tiny that they still exceed them are differences
    # of nearly equal energies, and only their waveforms give them exactly.
    limits = error_limits(signal_energy, by_source, by_all)
    if (exceeds_limit(by_source, limits[0]) | exceeds_limit(by_all or by_source, limits[1])).any():
        return _decompose_waveforms(
            system, projections, projection_by_all if num_sources > 1 else None
        )
    return subtract_energies(signal_energy, by_source, by_all)


class _Projection:
    """Projection of a mixture's signals onto the references of one source, or of all sources.

    More exact than correlations alone, and slower.
    """

    def __init__(self, system: MixtureSystem, channels: slice) -> None:
        self._references = unit_energy(system.references.flatten(0, 1)[channels])
        self._signals = system.signals
        self._cross_correlations = system.cross_correlations[:, channels]
        self._autocorrelations = system.autocorrelations[channels, channels]

    def by_residual(
        self, rows: Int64[Tensor, " K"], limit: Float64[Tensor, " K"]
    ) -> tuple[Float64[Tensor, " K"], Float64[Tensor, " K"]]:
        """Return explained energies of some signals, accurate to a limit, and their error bounds.

        They are the energies of the signals less those of their residuals.
        """
        settled_gain = (_SHARE_OF_LIMIT * limit.nan_to_num(nan=0.0)).clamp(min=_MIN_GAIN)
        residuals, error = self._project(rows, settled_gain)
        energy = unit_energy(self._signals[rows]).square().sum(-1)
        return energy - residuals.square().sum(-1), error + _ROUNDING

    def residuals(self, rows: Int64[Tensor, " K"]) -> Float64[Tensor, "K longer"]:
        """Return the residual waveforms of some signals, in full precision."""
        settled_gain = self._cross_correlations.new_full((len(rows),), _WAVEFORM_GAIN)
        return self._project(rows, settled_gain)[0]

    def _project(
        self, rows: Int64[Tensor, " K"], settled_gain: Float64[Tensor, " K"]
    ) -> tuple[Float64[Tensor, "K longer"], Float64[Tensor, " K"]]:
        signals = unit_energy(self._signals[rows])
        return projection_residual(
            self._inverse, self._references, signals, self._cross_correlations[rows], settled_gain
        )

    @cached_property
    def _inverse(self) -> DenseInverse:
        return DenseInverse(self._autocorrelations)


def projection_residual(
    inverse: DenseInverse,
    references: Float64[Tensor, "G N"],
    signals: Float64[Tensor, "R N"],
    cross_correlations: Float64[Tensor, "R G taps"],
    settled_gain: Float64[Tensor, " R"],
) -> tuple[Float64[Tensor, "R longer"], Float64[Tensor, " R"]]:
    """Compute residual waveforms after the projection, and bounds of their excess energy.

    The normal equations square the condition of the problem, and sound without energy in part of
    the band leaves them near singular. So they only precondition conjugate gradients on the
    residual itself (Bjorck, Numerical Methods for Least Squares Problems, chapter 7): the first
    step is their solution, later ones remove its rounding.

    Departure: mir_eval stops at that solution, or takes a pseudo-inverse where the equations are
    singular to the last bit. On sound low-passed by 8th-order filters it is off by up to 1 dB.

    Args:
        inverse: inverse of the references' inner products.
        references, signals: waveforms of energy 1; signals may be zeros.
        cross_correlations: inner products of signals and delayed references.
        settled_gain: iteration ends when a step would lower the residual's energy by less.
    """
    residual = pad(signals, (0, inverse.taps - 1))
    settled = torch.zeros(len(signals), dtype=torch.bool, device=signals.device)
    gradient, direction = cross_correlations, None
    gain = residual.new_full((len(signals),), torch.inf)
    for _ in range(_MAX_STEPS):
        step = inverse.solve(gradient)
        last_gain, gain = gain, (gradient * step).sum((-2, -1))
        # A gain that rises much is rounding: following it would add up to noise.
        settled = settled | (gain <= settled_gain) | (gain >= _MAX_GAIN_RISE * last_gain)
        if settled.all():
            break
        if direction is not None:
            step = step + torch.where(settled, 0.0, gain / last_gain)[:, None, None] * direction
        direction = step
        change = filter_and_add(references, direction)
        change_energy = change.square().sum(-1)
        # Filters that cancel out (equal references) leave only rounding to follow.
        settled = settled | (change_energy < _CANCELLED * gain)
        residual = residual - torch.where(settled, 0.0, gain / change_energy)[:, None] * change
        # Recomputed from the residual, not updated: errors of the correlations do not accumulate.
        gradient = correlate(references, [residual], inverse.taps).transpose(0, 1)
    return residual, gain.abs()


def _decompose_waveforms(
    system: MixtureSystem, projections: list[_Projection], projection_by_all: _Projection | None
) -> Decomposition:
    """Compute the waveform of each part and its energy: exact where differences are rounding."""
    signals = unit_energy(system.signals)
    residuals_of_all = None
    if projection_by_all is not None:
        all_rows = torch.arange(len(signals), device=signals.device)
        residuals_of_all = projection_by_all.residuals(all_rows)
    energies: list[list[Tensor]] = []
    for rows, projection in zip(system.compared, projections, strict=True):
        distortion = projection.residuals(rows)
        artifacts = distortion if residuals_of_all is None else residuals_of_all[rows]
        estimates = pad(signals[rows], (0, distortion.shape[1] - signals.shape[1]))
        waveforms = (
            estimates - distortion,
            distortion,
            distortion - artifacts,
            estimates - artifacts,
            artifacts,
        )
        energies.append([waveform.square().sum(-1) for waveform in waveforms])
    return Decomposition(*(torch.stack(parts) for parts in zip(*energies, strict=True)))
