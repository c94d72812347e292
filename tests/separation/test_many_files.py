"""Test many files: places of results, --resume, worker processes that die or hang, the summary."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.checkpoint import save_checkpoint
from avsep.errors import InputError
from avsep.separation.many_files import (
    BatchSummary,
    FileOptions,
    FileRunner,
    Outcome,
    StageProgress,
    Started,
    ThisProcess,
    separate_files,
)
from avsep.separation.result import Manifest
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from avsep.separation.worker_processes import WorkerProcesses
from interruptible import accept_sigint
from media.making import noise
from separation.brightness import LEFT, RATE_HZ, RIGHT, two_tone, video
from tiny_models import tiny_model

SOURCE = Path(__file__).resolve().parents[2] / "src"
CPU = SeparatorSettings(device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny DGFNet with random weights, at 8,000 Hz."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet"), path, model_name="dgfnet", metadata={})
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three videos in folders: in/a.mkv, in/a/x.mkv and in/b/x.mkv."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("in/a.mkv", "in/a/x.mkv", "in/b/x.mkv")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        video(tmp_path / name, two_tone(0.25, 0.5, 10), noise(1, 3000 + number))
    return tmp_path


def here(model: Path, settings: SeparatorSettings = CPU) -> ThisProcess:
    return ThisProcess(Separator(model, settings))


def separated(
    runner: FileRunner, objects: Sequence[str] = (LEFT,), *, resume: bool = False
) -> list[tuple[str, bool]]:
    """Separate the folder `in`; return the folder of each file, and if it was complete before."""
    done = list(separate_files(["in"], objects, Path("out"), runner, FileOptions(resume=resume)))
    assert not any(outcome.error for outcome in done), done
    return [(outcome.folder.as_posix(), outcome.was_complete) for outcome in done]


def samples(folder: Path) -> dict[str, np.ndarray]:
    """Return all stems of a folder; not their bytes, since WAV holds the time of its writing."""
    paths = sorted(folder.rglob("*.wav"))
    return {str(path.relative_to(folder)): soundfile.read(path)[0] for path in paths}


def assert_same_stems(first: Path, second: Path) -> None:
    expected, actual = samples(first), samples(second)
    assert expected.keys() == actual.keys() and expected
    for name, sound in expected.items():
        np.testing.assert_array_equal(sound, actual[name])


# Places of results


@pytest.mark.slow
def test_results_stay_in_the_folders_of_their_videos(place: Path, model: Path) -> None:
    # out/a contains a result, and cannot be one itself.
    names = ["out/a-2", "out/a/x", "out/b/x"]
    assert separated(here(model)) == [(name, False) for name in names]
    assert separated(here(model)) == [(name, False) for name in names]
    assert sorted(path.name for path in (place / "out").iterdir()) == ["a", "a-2", "b"]


@pytest.mark.slow
def test_no_result_is_written_into_another(place: Path, model: Path) -> None:
    list(separate_files(["in/a.mkv"], [LEFT], Path("out"), here(model)))
    files = sorted((place / "out" / "a").iterdir())
    done = list(separate_files(["in"], [LEFT], Path("out"), here(model)))
    assert [bool(outcome.error) for outcome in done] == [False, True, False]
    assert "'out/a' contains the result of a video, and no folder of others" in done[1].error
    assert sorted((place / "out" / "a").iterdir()) == files


# --resume


@pytest.mark.slow
def test_complete_results_are_skipped(place: Path, model: Path) -> None:
    runner = here(model)
    names = [name for name, _ in separated(runner)]
    times = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")}
    assert separated(runner, resume=True) == [(name, True) for name in names]
    assert {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")} == times
    # The same weights at another path are the same model.
    (place / "copy.safetensors").write_bytes(model.read_bytes())
    assert separated(here(place / "copy.safetensors"), resume=True) == [(n, True) for n in names]


def _other_video(place: Path) -> None:
    video(place / "in/b/x.mkv", two_tone(0.25, 0.5, 10), noise(1, 4000))
    (place / "out/b/x").rename(place / "out/b/moved")  # else the video gets the folder x-2


def _remove(name: str) -> Callable[[Path], None]:
    return lambda place: (place / "out/b/x" / name).unlink()


def _unfinish(place: Path) -> None:
    path = place / "out/b/x/manifest.json"
    fields = json.loads(path.read_text()) | {"is_complete": False, "preview": None, "report": None}
    path.write_text(json.dumps(fields))


def _other_version(place: Path) -> None:
    path = place / "out/b/x/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"field_of_tomorrow": 1}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        _other_video, _remove("preview.mp4"), _remove("report.html"), _remove("01-violin.wav"),
        _remove("residual.wav"), _unfinish, _other_version,
    ],
)  # fmt: skip
def test_a_result_that_is_not_complete_is_made_again(
    place: Path, model: Path, change: Callable[[Path], None]
) -> None:
    runner = here(model)
    separated(runner)
    change(place)
    assert [complete for _, complete in separated(runner, resume=True)] == [
        True,
        True,
        False,
    ]
    assert [complete for _, complete in separated(runner, resume=True)] == [
        True,
        True,
        True,
    ]


@pytest.mark.slow
def test_another_model_setting_or_object_is_done_again(place: Path, model: Path) -> None:
    separated(here(model))
    changed = tiny_model("dgfnet")
    next(iter(changed.parameters())).data += 1
    save_checkpoint(changed, place / "other.safetensors", model_name="dgfnet", metadata={})
    for runner, objects in (
        (here(place / "other.safetensors"), [LEFT]),
        (here(place / "other.safetensors", CPU.model_copy(update={"rate": "model"})), [LEFT]),
        (here(model), [LEFT]),
        (here(model), [LEFT, RIGHT]),
        (here(model), ["violin@0,0,0.5,0.9"]),
        (here(model), ["@0,0,0.5,0.9"]),
    ):
        assert {complete for _, complete in separated(runner, objects, resume=True)} == {False}
        assert {complete for _, complete in separated(runner, objects, resume=True)} == {True}
    # A model in memory has no file to compare by.
    loaded = ThisProcess(Separator(changed, CPU))
    separated(loaded)
    assert {complete for _, complete in separated(loaded, resume=True)} == {False}


def avsep(place: Path, model: Path, *words: str) -> subprocess.Popen:
    """Start `avsep separate --json` in a process of its own."""
    arguments = ["separate", "--object", LEFT, "--model", str(model), "--json", *words]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-m", "avsep", *arguments],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=accept_sigint,
    )


def events(process: subprocess.Popen) -> list[dict]:
    """Return all events of a process that ends by itself with success."""
    text, _ = process.communicate()
    assert process.returncode == 0
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]])
def test_after_sigkill_resume_finishes_what_is_missing(
    place: Path, model: Path, jobs: list[str]
) -> None:
    for number in range(10):
        path = place / "ten" / f"{number}.mkv"
        path.parent.mkdir(exist_ok=True)
        video(path, two_tone(0.25, 0.5, 10), noise(1, 20_000 + number))
    assert events(avsep(place, model, "ten", "-o", "whole"))[-1]["done"] == 10
    process = avsep(place, model, "ten", "-o", "out", *jobs)
    assert process.stdout is not None
    num_finished = 0
    while num_finished < 3:
        num_finished += json.loads(process.stdout.readline())["event"] == "finished"
    process.kill()
    process.communicate()
    _wait_until(lambda: not _part_folders(place / "out") or not jobs)
    complete = {
        path.parent: path.stat().st_mtime_ns
        for path in (place / "out").glob("*/manifest.json")
        if Manifest.model_validate_json(path.read_text()).is_complete
    }
    assert 3 <= len(complete) < 10
    summary = events(avsep(place, model, "ten", "-o", "out", "--resume", *jobs))[-1]
    expected = (10 - len(complete), len(complete), 0)
    assert (summary["done"], summary["skipped"], summary["failed"]) == expected
    for folder, written in complete.items():
        assert (folder / "manifest.json").stat().st_mtime_ns == written
    assert_same_stems(place / "whole", place / "out")
    assert not _part_folders(place / "out")


def _part_folders(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.02)


# Worker processes


@pytest.mark.slow
def test_workers_write_what_one_process_writes(place: Path, model: Path) -> None:
    (place / "in" / "broken.mp4").write_text("no video")
    in_order = ["a.mkv", "broken.mp4", "x.mkv", "x.mkv"]
    received: list[object] = []
    runner = WorkerProcesses(model, CPU, 2, 60)
    done = list(separate_files(["in"], [LEFT], Path("out"), runner, watch=received.append))
    assert [outcome.video.name for outcome in done] == in_order
    assert [bool(outcome.error) for outcome in done] == [False, True, False, False]
    assert "is no sound or video that can be read" in done[1].error
    for kind in (Started, Outcome):
        assert sorted(e.video.name for e in received if isinstance(e, kind)) == in_order
    assert any(isinstance(event, StageProgress) for event in received)
    list(separate_files(["in"], [LEFT], Path("whole"), here(model)))
    assert_same_stems(place / "whole", place / "out")
    assert {outcome.was_complete for outcome in _resumed(runner)} == {True, False}


def _resumed(runner: FileRunner) -> list[Outcome]:
    return list(separate_files(["in"], [LEFT], Path("out"), runner, FileOptions(resume=True)))


def _pid_of_writer(folder: Path) -> int:
    """Return the process that writes a result into a folder, which must be the only one."""
    _wait_until(lambda: bool(_part_folders(folder)))
    return int(_part_folders(folder)[0].name.split("-")[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGKILL, "the decoder ended the process (SIGKILL), or memory ran out"),
        (signal.SIGSEGV, "the decoder ended the process (SIGSEGV), or memory ran out"),
        (signal.SIGSTOP, "no progress for 5 s: its process hung, and was ended"),
    ],
)
def test_a_process_that_ends_or_hangs_is_an_error_of_its_file(
    place: Path, model: Path, number: int, message: str
) -> None:
    # Long enough to be hit while it is written.
    video(place / "in/a/x.mkv", two_tone(0.25, 0.5, 10), noise(1, 240 * RATE_HZ))

    def watch(event: object) -> None:
        is_bad = isinstance(event, StageProgress) and event.video == Path("in/a/x.mkv")
        if is_bad and _part_folders(place / "out" / "a"):
            os.kill(_pid_of_writer(place / "out" / "a"), number)

    runner = WorkerProcesses(model, CPU, 1, 5 if number == signal.SIGSTOP else 60)
    done = list(separate_files(["in"], [LEFT], Path("out"), runner, watch=watch))
    assert [outcome.error.partition(";")[0] for outcome in done] == [
        "", f"'in/a/x.mkv': {message}", "",
    ]  # fmt: skip
    assert not list((place / "out" / "a").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_and_leaves_nothing_half_written(
    place: Path, model: Path, number: int
) -> None:
    for name in ("1.mkv", "2.mkv"):
        video(place / name, two_tone(0.25, 0.5, 10), noise(1, 240 * RATE_HZ))
    process = avsep(place, model, "1.mkv", "2.mkv", "-o", "out", "--jobs", "2")
    _wait_until(lambda: len(_part_folders(place / "out")) == 2)
    workers = [int(path.name.split("-")[1]) for path in _part_folders(place / "out")]
    process.send_signal(number)
    try:
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode != 0 and not list((place / "out").iterdir())
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_one_error(place: Path) -> None:
    (place / "bad.safetensors").write_bytes(b"nothing")
    runner = WorkerProcesses(place / "bad.safetensors", CPU, 2, 60)
    with pytest.raises(InputError, match="bad"):
        list(separate_files(["in"], [LEFT], Path("out"), runner))
    assert not (place / "out").exists()


# The summary


def test_the_summary_counts_files_and_time() -> None:
    summary = BatchSummary()
    summary.add(Outcome(Path("a"), Path("out/a"), error="broken"))
    assert summary.line().startswith("1 files: 0 separated, 0 skipped, 1 failed, in 0.0 s")
    assert summary.as_json()["real_time_factor"] is None
