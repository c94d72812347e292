"""Pictures of spectrograms: several on one scale, low frequencies below, silence dark."""

import numpy as np
import pytest

from avsep.pages.spectrograms import RANGE_DB, spectrogram_rgb

BRIGHT = (251, 252, 191)  # the last colour of matplotlib's magma
DARK = (0, 0, 3)  # its first


def rows(*decibels: float) -> np.ndarray:
    """One sound of 4 rows and 5 columns for each level."""
    levels = np.power(10, np.array(decibels) / 20, dtype=np.float32)
    return np.broadcast_to(levels[:, None, None], (len(levels), 4, 5)).copy()


def test_sounds_are_side_by_side_with_bright_gaps() -> None:
    picture = spectrogram_rgb(rows(0, -30, -90))
    assert picture.shape == (4, 3 * 5 + 2 * 3, 3) and picture.dtype == np.uint8
    first, second, third = picture[:, :5], picture[:, 8:13], picture[:, 16:]
    assert (picture[:, 5:8] == BRIGHT).all() and (picture[:, 13:16] == BRIGHT).all()
    # One scale for all: the second is not as bright as if it were alone.
    assert (first == BRIGHT).all() and (third == DARK).all()
    assert DARK < tuple(second[0, 0]) < BRIGHT
    assert (spectrogram_rgb(rows(-30)) == BRIGHT).all()


def test_low_frequencies_are_below() -> None:
    magnitude = np.full((1, 4, 5), 1e-6, np.float32)
    magnitude[0, 0] = 1
    picture = spectrogram_rgb(magnitude)
    assert (picture[-1] == BRIGHT).all() and (picture[:-1] == DARK).all()


@pytest.mark.parametrize(("level_db", "colour"), [(0, BRIGHT), (6, BRIGHT), (-RANGE_DB - 1, DARK)])
def test_the_reference_is_the_brightest_colour(level_db: float, colour: tuple) -> None:
    assert (spectrogram_rgb(rows(level_db), reference=1.0) == colour).all()


def test_the_darkest_colour_is_70_db_below() -> None:
    assert RANGE_DB == 70
    halfway = spectrogram_rgb(rows(-35), reference=1.0)
    # Colour 128 of 256, or its neighbour by rounding.
    assert np.abs(halfway[0, 0].astype(int) - (183, 54, 121)).max() <= 3
    faint = spectrogram_rgb(rows(-69), reference=1.0)
    assert tuple(faint[0, 0]) != DARK


def test_silence_is_dark_and_finite() -> None:
    silence = spectrogram_rgb(np.zeros((2, 4, 5), np.float32))
    # The floors of silence and of the reference are 60 dB apart: a seventh of the colours.
    assert silence[:, :5].mean() < 50
