"""What the tests of all ear separators share: two ears of noise, answers, weights that tell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from avsep.records import Batch, Separation
from tiny_models import FRONT_END, tiny_batch


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


def count(module: nn.Module | None) -> int:
    """Its parameters."""
    assert module is not None, "the published network has it"
    return sum(parameter.numel() for parameter in module.parameters())
