"""What every separator promises, whoever asks: shapes, batches, order of sources, silence."""

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
    separator = BASELINES[name](FRONT_END)
    assert isinstance(separator, SeparationMethod)
    generator = torch.Generator().manual_seed(0)
    answer = separator.separate(batch_of(noise(1, 2)), generator=generator)
    assert torch.equal(answer.magnitudes, separator.separate(batch_of(noise(1, 2))).magnitudes)


@pytest.mark.parametrize(("num_sources", "num_channels"), [(1, 1), (2, 2), (4, 1)])
def test_shapes_levels_and_unit_phase(name: str, num_sources: int, num_channels: int) -> None:
    batch = batch_of(noise(2, num_sources, num_channels))
    answer = separate(name, batch)
    num_frames = FRONT_END.settings.stft.num_frames(NUM_SAMPLES)
    assert answer.magnitudes.shape == (2, num_sources, num_channels, 512, num_frames)
    assert answer.phase.shape == (2, num_channels, 512, num_frames)
    assert answer.presence.shape == (2, num_sources)
    assert answer.magnitudes.isfinite().all() and (answer.magnitudes >= 0).all()
    assert ((answer.presence >= 0) & (answer.presence <= 1)).all()
    assert torch.allclose(answer.phase.abs(), torch.ones_like(answer.phase.real))
    # The phase is the mixture's: with the mixture's own magnitude it is the mixture again.
    magnitude, _ = FRONT_END.spectrogram(batch.mixture)
    back = FRONT_END.waveform(magnitude, answer.phase, NUM_SAMPLES)
    assert torch.allclose(back, batch.mixture, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_in_is_precision_out(name: str, dtype: torch.dtype) -> None:
    answer = separate(name, batch_of(noise(1, 2).to(dtype)))
    assert answer.magnitudes.dtype == answer.presence.dtype == dtype
    assert answer.phase.dtype == dtype.to_complex()
    sounds = waveforms(answer, FRONT_END, NUM_SAMPLES)
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
def test_permuted_sources_are_permuted_answers(name: str, order: list[int]) -> None:
    sources = noise(2, 3)
    mixture = sources.sum(1)
    straight, permuted = (separate(name, Batch(mixture, s)) for s in (sources, sources[:, order]))
    assert torch.equal(permuted.magnitudes, straight.magnitudes[:, order])
    assert torch.equal(permuted.presence, straight.presence[:, order])


def test_swapped_channels_are_swapped_answers(name: str) -> None:
    sources = noise(1, 2, num_channels=2)
    straight, swapped = (separate(name, batch_of(s)) for s in (sources, sources.flip(2)))
    assert torch.equal(swapped.magnitudes, straight.magnitudes.flip(2))
    assert torch.equal(swapped.phase, straight.phase.flip(1))


def test_a_silent_source_changes_nothing_for_the_others(name: str) -> None:
    sources = noise(1, 2)
    more = torch.cat([sources, torch.zeros_like(sources[:, :1])], dim=1)
    few, many = separate(name, batch_of(sources)), separate(name, batch_of(more))
    assert torch.equal(many.magnitudes[:, :2], few.magnitudes)
    assert torch.equal(many.presence[:, :2], few.presence)


def test_all_silence_is_answered_with_silence(name: str) -> None:
    answer = separate(name, batch_of(torch.zeros(1, 2, 1, NUM_SAMPLES)))
    assert not answer.magnitudes.any()
    assert not waveforms(answer, FRONT_END).any()


def test_what_is_given_is_left_as_it_was(name: str) -> None:
    sources = noise(2, 2).transpose(0, 1)  # not contiguous either
    batch = batch_of(sources)
    kept = sources.clone(), batch.mixture.clone()
    answer = separate(name, batch)
    assert torch.equal(sources, kept[0]) and torch.equal(batch.mixture, kept[1])
    straight = separate(name, batch_of(sources.contiguous()))
    assert torch.equal(answer.magnitudes, straight.magnitudes)


@pytest.mark.parametrize("level", [1e-6, 1e3])
def test_louder_in_is_louder_out(name: str, level: float) -> None:
    plain, scaled = (separate(name, batch_of(gain * noise(1, 2))) for gain in (1.0, level))
    # Magnitudes of this noise are about 1; the masks' floor of 1e-10 counts for 1e-4 of 1e-6.
    assert torch.allclose(scaled.magnitudes / level, plain.magnitudes, rtol=1e-3, atol=1e-3)


def test_ratio_masks_of_sources_in_phase_share_out_the_mixture() -> None:
    shape = noise(1, 1)
    gains = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)[None, :, None, None]
    batch = batch_of(shape * gains)
    answer = separate("ideal-ratio-mask", batch)
    magnitude, _ = FRONT_END.spectrogram(batch.mixture)
    assert torch.allclose(answer.magnitudes.sum(1), magnitude, atol=1e-6)
    sounds = waveforms(answer, FRONT_END, NUM_SAMPLES)
    assert torch.allclose(sounds.sum(1), batch.mixture, atol=1e-6)
    assert torch.allclose(sounds, batch.sources, atol=1e-6)


def test_binary_masks_give_each_cell_away_once_at_most() -> None:
    batch = batch_of(noise(1, 3))
    answer = separate("ideal-binary-mask", batch)
    magnitude, _ = FRONT_END.spectrogram(batch.mixture)
    masks = answer.magnitudes / magnitude[:, None]
    assert torch.isclose(masks, masks.round(), atol=1e-9).all() and masks.max() == 1
