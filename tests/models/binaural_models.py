"""What the tests of all ear separators share: two ears of noise, answers, weights that tell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from avsep.models.binaural import BinauralSeparator
from avsep.records import Batch, Cues, Separation
from tiny_models import FRONT_END, tiny_batch

EARS = FRONT_END.model_copy(update={"num_channels": 2})
# Of a mono baseline, what LAVSS' Table 3 adds to it.
ADDED: tuple[dict[str, object], ...] = (
    {},
    {"masks": "binary"},
    {"front_end": EARS},
    {"front_end": EARS, "position": True},
    {"front_end": EARS, "spatial_cues": "paper"},
)


def with_large_weights(kind: Any, settings: Mapping[str, object]) -> Any:
    """A model in eval mode whose weights are large enough that all it is given shows."""
    torch.manual_seed(0)
    model = kind(kind.Settings(**settings))
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            nn.init.normal_(parameter, 0, 0.2)
    return model.eval()


def binaural_batch(num_items: int = 2) -> Batch:
    """Two sources of noise, heard by two ears."""
    batch = tiny_batch(num_items)
    generator = torch.Generator().manual_seed(7)
    shape = (num_items, 2, 2, FRONT_END.window_samples)
    sources = 0.1 * torch.randn(*shape, generator=generator)
    return replace(batch, mixture=sources.sum(1), sources=sources)


def separate(model: Any, batch: Batch) -> Separation:
    """Its answer."""
    with torch.no_grad():
        return model.separate(batch)


def check_each_ear_alone(model: Any) -> None:
    """Two ears are separated each by itself, as LAVSS runs its mono baselines."""
    batch = binaural_batch()
    answer = separate(model, batch).magnitudes
    for ear in range(2):
        one = Batch(batch.mixture[:, ear : ear + 1], cues=batch.cues)
        torch.testing.assert_close(separate(model, one).magnitudes[:, :, 0], answer[:, :, ear])


def check_trains_and_answers(model: Any) -> None:
    """It answers, and all of it learns from its losses."""
    num_ears = model.settings.front_end.num_channels
    batch = binaural_batch() if num_ears == 2 else tiny_batch(2)
    assert model.required_cues == ({"crops", "boxes"} if model.settings.position else {"crops"})
    assert separate(model, batch).magnitudes.isfinite().all()
    model.train()
    losses = model.losses(batch)
    losses["total"].backward()
    assert all(value.isfinite() for value in losses.values())
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def count(module: nn.Module | None) -> int:
    """Its parameters."""
    assert module is not None, "the published network has it"
    return sum(parameter.numel() for parameter in module.parameters())


def logits_of(model: BinauralSeparator, inputs: torch.Tensor, cues: Cues) -> torch.Tensor:
    """Masks before their sigmoid for inputs [B, C, Z, R, t], each channel with all objects."""
    visual, (num_mixtures, num_channels) = model.visual_features(cues), inputs.shape[:2]
    guide = visual[:, None].expand(-1, num_channels, *visual.shape[1:]).flatten(0, 2)
    logits = model.predict_masks(inputs.flatten(0, 1), guide)
    return logits.unflatten(0, (num_mixtures, num_channels, -1)).transpose(1, 2)
