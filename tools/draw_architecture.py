"""Write docs/architecture.md from the first docstring lines of the source files.

Run `python tools/draw_architecture.py`; with `--check` it exits with 1 where the page is stale.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "avsep"
PAGE = ROOT / "docs" / "architecture.md"
# Folders in the order a file meets them; the order of the layers is tests/architecture's.
STAGES = [
    "sound", "media", "diffusion", "layers", "vision", "toyband", "data", "cues", "models", "pages",
    "evaluation", "training", "separation", "cli",
]  # fmt: skip
HEAD = """# Architecture

Made from the first docstring line of every file by `python tools/draw_architecture.py`; a test
compares them. Imports only go down, and a test enforces it: `errors, recipe, records, devices,
parallel` < `sound, media` < `diffusion, layers, vision, toyband` < `data` < `cues` < `models` <
`checkpoint` < `pages` < `evaluation` < `training, separation, doctor` < `cli`.

```
 video file ──► media ──► waveform [C, N], frames [K, H, W, 3], boxes           = Clip
                             │
 toyband ─────► data ──► mixing: sources of different clips, added               = Batch
                             │
                sound: STFT ──► magnitude, phase ──► logarithmic rows ──► network's input
                             │
          vision: crops, movement    layers, diffusion, models
             (visual cues)    ──►  separate(batch): one magnitude a source        = Separation
                             │
                sound: back to bins ──► mixture's phase ──► waveforms
                    ┌────────┴─────────┐
                evaluation          separation
                SDR SIR SAR         stems, spectrograms, report.html
```
"""


def caption(path: Path) -> str:
    """Return the first line of a file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def page() -> str:
    """Return the page."""
    parts = [HEAD, "\n## Modules\n", _listing(SOURCE, recursive=False)]
    for stage in STAGES:
        folder = SOURCE / stage
        parts += [f"\n### `{stage}/`: {caption(folder / '__init__.py')}\n", _listing(folder)]
    return "\n".join(parts).rstrip() + "\n"


def _listing(folder: Path, recursive: bool = True) -> str:
    files = sorted(folder.rglob("*.py") if recursive else folder.glob("*.py"))
    rows = [
        f"| `{path.relative_to(folder).as_posix()}` | {caption(path).replace('|', '/')} |"
        for path in files
        if path.name != "__init__.py" or path.parent != folder or not recursive
    ]
    return "\n".join(["| file | content |", "|---|---|", *rows])


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    if arguments == ["--check"]:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
