"""Test the tool that makes a prepared folder of audio-only clips: categories, folds, takes."""

import csv
from collections import Counter
from pathlib import Path

import pytest

import sounds_folder
from avsep.data.prepared import read_prepared
from avsep.errors import InputError


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two categories; in each of five folds ten recordings, every second one in two takes."""
    folder = tmp_path / "sounds"
    for category in ("001 - Dog bark", "010 - Fire crackling"):
        (folder / category).mkdir(parents=True)
        for fold in range(1, 6):
            for recording in range(10):
                for take in "AB"[: 1 + recording % 2]:
                    path = folder / category / f"{fold}-{100 * fold + recording}-{take}.ogg"
                    path.write_bytes(f"{category} {path.name}".encode())  # nobody listens
    (folder / "001 - Dog bark" / "notes.txt").write_text("not a sound")
    (folder / "LICENSE").write_text("not a category")
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_folds_become_splits_and_takes_stay_together(sounds: Path, tmp_path: Path) -> None:
    sounds_folder.make_sounds_folder(sounds, tmp_path / "made", (1, 2, 3), (4,))
    lines = rows(tmp_path / "made")
    assert {row["id"][0] for row in lines if row["split"] == "test"} == {"4"}
    assert {row["id"][0] for row in lines if row["split"] != "test"} == {"1", "2", "3"}
    splits: dict[str, set[str]] = {}
    for row in lines:
        recording = f"{row['category']}/{row['id'].rpartition('-')[0]}"
        splits.setdefault(recording, set()).add(row["split"])
    assert all(len(lines) == 1 for lines in splits.values())
    for category in ("dog bark", "fire crackling"):
        counts = Counter(row["split"] for row in lines if row["category"] == category)
        assert counts["test"] == 15 and counts["train"] + counts["val"] == 45
        assert 5 <= counts["val"] <= 6  # a tenth, and the second take of the last


def test_what_it_makes_is_heard_and_not_seen_and_leaves_the_sounds_as_they_were(
    sounds: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in sounds.rglob("*.ogg")}
    first = sounds_folder.make_sounds_folder(sounds, tmp_path / "made", (1, 2), (5,))
    clips = read_prepared(tmp_path / "made")
    assert {clip.sources[0].category for clip in clips} == {"dog bark", "fire crackling"}
    assert len(clips) == len(first) == 90 and not any(clip.is_visible for clip in clips)
    # Once more over what is there: the same again.
    assert sounds_folder.make_sounds_folder(sounds, tmp_path / "made", (1, 2), (5,)) == first
    assert read_prepared(tmp_path / "made") == clips
    assert {path: path.read_bytes() for path in sounds.rglob("*.ogg")} == before


def test_where_links_cannot_be_files_are_copied(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    sounds_folder.make_sounds_folder(sounds, tmp_path / "made", (1,), (2,))
    source = sounds / "001 - Dog bark" / "1-100-A.ogg"
    written = tmp_path / "made" / "audio" / "dog bark" / "1-100-A.ogg"
    assert written.read_bytes() == source.read_bytes() and not written.samefile(source)


def test_folds_that_are_in_both_lists_or_nowhere_are_told(sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fold 2 is for training and for testing: remove it"):
        sounds_folder.make_sounds_folder(sounds, tmp_path / "made", (1, 2), (2,))
    with pytest.raises(InputError, match="holds no sounds '<number> - <category>/<fold>-"):
        sounds_folder.make_sounds_folder(sounds, tmp_path / "made", (8,), (9,))
    assert not (tmp_path / "made").exists()


def test_the_command_says_what_it_made(
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [str(sounds), str(tmp_path / "made"), "--train-folds", "1", "--test-folds", "2,3"]
    monkeypatch.setattr("sys.argv", ["sounds_folder.py", *words])
    sounds_folder.main()
    written = tmp_path / "made"
    counts = Counter(row["split"] for row in rows(written))
    assert counts["train"] + counts["val"] == 30 and counts["val"] > 0
    summary = f"2 categories, {counts['train']} train, {counts['val']} val, 60 test"
    assert capsys.readouterr().out == f"{written}: {summary}\n"
