"""Test gates: the shares of Figure 6 and paired differences, on known numbers."""

import numpy as np
import pytest

from avsep.evaluation.gates import GateSample, gate_shares, paired_difference


def test_shares_at_their_borders() -> None:
    means = np.array([0.29, 0.3, 0.4, 0.6, 0.61, 0.7, 0.71])
    result = gate_shares(means)
    assert list(result) == ["below 0.3", "0.4 to 0.6", "above 0.7"]
    assert list(result.values()) == pytest.approx([1 / 7, 2 / 7, 1 / 7])


def test_differences_are_paired() -> None:
    generator = np.random.default_rng(0)
    clear = generator.uniform(0.2, 0.8, 400)
    changes = generator.normal(-0.02, 0.01, 400)
    result = paired_difference(clear, clear + changes)
    assert result.mean == pytest.approx(changes.mean())
    # The samples themselves spread by 0.17: unpaired, the mean would be uncertain by 0.024.
    assert result.margin == pytest.approx(1.96 * changes.std(ddof=1) / 20)
    assert result.share_lower == pytest.approx(np.mean(changes < 0))
    with pytest.raises(AssertionError, match="two at least"):
        paired_difference(clear[:1], clear[:1])


def test_a_sample_is_one_figure() -> None:
    gate = np.array([[0.2, 0.4], [0.6, 0.8]], dtype=np.float32)
    assert GateSample("full", "a", "harp", gate).mean == pytest.approx(0.5)
