"""Test every command: help with examples, JSON and nothing else, one-line errors."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from avsep.checkpoint import save_checkpoint
from avsep.cli import app
from data.prepared_folder import make_prepared
from separation.brightness import video
from tiny_models import tiny_model

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def options_of(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two sounds, a clip of both, and names that are awkward."""
    monkeypatch.chdir(tmp_path)
    sounds = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 9000))
    for name, sound in zip(["a b.wav", "-ü.wav"], sounds, strict=True):
        soundfile.write(name, sound, 11025)
    stems = Path("-band [b]:bell: é") / "1" / "stems"
    stems.mkdir(parents=True)
    for name, sound in zip(["01-harp.wav", "02-tuba.wav"], sounds, strict=True):
        soundfile.write(stems / name, sound, 11025)
    (stems.parent / "objects.json").write_text('[{"label": "harp"}, {"label": "tuba"}]')
    (stems.parent.parent / "1.mp4").touch()
    return tmp_path


@pytest.fixture
def place_with_model(place: Path, i3d_file: Path) -> Path:
    """The same with a video and a model to separate it with, and solos for I3D to look at."""
    video(place / "-duet é.mkv")
    found = '[{"label": "harp", "box": [0, 0, 0.5, 1]}]'
    (place / "boxes [b].json").write_text(found)
    save_checkpoint(
        tiny_model("dgfnet"), place / "tiny [b].safetensors", model_name="dgfnet", metadata={}
    )
    make_prepared(place / "-solos é")
    (place / "-solos é" / "features" / "motion" / "violin" / "c.npy").unlink()
    (place / "i3d [b].pth.tar").symlink_to(i3d_file)
    return place


# Arguments with which each command works in `place`, where names have blanks, signs and dashes.
WORKING = {
    "score": ["--reference=a b.wav", "--reference=-ü.wav", "--estimate=-ü.wav", "a b.wav"],
    "listen": ["mixture", "ideal-ratio-mask", "--data=-band [b]:bell: é", "-o", "listen [b].html"],
    "evaluate": ["mixture", "--data=-band [b]:bell: é"],
    "separate": ["./-duet é.mkv", "--object=harp@", "--model=tiny [b].safetensors", "-o", "out"],
    "objects": ["./-duet é.mkv", "--detector=boxes [b].json", "-o", "found"],
    "motion": ["./-solos é", "--weights=i3d [b].pth.tar"],
    "check": ["./-solos é"],
    "convert": ["i3d [b].pth.tar", "-o", "i3d [b].safetensors"],
    "models": [],
    "doctor": [],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name: str, run: Callable) -> None:
    done = run(name, "--help")
    assert done.code == 0 and not done.err
    assert f"Usage: avsep {name}" in done.out
    COMMANDS[name].get_help(COMMANDS[name].make_context(name, [], resilient_parsing=True))
    for parameter in COMMANDS[name].params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{parameter.name} is not explained"


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_in_help_can_be_typed(name: str) -> None:
    lines = re.findall(r"`avsep ([^`]+)`", COMMANDS[name].help or "")
    examples = [words for words in map(shlex.split, lines) if words[0] == name and words[1:]]
    takes_arguments = options_of(name) - {"--json", "--help"}
    assert bool(examples) == bool(takes_arguments)
    for words in examples:
        context = COMMANDS[name].make_context(name, words[1:])  # parses, does not run
        assert context.params


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("words", [["--no-such-option"], ["--no-such=[/b]"], ["-?"]])
def test_unknown_options_are_wrong_usage(name: str, words: list[str], run: Callable) -> None:
    done = run(name, *words)
    assert done.code == 2 and not done.out
    assert "No such option" in done.err and f"avsep {name} --help" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if "--json" in options_of(name)])
def test_json_is_all_that_is_printed(name: str, run: Callable, place_with_model: Path) -> None:
    done = run(name, *WORKING[name], "--json")
    assert done.code == 0 and not done.err
    # Separating takes long: its JSON is a line for each event.
    texts = done.out.splitlines() if name == "separate" else [done.out]
    assert texts and all(map(json.loads, texts))
    assert done.out.isascii()  # for a reader of any encoding


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_names_are_printed_as_they_are(name: str, run: Callable, place_with_model: Path) -> None:
    done = run(name, *WORKING[name])
    assert done.code == 0 and not done.err
    if name == "evaluate":
        assert "1 clips of -band [b]:bell: é (dB)" in done.out
    if name == "listen":
        assert "2 trials in listen [b].html" in done.out
    if name == "convert":
        assert "i3d [b].safetensors: i3d" in done.out
    if name == "motion":
        assert "motion features of 1 clips written into -solos é" in done.out
    if name == "check":
        assert "Findings in -solos é\n" in done.out and "-solos é: all is well, " in done.out
    if name == "score":
        assert "a b.wav against -ü.wav" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "--reference=[/b]:bell:.wav", "--estimate=x"], "'[/b]:bell:.wav' does not exis"),
        (["score", "--reference=a b.wav", "--estimate=line\nbreak"], "'line break' does not exist"),
        (["score", "--reference=a b.wav", "--estimate=\udcff.wav"], r"'\udcff.wav' does not exist"),
        (["score", "--reference=a b.wav", "--estimate=" + "x" * 300], "File name too long"),
        (["evaluate", "--data=-band [b]:bell: é", "-o", "a b.wav"], "make the folder 'a b.wav'"),
        (["evaluate", "--data=-band [b]:bell: é", "-o", "a b.wav/c"], "make the folder 'a b.wav/c"),
        (["evaluate", "--data=a b.wav"], "'a b.wav' holds no clips"),
        (["motion", "./-band [b]:bell: é", "--weights=x"], "é' holds no index.csv, the list"),
        (["check", "./-band [b]:bell: é/1"], "'-band [b]:bell: é/1' holds nothing to check"),
        (["check", "./-solos é"], "'-solos é' does not exist; give a list"),
        (["check", "a b.wav"], "'a b.wav' is no text in UTF-8"),
        (["demo", "-o", "a b.wav"], "cannot make the folder 'a b.wav': File exists"),
        (["demo", "-o", "a b.wav/c"], "cannot make the folder 'a b.wav/c': Not a directory"),
        (["demo", "-o", "."], "'.' contains '-band [b]:bell: é', which no demo wrote: give a new"),
        (["toyband", "band", "--recipe", "y" * 300], "File name too long: '"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], message: str, run: Callable, place: Path
) -> None:
    before = sorted(place.rglob("*"))
    done = run(*words)
    assert done.code == 2 and not done.out
    assert message in done.err and done.err.startswith("avsep: ")
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert sorted(place.rglob("*")) == before


def test_without_a_command_help_is_shown(run: Callable) -> None:
    done = run()
    assert done.code == 2 and all(name in done.out + done.err for name in COMMANDS)
    assert run("--help").code == 0
