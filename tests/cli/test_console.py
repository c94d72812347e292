"""Test printing: names unchanged, JSON alone, no progress on a stderr that is no terminal."""

import io
import json
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from avsep.cli import console
from avsep.cli.console import (
    print_error,
    print_event,
    print_json,
    print_line,
    print_table,
    progress_bars,
    results_alone,
    spinner,
    track,
)

AWKWARD = ["[/b]", "[red]x", ":bell:", "a  b", r"C:\new", "http://x.y/z", "1.5e3", "ü🎻"]


@pytest.mark.parametrize("name", AWKWARD)
def test_names_stay_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_line(f"made {name}")
    print_table(f"clips of {name}", ["name", "dB"], [[name, "1.00"], ["other", "-"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"made {name}"
    assert lines[1].strip() == f"clips of {name}"
    assert any(f" {name} " in line for line in lines[2:])


def test_what_comes_from_outside_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = "a\x1b[2Jb\x07\u202ec"
    print_line(hostile)
    print_error(hostile)
    print_table(hostile, ["name"], [[hostile]])
    captured = capsys.readouterr()
    for output in (captured.out, captured.err):
        assert "\x1b" not in output and "\x07" not in output and "\u202e" not in output
    assert captured.out.count(r"a\x1b[2Jb\x07\u202ec") == 3 and r"a\x1b[2Jb" in captured.err


def test_a_line_is_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("word " * 100)
    print_error("word " * 100 + "\nand\tmore")
    captured = capsys.readouterr()
    assert captured.out.count("\n") == captured.err.count("\n") == 1
    assert captured.err.startswith("avsep: word word") and captured.err.endswith("and more\n")


def test_a_table_is_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    title, name = "out/" + "a long folder " * 20, "01-" + "violin-" * 40 + ".wav"
    print_table(title, ["file", "category"], [[name, "violin"], ["residual.wav", "-"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == title
    rows = [line for line in lines if "│" in line]
    assert [row.split("│")[1].strip() for row in rows] == [name, "residual.wav"]
    assert len({len(row) for row in rows}) == 1 and len(rows[0]) < 2 * len(name)


@pytest.mark.parametrize("width", [50, 80, 100])
def test_on_a_terminal_words_are_broken_before_figures(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr(console, "_out", terminal)
    head = ["method", "reads", "SDR", "ideal-binary-mask", "left out"]
    row = ["dgfnet-mini (picture)", "a picture and more", "-12.34 ± 10.56", "17.59 ± 5.69", "0"]
    print_table("t", head, [row, ["mixture", "nothing", "0.12 ± 0.04", ">100", "12"]])
    output = screen.getvalue()
    assert max(map(len, output.splitlines())) <= width and "…" not in output
    if width >= 80:
        assert all(figure in output for figure in ("-12.34 ±10.56", "17.59 ±5.69", "0.12 ±0.04"))
    first = output.partition("└")[0]  # the columns that have a place at once
    words = "".join(line.split("│")[1].strip() for line in first.splitlines() if "│" in line)
    assert words.replace(" ", "") == "dgfnet-mini(picture)mixture"
    assert "ideal-binary-mask" not in output


def test_columns_without_a_place_follow_below(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, color_system=None, width=60)
    monkeypatch.setattr(console, "_out", terminal)
    head = ["category", *(f"model {number}" for number in range(9))]
    print_table("t", head, [["harp (4)", *(f"-{n}2.34 ± 10.56" for n in range(9))]])
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    rows = [line for line in lines if "±" in line]
    assert len(rows) == 3 and all(row.startswith("│ harp") for row in rows)
    assert [cell for row in rows for cell in row.split() if cell[0] == "-"] == [
        f"-{n}2.34" for n in range(9)
    ]


def test_columns_of_figures_stand_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("t", ["name", "dB"], [["a", "-inf"], ["bbb", ">100"], ["cc", "-"], ["d", "9.50"]])
    rows = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [row.split("│")[2] for row in rows] == [" -inf ", " >100 ", "    - ", " 9.50 "]
    assert [row.split("│")[1] for row in rows] == [" a    ", " bbb  ", " cc   ", " d    "]


def test_json_has_no_figure_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "[b]é", "sdr_db": None})
    assert json.loads(capsys.readouterr().out) == {"name": "[b]é", "sdr_db": None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"sdr_db": float("nan")})


def test_progress_is_for_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    with spinner("making"):
        assert list(track(iter("abc"), total=3, description="[/b] into :bell:")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert not captured.out and not captured.err.strip()


def test_each_stage_has_a_bar_with_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    page = Console(file=screen, force_terminal=True, color_system=None, width=100)
    monkeypatch.setattr(console, "_err", page)
    with progress_bars() as bars:
        bars.show("b.mp4", "separating", 5.0, 20.0)
        bars.show("a[b].mp4", "separating", 5.0, 20.0)
        bars.show("a[b].mp4", "separating", 20.0, 20.0)
        bars.clear("b.mp4")
        bars.show("a[b].mp4", "preview", 3.0, None)
    last = screen.getvalue().split("a[b].mp4: separating")[-1]
    assert "100%" in last and "a[b].mp4: preview" in last
    assert "b.mp4: separating" in screen.getvalue() and "\nb.mp4" not in last


def test_what_others_print_goes_to_stderr_while_results_stand_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with results_alone():
        sys.stdout.write("of another package\n")
        print_event({"event": "failed"})
        print_line("a line")
    print_line("after")
    captured = capsys.readouterr()
    assert captured.out == '{"event": "failed"}\na line\nafter\n'
    assert captured.err == "of another package\n"


def test_a_terminal_without_the_letters_gets_escapes(run: Callable) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="strict")
    done = run("evaluate", "--data", "ü🎻")
    assert done.code == 2 and r"'\xfc\U0001f3bb' holds no clips" in done.err


@pytest.mark.parametrize(
    "figure", ["1.5", "-1.5", "+1.5", "+1.5 ± 0.2", ">100", "-", "1e-05", "inf"]
)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_figures_are_aligned_to_the_right(
    figure: str, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    page = Console(file=screen, force_terminal=is_terminal, color_system=None, width=60)
    monkeypatch.setattr(console, "_out", page)
    monkeypatch.setattr(console, "_wide", page)
    print_table("t", ["name", "a wide head of figures"], [["harp", figure], ["a word", "0"]])
    (line,) = (line for line in screen.getvalue().splitlines() if "harp" in line)
    assert line.endswith(f"{figure.replace('± ', '±') if is_terminal else figure} │")
