"""Offsets between sounds are found over blocks as over the whole, and taken off all files alike."""

import numpy as np
import pytest

from avsep.evaluation.stems import offsets
from avsep.evaluation.stems.offsets import find_offset, take_off
from media.making import noise

RATE_HZ = 100  # a longest offset of 1000 samples


@pytest.mark.parametrize("offset", [0, 1, 300, 999, -1, -700])
@pytest.mark.parametrize("surplus", [-500, 0, 800])
@pytest.mark.parametrize("block_samples", [256, 2**20])
def test_offset_is_found(
    monkeypatch: pytest.MonkeyPatch, offset: int, surplus: int, block_samples: int
) -> None:
    monkeypatch.setattr(offsets, "_BLOCK_SAMPLES", block_samples)
    reference = noise(2, 4000)
    estimate = np.pad(reference, ((0, 0), (max(0, offset), max(0, surplus))))[:, max(0, -offset) :]
    estimate = estimate[:, : estimate.shape[1] + min(0, surplus)]
    estimate = estimate + noise(2, estimate.shape[1], 1) / 2
    found = find_offset(reference, estimate, RATE_HZ)
    assert found.samples == offset and found.correlation > 0.5


def test_offsets_beyond_the_longest_and_silence_have_none() -> None:
    reference = noise(1, 4000)
    late = np.pad(reference, ((0, 0), (1001, 0)))
    assert find_offset(reference, late, RATE_HZ).samples == 0
    assert find_offset(reference, np.zeros_like(reference), RATE_HZ).correlation == 0


def test_what_one_estimate_lacks_is_cut_off_all() -> None:
    truth = noise(3, 100)[:, None]
    estimates = [np.pad(truth[0], ((0, 0), (7, 0))), truth[1][:, 4:]]
    aligned = take_off(list(truth[:2]), estimates, [truth[2]], [7, -4])
    for waveform, expected in zip(aligned, truth[[0, 1, 0, 1, 2]], strict=True):
        assert np.array_equal(waveform, expected[:, 4:])
