"""Test LAVSS: the paper's sizes, binaural cues, mirrors, switches of the tables, equation 8."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from avsep.cues.mirror import mirror_batch
from avsep.errors import InputError
from avsep.layers.binaural_unet import BinauralUNetSettings
from avsep.layers.cross_modal import CrossModalSettings
from avsep.models.binaural import si_snr_db
from avsep.models.lavss import LAVSS
from avsep.records import Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.sound.magnitudes import ratio_mask
from models.binaural_models import (
    binaural_batch,
    check_trains_and_separates,
    count,
    logits_of,
    separate,
    with_large_weights,
)
from tiny_models import FRONT_END, TINY, tiny_batch

PLAIN = {
    "film_every_layer": False,
    "num_templates": 0,
    "unet": BinauralUNetSettings(channels=(8,) * 4),
}


def make(**changes: object) -> LAVSS:
    return with_large_weights(LAVSS, {**TINY["lavss"], **changes})


# Sizes


@pytest.mark.slow
def test_parameters_of_the_paper_accounted_for() -> None:
    """REFERENCE 8.1: the U-Net without its attention to the last number; the rest by CMA's size."""
    model = LAVSS()

    assert count(model.audio_network) == 52_604_222 - 6_580_413 == 46_023_809
    assert count(model.vision) == 11_176_512
    assert count(model.position) == 148_224
    # Two blocks of two layers, by the paper's equation 2 and section 4.1; one head, no norms and no
    # feed-forward layers in the code (two blocks of 1,313,280).
    assert count(model.vision_position) == 4 * 2_102_784 + 525_824
    # Two blocks of two layers; f_1 from 49 tokens to 84 and f_2 from 84 to 4.
    assert count(model.fusion) == 4 * 2_102_784 + (49 * 84 + 84) + (84 * 4 + 4)


def test_shapes_of_the_paper() -> None:
    settings = LAVSS.Settings()
    assert settings.input_size == (256, 256) and settings.num_inputs == 2 and settings.width == 512
    assert settings.token_sizes == [(8, 8), (4, 4), (2, 2)]
    assert settings.crops.crop_pixels == 224 and settings.attention.num_heads == 8
    assert (settings.squared_weight, settings.time_weight, settings.masks) == (0.5, 0.25, "ratio")
    separation = separate(make(), binaural_batch())
    assert separation.magnitudes.shape == (2, 2, 2, FRONT_END.stft.num_bins, 32)


# Binaural cues and positions


@pytest.mark.slow
def test_with_the_papers_cues_exchanged_ears_are_exchanged_outputs() -> None:
    """Equation 4 is even and the weights are shared: channels are exchanged, maps are equal."""
    model, batch = make(spatial_cues="paper"), binaural_batch()
    magnitudes = separate(model, batch).magnitudes
    exchanged = separate(model, replace(batch, mixture=batch.mixture.flip(1))).magnitudes
    assert torch.equal(exchanged.flip(2), magnitudes)


@pytest.mark.slow
def test_with_signed_cues_they_are_not() -> None:
    model, batch = make(spatial_cues="signed"), binaural_batch()
    magnitudes = separate(model, batch).magnitudes
    exchanged = separate(model, replace(batch, mixture=batch.mixture.flip(1))).magnitudes
    assert not torch.allclose(exchanged.flip(2), magnitudes, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_a_mirrored_batch_is_another_one_and_twice_mirrored_the_same() -> None:
    model, batch = make(spatial_cues="signed"), binaural_batch()
    magnitudes = separate(model, batch).magnitudes
    once = separate(model, mirror_batch(batch)).magnitudes.flip(2)
    # Random weights have no symmetry.
    assert not torch.allclose(once, magnitudes, rtol=1e-3, atol=1e-3)
    assert torch.equal(separate(model, mirror_batch(mirror_batch(batch))).magnitudes, magnitudes)


def test_a_mono_mixture_is_given_to_both_channels() -> None:
    model, batch = make(), tiny_batch(1)
    separation = separate(model, batch)
    expanded = replace(batch, mixture=batch.mixture.expand(-1, 2, -1), sources=None)
    both = separate(model, expanded)
    assert separation.magnitudes.shape[2] == separation.phase.shape[1] == 1
    assert torch.equal(separation.magnitudes, both.magnitudes[:, :, :1])
    assert torch.equal(both.magnitudes[:, :, 0], both.magnitudes[:, :, 1])


@pytest.mark.slow
@pytest.mark.parametrize("network", [{}, PLAIN], ids=["ours", "as in the paper"])
def test_boxes_decide_between_two_objects_with_equal_crops(network: dict) -> None:
    model, batch = make(**network, spatial_cues="signed"), binaural_batch(1)
    assert batch.cues.crops is not None and batch.cues.boxes is not None
    twins = replace(batch.cues, crops=batch.cues.crops[:, :1].expand_as(batch.cues.crops))
    magnitudes = separate(model, replace(batch, cues=twins)).magnitudes
    exchanged = replace(twins, boxes=batch.cues.boxes.flip(1))
    torch.testing.assert_close(
        separate(model, replace(batch, cues=exchanged)).magnitudes, magnitudes.flip(1)
    )
    assert not torch.allclose(magnitudes[:, 0], magnitudes[:, 1], rtol=1e-3, atol=1e-3)
    without_position = make(**network, position=False)
    magnitudes = separate(without_position, replace(batch, cues=twins)).magnitudes
    torch.testing.assert_close(magnitudes[:, 0], magnitudes[:, 1])


@pytest.mark.slow
def test_the_position_of_an_object_is_the_mean_of_its_boxes() -> None:
    """One box a source goes into equation 1, for the crops of one window."""
    model, batch = make(**PLAIN, spatial_cues="signed"), binaural_batch(1)
    boxes = batch.cues.boxes
    assert boxes is not None and boxes.shape[2] == 2

    def with_boxes(other: torch.Tensor) -> torch.Tensor:
        cues = replace(batch.cues, boxes=other.expand_as(boxes))
        return separate(model, replace(batch, cues=cues)).magnitudes

    magnitudes = separate(model, batch).magnitudes
    torch.testing.assert_close(magnitudes, with_boxes(boxes.mean(2, keepdim=True)))
    for crop in range(2):
        single = with_boxes(boxes[:, :, crop : crop + 1])
        assert not torch.allclose(single, magnitudes, rtol=1e-3, atol=1e-3)


# Switches of Tables 3 and 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"position": False},
        {"spatial_cues": "none"},
        {"spatial_cues": "none", "position": False},
        {"attention": CrossModalSettings(num_heads=2, hidden_width=16, vision_position=False)},
        {"attention": CrossModalSettings(num_heads=2, hidden_width=16, audio=False)},
        {"attention": CrossModalSettings(num_heads=2, hidden_width=16, multi_scale=False)},
        {"attention": CrossModalSettings(num_heads=2, hidden_width=16, fusion="tile")},
        {"masks": "binary"},
        {"time_stride": 2},
        {"random_ear_per_step": True},
        {"input_rms": 0.1, "weighted_loss": False},
    ],
)
def test_every_row_trains_and_separates(changes: dict[str, object]) -> None:
    check_trains_and_separates(make(**{**PLAIN, **changes}))


@pytest.mark.slow
def test_monaural_pre_training_reads_one_channel_and_pictures_alone() -> None:
    model = make(**PLAIN, front_end=FRONT_END, spatial_cues="none", position=False)
    assert model.required_cues == {"crops"} and model.settings.num_inputs == 1
    batch = tiny_batch(2)
    crops_only = replace(batch, cues=Cues(crops=batch.cues.crops))
    assert separate(model, crops_only).magnitudes.shape[2] == 1
    assert model.losses(crops_only)["total"].isfinite()


# Equation 8


@pytest.mark.slow
def test_equation_8_by_hand() -> None:
    model, batch = make(**PLAIN, weighted_loss=False, spatial_cues="none"), binaural_batch()
    assert batch.sources is not None
    losses = model.losses(batch)
    front_end = model.front_end
    mixture, phase = front_end.spectrogram(batch.mixture)
    rows = front_end.to_rows(mixture)
    target = ratio_mask(front_end.to_rows(front_end.magnitude(batch.sources)), rows[:, None])
    inputs = torch.log1p(rows)[:, :, None]
    masks = logits_of(model, inputs, batch.cues).sigmoid()
    error = masks - target
    torch.testing.assert_close(losses["masks"], error.abs().mean())
    torch.testing.assert_close(losses["squared"], error.square().mean())
    estimates = front_end.waveform(
        mixture[:, None] * front_end.to_bins(masks), phase[:, None], batch.mixture.shape[-1]
    )
    torch.testing.assert_close(losses["time"], (estimates - batch.sources).abs().mean())
    total = losses["masks"] + 0.5 * losses["squared"] + 0.25 * losses["time"]
    torch.testing.assert_close(losses["total"], total)


def test_si_snr_of_gain_offset_noise_and_silence() -> None:
    time = torch.arange(4000) / 4000
    source, noise = (2 * math.pi * 8 * time).sin(), (2 * math.pi * 9 * time).sin()
    assert si_snr_db(3 * source + 0.5, source) > 60
    # A tenth of the amplitude, and orthogonal: 20 dB.
    assert si_snr_db(source + 0.1 * noise, source).item() == pytest.approx(20, abs=1e-3)
    estimate = noise.clone().requires_grad_()
    score = si_snr_db(estimate, torch.zeros_like(source))
    score.backward()
    assert score.isfinite() and estimate.grad is not None and estimate.grad.isfinite().all()
    silent = torch.zeros_like(source).requires_grad_()
    si_snr_db(silent, source).backward()
    assert silent.grad is not None and silent.grad.isfinite().all()


@pytest.mark.slow
def test_one_ear_a_step_is_the_loss_of_both_on_the_mean() -> None:
    changes = {**PLAIN, "time_weight": 0.0, "spatial_cues": "signed"}
    both, batch = make(**changes), binaural_batch(1)
    single = make(**changes, random_ear_per_step=True)
    single.load_state_dict(both.state_dict())
    expected = both.losses(batch)["masks"]
    single.training = True  # batch norms stay as they are in both
    losses = []
    for seed in range(8):
        torch.manual_seed(seed)
        losses.append(single.losses(batch)["masks"])
    values = torch.stack(losses).unique()
    assert len(values) == 2, "both channels are drawn"
    torch.testing.assert_close(values.mean(), expected)


# Wrong settings and cues


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet": BinauralUNetSettings(channels=(8, 16, 16, 8))}, "three equal numbers"),
        ({"attention": CrossModalSettings(num_heads=3)}, "multiple of attention.num_heads"),
        ({"front_end": FRONT_END}, "need two channels"),
        ({"front_end": FrontEndSettings(num_channels=2, window_samples=9000)}, "multiples of 16"),
        ({"spatial_cues": "none"}, "num_templates needs spatial_cues"),
        ({"categories": ("violin",)}, "at most 0 items"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LAVSS.Settings(**{**TINY["lavss"], **changes})


def test_missing_cues_are_named() -> None:
    model, batch = make(), binaural_batch()
    with pytest.raises(InputError, match="reads `boxes`"):
        separate(model, replace(batch, cues=replace(batch.cues, boxes=None)))
    with pytest.raises(InputError, match="reads `crops`"):
        separate(model, replace(batch, cues=replace(batch.cues, crops=None)))
