"""What filtered references cannot make of signals, as waveforms, right to the last digit."""

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

from avsep.evaluation.projection.correlations import correlate, filter_and_add
from avsep.evaluation.projection.dense import DenseInverse

# References without energy in part of the band need the most steps; what is left is ill-posed.
_MOST_STEPS = 16
# Steps' gains need not fall evenly: on their way down they rose to twice the last at most on the
# low-passed noise of the tests, and to 4 and 10 times where nothing but rounding was left.
_MOST_RISE = 4.0


def rests_after(
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
