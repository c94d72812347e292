"""Test `avsep train`: runs, resuming, dry runs, one-line errors, and no process left behind."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from avsep.checkpoint import load_model, read_card, save_checkpoint
from avsep.training.initial_weights import make_model
from avsep.training.recipe import load_training
from training.tiny_band import make_band, write_tiny_recipe


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a band and a recipe."""
    place = tmp_path_factory.mktemp("place")
    make_band(place / "band", 6)
    write_tiny_recipe(place / "tiny.toml")
    return place


@pytest.fixture
def words(place: Path) -> list[str | Path]:
    """Arguments of a training, its run folder left out."""
    return [
        "train", place / "tiny.toml", "--data", place / "band", "--cache", place / "cache",
        "--device", "cpu",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_training_from_the_command_line(run: Callable, words: list, tmp_path: Path) -> None:
    done = run(*words, "--run", tmp_path / "run")
    assert done.code == 0
    assert "3 clips to train on (6 sources), 3 to validate with" in done.out
    assert "4 steps of 2 mixtures" in done.out
    assert f"best model: {tmp_path / 'run' / 'model.safetensors'}" in done.out
    assert "step 4: SDR " in done.err and "dB label predicted" in done.err
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert len(model.settings.categories) == 16
    facts = read_card(tmp_path / "run" / "model.safetensors").metadata
    assert facts["num_clips"] == 3
    assert 'data = ["band"]' in facts["recipe"]  # the folder's name, not where it lay

    again = run(*words, "--run", tmp_path / "run")
    assert again.code == 2 and not again.out.count("best model")
    assert "holds a run already: add --resume" in again.err

    before = load_file(tmp_path / "run" / "last.safetensors")
    resumed = run("train", "--run", tmp_path / "run", "--resume", "--cache", tmp_path / "new")
    assert resumed.code == 0
    after = load_file(tmp_path / "run" / "last.safetensors")
    assert all(before[name].equal(after[name]) for name in before)

    other = [*words, "--run", tmp_path / "run", "--resume", "--set", "training.batch_size=3"]
    refused = run(*other)
    assert refused.code == 2 and "began with training.batch_size = 2, not 3" in refused.err


@pytest.mark.slow
def test_a_run_goes_on_from_any_folder_and_with_moved_clips(
    run: Callable, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(place / "band", tmp_path / "band")
    monkeypatch.chdir(tmp_path)
    more = ["--cache", place / "cache", "--device", "cpu"]
    done = run("train", place / "tiny.toml", "--data", "band", "--run", "run", *more)
    assert done.code == 0
    stored = load_training(tmp_path / "run" / "recipe.toml")
    assert stored.data == (str(tmp_path / "band"),)
    facts = read_card(tmp_path / "run" / "model.safetensors").metadata
    assert facts["data_sha256"] == stored.data_sha256
    before = load_file(tmp_path / "run" / "last.safetensors")

    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    resume = ["train", "--run", tmp_path / "run", "--resume", *more]
    assert run(*resume).code == 0
    (tmp_path / "band").rename(tmp_path / "moved")
    assert run(*resume, "--data", "../moved").code == 0
    after = load_file(tmp_path / "run" / "last.safetensors")
    assert all(before[name].equal(after[name]) for name in before)

    for stem in (tmp_path / "moved").glob("*/stems/*"):
        stem.write_bytes(stem.read_bytes() + bytes(1))
    refused = run(*resume, "--data", tmp_path / "moved")
    assert refused.code == 2 and "moved'] are not the clips that" in refused.err
    advice = "give those as --data, from the folder they are in now, or give another --run"
    assert advice in refused.err


@pytest.mark.slow
def test_what_a_run_began_with_is_written_down(
    run: Callable, words: list, place: Path, tmp_path: Path
) -> None:
    """Stopped before its first checkpoint or after: it goes on from --init, not from chance."""
    first = tmp_path / "first.safetensors"
    recipe = load_training(place / "tiny.toml")
    save_checkpoint(make_model(recipe), first, model_name="dgfnet", metadata={})
    more = ["--run", tmp_path / "run", "--init", first, "--set", "training.seed=7"]
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert run(*words, *more).code == 0
    stored = load_training(tmp_path / "run" / "recipe.toml")
    assert (stored.init, stored.init_sha256) == (str(first), digest)
    facts = read_card(tmp_path / "run" / "model.safetensors").metadata
    assert facts["init"] == {"name": "first.safetensors", "sha256": digest}
    assert 'init = "first.safetensors"' in facts["recipe"]  # not where it lay

    end = load_file(tmp_path / "run" / "last.safetensors")
    resume = ["train", "--run", tmp_path / "run", "--resume", "--cache", place / "cache"]
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    assert run(*resume, "--device", "cpu").code == 0
    after = load_file(tmp_path / "run" / "last.safetensors")
    assert all(end[name].equal(after[name]) for name in end)

    other = tmp_path / "other.safetensors"
    other.write_bytes(first.read_bytes())
    assert run(*resume, "--init", other, "--device", "cpu").code == 0  # the same file, elsewhere
    refused = run(*resume, "--init", "dgfnet-mini")
    assert refused.code == 2 and f"began with init = {first}, not dgfnet-mini" in refused.err
    first.unlink()
    assert run(*resume, "--device", "cpu").code == 0  # all is in its checkpoint


def test_a_dry_run_shows_all_and_leaves_nothing(run: Callable, words: list, tmp_path: Path) -> None:
    done = run(*words, "--run", tmp_path / "run", "--dry-run", "--set", "settings.fusion=mul")
    assert done.code == 0 and not done.err
    assert 'fusion = "mul"' in done.out and "[optimizers.transformer]" in done.out
    assert "parameters (transformer " in done.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "training.batchsize=3"], "did you mean 'training.batch_size'?"),
        (["--set", "optimizers.eyes.learning_rate=1"], "unknown group of parameters 'eyes'"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--init", "dgfnet-maxi"], "unknown model 'dgfnet-maxi'"),
        (["--resume"], "holds no run to resume"),
    ],
)
def test_bad_input_is_one_line(
    run: Callable, words: list, tmp_path: Path, more: list[str], message: str
) -> None:
    done = run(*words, "--run", tmp_path / "run", *more)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_recipe_or_a_run_is_needed(run: Callable) -> None:
    done = run("train", "--data", "band")
    assert done.code == 2 and "give a RECIPE to train, or --run DIR --resume" in done.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_ended_while_clips_are_prepared_it_leaves_no_process(
    words: list, tmp_path: Path, how: signal.Signals
) -> None:
    make_band(tmp_path / "band", 40, seed=2)
    cache = tmp_path / "cache"
    command = [sys.executable, "-m", "avsep", *map(str, words), "--run", str(tmp_path / "run")]
    command += ["--cache", str(cache), "--data", str(tmp_path / "band")]
    begun = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(cache.glob("*.safetensors")):
        assert begun.poll() is None, "it ended before it could be terminated"
        time.sleep(0.02)
    children = Path(f"/proc/{begun.pid}/task/{begun.pid}/children").read_text().split()
    assert children, "workers read the clips"
    begun.send_signal(how)
    assert begun.wait(timeout=60) == (-how if how == signal.SIGKILL else 128 + how)
    ends = time.monotonic() + 20  # Python's tracker of resources outlives its parent a little
    while left := [child for child in children if Path(f"/proc/{child}").exists()]:
        assert time.monotonic() < ends, f"{left} are left of {children}"
        time.sleep(0.05)
    if how != signal.SIGKILL:
        assert not [path for path in cache.iterdir() if path.suffix != ".safetensors"]
