"""Test trainings whose loss or weights become NaN or infinite: they stop, and nothing is lost."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from avsep.errors import InputError
from avsep.training.callbacks import DivergenceCheck, ProgressCallback
from avsep.training.run import RunFolder, TrainingRun
from avsep.training.task import Length, SeparationTask
from tiny_models import tiny_model
from training.noise_training import noise_recipe, noise_run

Losses = dict[str, Tensor]


def spoil(run: TrainingRun, at_step: int, change: Callable[[Losses], Losses]) -> TrainingRun:
    """Change the losses of one step of training; validation computes them without gradients."""
    losses, steps = run.model.losses, iter(range(1, 100))

    def changed(batch: object) -> Losses:
        values = losses(batch)  # type: ignore[arg-type]
        is_changed = torch.is_grad_enabled() and next(steps) == at_step
        return change(values) if is_changed else values

    object.__setattr__(run.model, "losses", changed)
    return run


def nan_loss(values: Losses) -> Losses:
    return values | {"total": values["total"] * float("nan")}


def infinite_part(values: Losses) -> Losses:
    name = next(name for name in values if name != "total")
    part = values[name] + float("inf")
    return values | {name: part, "total": values["total"] + part}


def infinite_gradient(values: Losses) -> Losses:
    """Leave the loss as it is, with gradients that are NaN: of a root at zero."""
    zero = values["total"] - values["total"]
    return values | {"total": values["total"] + zero.abs().sqrt()}


def state(folder: Path) -> Losses:
    """Return the weights, their average, and the optimizer's state of the last checkpoint."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    moments = last["optimizer_states"][0]["state"]
    return last["state_dict"] | {f"{i}.{k}": v for i, m in moments.items() for k, v in m.items()}


SETTINGS = {"checkpoint_every_steps": 1, "log_every_steps": 4}


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a fault, which leaves PyTorch's own random state as it was."""
    folder = tmp_path_factory.mktemp("runs") / "through"
    run = noise_run(folder, **SETTINGS)
    before = torch.random.get_rng_state()
    assert run.train(ProgressCallback())
    assert torch.equal(torch.random.get_rng_state(), before)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_loss, r"the loss of step 3 is not finite: total is nan; the training was stopped"),
        (infinite_part, r"the loss of step 3 is not finite: \w+ is inf, total is inf; the trainin"),
        (infinite_gradient, r"the weights after step 3 are not finite, such as '[\w.]+'; the trai"),
    ],
)
def test_a_training_stops_before_it_overwrites_anything_and_goes_on(
    change: Callable[[Losses], Losses], message: str, through: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    with pytest.raises(InputError, match=message) as error:
        spoil(noise_run(folder, **SETTINGS), 3, change).train(ProgressCallback())
    last = re.escape(str(folder / "checkpoints" / "last.ckpt"))
    assert re.search(rf"the last checkpoint, '{last}', is of a step before", str(error.value))
    assert "\n" not in str(error.value)
    assert RunFolder(folder).last_checkpoint() == (folder / "checkpoints" / "last.ckpt", 2)
    assert all(value.isfinite().all() for value in state(folder).values())
    # Validated after step 3: neither its scores nor its model are there.
    assert not (folder / "metrics.csv").exists() and not (folder / "model.safetensors").exists()
    assert noise_run(folder, **SETTINGS).train(ProgressCallback())
    expected, resumed = state(through), state(folder)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    first, second = (load_file(place / "last.safetensors") for place in (through, folder))
    assert all(torch.equal(second[name], value) for name, value in first.items())


@pytest.mark.slow
def test_losses_between_two_checks_are_found_later_with_their_step(tmp_path: Path) -> None:
    run = noise_run(tmp_path / "run", log_every_steps=4, validate_every_steps=4)
    with pytest.raises(
        InputError, match=r"the loss of step 2 is not finite: total is nan; .* ther"
    ):
        spoil(run, 2, nan_loss).train(ProgressCallback())
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_gradients_that_no_step_was_taken_with_are_no_fault(tmp_path: Path) -> None:
    """As the gradient scaler leaves them, which skips a step whose gradients overflow."""
    recipe = noise_recipe()
    task = SeparationTask(tiny_model("dgfnet"), recipe, Length(4, 4.0))
    check = DivergenceCheck(tmp_path, recipe.training)
    parameters = list(task.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, float("inf"))
    check.check(task)
    with torch.no_grad():
        parameters[-1].view(-1)[0] = float("nan")
    with pytest.raises(InputError, match=r"the weights after step 0 are not finite, such as '"):
        check.check(task)
