"""Test the pages on papers: the code they name exists, and every departure is listed."""

import importlib
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "papers").glob("*.md"))
NAMES = [
    (page.name, name)
    for page in PAGES
    for name in re.findall(r"`(avsep(?:\.\w+)+)`", page.read_text(encoding="utf-8"))
]


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the part before the last dot is a class
        return False


def exists(name: str) -> bool:
    """Say whether a module has this name, or something in a module."""
    module, parts = name, []
    while not is_module(module):
        module, _, last = module.rpartition(".")
        parts.insert(0, last)
    item = importlib.import_module(module)
    for part in parts:
        if not hasattr(item, part):
            return False
        item = getattr(item, part)
    return True


def test_what_a_page_names_exists() -> None:
    assert [f"{page} names {name}" for page, name in NAMES if not exists(name)] == []


def test_recipes_that_a_page_names_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"`(recipes/[^`]+\.toml)`", page.read_text(encoding="utf-8")):
            assert list((ROOT / "src" / "avsep").glob(name)), f"{page.name} names {name}"


def test_departures_are_listed() -> None:
    spec = importlib.util.spec_from_file_location("tool", ROOT / "tools" / "draw_departures.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    listed = (ROOT / "docs" / "papers" / "departures.md").read_text(encoding="utf-8")
    assert listed == tool.page(), "run: python tools/draw_departures.py"
