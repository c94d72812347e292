"""Refine near-singular or tiny decompositions in full precision."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from avsep.evaluation.projection.decomposition import (
    Decomposition,
    ProjectedEnergy,
    are_wrong,
    error_limits,
    parts_of,
)
from avsep.evaluation.projection.least_squares import DenseInverse, correlate, filter_and_add
from avsep.evaluation.waveforms import unit_energy

# What filtered references cannot make of signals, as waveforms, right to the last digit


# References without energy in part of the band need the most steps; what is left is ill-posed.
_MOST_STEPS = 16
# Steps' gains need not fall evenly: on their way down they rose to twice the last at most on the
# low-passed noise of the tests, and to 4 and 10 times where nothing but rounding was left.
_MOST_RISE = 4.0


def projection_residual(
    inverse: DenseInverse,
    references: Float64[Tensor, "G N"],
    signals: Float64[Tensor, "R N"],
    sides: Float64[Tensor, "R G taps"],
    settled_gain: Float64[Tensor, " R"],
) -> tuple[Float64[Tensor, "R longer"], Float64[Tensor, " R"]]:
    """What filtered references cannot make of signals, as waveforms, and how much may be too much.

    The normal equations square the condition of the problem, and sound without energy in part of
    the band leaves them near singular. So they only precondition conjugate gradients on the
    residual itself (Bjorck, Numerical Methods for Least Squares Problems, chapter 7): the first
    step is their solution, later ones remove its rounding.

    Departure: mir_eval stops at that solution, or takes a pseudo-inverse where the equations are
    singular to the last bit. On sound low-passed by 8th-order filters it is off by up to 1 dB.

    Args:
        inverse: of the references' inner products.
        references, signals: of energy 1, or signals of zeros.
        sides: inner products of signals and delayed references.
        settled_gain: a step that would lessen the rest's energy by less is not made.
    """
    rest = pad(signals, (0, inverse.taps - 1))
    settled = torch.zeros(len(signals), dtype=torch.bool, device=signals.device)
    gradient, direction = sides, None
    gain = rest.new_full((len(signals),), torch.inf)
    for _ in range(_MOST_STEPS):
        step = inverse.solve(gradient)
        last_gain, gain = gain, (gradient * step).sum((-2, -1))
        # A gain that rises much is rounding: to follow it would add up to noise.
        settled = settled | (gain <= settled_gain) | (gain >= _MOST_RISE * last_gain)
        if settled.all():
            break
        if direction is not None:
            step = step + torch.where(settled, 0.0, gain / last_gain)[:, None, None] * direction
        direction = step
        change = filter_and_add(references, direction)
        change_energy = change.square().sum(-1)
        # Filters that cancel out (equal references) leave only rounding to follow.
        settled = settled | (change_energy < 1e-4 * gain)
        rest = rest - torch.where(settled, 0.0, gain / change_energy)[:, None] * change
        gradient = correlate(references, [rest], inverse.taps).transpose(0, 1)
    return rest, gain.abs()


# Steps end when the next would gain this share of what an energy may be off.
_OF_LIMIT = 0.3
_LEAST_GAIN = 1e-17
# Energies of about 1 are sums of many squares: differences of them are no better known than this.
_ROUNDING = 2 * 2.0**-52
# As waveforms parts are told however small they are. A projection is settled when the next step
# would change its energy by less than this: an amplitude of 3e-13, which moves even an SIR of
# 90 dB by less than 1e-7 dB.
_WAVEFORM_GAIN = 1e-25


@dataclass(frozen=True)
class Mixture:
    """One mixture: S sources of C channels each, all G of them together, and R signals.

    Attributes:
        references: at any level.
        signals: at any level; silent ones have parts of 0.
        lags: inner products of the references, at energy 1, at every lag.
        sides: inner products of the signals and the delayed references, all at energy 1.
        asked: which signals each source is compared with.
    """

    references: Float64[Tensor, "S C N"]
    signals: Float64[Tensor, "R N"]
    lags: Float64[Tensor, "G G lags"]
    sides: Float64[Tensor, "R G taps"]
    asked: Int64[Tensor, "S Q"]


class _System:
    """The references of one source, or all, before signals compared with them.

    Its answers are more exact than those of correlations, and slower.
    """

    def __init__(self, mixture: Mixture, channels: slice) -> None:
        self._references = unit_energy(mixture.references.flatten(0, 1)[channels])
        self._signals, self._sides = mixture.signals, mixture.sides[:, channels]
        self._lags = mixture.lags[channels, channels]

    def by_rests(
        self, rows: Int64[Tensor, " K"], limit: Float64[Tensor, " K"]
    ) -> tuple[Float64[Tensor, " K"], Float64[Tensor, " K"]]:
        """Energies explained of some signals, known to a limit, and how far off they may be.

        They are the energies of the signals less those of what is left of them.
        """
        settled = (_OF_LIMIT * limit.nan_to_num(nan=0.0)).clamp(min=_LEAST_GAIN)
        rests, error = self._after(rows, settled)
        whole = unit_energy(self._signals[rows]).square().sum(-1)
        return whole - rests.square().sum(-1), error + _ROUNDING

    def rests(self, rows: Int64[Tensor, " K"]) -> Float64[Tensor, "K longer"]:
        """What the references cannot make of some signals, to the last digit."""
        return self._after(rows, self._sides.new_full((len(rows),), _WAVEFORM_GAIN))[0]

    def _after(
        self, rows: Int64[Tensor, " K"], settled: Float64[Tensor, " K"]
    ) -> tuple[Float64[Tensor, "K longer"], Float64[Tensor, " K"]]:
        signals = unit_energy(self._signals[rows])
        return projection_residual(
            self._inverse, self._references, signals, self._sides[rows], settled
        )

    @cached_property
    def _inverse(self) -> DenseInverse:
        return DenseInverse(self._lags)


def refine_decomposition(
    mixture: Mixture, own: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> Decomposition:
    """The parts [S, Q] of the signals, as shares of their energies.

    Args:
        mixture: waveforms and correlations.
        own, by_all: [S, Q], what each source's references explain, and all (none for one source);
            some of it is not known well enough.
    """
    num_sources, num_channels, _ = mixture.references.shape
    asked = mixture.asked
    whole = (mixture.signals != 0).any(-1).to(mixture.signals.dtype)[asked]
    own, by_all = own.shaped(torch.clone), by_all and by_all.shaped(torch.clone)
    systems = [
        _System(mixture, slice(i * num_channels, (i + 1) * num_channels))
        for i in range(num_sources)
    ]
    everything = _System(mixture, slice(None))
    limit, limit_of_all = error_limits(whole, own, by_all)
    for index, wrong in enumerate(are_wrong(own, limit)):
        if wrong.any():
            answer = systems[index].by_rests(asked[index, wrong], limit[index, wrong])
            own.energy[index, wrong], own.error[index, wrong] = answer
    if by_all is not None and (wrong := are_wrong(by_all, limit_of_all)).any():
        # A signal may be asked about by several sources: the lowest of their limits is kept to.
        rows, places = asked[wrong].unique(return_inverse=True)
        lowest = limit.new_full((len(rows),), torch.inf)
        lowest.scatter_reduce_(0, places, limit_of_all[wrong].nan_to_num(nan=0.0), "amin")
        energy, error = everything.by_rests(rows, lowest)
        by_all.energy[wrong], by_all.error[wrong] = energy[places], error[places]
    limits = error_limits(whole, own, by_all)
    if (are_wrong(own, limits[0]) | are_wrong(by_all or own, limits[1])).any():
        return _parts_as_waveforms(mixture, systems, everything if num_sources > 1 else None)
    return parts_of(whole, own, by_all)


def _parts_as_waveforms(
    mixture: Mixture, systems: list[_System], everything: _System | None
) -> Decomposition:
    """Each part made and its energy measured: exact where differences of energies are rounding."""
    signals = unit_energy(mixture.signals)
    rests_of_all = None
    if everything is not None:
        rests_of_all = everything.rests(torch.arange(len(signals), device=signals.device))
    found: list[list[Tensor]] = []
    for rows, system in zip(mixture.asked, systems, strict=True):
        distortion = system.rests(rows)
        artifacts = distortion if rests_of_all is None else rests_of_all[rows]
        estimates = pad(signals[rows], (0, distortion.shape[1] - signals.shape[1]))
        waves = (
            estimates - distortion,
            distortion,
            distortion - artifacts,
            estimates - artifacts,
            artifacts,
        )
        found.append([wave.square().sum(-1) for wave in waves])
    return Decomposition(*(torch.stack(energies) for energies in zip(*found, strict=True)))
