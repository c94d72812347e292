"""Test the counting of operations, and the largest avsep recipe: its size, and a training step."""

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor, nn

from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.records import Batch, Separation
from avsep.training.recipe import load_training, model_settings
from avsep.training.task import make_optimizer
from count_operations import blank_batch, count_gflop, main


class OneProduct(SeparationModel):
    """A linear layer of 100 numbers to 10, for each of two objects."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(100, 10)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        raise AssertionError("only separations are counted")

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        assert batch.cues.crops is not None and batch.cues.is_visible is None
        objects = self.layer(torch.zeros(batch.cues.crops.shape[1], 100))
        phase = torch.zeros(1, 1, 1, 10, dtype=torch.complex64)
        return Separation(objects[None, :, None, None], torch.zeros(1, len(objects)), phase)


def test_a_product_and_a_sum_are_two_operations() -> None:
    assert count_gflop(OneProduct()) == pytest.approx(2 * 2 * 100 * 10 / 1e9)


def test_a_row_has_sizes_and_operations(capsys: pytest.CaptureFixture) -> None:
    main(["avsep-mini"])
    *_, row = capsys.readouterr().out.splitlines()
    name, trained, frozen, gflop, per_second = (cell.strip() for cell in row.split("|")[1:-1])
    assert (name, trained, frozen) == ("avsep-mini", "5.9 M", "4.7 M")
    assert 5.9 * float(per_second) == pytest.approx(float(gflop), rel=0.1)


@pytest.mark.slow
def test_the_large_size_learns_in_one_step() -> None:
    recipe = load_training("avsep")
    torch.manual_seed(0)
    model = MODELS["avsep"](model_settings(recipe, "avsep")).train()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) > 30e6
    batch = blank_batch(model)
    sources = batch.mixture[:, None] * torch.tensor([0.9, 0.1])[None, :, None, None]
    losses = model.losses(replace(batch, sources=sources))
    optimizer = make_optimizer(model.parameter_groups(), recipe.optimizers)
    before = [p.detach().clone() for p in model.parameters()]
    losses["total"].backward()
    optimizer.step()
    after = list(model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after)
    assert sum(not a.equal(b) for a, b in zip(before, after, strict=True)) > 0.5 * len(after)
