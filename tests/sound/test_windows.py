"""Windows cover a sound, and joining them again gives it back whatever its length."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.sound.windows import OverlapAdd, SampleBuffer, cut_window, fade, window_starts


def join(windows: Iterable[tuple[int, np.ndarray]], num_samples: int) -> np.ndarray:
    """Join windows and check that each block begins where the last one ended."""
    joined, blocks = OverlapAdd(), []
    for start, window in windows:
        blocks.append(joined.add(start, window))
        assert joined.position == start == sum(block.shape[-1] for block in blocks)
    blocks.append(joined.finish(num_samples))
    return np.concatenate(blocks, axis=-1)


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
    joined = join(windows, num_samples)
    # Up to twenty windows are added and divided in float32.
    np.testing.assert_allclose(joined, sound, atol=2e-6)


def test_blocks_are_returned_once_they_are_final() -> None:
    joined = OverlapAdd()
    starts = window_starts(1000, 100)
    lengths = [joined.add(start, np.ones((1, 100), np.float32)).shape[1] for start in starts]
    assert lengths == [0] + [50] * 18
    assert joined.finish(1000).shape == (1, 100)


def test_a_buffer_finds_samples_by_their_place_in_the_whole() -> None:
    sound = np.arange(20, dtype=np.float32).reshape(2, 10)
    buffer = SampleBuffer(2)
    for begin in range(0, 10, 3):
        buffer.append(sound[:, begin : begin + 3])
        buffer.drop_before(begin - 2)
        assert buffer.end == min(begin + 3, 10)
        piece = buffer.cut(max(0, begin - 2), 4)
        assert (piece == cut_window(sound[:, : begin + 3], max(0, begin - 2), 4)).all()
    with pytest.raises(AssertionError, match="sample 6 was dropped, 7 is the first"):
        buffer.cut(6, 1)


def test_a_window_fades_into_the_next() -> None:
    pieces = [(0, np.zeros((1, 100), np.float32)), (50, np.ones((1, 100), np.float32))]
    joined = join(pieces, 150)[0]
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
        join(windows, num_samples)
