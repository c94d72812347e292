"""Windows cover a sound, and joining them again gives it back whatever its length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.sound.windows import cut_window, fade, overlap_add, window_starts

SIZES = {
    "num_samples": st.integers(1, 200),
    "window_samples": st.integers(4, 90),
    "overlap": st.floats(0, 0.95),
}


@given(**SIZES)
def test_windows_cover_the_sound_in_order(
    num_samples: int, window_samples: int, overlap: float
) -> None:
    starts = window_starts(num_samples, window_samples, overlap)
    assert starts[0] == 0 and list(starts) == sorted(set(starts))
    assert max(starts[-1] + window_samples, num_samples) == starts[-1] + window_samples
    assert starts == (0,) or starts[-1] + window_samples == num_samples
    steps = np.diff(starts)
    # A step is rounded to a whole sample, and is one at least.
    assert (steps <= max(1, window_samples * (1 - overlap) + 0.5)).all()


@settings(deadline=None)
@given(**SIZES, num_channels=st.integers(1, 3))
def test_overlap_add_of_the_identity_is_the_identity(
    num_samples: int, window_samples: int, overlap: float, num_channels: int
) -> None:
    sound = np.random.default_rng(num_samples).uniform(-1, 1, (2, num_channels, num_samples))
    sound = sound.astype(np.float32)
    starts = window_starts(num_samples, window_samples, overlap)
    windows = ((start, cut_window(sound, start, window_samples)) for start in starts)
    joined = np.concatenate(list(overlap_add(windows, num_samples)), axis=-1)
    # Up to twenty windows are added and divided in float32.
    np.testing.assert_allclose(joined, sound, atol=2e-6)


def test_blocks_are_handed_out_while_windows_come() -> None:
    taken = []

    def windows() -> object:
        for start in window_starts(1000, 100):
            taken.append(start)
            yield start, np.ones((1, 100), np.float32)

    blocks = overlap_add(windows(), 1000)  # type: ignore[arg-type]
    assert next(blocks).shape == (1, 50) and taken == [0, 50]
    assert all(block.shape[1] <= 100 for block in blocks)


def test_a_window_fades_into_the_next() -> None:
    pieces = [(0, np.zeros((1, 100), np.float32)), (50, np.ones((1, 100), np.float32))]
    joined = np.concatenate(list(overlap_add(pieces, 150)), axis=-1)[0]
    assert (joined[:50] == 0).all() and (joined[100:] == 1).all()
    assert (np.diff(joined[49:101]) >= 0).all()
    assert joined[74] + joined[75] == pytest.approx(1, abs=1e-6)


def test_fades_of_half_overlapping_windows_add_up_to_one() -> None:
    weight = fade(64)
    assert (weight > 0).all() and weight.dtype == np.float32
    np.testing.assert_allclose(weight[:32] + weight[32:], 1, atol=1e-6)


def test_a_window_beyond_the_end_is_filled_with_zeros() -> None:
    sound = np.ones((2, 5), np.float32)
    assert cut_window(sound, 3, 4).tolist() == [[1, 1, 0, 0]] * 2
    assert cut_window(sound, 9, 3).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("starts", "num_samples", "message"),
    [
        ([5], 10, "the first window starts at 5"),
        ([0, 11], 21, "windows leave no gap"),
        ([0, 5, 4], 14, "starts rise"),
        ([0], 12, "windows end 2 samples too early"),
    ],
)
def test_windows_that_do_not_join_are_a_programmers_error(
    starts: list[int], num_samples: int, message: str
) -> None:
    windows = [(start, np.ones(10, np.float32)) for start in starts]
    with pytest.raises(AssertionError, match=message):
        list(overlap_add(windows, num_samples))
