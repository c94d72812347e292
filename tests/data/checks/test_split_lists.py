"""Test the checks of lists: leaks are found with their exact videos, and nothing else."""

from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pytest

from avsep.data.checks.check import open_check
from avsep.data.checks.reports import CheckReport, Finding
from avsep.data.list_files import role_and_set
from avsep.errors import InputError


def index(*names: str) -> str:
    return "\n".join(f"/violin/{name}.wav,/violin/{name}.mp4,12" for name in names)


def pairs(*names: tuple[str, str]) -> str:
    return "\n".join(f"/violin/{first}.wav, /tuba/{second}.wav" for first, second in names)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def check(data: Path, *against: Path) -> CheckReport:
    return open_check(data, against).report()


def names_by_finding(
    report: CheckReport, is_wrong: bool = True
) -> dict[tuple[str, str], list[str]]:
    """Return (what, where) -> names, of the problems or of the notes."""
    return {
        (finding.what, finding.where): [item.name for item in finding.items]
        for finding in report.findings
        if finding.is_wrong == is_wrong
    }


def only(report: CheckReport) -> Finding:
    (finding,) = report.findings
    return finding


@pytest.mark.parametrize(
    ("place", "role", "set_name"),
    [
        ("davis_train.csv", "train", "davis"),
        ("music/DAVIS-testsepMUSIC.csv", "test", "music/davis"),
        ("music/iquery_trainmusic21.csv", "train", "music/iquery"),
        ("solo_val.csv", "val", "solo"),
        ("ave/val_order.h5", "val", "ave"),
        ("validation.txt", "val", ""),
        ("split1/train.txt", "train", "split1"),
        ("music/training/violin.csv", "train", "music"),
        ("mine_test/violin.csv", "test", "mine"),
        ("music/MUSIC_solo_videos.json", None, "music/MUSIC_solo_videos"),
        ("contest.csv", None, "contest"),
    ],
)
def test_names_say_role_and_set(place: str, role: str | None, set_name: str) -> None:
    assert role_and_set(PurePosixPath(place)) == (role, set_name)


def test_leaks_within_a_set(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "music",
        {
            "davis_train.csv": index("a", "b", "c", "-d.e"),
            "davis_val.csv": index("t2", "t1", "c"),
            "davis_test.csv": index("-d.e", "t1", "t2"),
            "iquery_train.csv": index("t1", "t2"),  # of another set: no leak
            "iquery_test.csv": index("x"),
        },
    )
    report = check(folder)
    assert names_by_finding(report) == {
        ("test videos in its training list", "davis"): ["-d.e"],
        ("test videos in its validation list", "davis"): ["t1", "t2"],
        ("validation videos in its training list", "davis"): ["c"],
    }
    assert [finding.num for finding in report.findings] == [1, 2, 1]
    assert all((finding.of, finding.unit) == (3, "videos") for finding in report.findings)
    assert not report.is_well and not names_by_finding(report, is_wrong=False)


def test_sets_apart_are_well(tmp_path: Path) -> None:
    files = {
        f"split{n}/{role}.txt": f"{n}{role}.mp3\n{role}" for n in (1, 2) for role in ("a", "b")
    }
    files |= {f"split{n}/{role}.txt": f"{9 - n}.mp3" for n, role in ((1, "train"), (2, "val"))}
    files |= {"split1/test.txt": "7.mp3", "split2/train.txt": "8.mp3"}  # folds are alternatives
    report = check(write(tmp_path, files))
    assert report.is_well and report.findings == ()
    assert report.verdict == f"{tmp_path}: all is well; 8 lists of 12 lines"


def test_orders_of_ave_by_video(tmp_path: Path) -> None:
    rows = ["Bus&a&good&0&10", "Bus&b&good&0&10", "Cat&a&good&2&5", "Cat&c&good&0&10"]
    folder = write(tmp_path / "ave", {"Annotations.txt": "\n".join(rows)})
    for name, order in {"train": [0, 1], "val": [1], "test": [2, 3]}.items():
        with h5py.File(folder / f"{name}_order.h5", "w") as file:
            file["order"] = np.array(order)
    report = check(folder)
    assert names_by_finding(report) == {
        ("test videos in its training list", "ave"): ["a"],
        ("validation videos in its training list", "ave"): ["b"],
    }
    note = ("repeated lines of a video", "Annotations.txt")
    assert names_by_finding(report, is_wrong=False) == {note: ["a"]}


def test_data_sets_of_one_folder_are_compared(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "music/iquery_train.csv": index("a", "b", "z"),
            "music/iquery_test.csv": index("p", "q"),
            "music/MUSIC_solo.json": '{"violin": ["a", "m", "p"]}',
            "music21/iquery_train.csv": index("b", "q"),
            "music21/iquery_test.csv": index("m", "z"),
        },
    )
    what = "test videos in the training list of"
    assert names_by_finding(check(folder)) == {
        (f"{what} music21/iquery", "music/iquery"): ["q"],
        (f"{what} music/iquery", "music21/iquery"): ["z"],
    }


def test_mixtures(tmp_path: Path) -> None:
    same = "\n/cello/t1.wav, /Violoncello/t2.wav\n/a/t1.wav, /b/t3.wav"
    folder = write(
        tmp_path / "lists",
        {
            "train.csv": index("a", "b"),
            "test.csv": index("t1", "t2", "t3"),
            "test_sep.csv": pairs(("t1", "t2"), ("t1", "a"), ("t2", "t1"), ("t1", "t2")) + same,
        },
    )
    report = check(folder)
    assert names_by_finding(report) == {
        ("mixtures with a video of the training list", "test_sep.csv"): ["a"],
        ("videos of mixtures that no test list has", "test_sep.csv"): ["a"],
    }
    assert report.findings[0].as_json() == {
        "wrong": True,
        "what": "mixtures with a video of the training list",
        "where": "test_sep.csv",
        "found": 1,
        "of": 6,
        "unit": "mixtures",
        "items": [{"name": "a"}],
    }
    repeats = "lines that repeat a mixture: 4 distinct, 3 in any order"
    assert names_by_finding(report, is_wrong=False) == {
        (repeats, "test_sep.csv"): ["t1 + t2"],
        ("mixtures of one category", "test_sep.csv"): ["t1 + t2"],
    }


def test_mixtures_stand_for_a_list_that_is_not_there(tmp_path: Path) -> None:
    files = {"train.csv": index("a", "b"), "test_sep.csv": pairs(("t", "a"))}
    report = check(write(tmp_path / "lists", files))
    assert names_by_finding(report)["test videos in its training list", "lists"] == ["a"]


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    mine = {"my_train.csv": index("a", "b"), "my_test.csv": index("t", "u"), "all.txt": "t\nq"}
    theirs = {"train.csv": index("t", "a"), "test.csv": index("b", "u"), "all.txt": "a\nb\nt\nu"}
    return write(tmp_path / "mine", mine), write(tmp_path / "theirs", theirs)


def test_against_another_place(both: tuple[Path, Path]) -> None:
    mine, theirs = both
    report = check(mine, theirs)
    assert names_by_finding(report) == {
        (f"test videos in the training list of {theirs}", "my"): ["t"],
        (f"training videos in the test list of {theirs}", "my"): ["b"],
    }
    assert names_by_finding(report, is_wrong=False) == {
        (f"test videos in the test list of {theirs}", "my"): ["u"],
        (f"training videos in the training list of {theirs}", "my"): ["a"],
    }
    assert check(mine).is_well  # which it is by itself


def test_against_single_lists(both: tuple[Path, Path]) -> None:
    mine, theirs = both
    report = check(mine / "my_test.csv", theirs / "test.csv", theirs / "train.csv")
    assert names_by_finding(report) == {
        (f"test videos in the training list of {theirs / 'train.csv'}", "my"): ["t"]
    }
    nameless = check(theirs / "all.txt", mine / "all.txt")
    assert names_by_finding(nameless) == {(f"videos in {mine / 'all.txt'}", "all"): ["t"]}
    assert check(mine / "my_test.csv", mine / "my_train.csv").findings == ()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "lists",
        {
            "train.h5": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "test.csv": index("a"),
            "readme.txt": "Lists of videos,\nof several columns, I suppose, here and there.\n",
            ".hidden_train.csv": "",
            "objects/violin/a.json": "[]",
        },
    )
    report = check(folder)
    broken, other = report.findings
    assert (broken.what, broken.is_wrong) == ("lists that cannot be read", True)
    assert [item.name for item in broken.items] == ["train.h5"]
    assert "pointer of git LFS" in broken.items[0].why
    assert (other.what, other.is_wrong) == ("files that are no lists", False)
    assert [item.name for item in other.items] == ["readme.txt"]
    assert [facts.name for facts in report.lists] == ["test.csv"]


def test_places_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nothing to check: it is neither a prepared folder \(index\.csv"
    ):
        open_check(tmp_path)
    with pytest.raises(InputError, match=r"nowhere' does not exist; give a list"):
        open_check(write(tmp_path / "lists", {"train.csv": index("a")}), [tmp_path / "nowhere"])
