"""Test the documents: every command and Python example in them runs, and every link exists.

The commands of README, docs and model cards run in the order in which they are read, with fixtures
in place of VIDEO, DIR, FILE and the like, and with less work: see `smaller`. A command that cannot
run here is listed in NOT_RUN with the reason.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from PIL import Image

from avsep.checkpoint import find_checkpoint
from avsep.cli import app
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.music.notes import SHIPPED_BANK
from data.prepared_folder import make_prepared
from training.tiny_band import make_band, write_tiny_recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "model_cards").glob("*.md")),
]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PROGRAMS = re.compile(r"(avsep|python|ffmpeg|make|pip|git) +\S")
# Commands of avsep that need no argument; the name of another one in a sentence is no command.
COMPLETE_ALONE = ("avsep models", "avsep doctor", "avsep demo")

# Beginning of a command -> why it is not run here. A reason holds for every command it begins.
NOT_RUN = {
    "make ": "sets up .venv from a package index",
    "pip install": "needs a package index",
    "git lfs pull": "needs the data set's repository",
    "ffmpeg -i": "needs the program ffmpeg, which avsep does not",
    "python benchmarks/": "minutes of timing; tests/benchmarks runs them at a tiny size",
    "python tools/draw_": "writes pages of docs; tests/architecture compares them",
    "python tools/check_words.py": "tests/architecture/test_words.py runs it",
    "python tools/render_notes.py": "needs the program fluidsynth and its soundfont",
    "python tools/sounds_folder.py": "needs ESC-10; tests/data/test_sounds_folder_tool.py runs it",
    "python tools/compare_trackers.py": "tests/vision/test_tracking.py measures with it",
    "python tools/davis_tables.py": "hours; tests/evaluation/test_davis_tables_tool.py runs it",
    "python tools/dgfnet_table3.py": "hours; tests/evaluation/test_table3_tool.py runs it",
    "python tools/lavss_tables.py": "hours; tests/evaluation/test_lavss_tables_tool.py runs it",
    "python tools/train_image_encoder.py": "hours, and the pictures are not part of avsep",
    "python tools/detector_scenes.py": "minutes of drawing, for the trainings below",
    "python tools/train_detector.py": "half an hour, and the pictures are not part of avsep",
    "python tools/train_namer.py": "minutes, and the pictures are not part of avsep",
    "python tools/train_sound_classifier.py": "hours, and the recordings are not part of avsep",
    "python tools/make_solos.py": "the recordings are not part of avsep; tests/data runs it",
    "python tools/compare_networks.py": "hours; tests/recipes/test_compare_networks.py runs it",
    "python tools/count_operations.py": "tests/recipes/test_count_operations.py runs it",
    "python tools/measure_found.py": "minutes for the whole folder of clips; tests/vision runs it",
    "python tools/measure_wild_pairs.py": "needs real videos; tests/evaluation runs it",
    "python tools/measure_objects.py": "minutes for the whole folder of clips",
    "python tools/measure_presence.py": "minutes for the whole folder of clips",
    "avsep toyband out/photographs": "the pictures are not part of avsep",
    "python tools/convert_efficientnet_lite.py": "downloads; tests/vision runs it on a made wheel",
    "python tools/measure_encoder.py": "minutes; tests/vision runs it on a few pictures",
    "python -m avsep": "tests/cli/test_commands.py runs it",
    "avsep train film-mask": "tests/contracts/test_model_tutorial.py runs it",
    "avsep evaluate runs/film-mask": "tests/contracts/test_model_tutorial.py runs it",
    "avsep separate band.wav": "tests/separation/test_sound_without_pictures.py runs it",
    "avsep separate FILE --model runs/film-mask": "tests/contracts/test_model_tutorial.py runs it",
    "avsep objects VIDEO -o OUT": "OUT has stems by then; tests/cli/test_objects.py runs it",
    "avsep separate VIDEO --objects": "reads what the command above it writes",
    "avsep train dgfnet-music": "downloads ResNet-18",
    "avsep train lavss-music": "downloads ResNet-18",
    "avsep train lavss-fair-play": "starts from a run of lavss-music",
    "avsep train --data DIR": "names an option; its page gives the whole command",
    "avsep evaluate --labels named": "names an option; docs/evaluation.md has the whole command",
    "avsep score --metric NAME": "names an option; its page gives the whole command",
    "avsep convert ": "needs a released checkpoint; tests/cli/test_convert.py fills them",
    'avsep separate VIDEO --object "violin@0,0,0.5,1"': "tests/cli/test_convert.py runs it",
    "avsep evaluate sop.safetensors": "tests/cli/test_convert.py runs it",
    "avsep train sound-of-pixels-music": "downloads ResNet-18",
    "avsep train lavss-mini --data (as in the card)": "cut short; the card has it",
    "avsep evaluate mixture RUN/model.safetensors ...": "cut short, for any of a page's runs",
    "avsep train lavss-table3-25d-position-ipd-small": "starts from a run of lavss_tables.py",
    "avsep train lavss-table3-sop": "paper size; tests/recipes/test_lavss_tables.py builds it",
    "avsep train dgfnet-table3-mul": "downloads ResNet-18",
    "avsep train davis-flow-mini --data DIR/drawn --data (the others)": "cut short",
    "avsep train davis-mini --data (as davis-flow-mini)": "cut short",
    "avsep train avsep-mini --init": "cut short; --data is that of the line above",
    "avsep train dgfnet-mini-further --init": "cut short; --data is that of the line above",
}

# A placeholder, alone or after the word before it -> the fixture for it.
FIXTURES = {
    "toyband DIR": "new",
    "motion DIR": "prepared",
    "--weights FILE": "i3d.pth.tar",
    "--pairs FILE": "pairs.csv",
    "--chorales FILE": "chorales.json",
    "separate FILE": "clips-binaural/000001.mp4",
    "VIDEO": "clips/000001.mp4",
    "separate FOLDER": "clips",
    "FILE": "votes.json",
    "OUT": "out/new",
    "RUN": "out/run",
    "FIRST": "out/run",
    "NOTES": "notes",
    "PHOTOS": "photos",
    "RECIPE": "tiny.toml",
    "MODEL_B": "mixture",
    "NAME": "mixture",
    "N": "2",
    "S": "1",
    "--reference TRUTH": "one-song/truth",
    "--reference SONGS": "songs/truth",
    "--estimate SONGS": "songs/estimate",
    "--estimate OUT": "one-song/estimate",
    "OUT_A": "one-song/estimate",
    "OUT_B": "one-song/estimate-b",
}
# Folders of clips that `filled` uses -> the recipe that makes them.
CLIPS = {
    "clips": "toyband-duets",
    "clips-binaural": "toyband-binaural-duets",
    "clips-solo": "toyband-binaural-solos",
}
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*")


def commands(text: str) -> list[str]:
    """Return every complete command of a page, in order.

    They are in code blocks, indented blocks and inline code; an inline one may be broken.
    """
    code = (
        r"^ *```\n(?P<block>.*?)^ *```|^ *```.*?^ *```|^ {4}(?P<line>[^`\n]+)|`(?P<inline>[^`]+)`"
    )
    lines: list[str] = []
    for match in re.finditer(code, text, flags=re.S | re.M):
        if match["block"]:
            lines += match["block"].replace("\\\n", " ").splitlines()
        elif match["inline"]:
            lines.append(" ".join(match["inline"].split()))
        elif match["line"]:
            lines.append(match["line"])
    result = []
    for line in lines:
        # In code blocks an explanation follows a command, after "#" or some blanks.
        command = re.split(r"  +|\s#", line.strip().removeprefix(".venv/bin/"))[0].strip()
        is_name_only = command.startswith("avsep") and len(command.split()) < 3
        if PROGRAMS.match(command) and (not is_name_only or command in COMPLETE_ALONE):
            result.append(command)
    return list(dict.fromkeys(result))


def indented_python(text: str) -> list[str]:
    """Return the indented blocks of a page that are Python: they import avsep."""
    blocks = re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, flags=re.M)
    return [textwrap.dedent(block) for block in blocks if "import avsep" in block]


def reason_not_to_run(command: str) -> str | None:
    return next((NOT_RUN[start] for start in NOT_RUN if command.startswith(start)), None)


def filled(command: str) -> list[str]:
    """Return the words of a command with fixtures in place of placeholders."""
    data = "clips-binaural" if "lavss" in command else "clips"
    data = "clips-solo" if "--pairs" in command else data
    # Square brackets mark what may be left out; here it is not.
    words = shlex.split(re.sub(r"\[(--.*?)\]", r"\1", command))
    result = words[:1]
    for before, word in pairwise(words):
        head, slash, rest = word.partition("/")
        pair = f"{before} {word}"
        if before == "--estimate" and "SONGS" in command:
            pair = "--estimate SONGS"
        if pair in FIXTURES or word in FIXTURES:
            word = FIXTURES.get(pair, FIXTURES.get(word, ""))
        elif word == "DIR":
            word = data
        elif slash and (head == "DIR" or head in FIXTURES):
            word = f"{FIXTURES.get(head, 'dir')}/{rest}"
        result.append(word)
    return result


def smaller(words: list[str]) -> list[str]:
    """Return a command that does less of the same: two small clips, no training."""
    words = list(words)
    if words[1] == "toyband":
        if words[2] == "new":
            # A folder holds clips of one seed and recipe only.
            words[2] = f"new-{zlib.crc32(shlex.join(words).encode())}"
        words[words.index("--clips") + 1] = "2"
        words += ["--workers", "1", "--set", "pictures.width_pixels=96"]
        words += ["--set", "pictures.height_pixels=64", "--set", "pictures.frame_rate_hz=4"]
        if "clip_seconds=2" not in words:
            words += ["--set", "clip_seconds=6"]
    if words[1] == "evaluate":
        words += ["--limit", "2", "--set", "workers=1"]
    if words[1] == "train" and "--resume" not in words:
        # Two clips are too few to train on and to validate with; these folders have six.
        data = "clips-binaural" if "lavss" in words[2] else "clips"
        words = [data if before == "--data" else word for before, word in pairwise(["", *words])]
        words += ["--dry-run", "--set", "training.validation_share=0.5"]
    return words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_can_be_run_or_is_listed(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        if reason_not_to_run(command) is None:
            check_command(command)


def check_command(command: str) -> None:
    """Assert that a command is one of avsep, has no placeholder left, and parses."""
    advice = "write it so that it runs, add its placeholder to FIXTURES, or list it in NOT_RUN"
    words = filled(command)
    unknown = [word for word in words if PLACEHOLDER.fullmatch(word.partition("/")[0])]
    assert words[0] == "avsep" and not unknown, f"{command}: {unknown}: {advice}"
    assert not {"...", "(the", "(as"} & set(words), f"{command}: it is cut short: {advice}"
    assert words[1] in COMMANDS, f"{command}: no such command"
    try:
        COMMANDS[words[1]].make_context(words[1], words[2:])
    except Exception as error:
        raise AssertionError(f"{command}: {error!r}: {advice}") from error


def test_every_reason_is_needed() -> None:
    lines = [line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in lines), f"no page has {start}: remove it"


def test_commands_are_found_wherever_they_are_written() -> None:
    text = (
        "`avsep check` alone is a name, `avsep check DIR\n--json` is not, nor is `avsep doctor`.\n"
        "```\navsep demo -o out   writes a page\n.venv/bin/avsep models  # all\nDIR/000001.mp4\n"
        "python tools/x.py \\\n    --out OUT\n```\n    avsep score --reference a b    in order\n"
        "1. A list:\n   ```\n   avsep evaluate --data DIR\n   ```\n"
    )
    assert sorted(commands(text)) == [
        "avsep check DIR --json",
        "avsep demo -o out",
        "avsep doctor",
        "avsep evaluate --data DIR",
        "avsep models",
        "avsep score --reference a b",
        "python tools/x.py",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "avsep check PLACE",
        "avsep check DIR --no-such-option",
        "avsep chekc DIR",
        "avsep train dgfnet-mini --data (the same)",
        "python tools/new_tool.py",
    ],
)
def test_a_new_command_is_noticed(command: str) -> None:
    assert reason_not_to_run(command) is None
    with pytest.raises(AssertionError, match=r"NOT_RUN|no such command"):
        check_command(command)


def test_placeholders_are_filled() -> None:
    assert shlex.join(filled("avsep motion DIR --weights FILE")) == (
        "avsep motion prepared --weights i3d.pth.tar"
    )
    assert filled("avsep toyband DIR/band --clips N [--seed S]")[2:] == [
        "dir/band", "--clips", "2", "--seed", "1",
    ]  # fmt: skip
    assert smaller(["avsep", "train", "x", "--data", "band"])[5] == "--dry-run"


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory, i3d_file: Path) -> Path:
    """A folder with an entry of every name that FIXTURES has."""
    folder = tmp_path_factory.mktemp("fixtures")
    make_prepared(folder / "prepared")
    (folder / "prepared" / "features" / "motion" / "violin" / "c.npy").unlink()
    (folder / "i3d.pth.tar").symlink_to(i3d_file)
    write_tiny_recipe(folder / "tiny.toml")
    make_band(folder / "tiny-band", 6)
    (folder / "pairs.csv").write_text("000001, 000002\n", encoding="utf-8")
    chorale = [[60, 55, 52, 48]] * 64
    (folder / "chorales.json").write_text(json.dumps({"train": [chorale], "test": [chorale]}))
    (folder / "notes").symlink_to(SHIPPED_BANK)
    for category in CATEGORIES:
        (folder / "photos" / category).mkdir(parents=True)
        for number in range(3):
            picture = Image.new("RGB", (64, 48), (80 * number, 0, 0))
            picture.save(folder / "photos" / category / f"{number}.png")
    write_sounds(folder)
    write_lists(folder)
    return folder


def write_sounds(folder: Path) -> None:
    """Write references and estimates for `avsep score`: files, a folder, a folder of songs."""
    generator = np.random.default_rng(0)
    for reference, estimate in (("a", "x"), ("b", "y")):
        truth = 0.1 * generator.standard_normal(32000)
        places = ((reference, 0), (estimate, 0.01))
        for kind, noise in (("truth", 0), ("estimate", 0.01), ("estimate-b", 0.02)):
            places += ((f"one-song/{kind}/{reference}", noise),)
            places += tuple((f"songs/{kind}/{song}/{reference}", noise) for song in ("1", "2"))
        for name, noise in places:
            path = folder / f"{name}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, truth + noise * generator.standard_normal(32000), 16000)


def write_lists(folder: Path) -> None:
    """Write split lists without leaks for `avsep check`."""
    for number, name in enumerate(
        ["music/train.csv", "music21/train.csv", "my_test.csv", "davis_train.csv", "davis_val.csv"]
    ):
        path = folder / "dir" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"/violin/{number}{clip}.wav,/violin/{number}{clip}.mp4,9" for clip in "abc"]
        path.write_text("\n".join(rows), encoding="utf-8")


def prepare(words: list[str], data: str) -> None:
    """Make what a command reads and no command before it has made."""
    for before, word in pairwise(words):
        if before == "--data" and not Path(word).exists():
            Path(word).symlink_to(Path(data).resolve())
    if "--tally" in words:
        key = json.loads(Path("listen-key.json").read_text(encoding="utf-8"))
        votes = [
            {"trial": trial["trial"], "choice": "first", "time": "2026-01-01T10:00:00Z"}
            for trial in key["trials"]
        ]
        listener = {"id": "ann", "name": ""}
        values = {"format": "avsep listening votes 1", "test": key["test"]}
        Path("votes.json").write_text(json.dumps(values | {"listener": listener, "votes": votes}))
    if "--mixture" in words:
        for stem in Path("band").glob("*/stems/*.wav"):
            path = Path("out") / stem.parts[1] / stem.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stem.read_bytes())


@pytest.mark.slow
def test_every_command_runs(
    fixtures: Path, tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page has a folder of its own, with the clips that README makes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(fixtures)
    for name, recipe in CLIPS.items():
        words = smaller(["avsep", "toyband", name, "--clips", "6", "--recipe", recipe])[1:]
        words[words.index("--clips") + 1] = "6"
        assert run(*words).code == 0
    train = ["train", "tiny.toml", "--data", "tiny-band", "--run", "dir/mini", "--device", "cpu"]
    assert run(*train).code == 0
    shutil.copy(find_checkpoint("dgfnet-mini"), "dir/mini/model.safetensors")
    done: set[str] = set()
    for page in PAGES:
        folder = tmp_path / page.stem
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        for entry in fixtures.iterdir():
            if entry.name == "dir":
                shutil.copytree(entry, "dir")
            else:
                Path(entry.name).symlink_to(entry)
        Path("duet.mp4").symlink_to(fixtures / "clips" / "000001.mp4")
        for name in ("band", "out/demo"):
            if page != PAGES[0]:
                Path(name).parent.mkdir(exist_ok=True)
                Path(name).symlink_to(tmp_path / PAGES[0].stem / name)
        for command in commands(page.read_text(encoding="utf-8")):
            if reason_not_to_run(command) is not None:
                continue
            words = smaller(filled(command))
            line = shlex.join(words)
            if line in done and words[1] != "toyband":
                continue
            done.add(line)
            prepare(words, "clips-binaural" if "lavss" in command else "clips")
            result = run(*words[1:])
            assert result.code == 0, f"{page.name}: {line}\n{result.out}\n{result.err}"
        for block in indented_python(page.read_text(encoding="utf-8")):
            exec(compile(block, page.name, "exec"), {"MODEL": "davis-mini"})
    assert (tmp_path / "README" / "out" / "demo" / "report.html").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
        subprocess.run([sys.executable, "-c", block], check=True, capture_output=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_nothing_private_is_committed() -> None:
    """No path of a machine, and no folder that only its authors have, is in a tracked file."""
    listed = subprocess.run(
        ["git", "grep", "-lE", r"(\.\./shared|/work/|/home/[a-z]|/root/)", "--", ".", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert listed.stdout == ""
