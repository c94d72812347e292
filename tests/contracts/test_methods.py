"""Test the contract of every baseline: shapes, batches, order of sources, silence."""

import pytest
import torch

from avsep.evaluation.baselines import BASELINES, waveforms
from avsep.models.base import SeparationMethod
from avsep.records import Batch, Separation
from avsep.sound.front_end import FrontEnd

NUM_SAMPLES = 6000
FRONT_END = FrontEnd()


def batch_of(sources: torch.Tensor) -> Batch:
    return Batch(sources.sum(1), sources)


def noise(num_items: int, num_sources: int, num_channels: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = num_items, num_sources, num_channels, NUM_SAMPLES
    return 0.1 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def separate(name: str, batch: Batch) -> Separation:
    return BASELINES[name](FRONT_END).separate(batch)


@pytest.fixture(params=BASELINES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_separates_by_the_one_signature(name: str) -> None:
    method = BASELINES[name](FRONT_END)
    assert isinstance(method, SeparationMethod)
    generator = torch.Generator().manual_seed(0)
    separation = method.separate(batch_of(noise(1, 2)), generator=generator)
    assert torch.equal(separation.magnitudes, method.separate(batch_of(noise(1, 2))).magnitudes)


@pytest.mark.parametrize(("num_sources", "num_channels"), [(1, 1), (2, 2), (4, 1)])
def test_shapes_levels_and_unit_phase(name: str, num_sources: int, num_channels: int) -> None:
    batch = batch_of(noise(2, num_sources, num_channels))
    separation = separate(name, batch)
    num_frames = FRONT_END.settings.stft.num_frames(NUM_SAMPLES)
    assert separation.magnitudes.shape == (2, num_sources, num_channels, 512, num_frames)
    assert separation.phase.shape == (2, num_channels, 512, num_frames)
    assert separation.presence.shape == (2, num_sources)
    assert separation.magnitudes.isfinite().all() and (separation.magnitudes >= 0).all()
    assert ((separation.presence >= 0) & (separation.presence <= 1)).all()
    assert torch.allclose(separation.phase.abs(), torch.ones_like(separation.phase.real))
    # The phase is the mixture's: with the mixture's own magnitude it is the mixture again.
    magnitude, _ = FRONT_END.spectrogram(batch.mixture)
    back = FRONT_END.waveform(magnitude, separation.phase, NUM_SAMPLES)
    assert torch.allclose(back, batch.mixture, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_in_is_precision_out(name: str, dtype: torch.dtype) -> None:
    separation = separate(name, batch_of(noise(1, 2).to(dtype)))
    assert separation.magnitudes.dtype == separation.presence.dtype == dtype
    assert separation.phase.dtype == dtype.to_complex()
    sounds = waveforms(separation, FRONT_END, NUM_SAMPLES)
    assert sounds.dtype == dtype and sounds.shape == (1, 2, 1, NUM_SAMPLES)


def test_a_batch_is_its_items_one_by_one(name: str) -> None:
    sources = noise(3, 2)
    sources[1, 0] = 0.0
    sources[2] *= 100.0  # one loud item must not change the others
    whole = separate(name, batch_of(sources))
    for index in range(3):
        alone = separate(name, batch_of(sources[index : index + 1]))
        assert torch.equal(whole.magnitudes[index], alone.magnitudes[0])
        assert torch.equal(whole.presence[index], alone.presence[0])
        assert torch.equal(whole.phase[index], alone.phase[0])


@pytest.mark.parametrize("order", [[1, 0, 2], [2, 0, 1]])
def test_permuted_sources_are_permuted_estimates(name: str, order: list[int]) -> None:
    sources = noise(2, 3)
    mixture = sources.sum(1)
    straight, permuted = (separate(name, Batch(mixture, s)) for s in (sources, sources[:, order]))
    assert torch.equal(permuted.magnitudes, straight.magnitudes[:, order])
    assert torch.equal(permuted.presence, straight.presence[:, order])


def test_swapped_channels_are_swapped_estimates(name: str) -> None:
    sources = noise(1, 2, num_channels=2)
    straight, swapped = (separate(name, batch_of(s)) for s in (sources, sources.flip(2)))
    assert torch.equal(swapped.magnitudes, straight.magnitudes.flip(2))
    assert torch.equal(swapped.phase, straight.phase.flip(1))


def test_a_silent_source_changes_nothing_for_the_others(name: str) -> None:
    sources = noise(1, 2)
    more = torch.cat([sources, torch.zeros_like(sources[:, :1])], dim=1)
    two, three = separate(name, batch_of(sources)), separate(name, batch_of(more))
    assert torch.equal(three.magnitudes[:, :2], two.magnitudes)
    assert torch.equal(three.presence[:, :2], two.presence)


def test_silence_in_silence_out(name: str) -> None:
    separation = separate(name, batch_of(torch.zeros(1, 2, 1, NUM_SAMPLES)))
    assert not separation.magnitudes.any()
    assert not waveforms(separation, FRONT_END).any()


def test_inputs_are_not_changed(name: str) -> None:
    sources = noise(2, 2).transpose(0, 1)  # not contiguous
    batch = batch_of(sources)
    copies = sources.clone(), batch.mixture.clone()
    separation = separate(name, batch)
    assert torch.equal(sources, copies[0]) and torch.equal(batch.mixture, copies[1])
    straight = separate(name, batch_of(sources.contiguous()))
    assert torch.equal(separation.magnitudes, straight.magnitudes)


@pytest.mark.parametrize("level", [1e-6, 1e3])
def test_louder_in_is_louder_out(name: str, level: float) -> None:
    plain, scaled = (separate(name, batch_of(gain * noise(1, 2))) for gain in (1.0, level))
    # Magnitudes of this noise are about 1; the masks' floor of 1e-10 counts for 1e-4 of 1e-6.
    assert torch.allclose(scaled.magnitudes / level, plain.magnitudes, rtol=1e-3, atol=1e-3)


def test_ratio_masks_of_sources_in_phase_share_out_the_mixture() -> None:
    shape = noise(1, 1)
    gains = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)[None, :, None, None]
    batch = batch_of(shape * gains)
    separation = separate("ideal-ratio-mask", batch)
    magnitude, _ = FRONT_END.spectrogram(batch.mixture)
    assert torch.allclose(separation.magnitudes.sum(1), magnitude, atol=1e-6)
    sounds = waveforms(separation, FRONT_END, NUM_SAMPLES)
    assert torch.allclose(sounds.sum(1), batch.mixture, atol=1e-6)
    assert torch.allclose(sounds, batch.sources, atol=1e-6)


def test_binary_masks_give_each_cell_away_once_at_most() -> None:
    batch = batch_of(noise(1, 3))
    separation = separate("ideal-binary-mask", batch)
    magnitude, _ = FRONT_END.spectrogram(batch.mixture)
    masks = separation.magnitudes / magnitude[:, None]
    assert torch.isclose(masks, masks.round(), atol=1e-9).all() and masks.max() == 1
