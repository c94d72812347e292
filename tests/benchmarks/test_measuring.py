"""Test the measuring of memory, commands and commits; no test depends on a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from measuring import (
    ROOT,
    find_absence,
    load_of,
    measure_program,
    measure_trees,
    source_trees,
)

# A script, because new processes are started through a socket, which tests may not open.
ARRAYS = """
import os
import numpy as np
from measuring import in_new_process, measure_work, peak_megabytes

def measure(megabytes):
    work = lambda: np.ones(megabytes * 2**17)
    cost = measure_work(work, before_megabytes=peak_megabytes(), enough_seconds=0)
    return cost.own_megabytes, cost.num_runs, os.getpid()

if __name__ == "__main__":
    np.ones(400 * 2**17)  # of this process, and not counted
    results = [in_new_process(measure, size) for size in (1, 300)]
    print([*results[0], *results[1], os.getpid()])
"""


def test_memory_is_that_of_the_work(tmp_path: Path) -> None:
    script = tmp_path / "arrays.py"
    script.write_text(ARRAYS)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    words = [sys.executable, str(script)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    small, runs, first, large, _, second, parent = json.loads(done.stdout)
    assert small < 20 and large == pytest.approx(300, abs=20)
    assert runs == 1 and len({first, second, parent}) == 3


def test_memory_of_a_program() -> None:
    np.ones(100 * 2**17)  # of this process, and not counted
    small = measure_program(["-S", "-c", "pass"])
    large = measure_program(["-S", "-c", "x = bytearray(100 * 2**20)"])
    assert small.megabytes < 50 and large.megabytes - small.megabytes == pytest.approx(100, abs=10)


def test_a_program_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"exit code 3\n.*why"):
        measure_program(["-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
    measure_program(["-c", "import sys; sys.exit(3)"], code=3)


def test_a_package_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_a_program.py").write_text(
        "raise RuntimeError('ffmpeg is missing\\nsee there')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert find_absence("json") == ""
    assert find_absence("no_such_package") == "not installed"
    assert find_absence("needs_a_program") == "ffmpeg is missing"


def test_the_busy_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen] = []

    class Watched(subprocess.Popen):
        def __init__(self, words: list[str]) -> None:
            super().__init__(words)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    with load_of("quiet"):
        assert not started
    with pytest.raises(ZeroDivisionError), load_of("busy"):
        assert started[0].poll() is None
        raise ZeroDivisionError
    assert started[0].returncode is not None


def test_a_commit_is_measured_beside_the_checkout(tmp_path: Path) -> None:
    """The package prints its version into a file of the tree that runs it."""
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    module = root / "src" / "version.py"
    code = "import pathlib, sys\npathlib.Path(sys.argv[1]).write_text('{}')"
    module.write_text(code.format("first"))
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "first"], check=True)
    module.write_text(code.format("second"))
    with source_trees("HEAD", root) as trees:
        costs = measure_trees(
            lambda name: ["-m", "version", str(tmp_path / name)], trees, num_runs=2, warm_up=False
        )
    assert {name: (tmp_path / name).read_text() for name in costs} == {
        "now": "second", "before": "first",
    }  # fmt: skip
    assert costs["now"].num_runs == 2 and not trees["before"].exists()
    listed = subprocess.run([*git, "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
    with source_trees(None, root) as trees:
        assert trees == {"now": root / "src"}
    with pytest.raises(SystemExit, match=r"--before no-such: .*no-such"), source_trees("no-such"):
        pass
