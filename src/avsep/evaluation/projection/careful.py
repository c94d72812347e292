"""The parts of one mixture's estimates when references are near singular, or parts are tiny."""

from functools import cached_property
from operator import itemgetter

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from avsep.evaluation.projection.correlations import correlate, lags_of
from avsep.evaluation.projection.dense import DenseInverse
from avsep.evaluation.projection.explained import Explained
from avsep.evaluation.projection.parts import Parts, are_wrong, error_limits, parts_of
from avsep.evaluation.projection.rests import rests_after

# Steps end when the next would gain this share of what an energy may be off; rounding of energies
# allows no less than so much.
_OF_LIMIT = 0.1
_LEAST_GAIN = 1e-17
# As waveforms parts are told however small they are. A projection is settled when the next step
# would change its energy by less than this: an amplitude of 3e-13, which moves even an SIR of
# 90 dB by less than 1e-7 dB.
_WAVEFORM_GAIN = 1e-25


class _System:
    """The references of one source, or all, before the signals compared with them.

    Its answers are more exact than those of correlations, and slower.
    """

    def __init__(
        self, references: Float64[Tensor, "G N"], signals: Float64[Tensor, "R N"], taps: int
    ) -> None:
        self._references, self._signals, self._taps = references, signals, taps

    def by_rests(self, limit: Float64[Tensor, " R"]) -> Explained:
        """Energies known to a limit: those of the signals less those of what is left of them."""
        settled = (_OF_LIMIT * limit.nan_to_num(nan=0.0)).clamp(min=_LEAST_GAIN)
        rests, error = rests_after(self._inverse, self._references, self._signals, settled)
        whole = self._signals.square().sum(-1)
        return Explained(whole - rests.square().sum(-1), error)

    def rests(self) -> Float64[Tensor, "R longer"]:
        """What the references cannot make of the signals, to the last digit."""
        settled = torch.full_like(self._signals[:, 0], _WAVEFORM_GAIN)
        return rests_after(self._inverse, self._references, self._signals, settled)[0]

    @cached_property
    def _inverse(self) -> DenseInverse:
        return DenseInverse(lags_of(correlate(self._references, [self._references], self._taps)))


def parts_with_care(
    references: Float64[Tensor, "S C N"],
    signals: Float64[Tensor, "R N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
    own: Explained,
    by_all: Explained | None,
) -> Parts:
    """The parts [S, Q] of signals at any level, as shares of their energies.

    Args:
        references: of S sources, C channels each.
        signals: silent ones have parts of 0.
        asked: which signals each source is compared with.
        taps: of the filters.
        own, by_all: [S, Q], what each source's references explain, and all (none for one source);
            some of it is not known well enough.
    """
    references, signals = _unit_energy(references), _unit_energy(signals)
    whole = (signals != 0).any(-1).to(signals.dtype)[asked]
    systems = [_System(x, signals[asked[i]], taps) for i, x in enumerate(references)]
    everything = None if by_all is None else _System(references.flatten(0, 1), signals, taps)
    limit, limit_of_all = error_limits(whole, own, by_all)
    energy, error = own.energy.clone(), own.error.clone()
    for index in are_wrong(own, limit).any(1).nonzero()[:, 0].tolist():
        answer = systems[index].by_rests(limit[index])
        energy[index], error[index] = answer.energy, answer.error
    own = Explained(energy, error)
    if everything is not None and by_all is not None and are_wrong(by_all, limit_of_all).any():
        # Of each signal the lowest limit that any source sets.
        lowest = signals.new_full((len(signals),), torch.inf)
        lowest.scatter_reduce_(0, asked.flatten(), limit_of_all.flatten(), "amin")
        by_all = everything.by_rests(lowest).shaped(itemgetter(asked))
    limits = error_limits(whole, own, by_all)
    if (are_wrong(own, limits[0]) | are_wrong(by_all or own, limits[1])).any():
        return _parts_as_waveforms(systems, everything, signals, asked)
    return parts_of(whole, own, by_all)


def _parts_as_waveforms(
    systems: list[_System],
    everything: _System | None,
    signals: Float64[Tensor, "R N"],
    asked: Int64[Tensor, "S Q"],
) -> Parts:
    """Each part made and its energy measured: exact where differences of energies are rounding."""
    rests_of_all = None if everything is None else everything.rests()
    found: list[list[Tensor]] = []
    for which, system in zip(asked, systems, strict=True):
        distortion = system.rests()
        artifacts = distortion if rests_of_all is None else rests_of_all[which]
        estimates = pad(signals[which], (0, distortion.shape[1] - signals.shape[1]))
        waves = (
            estimates - distortion,
            distortion,
            distortion - artifacts,
            estimates - artifacts,
            artifacts,
        )
        found.append([wave.square().sum(-1) for wave in waves])
    return Parts(*(torch.stack(energies) for energies in zip(*found, strict=True)))


def _unit_energy(waveforms: Float64[Tensor, "*B N"]) -> Float64[Tensor, "*B N"]:
    """Each waveform scaled to energy 1; zeros stay."""
    norm = torch.linalg.vector_norm(waveforms, dim=-1, keepdim=True)
    return waveforms / torch.where(norm > 0, norm, 1.0)
