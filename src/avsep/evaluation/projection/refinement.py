"""Refine projections on waveforms, where systems are near singular or parts are tiny."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from avsep.evaluation.projection.least_squares import (
    DelayedReferences,
    ProjectedEnergy,
    ToeplitzSystems,
    norms,
)

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


class WaveformProjection:
    """Projections of X signals onto each of K systems' references, more exact than by correlations.

    The normal equations square the condition of the problem, and sound without energy in part of
    the band leaves them near singular. So they only precondition conjugate gradients on the
    residual itself (Bjorck, Numerical Methods for Least Squares Problems, chapter 7): the first
    step is their solution, later ones remove its rounding.

    Departure: mir_eval stops at that solution, or takes a pseudo-inverse where the equations are
    singular to the last bit. On sound low-passed by 8th-order filters it is off by up to 1 dB.
    """

    def __init__(
        self,
        systems: ToeplitzSystems,
        references: Sequence[DelayedReferences],
        signal: Callable[[int, int], Float64[Tensor, " longer"]],
    ) -> None:
        """Set up the projections.

        Args:
            systems: least squares of the same references and signals.
            references: of each system, at energy 1.
            signal: numbers of a system and of a signal -> its waveform of energy 1 or 0, with room
                for the delays at the end.
        """
        self._systems, self._references, self._signal = systems, references, signal

    def energies(self, limit: Float64[Tensor, "K X"]) -> ProjectedEnergy:
        """Return explained energies, accurate to a limit, and their error bounds.

        They are the energies of the signals less those of their residuals. Where the limit is inf
        they stay those of the systems.
        """
        limit = limit.nan_to_num(nan=0.0, posinf=torch.inf)
        residuals, gain = self._reduce((_SHARE_OF_LIMIT * limit).clamp(min=_MIN_GAIN))
        refined = limit.isfinite()
        # A signal without a single step has no energy that counts.
        energy = self._systems.energies.energy.masked_fill(refined, 0.0)
        error = torch.where(refined, gain + _ROUNDING, self._systems.energies.error)
        for place, residual in residuals.items():
            energy[place] = 1 - norms(residual.waveform).square()
        return ProjectedEnergy(energy, error)

    def signals(self) -> Float64[Tensor, "K X longer"]:
        """Return the waveforms of the signals."""
        num_systems, num_signals = self._systems.energies.energy.shape
        rows = [[self._signal(k, x) for x in range(num_signals)] for k in range(num_systems)]
        return torch.stack([torch.stack(row) for row in rows])

    def residuals(
        self, settled_gain: float = _WAVEFORM_GAIN
    ) -> tuple[Float64[Tensor, "K X longer"], Float64[Tensor, "K X"]]:
        """Return the residual waveforms in full precision, and bounds of their excess energies.

        Args:
            settled_gain: steps end when the next would lower a residual's energy by less.
        """
        waveforms = self.signals()
        residuals, gain = self._reduce(waveforms.new_full(waveforms.shape[:2], settled_gain))
        for place, residual in residuals.items():
            waveforms[place] = residual.waveform
        return waveforms, gain

    def _reduce(
        self, settled_gain: Float64[Tensor, "K X"]
    ) -> tuple[dict[tuple[int, int], "_Residual"], Float64[Tensor, "K X"]]:
        """Return the residuals of signals that took steps, by system and signal; and last gains."""
        residuals: dict[tuple[int, int], _Residual] = {}
        gain = torch.full_like(settled_gain, torch.inf)
        singular = ~self._systems.energies.energy.isfinite().all(1)
        # Singular systems are rare, and their factors slow: they stay apart from the others.
        for group in (~singular, singular):
            index = group.nonzero()[:, 0]
            if len(index):
                systems = self._systems if group.all() else self._systems.pick(index)
                if group is singular:
                    systems = systems.with_ridge()
                self._take_steps(systems, index, settled_gain, residuals, gain)
        return residuals, gain

    def _take_steps(
        self,
        systems: ToeplitzSystems,
        index: Int64[Tensor, " picked"],
        settled_gain: Float64[Tensor, "K X"],
        residuals: dict[tuple[int, int], "_Residual"],
        gains: Float64[Tensor, "K X"],
    ) -> None:
        """Reduce the residuals of some systems until their gains are small, or rounding."""
        gradients, steps = systems.cross_correlations, systems.filters
        settled = torch.zeros_like(gradients[:, :, 0, 0], dtype=torch.bool)
        for _ in range(_MAX_STEPS):
            gain = (gradients * steps).sum((-2, -1)).abs()
            # A gain that rises much is rounding: following it would add up to noise.
            rises = gain >= _MAX_GAIN_RISE * gains[index]
            settled = settled | (gain <= settled_gain[index]) | rises
            gains[index] = gain
            goes_on = (~settled).any(1)
            if not goes_on.any():
                return
            if not goes_on.all():
                systems = systems.pick(goes_on.nonzero()[:, 0])
                index, settled, steps = index[goes_on], settled[goes_on], steps[goes_on]
            gradients = gradients[goes_on]
            for row, x in (~settled).nonzero().tolist():
                k = int(index[row])
                if (k, x) not in residuals:
                    residuals[k, x] = _Residual(self._references[k], self._signal(k, x))
                is_shorter = residuals[k, x].reduce(steps[row, x])
                settled[row, x] = not is_shorter
                # Of the residual, not updated: errors of the correlations do not accumulate.
                gradients[row, x] = residuals[k, x].correlate()
            steps = systems.solve(gradients)


class _Residual:
    """The residual of a signal after its projection on one system's references, step by step.

    Steps are made conjugate, and their lengths found, by inner products of waveforms, so that no
    step makes the residual larger.
    """

    def __init__(self, references: DelayedReferences, signal: Float64[Tensor, " longer"]) -> None:
        self.waveform = signal
        self._references = references
        self._last_change: Float64[Tensor, " longer"] | None = None
        self._last_energy = torch.ones_like(signal[0])

    def reduce(self, step: Float64[Tensor, "G taps"]) -> bool:
        """Subtract the filtered references as far as the residual becomes smaller.

        Returns False, and leaves it as it is, for a step that is rounding only.
        """
        change = self._references.filter_and_add(step[None])[0]
        energy = torch.dot(change, change)
        # Filters that cancel out (equal references) leave only rounding to follow.
        if not energy > _CANCELLED * step.square().sum():
            return False
        if self._last_change is not None:
            shared = torch.dot(change, self._last_change) / self._last_energy
            change.addcmul_(self._last_change, shared, value=-1)
            energy = torch.dot(change, change)
        length = torch.dot(self.waveform, change) / energy
        self.waveform = torch.addcmul(self.waveform, change, length, value=-1)
        self._last_change, self._last_energy = change, energy
        return True

    def correlate(self) -> Float64[Tensor, "G taps"]:
        """Return inner products of the residual with the delayed references."""
        return self._references.correlate([self.waveform[None]])[:, 0]
