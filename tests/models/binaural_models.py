"""Helpers for tests of binaural models: batches of two channels, large weights, checks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from avsep.models.binaural import BinauralSeparator
from avsep.records import Batch, Cues, Separation
from tiny_models import FRONT_END, tiny_batch

EARS = FRONT_END.model_copy(update={"num_channels": 2})
# Changes of a mono baseline: the additions of LAVSS' Table 3.
ADDED: tuple[dict[str, object], ...] = (
    {},
    {"masks": "binary"},
    {"front_end": EARS},
    {"front_end": EARS, "position": True},
    {"front_end": EARS, "spatial_cues": "paper"},
)


def with_large_weights(kind: Any, settings: Mapping[str, object]) -> Any:
    """Return a model in eval mode; its weights are so large that every input changes the output."""
    torch.manual_seed(0)
    model = kind(kind.Settings(**settings))
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            nn.init.normal_(parameter, 0, 0.2)
    return model.eval()


def binaural_batch(num_items: int = 2) -> Batch:
    """Return a batch of two sources of noise in two channels."""
    batch = tiny_batch(num_items)
    generator = torch.Generator().manual_seed(7)
    shape = (num_items, 2, 2, FRONT_END.window_samples)
    sources = 0.1 * torch.randn(*shape, generator=generator)
    return replace(batch, mixture=sources.sum(1), sources=sources)


def separate(model: Any, batch: Batch) -> Separation:
    """Separate a batch without gradients."""
    with torch.no_grad():
        return model.separate(batch)


def check_each_ear_alone(model: Any) -> None:
    """Check that each channel is separated by itself, as LAVSS runs its mono baselines."""
    batch = binaural_batch()
    magnitudes = separate(model, batch).magnitudes
    for ear in range(2):
        mono = Batch(batch.mixture[:, ear : ear + 1], cues=batch.cues)
        torch.testing.assert_close(separate(model, mono).magnitudes[:, :, 0], magnitudes[:, :, ear])


def check_trains_and_separates(model: Any) -> None:
    """Check that a model separates, and that every trained parameter has a gradient."""
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
    """Return the number of parameters."""
    assert module is not None, "the published network has it"
    return sum(parameter.numel() for parameter in module.parameters())


def logits_of(model: BinauralSeparator, inputs: torch.Tensor, cues: Cues) -> torch.Tensor:
    """Compute mask logits of inputs [B, C, Z, R, t], each channel with all objects."""
    visual, (num_mixtures, num_channels) = model.visual_features(cues), inputs.shape[:2]
    guide = visual[:, None].expand(-1, num_channels, *visual.shape[1:]).flatten(0, 2)
    logits = model.predict_masks(inputs.flatten(0, 1), guide)
    return logits.unflatten(0, (num_mixtures, num_channels, -1)).transpose(1, 2)
