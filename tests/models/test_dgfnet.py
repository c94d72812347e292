"""DGFNet and iQuery: sizes of the paper, every switch, what is told and what is seen."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from avsep.errors import InputError
from avsep.layers.audio_unet import UNetSettings
from avsep.models import MODELS
from avsep.models.dgfnet import DGFNet, IQuery, IQuerySettings
from avsep.records import Batch, Cues
from tiny_models import CATEGORIES, TINY, tiny_batch
from tiny_models import tiny_model as tiny

# One halving less than the others of TINY, for windows of half as many frames.
SHALLOW = UNetSettings(channels=(8, 16, 16, 16), num_features=8, num_layers_after_middle=2)


def tiny_model(**changes: object) -> DGFNet:
    """DGFNet of a few thousand parameters, without what is ours in it."""
    model = tiny("dgfnet", **({"motion_in_fusion": False} | changes))
    assert isinstance(model, DGFNet)
    return model


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# Parameters of iQuery's released code that no input ever reaches (REFERENCE 8.1): the motion layer
# carries a self-attention and an audio-visual attention, the three others a motion attention.
ATTENTION_AND_NORM = 263_168 + 512
NEVER_USED = (2 + 3) * ATTENTION_AND_NORM


def test_what_is_left_out_is_accounted_for() -> None:
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
    """AVE: four ordinary layers and no motion, so nothing in the released code is idle."""
    categories = tuple(f"c{k}" for k in range(28))
    settings = IQuerySettings(categories=categories, num_queries=30, motion="none")
    with torch.device("meta"):
        assert num_parameters(IQuery(settings).transformer) == 5_159_968


def test_size_of_the_whole() -> None:
    """REFERENCE 8.1b, less what is never used; the category head and the frozen trunk apart."""
    with torch.device("meta"):
        model = DGFNet()
    assert model.fusion is not None
    assert num_parameters(model.fusion) == 131_584
    assert num_parameters(model.objects.linear) == 147_488
    head = num_parameters(model.objects.category_head)  # type: ignore[arg-type]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained - head == 35_716_238
    assert num_parameters(model.objects.encoder) == 11_176_512


def test_names() -> None:
    assert set(MODELS) >= {"dgfnet", "iquery"}
    assert IQuery.Settings().fusion == "none"
    assert not IQuery.Settings().audio_attention


SWITCHES = [
    {"fusion": fusion, "gate_feeds_decoder": own, "motion": motion}
    for fusion in ("none", "mul", "gate")
    for own in (True, False)
    for motion in ("crop_motion", "none")
]


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
        answer = model.eval().separate(batch)
    assert answer.magnitudes.shape == (2, 2, 1, 128, 32)
    assert ("gate" in answer.metadata) == (switches["fusion"] == "gate")


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
    changed[0, 1, :, 2:] = 9.0  # padding: nobody sees it
    cues = replace(cues, i3d_features=changed)
    assert torch.equal(first, model.separate(Batch(batch.mixture, None, cues)).magnitudes)
    changed[0, 0, :, 2:] = 9.0
    cues = replace(cues, i3d_features=changed)
    assert not torch.equal(first, model.separate(Batch(batch.mixture, None, cues)).magnitudes)


def test_a_label_is_believed_and_the_picture_decides_without_one() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    told = model.separate(batch)
    assert told.metadata["category_source"] == "given"
    assert torch.equal(told.metadata["category"], batch.cues.category)
    seen = model.separate(Batch(batch.mixture, None, replace(batch.cues, category=None)))
    assert seen.metadata["category_source"] == "predicted"
    head = seen.metadata["category"]
    partly = torch.where(torch.tensor([[True, False]]), batch.cues.category, -1)
    mixed = model.separate(Batch(batch.mixture, None, replace(batch.cues, category=partly)))
    assert mixed.metadata["category_source"] == "mixed"
    assert torch.equal(mixed.metadata["category"][:, 1], head[:, 1])
    assert torch.equal(mixed.magnitudes[:, 1], seen.magnitudes[:, 1])


def test_crops_are_looked_at_once() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    embedded = model.precompute(batch.cues)
    assert embedded.crops is None
    again = model.separate(Batch(batch.mixture, None, embedded))
    assert torch.equal(again.magnitudes, model.separate(batch).magnitudes)
    with pytest.raises(InputError, match="give it pictures of each object"):
        model.separate(Batch(batch.mixture, None, Cues(crop_motion=batch.cues.crop_motion)))


def test_a_mixture_is_heard_at_one_level() -> None:
    """With a hearing level, what is louder is answered louder and is otherwise the same."""
    model, batch = tiny_model(input_rms=0.1).eval(), tiny_batch()
    quiet = model.separate(batch).magnitudes
    loud = model.separate(Batch(4 * batch.mixture, None, batch.cues)).magnitudes
    torch.testing.assert_close(loud, 4 * quiet, rtol=1e-3, atol=1e-5)
    plain = tiny_model().eval()
    quiet = plain.separate(batch).magnitudes
    loud = plain.separate(Batch(4 * batch.mixture, None, batch.cues)).magnitudes
    assert not torch.allclose(loud, 4 * quiet, rtol=1e-2)


def test_averaged_frames_keep_the_shape() -> None:
    model, batch = tiny_model(time_stride=2, unet=SHALLOW).eval(), tiny_batch()
    answer = model.separate(batch)
    assert answer.magnitudes.shape == (2, 2, 1, 128, 32)
    assert torch.isfinite(model.losses(batch)["total"])


def test_masks_stay_within_the_mixture() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    answer = model.separate(batch)
    mixture, _ = model.front_end.spectrogram(batch.mixture)
    assert (answer.magnitudes <= mixture[:, None] * (1 + 1e-5)).all()
    assert ((answer.presence >= 0) & (answer.presence <= 1)).all()


def test_two_ears_are_heard_one_by_one() -> None:
    model, batch = tiny_model().eval(), tiny_batch()
    ears = torch.cat([batch.mixture, 0.5 * batch.mixture.flip(-1)], dim=1)
    both = model.separate(Batch(ears, None, batch.cues))
    left = model.separate(batch)
    assert both.magnitudes.shape[2] == 2
    torch.testing.assert_close(both.magnitudes[:, :, :1], left.magnitudes)


def test_groups_of_parameters_hold_all_that_trains() -> None:
    model = tiny_model()
    groups = model.parameter_groups()
    assert set(groups) == {"transformer", "rest"}
    held = {id(parameter) for group in groups.values() for parameter in group}
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert held == trained
    assert sum(map(len, groups.values())) == len(held)


def test_movement_is_dropped_in_training_only() -> None:
    model, batch = tiny_model(motion_dropout=0.5, motion_in_fusion=True), tiny_batch()
    assert torch.equal(model.eval().separate(batch).magnitudes, model.separate(batch).magnitudes)
    model.train()
    found = set()
    for seed in range(8):
        torch.manual_seed(seed)
        found.add(model.losses(batch)["total"].item())
    assert len(found) > 1


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


def test_queries_of_the_field() -> None:
    """Twelve for the eleven categories of MUSIC."""
    assert IQuery.Settings().num_queries is None
    with torch.device("meta"):
        assert IQuery().transformer.queries.weight.shape == (12, 256)
    assert len(CATEGORIES) + 1 == tiny_model().transformer.queries.num_embeddings
