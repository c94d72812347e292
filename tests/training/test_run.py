import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from avsep.checkpoint import load_model, read_card
from avsep.errors import InputError
from avsep.training.callbacks import ProgressCallback
from avsep.training.run import RunFolder
from training.noise_training import noise_recipe, noise_run


class Recorder(ProgressCallback):
    """Records the calls of a training; sends itself a signal after a step, if one is set."""

    def __init__(self, stop_after: int | None = None, by: int = signal.SIGINT) -> None:
        self.stop_after = stop_after
        self.by = by
        self.steps: list[int] = []
        self.validated_at: list[int] = []
        self.first_step: int | None = None

    def on_start(self, first_step: int, num_steps: int) -> None:
        self.first_step = first_step

    def on_step(self, step: int) -> None:
        self.steps.append(step)
        if step == self.stop_after:
            os.kill(os.getpid(), self.by)

    def on_validation(self, step: int, metrics: dict[str, float], is_best: bool) -> None:
        self.validated_at.append(step)


def end_state(folder: Path) -> dict[str, torch.Tensor]:
    """Return weights, averaged weights and the state of the optimizer."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    moments = last["optimizer_states"][0]["state"]
    return {
        **{f"weights.{name}": value for name, value in last["state_dict"].items()},
        **{f"average.{k}": v for k, v in load_file(folder / "last.safetensors").items()},
        **{f"{i}.{name}": value for i, state in moments.items() for name, value in state.items()},
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "steps_per_second"}
            for row in csv.DictReader(file)
        ]


def assert_equal(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    assert not [name for name in state if not torch.equal(state[name], expected[name])]


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "through"
    recorder = Recorder()
    assert noise_run(folder).train(recorder)
    assert (recorder.first_step, recorder.steps, recorder.validated_at) == (0, [1, 2, 3, 4], [3, 4])
    return folder


def test_a_run_leaves_models_that_load(through: Path) -> None:
    best, last = (load_model(through / f"{name}.safetensors") for name in ("model", "last"))
    assert not best.training
    assert best.settings == last.settings
    card = read_card(through / "model.safetensors")
    assert card.model == "dgfnet"
    assert card.metadata["recipe"].startswith('command = "train"\nmodel = "dgfnet"')
    assert card.metadata["step"] in (3, 4)
    assert card.metadata["validation"]["validation/sdr_db"] < 10


def test_metrics_hold_losses_rates_and_validations(through: Path) -> None:
    metrics = rows(through)
    assert [row["step"] for row in metrics] == ["2", "3", "4"]
    assert all(float(metrics[i]["loss/total"]) > 0 for i in (0, 2))
    assert 0 < float(metrics[1]["validation/gate_mean"]) < 1
    assert metrics[0]["validation/sdr_db"] == ""
    assert float(metrics[2]["learning_rate/transformer"]) == 1e-3
    assert list((through / "tensorboard").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_end(by: int, through: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    before = signal.getsignal(by)
    assert not noise_run(folder).train(Recorder(stop_after=1, by=by))
    assert signal.getsignal(by) == before
    assert not (folder / "last.safetensors").exists()
    recorder = Recorder()
    assert noise_run(folder).train(recorder)
    assert (recorder.first_step, recorder.steps) == (1, [2, 3, 4])
    assert_equal(end_state(folder), end_state(through))
    assert rows(folder) == rows(through)


@pytest.mark.slow
def test_a_run_that_is_done_stays_as_it_is(through: Path) -> None:
    before = end_state(through)
    recorder = Recorder()
    assert noise_run(through).train(recorder)
    assert recorder.steps == []
    assert_equal(end_state(through), before)


@pytest.mark.slow
def test_the_checkpoint_before_the_last_serves_too(through: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    assert noise_run(folder, checkpoint_every_steps=2).train(Recorder())
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])  # as after a power cut
    (folder / "last.safetensors").unlink()
    recorder = Recorder()
    assert noise_run(folder, checkpoint_every_steps=2).train(recorder)
    assert recorder.steps == [3, 4]
    assert_equal(end_state(folder), end_state(through))
    last.unlink()  # as when killed between two renames
    assert RunFolder(folder).last_checkpoint() == (folder / "checkpoints" / "previous.ckpt", 2)
    (folder / "checkpoints" / "previous.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match=r"previous.ckpt' is damaged \(.*another run with --init"):
        RunFolder(folder).last_checkpoint()


def test_folders_are_new_or_gone_on_with(through: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds a run already: add --resume"):
        RunFolder(through).begin(noise_recipe())
    (tmp_path / "recorder.txt").touch()
    with pytest.raises(InputError, match="is not empty: give a new folder"):
        RunFolder(tmp_path).begin(noise_recipe())
    with pytest.raises(InputError, match="holds no run to resume"):
        RunFolder(tmp_path / "none").stored_recipe()
    RunFolder(through).check_same(noise_recipe())
    with pytest.raises(
        InputError, match=r"began with training.batch_size = 2, not 3: a run resumes"
    ):
        RunFolder(through).check_same(noise_recipe(batch_size=3))
    with pytest.raises(
        InputError,
        match=r"max_steps = 4, not 9: .*begin another with --init .*through/last.safetensors$",
    ):
        RunFolder(through).check_same(noise_recipe(max_steps=9))


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    run = noise_run(tmp_path / "device", device="abacus")
    with pytest.raises(InputError, match=r"device 'abacus' cannot be used .*; try --device auto"):
        run.train(ProgressCallback())


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """A run killed by SIGKILL and resumed with workers ends as one without interruption."""
    script = Path(__file__).with_name("noise_training.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}

    def start(name: str, num_workers: int = 0) -> subprocess.Popen[bytes]:
        command = [sys.executable, script, tmp_path / name, str(num_workers)]
        return subprocess.Popen(command, env=environment)

    assert start("through").wait() == 0
    killed = start("killed")
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    while not checkpoint.exists():
        assert killed.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "last.safetensors").exists()
    assert start("killed", num_workers=1).wait() == 0
    assert_equal(end_state(tmp_path / "killed"), end_state(tmp_path / "through"))
    assert rows(tmp_path / "killed") == rows(tmp_path / "through")
