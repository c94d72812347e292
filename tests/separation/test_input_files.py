"""Test how inputs become files: folders, patterns and lists, in order and each once."""

from pathlib import Path

import pytest

from avsep.errors import InputError
from avsep.separation.input_files import find_inputs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with videos in folders, and much that is no input."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "in/b.mp4", "in/a.MKV", "in/sub/deep/c.mov", "in/sub/song.wav",
        "in/notes.txt", "in/.hidden.mp4", "in/.folder/x.mp4", "in/b/stems/01-harp.wav",
        "in/result/preview.mp4", "in/sub/movies.mp4/inner.webm", "empty/readme.txt",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "in/b/objects.json").write_text("[]")
    (tmp_path / "in/result/manifest.json").write_text('{"made_by": "avsep separate"}')
    (tmp_path / "in/sub/loop").symlink_to(tmp_path / "in")
    return tmp_path


def found_in(*inputs: str | Path) -> list[tuple[str, str]]:
    return [(item.path.as_posix(), item.subfolder.as_posix()) for item in find_inputs(inputs)]


def test_a_folder_is_searched_with_all_folders_in_it(place: Path) -> None:
    assert found_in("in") == [
        ("in/a.MKV", "."),
        ("in/b.mp4", "."),
        ("in/sub/song.wav", "sub"),
        ("in/sub/deep/c.mov", "sub/deep"),
        ("in/sub/movies.mp4/inner.webm", "sub/movies.mp4"),
    ]


def test_a_named_file_needs_no_ending_and_need_not_exist(place: Path) -> None:
    assert found_in("in/notes.txt", "none.mp4") == [("in/notes.txt", "."), ("none.mp4", ".")]


def test_each_file_is_listed_once_in_the_order_of_inputs(place: Path) -> None:
    paths = [path for path, _ in found_in("in/b.mp4", "in", place / "in" / "a.MKV", "./in/b.mp4")]
    assert paths[:2] == ["in/b.mp4", "in/a.MKV"] and len(paths) == 5


def test_patterns_match_as_in_a_shell(place: Path) -> None:
    assert found_in("in/*.mp4") == [("in/b.mp4", ".")]
    assert ("in/sub/deep/c.mov", ".") in found_in("in/**/*.mov")
    assert found_in(str(place / "in" / "?.mp4")) == [((place / "in/b.mp4").as_posix(), ".")]
    # A folder that matches is searched.
    assert ("in/sub/deep/c.mov", "deep") in found_in("i?/s*")


def test_names_that_exist_are_no_patterns_and_no_lists(place: Path) -> None:
    for name in ("take [1].mp4", "@take.mp4"):
        (place / name).touch()
        assert found_in(name) == [(name, ".")]


def test_a_list_has_a_path_a_line_relative_to_its_folder(place: Path) -> None:
    (place / "lists").mkdir()
    text = f"\ufeff../in/b.mp4\n\n{place}/in/a.MKV\r\n../in/sub\n"
    (place / "lists" / "all.txt").write_text(text, encoding="utf-8")
    assert found_in("@lists/all.txt") == [
        ("lists/../in/b.mp4", "."),
        (f"{place.as_posix()}/in/a.MKV", "."),
        ("lists/../in/sub/song.wav", "."),
        ("lists/../in/sub/deep/c.mov", "deep"),
        ("lists/../in/sub/movies.mp4/inner.webm", "movies.mp4"),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "'empty' contains no video: no file in it ends in .mp4, .mkv, .mov or the like"),
        ("in/*.avi", "no file matches 'in/*.avi'; give files, a folder, or another pattern"),
        ("@none.txt", "cannot read the list 'none.txt': No such file or directory; give @FILE"),
        ("@blank.txt", "the list 'blank.txt' is empty; write a path a line"),
        ("@latin.txt", "the list 'latin.txt' is no text in UTF-8"),
    ],
)
def test_inputs_without_files_are_errors(place: Path, name: str, message: str) -> None:
    (place / "blank.txt").write_text("\n \n")
    (place / "latin.txt").write_bytes(b"caf\xe9.mp4\n")
    with pytest.raises(InputError) as error:
        find_inputs(["in", name])
    assert message in str(error.value) and "\n" not in str(error.value)
