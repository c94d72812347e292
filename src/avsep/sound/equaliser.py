"""An equaliser with a band at each octave: how rooms, microphones and makers colour a sound."""

import numpy as np
from jaxtyping import Float, Float32

NUM_BANDS = 8


def equalise(
    waveforms: Float32[np.ndarray, "S C N"], gains_db: Float[np.ndarray, "S bands"]
) -> Float32[np.ndarray, "S C N"]:
    """Each sound with its bands raised or lowered, at the RMS that it had, in the same phase.

    All its channels alike, so that their differences stay.

    The last band stands at half the sampling rate, each other an octave below the next. Between
    them gains are interpolated in decibels; below the first they stay.
    """
    num_samples, num_bands = waveforms.shape[-1], gains_db.shape[1]
    spectra = np.fft.rfft(waveforms)
    bins = np.arange(spectra.shape[-1])
    # At half the sampling rate the bin is half the samples and the place the last band's.
    places = num_bands - 1 + np.log2(np.maximum(bins, 1) / (num_samples / 2))
    curves_db = np.stack([np.interp(places, np.arange(num_bands), own) for own in gains_db])
    coloured = np.fft.irfft(spectra * 10 ** (curves_db[:, None] / 20), num_samples)
    before, after = (
        np.sqrt(np.square(sound, dtype=np.float64).mean(axis=(1, 2), keepdims=True))
        for sound in (waveforms, coloured)
    )
    return (coloured * before / np.maximum(after, 1e-12)).astype(np.float32)
