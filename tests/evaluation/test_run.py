"""Test an evaluation that is stopped and resumed, with one worker or two: equal bytes."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avsep.checkpoint import save_checkpoint
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.evaluation.benchmark import Evaluation, Evaluator, MixtureScores
from avsep.evaluation.mixtures import choose_mixtures
from avsep.evaluation.results.writing import write_results
from avsep.evaluation.run import SCORE_LOG_NAME, EvaluationConfig, open_score_log, run_evaluation
from evaluation.solos import make_solos
from tiny_models import tiny_model

FILES = ("results.json", "results.csv", "tables.md", "tables.tex")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    make_solos(folder / "solos", seconds=1.0)
    save_checkpoint(
        tiny_model("iquery"), folder / "a.safetensors", model_name="iquery", metadata={}
    )
    other = tiny_model("iquery", seed=1)
    save_checkpoint(other, folder / "b.safetensors", model_name="iquery", metadata={})
    return folder


def plan_of(place: Path, num_drawn: int = 5, seed: int = 0, **changes: object) -> EvaluationConfig:
    clips = read_prepared(place / "solos")
    mixtures = choose_mixtures(clips, limit=num_drawn, seed=seed).mixtures
    given = {"names": (str(place / "a.safetensors"),), "with_baselines": False, "seed": seed}
    return EvaluationConfig(mixtures, **(given | {"metrics": ("si-sdr",)} | changes))


def run_plan(
    config: EvaluationConfig, out: Path, num_workers: int = 1, stop_after: int | None = None
) -> None:
    """As the command does; stopped means that the process is gone after so many mixtures."""
    methods = config.methods()
    done: list[MixtureScores] = []
    with open_score_log(out, config) as score_log:
        for scored in run_evaluation(config, methods, num_workers, score_log):
            done.append(scored)
            if len(done) == stop_after:
                return
    write_results(Evaluation(methods, tuple(done), config.seed, (), config.metrics), out, "solos")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices that are scored anew from now on."""
    indices: list[int] = []
    score = Evaluator.score

    def counting(self: Evaluator, index: int) -> MixtureScores:
        indices.append(index)
        return score(self, index)

    monkeypatch.setattr(Evaluator, "score", counting)
    return indices


def same(first: Path, second: Path) -> bool:
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


@pytest.mark.slow
def test_a_stopped_run_goes_on_without_repeating(
    place: Path, tmp_path: Path, counted: list[int]
) -> None:
    config = plan_of(place)
    run_plan(config, tmp_path / "whole")
    counted.clear()
    run_plan(config, tmp_path / "stopped", stop_after=2)
    score_log = tmp_path / "stopped" / SCORE_LOG_NAME
    # The power went while a line was written.
    with score_log.open("ab") as file:
        file.write(b'{"index": 2, "name": "viol')
    assert counted == [0, 1] and not (tmp_path / "stopped" / "results.json").exists()
    run_plan(config, tmp_path / "stopped")
    assert counted == [0, 1, 2, 3, 4]
    assert same(tmp_path / "whole", tmp_path / "stopped")
    assert score_log.read_bytes() == (tmp_path / "whole" / SCORE_LOG_NAME).read_bytes()
    run_plan(config, tmp_path / "stopped")  # of which everything is there
    assert len(counted) == 5 and same(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_a_damaged_line_is_scored_again_with_all_after_it(
    place: Path, tmp_path: Path, counted: list[int]
) -> None:
    config = plan_of(place)
    run_plan(config, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    lines = (tmp_path / SCORE_LOG_NAME).read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"videos"', b'"vodeos"')
    (tmp_path / SCORE_LOG_NAME).write_bytes(b"".join(lines))
    counted.clear()
    run_plan(config, tmp_path)
    assert counted == [2, 3, 4]
    assert all((tmp_path / name).read_bytes() == kept for name, kept in before.items())


@pytest.mark.slow
def test_two_processes_say_the_same_as_one(place: Path, tmp_path: Path) -> None:
    config = plan_of(place, num_drawn=2, with_baselines=True)
    run_plan(config, tmp_path / "one", num_workers=1)
    run_plan(config, tmp_path / "two", num_workers=2)
    assert same(tmp_path / "one", tmp_path / "two")
    text = (tmp_path / "two" / "results.json").read_text()
    assert str(place) not in text and str(tmp_path) not in text


def of_another(config: EvaluationConfig, out: Path) -> str:
    with pytest.raises(InputError) as caught, open_score_log(out, config):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_another_evaluation_does_not_go_on_here(place: Path, tmp_path: Path) -> None:
    run_plan(plan_of(place), tmp_path / "it's", stop_after=1)
    out = tmp_path / "it's"
    message = of_another(plan_of(place, seed=1), out)
    assert "holds results of another evaluation (other seed, data): give a new folder" in message
    # What stands behind rm can be typed.
    (removed,) = shlex.split(message.partition("rm ")[2])
    assert Path(removed) == out / SCORE_LOG_NAME
    for change, what in (
        ({"names": (str(place / "b.safetensors"),)}, "methods"),
        ({"with_baselines": True}, "methods"),
        ({"labels": "given"}, "labels"),
        ({"ablations": ("swapped",)}, "cues"),
        ({"metrics": ()}, "metrics"),
        ({"num_drawn": 4}, "data"),
    ):
        assert f"(other {what})" in of_another(plan_of(place, **change), out)


@pytest.mark.slow
def test_weights_and_sounds_count_by_what_is_in_them(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "copy")
    copy = tmp_path / "copy"
    run_plan(plan_of(copy), tmp_path / "out", stop_after=1)
    shutil.copy(copy / "b.safetensors", copy / "a.safetensors")
    assert "(other methods)" in of_another(plan_of(copy), tmp_path / "out")
    shutil.copy(place / "a.safetensors", copy / "a.safetensors")
    with open_score_log(tmp_path / "out", plan_of(copy)) as score_log:
        assert score_log is not None and set(score_log.done) == {0}
    sound = copy / "solos" / "audio" / "violin" / "a.wav"
    sound.write_bytes(sound.read_bytes()[:-400])
    assert "(other data)" in of_another(plan_of(copy), tmp_path / "out")


def test_what_never_scored_anything_gives_way(place: Path, tmp_path: Path) -> None:
    with open_score_log(tmp_path, plan_of(place, seed=1)):
        pass
    run_plan(plan_of(place), tmp_path, stop_after=1)
    (tmp_path / SCORE_LOG_NAME).write_text("of somebody else\n")
    assert "holds results of another evaluation: give" in of_another(plan_of(place), tmp_path)
    assert (tmp_path / SCORE_LOG_NAME).read_text() == "of somebody else\n"


@pytest.mark.slow
def test_a_killed_command_goes_on(place: Path, tmp_path: Path, run: Callable) -> None:
    """Ended by force while two workers score; what was written is not scored again."""
    words = ["evaluate", str(place / "a.safetensors"), "--data", str(place / "solos"), "--limit=9"]
    words += ["--labels=given", "-o"]
    program = [sys.executable, "-m", "avsep", *words, str(tmp_path / "out"), "--set=workers=2"]
    score_log = tmp_path / "out" / SCORE_LOG_NAME
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(3000):
        if score_log.is_file() and score_log.read_bytes().count(b"\n") > 1:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = score_log.read_bytes()
    assert run(*words, tmp_path / "out", "--set=workers=1").code == 0
    lines = kept.splitlines(keepends=True)
    whole = b"".join(line for line in lines if line.endswith(b"\n"))
    assert score_log.read_bytes().startswith(whole)
    assert run(*words, tmp_path / "new", "--set=workers=1").code == 0
    assert same(tmp_path / "out", tmp_path / "new")
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(result["mixtures"]) == 9
