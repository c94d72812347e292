"""Test errors for the user: one line, the closest known name, all known names."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.errors import InputError, require_package, unknown_name
from avsep.labels import ALIASES
from avsep.toyband.categories import CATEGORIES, category_index, find_category


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("strickt", ["strict", "legacy"], "; did you mean 'strict'? known: legacy, strict"),
        ("zzz", ["strict", "legacy"], "; known: legacy, strict"),
        ("", ["strict"], "; known: strict"),
        ("strict", [], "; known: none"),
    ],
)
def test_the_nearest_name_is_offered(name: str, known: list[str], message: str) -> None:
    assert str(unknown_name("protocol", name, known)) == (f"unknown protocol '{name}'{message}")


def test_a_missing_package_is_one_line() -> None:
    with pytest.raises(InputError, match="fad needs a package: pip install no_such_package"):
        require_package("no_such_package", "fad")


def test_a_broken_package_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import what_it_needs\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        InputError, match=r"needs a package \(No module named 'what_it_needs'\): pip"
    ):
        require_package("half_installed", "fad")


def test_of_many_known_names_some_are_listed() -> None:
    message = str(unknown_name("mixture", "x", [f"{number:03d}" for number in range(200)]))
    assert message.endswith("known: " + ", ".join(f"{n:03d}" for n in range(40)) + " and 160 more")


def test_it_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="unknown thing 'x'"):
        raise unknown_name("thing", "x", iter(["y"]))


@pytest.mark.parametrize("word", [*CATEGORIES, *ALIASES])
def test_a_category_is_known_however_it_is_written(word: str) -> None:
    category = find_category(word)
    assert category in CATEGORIES
    for other in (
        word.upper(),
        f"  {word.title()} ",
        word.replace(" ", "_"),
        word.replace(" ", "-"),
    ):
        assert find_category(other) == category
        assert CATEGORIES[category_index(other)] == category


@settings(max_examples=20, deadline=None)
@given(word=st.text(max_size=12))
def test_any_other_word_is_an_error_that_lists_them(word: str) -> None:
    if find_category(word) is None:
        with pytest.raises(InputError, match=r"known: accordion, acoustic guitar, .*, xylophone"):
            category_index(word)
