"""Test that names and docstrings of the package are in plain words: see tools/check_words.py."""

from pathlib import Path

import pytest

from check_words import SOURCE, check_folder, check_source, counts


def test_the_package_is_in_plain_words() -> None:
    problems = check_folder(SOURCE)
    assert not problems, "\n".join(map(str, problems))


BAD = '''"""What is wrong here."""

class Ear:
    """An ear; nobody is
    asked, and it hangs on others."""

    heard: int = 0

    def ask(self, told, *, given_name=0):
        """Whether it is: a verb is missing."""
        self._found, kept_items = told, 1
        for one in told:
            one.seen = self.heard
        return [known for known in told]
'''


def test_every_kind_of_problem_is_found() -> None:
    problems = list(check_source(BAD, Path("bad.py")))
    assert sorted((problem.kind, problem.word) for problem in problems) == [
        ("first word", "What"),
        ("first word", "Whether"),
        ("name", "_found"),
        ("name", "ask"),
        ("name", "heard"),
        ("name", "known"),
        ("name", "one"),
        ("name", "seen"),
        ("name", "told"),
        ("phrase", "hangs on"),
        ("phrase", "is asked"),
        ("phrase", "nobody"),
    ]
    assert next(problem.line for problem in problems if problem.word == "ask") == 9


@pytest.mark.parametrize(
    "text",
    [
        '"""Read the clips of a folder."""\nfound_clips = [clip.given for clip in held_out]',
        'def unknown(names):\n    """Return True if nothing is known."""',
        "result = one(asked, told=heard)",
    ],
)
def test_parts_of_names_and_uses_are_no_problem(text: str) -> None:
    assert not list(check_source(text, Path("good.py")))


def test_two_classes_of_one_name_are_found_and_counted(tmp_path: Path) -> None:
    for folder in ("sound", "media"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("class Ear:\n    pass\n\nclass _Nose: pass\n")
    (tmp_path / "b.py").write_text("class Nose:\n    asked = 1\n")
    problems = check_folder(tmp_path)
    assert {(str(item.path), item.kind, item.word) for item in problems} == {
        ("sound/a.py", "class of two", "Ear"),
        ("media/a.py", "class of two", "Ear"),
        ("b.py", "name", "asked"),
    }
    assert {folder: sum(kinds.values()) for folder, kinds in counts(problems).items()} == {
        ".": 1, "media": 1, "sound": 1,
    }  # fmt: skip
