"""Test `avsep check`: the table, the exit code, and JSON with every name."""

import json
from pathlib import Path

import pytest

from data.prepared_folder import make_prepared


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("lists")
    folder.mkdir()
    tests = [f"t{n}" for n in range(5)]
    for role, ids in {"train": ["a", *tests], "test": [*tests, "-u"]}.items():
        rows = [f"/violin/{name}.wav,/violin/{name}.mp4,9" for name in ids]
        (folder / f"davis_{role}.csv").write_text("\n".join(rows))
    return folder


def test_leaks_are_a_table_and_two(run, lists: Path) -> None:
    done = run("check", lists)
    assert done.code == 2 and not done.err
    (row,) = (line for line in done.out.splitlines() if "WRONG" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "WRONG",
        "test videos in its training list",
        "davis",
        "5 of 6 videos",
        "t0, t1, t2 and 2 more",
    ]
    assert done.out.endswith("lists: 1 wrong; 2 lists of 12 lines\n")


def test_json_has_every_name(run, lists: Path) -> None:
    done = run("check", lists, "--json")
    assert done.code == 2 and not done.err
    report = json.loads(done.out)
    assert (report["kind"], report["well"], report["clips"]) == ("lists", False, None)
    (finding,) = report["findings"]
    assert [item["name"] for item in finding["items"]] == ["t0", "t1", "t2", "t3", "t4"]
    assert (finding["found"], finding["of"], finding["unit"]) == (5, 6, "videos")
    assert report["lists"][0] == {
        "list": "davis_test.csv",
        "set": "davis",
        "role": "test",
        "holds": "videos",
        "lines": 6,
        "videos": 6,
    }
    assert done.out == run("check", lists, "--json").out


def test_what_is_well_is_one_line(run, lists: Path) -> None:
    (lists / "davis_train.csv").unlink()
    done = run("check", lists)
    assert (done.code, done.out, done.err) == (0, "lists: all is well; 1 list of 6 lines\n", "")


def test_several_others_after_one_name(run, lists: Path) -> None:
    for name in ("x_train.txt", "y_train.txt"):
        Path(name).write_text("-u.wav")
    done = run("check", lists / "davis_test.csv", "--against", "x_train.txt", "y_train.txt")
    assert done.code == 2
    for name in ("x_train.txt", "y_train.txt"):
        assert f"test videos in the training list of {name} " in done.out


@pytest.mark.slow
def test_a_folder_of_clips(run, tmp_path: Path) -> None:
    make_prepared(tmp_path / "solos")
    assert run("check", tmp_path / "solos").code == 0
    (tmp_path / "solos/audio/violin/c.wav").write_bytes(b"")
    done = run("check", tmp_path / "solos", "--json")
    report = json.loads(done.out)
    assert done.code == 2 and report["clips"] == 3
    assert report["durations_seconds"] == {
        "shortest": 3.0,
        "median": 3.0,
        "longest": 3.0,
        "total": 6.0,
    }
    assert [item["items"][0]["name"] for item in report["findings"] if item["wrong"]] == [
        "audio/violin/c.wav"
    ]
