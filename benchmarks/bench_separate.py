"""Time `avsep separate` from shell to folder, in total and by part."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REQUIRED_SECONDS = 10.0
# Part -> the functions of avsep that are timed, as module and name.
PARTS = {
    "loading the model": [("avsep.separation.separator", "_load_model")],
    "decoding audio": [("avsep.separation.video_input", "read_audio")],
    "extracting crops": [
        ("avsep.separation.video_input", "extract_crops_from_frames"),
        ("avsep.separation.video_input", "extract_crops"),
    ],
    "resampling": [("avsep.separation.separator", "resample")],
    "writing stems": [("avsep.separation.output", "write_audio")],
    "writing the preview": [("avsep.separation.output", "write_preview")],
    "writing the report": [("avsep.separation.output", "report_page")],
}


def main() -> None:
    """Print seconds from shell to folder, the requirement, and the share of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dgfnet-mini", help="name or checkpoint")
    parser.add_argument(
        "--runs", type=int, default=3, help="runs, of which the fastest counts (default 3)"
    )
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        video = _duet(Path(folder))
        seconds = min(
            _command_seconds(video, arguments.model, Path(folder)) for _ in range(arguments.runs)
        )
        parts = _part_seconds(video, arguments.model, Path(folder))
    console.print(
        f"a ten-second duet of 640x360, from shell to folder: {seconds:.1f} s, best of "
        f"{arguments.runs}; required: under {REQUIRED_SECONDS:.0f} s"
    )
    table = Table("part", "seconds", "share", title="Parts, in one process")
    for name, spent in parts.items():
        table.add_row(name, f"{spent:.2f}", f"{spent / sum(parts.values()):.0%}")
    console.print(table)
    sys.exit(0 if seconds < REQUIRED_SECONDS else 1)


def _duet(folder: Path) -> Path:
    from avsep.recipe import load_recipe
    from avsep.toyband.build import make_toyband
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material

    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    list(make_toyband(folder / "band", 1, 1000, settings, Material.read(), num_workers=1))
    return folder / "band" / "000001.mp4"


def _command_seconds(video: Path, model: str, folder: Path) -> float:
    """Measure the wall time of the command in a new process, including the start of Python."""
    words = ["separate", str(video), "--model", model, "-o", str(folder / "out")]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "avsep", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def _part_seconds(video: Path, model: str, folder: Path) -> dict[str, float]:
    """Measure the seconds of each part in a new process, so that importing counts."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bench_separate, json; "
        "print(json.dumps(bench_separate.timed_run(*sys.argv[2:])))"
    )
    here = str(Path(__file__).resolve().parent)
    words = [sys.executable, "-c", code, here, str(video), model, str(folder / "out")]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def timed_run(video: str, model: str, out: str) -> dict[str, float]:
    """Measure the seconds of each part of one separation in this process."""
    start = time.perf_counter()
    from avsep.separation import output, separator

    spent = {"importing": time.perf_counter() - start} | dict.fromkeys(PARTS, 0.0)
    begin = time.perf_counter()
    with _timing(spent):
        loaded = separator.Separator(model)
        outcomes = output.separate_files(
            [Path(video)], None, Path(out), loaded, lambda _: lambda outputs, total: outputs
        )
        for outcome in outcomes:
            assert outcome.manifest is not None, outcome.error
    whole = time.perf_counter() - begin
    rest = whole - sum(seconds for name, seconds in spent.items() if name != "importing")
    return spent | {"network and joining": rest}


@contextmanager
def _timing(spent: dict[str, float]) -> Iterator[None]:
    """Replace the functions of PARTS by ones that add up their running time."""
    from importlib import import_module

    originals = []
    for part, places in PARTS.items():
        for module_name, name in places:
            module = import_module(module_name)
            originals.append((module, name, getattr(module, name)))
            setattr(module, name, _timed(getattr(module, name), part, spent))
    try:
        yield
    finally:
        for module, name, function in originals:
            setattr(module, name, function)


def _timed(function: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            spent[part] += time.perf_counter() - start

    return timed


if __name__ == "__main__":
    main()
