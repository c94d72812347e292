import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from avsep.models.base import SeparationModel
from avsep.records import Batch, Separation
from avsep.training.callbacks import RunningAverage
from avsep.training.task import Length, SeparationTask
from training.noise_training import noise_recipe

TRAINER = Trainer(accelerator="cpu", barebones=True, max_steps=1)


class Scale(SeparationModel):
    """One weight, and a norm with its statistics and counter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.norm = nn.BatchNorm1d(2)

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        return {"total": self.weight.sum()}

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        raise NotImplementedError("only trained here")


def averaging(decay: float) -> tuple[RunningAverage, Scale, SeparationTask]:
    model = Scale()
    average = RunningAverage(decay)
    task = SeparationTask(model, noise_recipe(), Length(10, 1.0))
    average.setup(TRAINER, task, "fit")
    return average, model, task


def test_the_average_forgets_its_beginning_soon() -> None:
    average, model, task = averaging(0.5)
    expected = None
    for step in range(12):
        with torch.no_grad():
            model.weight.fill_(float(step))
        model.norm(torch.randn(4, 2))
        average.after_step(TRAINER, task, {})
        decay = min(0.5, (1 + step) / (10 + step))
        expected = 0.0 if expected is None else decay * expected + (1 - decay) * step
        assert average.model.weight[0].item() == pytest.approx(expected)
    assert average.model.norm.num_batches_tracked == 12
    assert not torch.equal(average.model.norm.running_mean, model.norm.running_mean)


def test_without_decay_the_model_is_the_one_trained() -> None:
    average, model, _ = averaging(0.0)
    assert average.model is model
    assert average.state_dict() == {}


def test_the_average_is_restored_from_a_checkpoint() -> None:
    first, model, task = averaging(0.9)
    second, _, other = averaging(0.9)
    for step in range(3):
        with torch.no_grad():
            model.weight.fill_(float(step))
        first.after_step(TRAINER, task, {})
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.model.weight, first.model.weight)
    for average, trained in ((first, task), (second, other)):
        with torch.no_grad():
            trained.model.weight.fill_(7.0)
        average.after_step(TRAINER, trained, {})
    assert torch.equal(second.model.weight, first.model.weight)
