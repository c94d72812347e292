"""List where code, paper and released code differ: write docs/papers/departures.md from the tags.

Run `python tools/draw_departures.py`; with `--check` it exits with 1 where the page is stale.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "avsep"
PAGE = ROOT / "docs" / "papers" / "departures.md"
TAG = "Departure:"
HEAD = """# Departures

Where a paper, its released code and ours differ, the line that decides says so under the tag
`Departure:`. This page is made of those lines by `python tools/draw_departures.py`; a test keeps
it in step.

| file | departure |
|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = []
    for path in sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.toml")]):
        for text in departures(path.read_text(encoding="utf-8")):
            name = path.relative_to(SOURCE).as_posix()
            rows.append(f"| `{name}` | {text.replace('|', '/')} |\n")
    return HEAD + "".join(rows)


def departures(source: str) -> list[str]:
    """The text behind each tag, up to the end of its paragraph."""
    result = []
    lines = source.splitlines()
    for index, line in enumerate(lines):
        if TAG not in line:
            continue
        words = [line.partition(TAG)[2]]
        is_comment = line.lstrip().startswith("#")
        for after in lines[index + 1 :]:
            text = after.strip()
            if '"""' in words[-1] or not text or text.startswith("#") != is_comment:
                break
            words.append(text.removeprefix("#"))
        result.append(re.sub(r"\s+", " ", " ".join(words)).replace('"""', "").strip())
    return result


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
