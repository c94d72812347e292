"""Draw the tables of settings in docs from the fields of the settings themselves.

Run `python tools/draw_settings.py`; it rewrites what stands between the marks of each page.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from avsep.data.mixing import MixingSettings
from avsep.recipe import settings_group
from avsep.toyband.clip import ToybandSettings
from avsep.training.recipe import TrainingSettings
from avsep.vision.finding import FindSettings

DOCS = Path(__file__).resolve().parents[1] / "docs"
# Page -> the settings whose table stands on it.
TABLES: dict[str, type[BaseModel]] = {
    "data.md": MixingSettings,
    "objects.md": FindSettings,
    "toyband.md": ToybandSettings,
    "training.md": TrainingSettings,
}
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->"


def redrawn(name: str) -> str:
    """The text of a page with its table as it should be."""
    before, _, rest = (DOCS / name).read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    head = "| setting | default | what it means |\n|---|---|---|\n"
    return before + BEGIN + head + "".join(rows(TABLES[name])) + END + after


def rows(schema: type[BaseModel], group: str = "") -> Iterator[str]:
    """A row for each field, those of groups with the group's name before them.

    A group that may be left out has a row of its own, which says what that means.
    """
    for name, field in schema.model_fields.items():
        inner = settings_group(field.annotation)
        if inner is not None and not field.description:
            yield from rows(inner, f"{group}{name}.")
            continue
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        default = "none" if default is None else default
        yield f"| `{group}{name}` | {default} | {field.description} |\n"
        if inner is not None:
            yield from rows(inner, f"{group}{name}.")


def main() -> int:
    """Write the pages."""
    for name in TABLES:
        (DOCS / name).write_text(redrawn(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
