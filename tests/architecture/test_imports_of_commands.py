"""What each command may import: packages that avsep depends on, and packages of avsep itself.

A command starts in as much time as its imports take: PyTorch alone takes more than a second. After
a failure `python -X importtime -m avsep ...` shows which module imports what.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import typer

from avsep.cli import app
from media.making import noise
from separation.brightness import video

SOURCE = Path(__file__).resolve().parents[2] / "src"
# The packages of pyproject.toml; what these import themselves is not counted.
PACKAGES = {
    "PIL", "av", "h5py", "jaxtyping", "lightning", "matplotlib", "numpy", "pydantic", "rich",
    "safetensors", "scipy", "sklearn", "soundfile", "soxr", "tensorboard", "threadpoolctl",
    "torch", "torchvision", "transformers", "typer",
}  # fmt: skip
# typer converts arguments by pydantic.
SHELL = {"typer", "rich", "pydantic", "cli", "catalogue", "errors"}
TORCH = SHELL | {
    "PIL", "av", "jaxtyping", "numpy", "soundfile", "soxr", "torch",
    "labels", "media", "recipe", "records", "sound", "toyband",
}  # fmt: skip
MODELS = TORCH | {
    "safetensors", "threadpoolctl", "checkpoint", "cues", "data", "devices", "models", "registry",
}  # fmt: skip
NETWORKS = MODELS | {"layers", "published_weights", "released", "vision"}
SCORES = MODELS | {"h5py", "scipy", "evaluation"}
# Words of a command -> what it may import, beside that of the standard library.
COMMANDS = {
    **{f"{name} --help": SHELL for name in typer.main.get_command(app).commands},  # type: ignore[attr-defined]
    "models": SHELL,
    "models --json": SHELL,
    "no-such-command": SHELL,
    "separate": SHELL,  # without its arguments
    "objects": SHELL,  # without its arguments
    "objects a.mkv -o out": NETWORKS | {"scipy", "torchvision", "pages", "separation"},
    "separate a.mkv --object violin@0,0,1,1 -o out": NETWORKS | {"pages", "separation"},
    "evaluate mixture --data band --set workers=1": SCORES
    | {"matplotlib", "sklearn", "pages", "parallel"},
    "score --reference x.wav --estimate y.wav": SCORES,
    "toyband new --clips 1 --workers 1 --set clip_seconds=1": TORCH
    | {"h5py", "scipy", "threadpoolctl", "devices", "parallel"},
    "convert x.wav -o m.safetensors": NETWORKS | {"conversion"},
    "check band": MODELS | {"h5py"},
}
CODE = """
import atexit, json, sys
def report():
    loaded = {name.split(".")[0] for name in sys.modules}
    loaded |= {".".join(name.split(".")[:3]) for name in sys.modules if name.startswith("avsep.")}
    open(sys.argv[-1], "w").write(json.dumps(sorted(loaded)))
atexit.register(report)
report_file = sys.argv.pop()
sys.argv[0] = "avsep"
from avsep.cli import main
try:
    main()
finally:
    sys.argv.append(report_file)
"""


def loaded_by(folder: Path, *words: str) -> set[str]:
    """Run a command; return packages by name, and modules of avsep as "avsep.models.iquery"."""
    report = folder / "loaded.json"
    command = [sys.executable, "-c", CODE, *words, str(report)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
    return set(json.loads(report.read_text()))


def faults(folder: Path, words: str, allowed: set[str]) -> list[str]:
    """Return a line for each package that a command imports and may not."""
    loaded = loaded_by(folder, *words.split())
    packages = loaded & PACKAGES | {name.split(".")[1] for name in loaded if "." in name}
    return [f"avsep {words}: imports {name}" for name in sorted(packages - allowed)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video, two sounds and a clip."""
    folder = tmp_path_factory.mktemp("place")
    sound = noise(1, 22_050)
    video(folder / "a.mkv", None, sound, 11025)
    for path in ("x.wav", "y.wav", "band/1/stems/01-harp.wav", "band/1/stems/02-tuba.wav"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, sound[0], 11025)
    (folder / "band/1/objects.json").write_text('[{"label": "harp"}, {"label": "tuba"}]')
    (folder / "band/1.mp4").touch()
    return folder


@pytest.mark.parametrize("words", ["--help", "train --no-such-option"])
def test_help_and_wrong_options_import_next_to_nothing(words: str, tmp_path: Path) -> None:
    assert faults(tmp_path, words, SHELL) == []


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_imports_what_it_needs(words: str, place: Path) -> None:
    assert faults(place, words, COMMANDS[words]) == []


@pytest.mark.slow
def test_one_model_is_imported_without_the_others(place: Path) -> None:
    loaded = loaded_by(place, "separate", "a.mkv", "--object", "violin", "-o", "out")
    models = {name for name in loaded if name.startswith("avsep.models.")}
    assert models == {"avsep.models.base", "avsep.models.avsep"}


@pytest.mark.slow
def test_an_import_that_is_not_listed_is_named(tmp_path: Path) -> None:
    assert faults(tmp_path, "models", SHELL - {"pydantic"}) == ["avsep models: imports pydantic"]
