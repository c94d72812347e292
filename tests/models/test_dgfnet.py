"""Test DGFNet and iQuery: sizes of the paper, every switch, categories, equation 7."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from avsep.errors import InputError
from avsep.layers.audio_unet import UNetSettings
from avsep.models import MODELS
from avsep.models.dgfnet import DGFNet, FusedMasks
from avsep.models.iquery import IQuery, IQuerySettings
from avsep.records import Batch, Cues
from tiny_models import CATEGORIES, TINY, tiny_batch
from tiny_models import tiny_model as tiny

# One halving less than the others of TINY, for windows of half as many frames.
SHALLOW = UNetSettings(channels=(8, 16, 16, 16), num_features=8, num_layers_after_middle=2)


def tiny_model(**changes: object) -> DGFNet:
    """Return a DGFNet of a few thousand parameters, without the additions that are ours."""
    model = tiny("dgfnet", **({"motion_in_fusion": False} | changes))
    assert isinstance(model, DGFNet)
    return model


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# Parameters of iQuery's released code that no input reaches (REFERENCE 8.1): the motion layer
# carries a self-attention and an audio-visual attention, the three others a motion attention.
ATTENTION_AND_NORM = 263_168 + 512
NEVER_USED = (2 + 3) * ATTENTION_AND_NORM


def test_parameters_never_used_are_accounted_for() -> None:
    assert NEVER_USED == 1_318_400


@pytest.mark.parametrize(
    ("settings", "released"),
    [
        (IQuerySettings(), 6_472_480),
        (IQuerySettings(categories=tuple(f"c{k}" for k in range(21))), 6_475_040),
    ],
)
def test_size_of_the_predictor(settings: IQuerySettings, released: int) -> None:
    with torch.device("meta"):
        assert num_parameters(IQuery(settings).transformer) == released - NEVER_USED


def test_size_of_the_predictor_without_motion() -> None:
    """AVE: four ordinary layers and no motion, so every released parameter is used."""
    categories = tuple(f"c{k}" for k in range(28))
    settings = IQuerySettings(categories=categories, num_queries=30, motion="none")
    with torch.device("meta"):
        assert num_parameters(IQuery(settings).transformer) == 5_159_968


def test_size_of_the_whole() -> None:
    """REFERENCE 8.1b without the parameters never used; category head and frozen trunk apart."""
    with torch.device("meta"):
        model = DGFNet()
    assert model.fusion is not None
    assert num_parameters(model.fusion) == 131_584
    assert num_parameters(model.objects.linear) == 147_488
    assert model.objects.category_head is not None
    head = num_parameters(model.objects.category_head)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained - head == 35_716_238
    assert num_parameters(model.objects.encoder) == 11_176_512


def test_names() -> None:
    assert set(MODELS) >= {"dgfnet", "iquery"}
    assert IQuery.Settings().fusion == "none"
    assert not IQuery.Settings().audio_attention


SWITCHES = [
    {"fusion": fusion, "gate_feeds_decoder": feeds_decoder, "motion": motion}
    for fusion in ("none", "mul", "gate")
    for feeds_decoder in (True, False)
    for motion in ("crop_motion", "none")
]


@pytest.mark.slow
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_trains_and_separates(switches: dict) -> None:
    model, batch = tiny_model(**switches).train(), tiny_batch()
    losses = model.losses(batch)
    losses["total"].backward()
    assert torch.isfinite(losses["total"])
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not idle
    with torch.no_grad():
        separation = model.eval().separate(batch)
    assert separation.magnitudes.shape == (2, 2, 1, 128, 32)
    assert ("gate" in separation.metadata) == (switches["fusion"] == "gate")


@pytest.mark.slow
def test_motion_features_computed_beforehand() -> None:
    model, batch = tiny_model(motion="i3d").eval(), tiny_batch()
    with pytest.raises(InputError, match="motion features that I3D precomputes"):
        model.separate(batch)
    motion = torch.randn(2, 2, 1024, 4)
    padding = torch.zeros(2, 2, 4, dtype=torch.bool)
    padding[0, 1, 2:] = True
    cues = replace(batch.cues, i3d_features=motion, i3d_padding=padding)
    first = model.separate(Batch(batch.mixture, None, cues)).magnitudes
    changed = motion.clone()
    changed[0, 1, :, 2:] = 9.0  # padding, which is not read
    cues = replace(cues, i3d_features=changed)
    assert torch.equal(first, model.separate(Batch(batch.mixture, None, cues)).magnitudes)
    changed[0, 0, :, 2:] = 9.0
    cues = replace(cues, i3d_features=changed)
    assert not torch.equal(first, model.separate(Batch(batch.mixture, None, cues)).magnitudes)


@pytest.mark.slow
def test_a_given_label_is_used_and_predicted_from_the_picture_without_one() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    given_labels = model.separate(batch)
    assert torch.equal(given_labels.metadata["category"], batch.cues.category)
    without = model.separate(Batch(batch.mixture, None, replace(batch.cues, category=None)))
    head = without.metadata["category"]
    partly = torch.where(torch.tensor([[True, False]]), batch.cues.category, -1)
    mixed = model.separate(Batch(batch.mixture, None, replace(batch.cues, category=partly)))
    assert torch.equal(mixed.metadata["category"][:, 1], head[:, 1])
    assert torch.equal(mixed.magnitudes[:, 1], without.magnitudes[:, 1])


@pytest.mark.slow
def test_precomputed_crops_give_the_same_estimates() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    embedded = model.precompute(batch.cues)
    assert embedded.crops is None
    separation = model.separate(Batch(batch.mixture, None, embedded))
    assert torch.equal(separation.magnitudes, model.separate(batch).magnitudes)
    with pytest.raises(InputError, match="give it pictures of each object"):
        model.separate(Batch(batch.mixture, None, Cues(crop_motion=batch.cues.crop_motion)))


@pytest.mark.slow
def test_a_mixture_is_scaled_to_one_level() -> None:
    """With `input_rms`, the estimates of a louder mixture are the same, only louder."""
    model, batch = tiny_model(input_rms=0.1).eval(), tiny_batch()
    quiet = model.separate(batch).magnitudes
    loud = model.separate(Batch(4 * batch.mixture, None, batch.cues)).magnitudes
    torch.testing.assert_close(loud, 4 * quiet, rtol=1e-3, atol=1e-5)
    plain = tiny_model().eval()
    quiet = plain.separate(batch).magnitudes
    loud = plain.separate(Batch(4 * batch.mixture, None, batch.cues)).magnitudes
    assert not torch.allclose(loud, 4 * quiet, rtol=1e-2)


@pytest.mark.slow
def test_averaged_frames_keep_the_shape() -> None:
    model, batch = tiny_model(time_stride=2, unet=SHALLOW).eval(), tiny_batch()
    separation = model.separate(batch)
    assert separation.magnitudes.shape == (2, 2, 1, 128, 32)
    assert torch.isfinite(model.losses(batch)["total"])


def test_masks_stay_within_the_mixture() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    separation = model.separate(batch)
    mixture, _ = model.front_end.spectrogram(batch.mixture)
    assert (separation.magnitudes <= mixture[:, None] * (1 + 1e-5)).all()
    assert ((separation.presence >= 0) & (separation.presence <= 1)).all()


@pytest.mark.slow
def test_two_channels_are_separated_one_by_one() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    ears = torch.cat([batch.mixture, 0.5 * batch.mixture.flip(-1)], dim=1)
    both = model.separate(Batch(ears, None, batch.cues))
    left = model.separate(batch)
    assert both.magnitudes.shape[2] == 2
    torch.testing.assert_close(both.magnitudes[:, :, :1], left.magnitudes)


# The loss (equation 7, weighted as in iQuery's code) and the category head's


# Cells whose log1p is below, at and above the range 0.001..10 of the weights.
MIXTURE_ROWS = torch.tensor([[[0.0, math.e - 1, math.exp(12) - 1]]])
# The first source is the second cell, the second source the third: target masks 0 1 0 and 0 0 1.
SOURCE_ROWS = MIXTURE_ROWS[:, None] * torch.tensor([[[[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]]])
# Logits of three categories for each source: the head gives category 0 first 70 %, then 20 %.
LOGITS = torch.tensor([[[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]]).log()


def losses_by_hand(
    monkeypatch: pytest.MonkeyPatch,
    category: Sequence[int],
    logits: torch.Tensor = LOGITS,
    **changes: object,
) -> dict[str, torch.Tensor]:
    """Compute the losses of masks that are 0.25 everywhere and of given logits."""
    model = tiny_model(image_encoder="resnet18", **changes)  # its category head is trained

    def rows(magnitude: torch.Tensor) -> torch.Tensor:
        return MIXTURE_ROWS if magnitude.ndim == 3 else SOURCE_ROWS

    def predict(mixture: torch.Tensor, cues: Cues) -> FusedMasks:
        return FusedMasks(torch.full((1, 2, 1, 3), 0.25), cues.category, None, logits)

    monkeypatch.setattr(model, "to_network", rows)
    monkeypatch.setattr(model, "_predict", predict)
    batch = tiny_batch(1)
    cues = replace(batch.cues, category=torch.tensor([category]))
    return model.losses(replace(batch, cues=cues))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weighted_loss", "expected"),
    [
        # Two errors of 3/4 and four of 1/4, mean over two sources of three cells.
        (False, (2 * 0.75 + 4 * 0.25) / 6),
        # The same, times the weights 0.001, 1 and 10 of the cells.
        (True, (0.25e-3 + 0.75 + 2.5 + 0.25e-3 + 0.25 + 7.5) / 6),
    ],
)
def test_equation_7_by_hand(
    monkeypatch: pytest.MonkeyPatch, weighted_loss: bool, expected: float
) -> None:
    losses = losses_by_hand(monkeypatch, [0, 1], weighted_loss=weighted_loss)
    assert losses["separation"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ([0, 1], -(math.log(0.7) + math.log(0.5)) / 2),
        ([0, -1], -math.log(0.7)),
        ([-1, 2], -math.log(0.3)),
        ([-1, -1], 0.0),
    ],
)
def test_a_source_without_category_trains_no_head(
    monkeypatch: pytest.MonkeyPatch, category: list[int], expected: float
) -> None:
    logits = LOGITS.clone().requires_grad_()
    losses = losses_by_hand(monkeypatch, category, logits)
    assert losses["category"].item() == pytest.approx(expected, rel=1e-6)
    losses["total"].backward()
    assert logits.grad is not None
    assert logits.grad[0].any(dim=1).tolist() == [index >= 0 for index in category]


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_the_total_weights_the_category_loss(
    monkeypatch: pytest.MonkeyPatch, weight: float
) -> None:
    losses = losses_by_hand(monkeypatch, [0, -1], category_loss_weight=weight, weighted_loss=False)
    assert losses["total"].item() == pytest.approx(2.5 / 6 - weight * math.log(0.7), rel=1e-6)


def test_groups_have_all_trained_parameters() -> None:
    model = tiny_model()
    groups = model.parameter_groups()
    assert set(groups) == {"transformer", "rest"}
    grouped = {id(parameter) for group in groups.values() for parameter in group}
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert grouped == trained
    assert sum(map(len, groups.values())) == len(grouped)


@pytest.mark.slow
def test_crop_motion_is_dropped_in_training_only() -> None:
    model, batch = tiny_model(motion_dropout=0.5, motion_in_fusion=True), tiny_batch()
    assert torch.equal(model.eval().separate(batch).magnitudes, model.separate(batch).magnitudes)
    model.train()
    losses = set()
    for seed in range(8):
        torch.manual_seed(seed)
        losses.add(model.losses(batch)["total"].item())
    assert len(losses) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_queries": 2}, "must be at least 3"),
        ({"num_heads": 5}, "multiple of twice num_heads"),
        ({"motion_in_fusion": True, "motion": "none"}, "needs motion = 'crop_motion'"),
        ({"motion_in_fusion": True, "fusion": "none"}, "and a fusion"),
    ],
)
def test_settings_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DGFNet.Settings(**TINY["dgfnet"] | changes)


def test_the_number_of_queries_is_one_more_than_of_categories() -> None:
    """There are twelve for the eleven categories of MUSIC."""
    assert IQuery.Settings().num_queries is None
    with torch.device("meta"):
        assert IQuery().transformer.queries.weight.shape == (12, 256)
    assert len(CATEGORIES) + 1 == tiny_model().transformer.queries.num_embeddings
