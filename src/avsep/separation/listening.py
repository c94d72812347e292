"""Sounds of a result as players take them: no louder than full scale, at a usual rate."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avsep.separation.result import Result
from avsep.sound.resample import resample

# What AAC, and with it every player, takes.
_USUAL_RATES_HZ = (
    8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000,
)  # fmt: skip
_OTHERWISE_HZ = 48000
_MOST_CHANNELS = 2


@dataclass(frozen=True)
class Listening:
    """All sounds of a result to listen to; the files hold them as they are.

    Attributes:
        objects: one sound an object.
        remark: what was changed, in words; empty when nothing was.
    """

    mixture: Float32[np.ndarray, "C N"]
    objects: tuple[Float32[np.ndarray, "C N"], ...]
    residual: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    remark: str


def listening(result: Result) -> Listening:
    """Mixture, stems and residual made quieter by one factor where any goes beyond -1..1.

    One factor for all keeps them comparable. More than two channels become their mean.
    """
    sounds = [result.mixture, *(found.stem for found in result.objects), result.residual]
    rate_hz, remarks = result.sample_rate_hz, []
    if len(result.mixture) > _MOST_CHANNELS:
        sounds = [sound.mean(axis=0, keepdims=True, dtype=np.float32) for sound in sounds]
        remarks.append(f"{len(result.mixture)} channels are played as their mean")
    if rate_hz not in _USUAL_RATES_HZ:
        sounds = [resample(sound, rate_hz, _OTHERWISE_HZ) for sound in sounds]
        remarks.append(f"{rate_hz} Hz are played at {_OTHERWISE_HZ} Hz")
        rate_hz = _OTHERWISE_HZ
    peak = max(float(np.abs(sound).max(initial=0.0)) for sound in sounds)
    if peak > 1:
        sounds = [np.clip(sound / np.float32(peak), -1, 1) for sound in sounds]
        if (words := f"{20 * np.log10(peak):.1f}") != "0.0":  # decoders overshoot by a rounding
            remarks.append(f"all sounds are played {words} dB quieter, so that none is cut off")
    mixture, *objects, residual = sounds
    return Listening(mixture, tuple(objects), residual, rate_hz, "; ".join(remarks))
