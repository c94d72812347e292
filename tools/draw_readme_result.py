"""Draw README's result: the spectrogram of the demo's duet, and of the two stems made from it.

Run `python tools/draw_readme_result.py`; it writes docs/images/separation.png. The pictures and the
scores are those that `avsep demo` writes, for its default duet.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "separation.png"
MODEL = "avsep-mini"
PICTURE_PIXELS, TEXT_PIXELS, GAP_PIXELS = 300, 24, 8
# A palette makes a third of the bytes; spectrograms and drawings need no more colours.
NUM_COLOURS = 160

# Left picture, spectrogram, and the line above them.
Row = tuple[Image.Image, Image.Image, str]


def main() -> None:
    """Run the demo and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "avsep", "demo", "-o", name], check=True)
        sheet = draw(list(read_rows(folder)))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(NUM_COLOURS).save(TARGET, optimize=True)


def read_rows(folder: Path) -> Iterator[Row]:
    """Read the mixture and the stems from the folder of a demo."""
    frame = Image.open(folder / "key_frame.jpg").convert("RGB")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    objects = json.loads((folder / "duet" / "objects.json").read_text(encoding="utf-8"))
    yield frame, Image.open(folder / "mixture.png"), "in: the video, and the sound of both"
    stems = sorted((folder / MODEL).glob("*.png"))
    for item, stem in zip(objects, stems, strict=True):
        before, after = (scores[method][stem.stem]["sdr_db"] for method in ("mixture", MODEL))
        text = f"out: {item['label']}, SDR {after:.1f} dB (in the mixture {before:.1f} dB)"
        corners = [edge * frame.size[axis % 2] for axis, edge in enumerate(item["box"])]
        yield frame.crop(tuple(map(round, corners))), Image.open(stem), text


def draw(rows: list[Row]) -> Image.Image:
    """Put the rows below one another."""
    width, height = rows[0][1].size
    row_pixels = TEXT_PIXELS + height + GAP_PIXELS
    sheet = Image.new("RGB", (PICTURE_PIXELS + width, len(rows) * row_pixels), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for index, (picture, spectrogram, text) in enumerate(rows):
        top = index * row_pixels
        pen.text((GAP_PIXELS, top + 2), text, fill="black", font=font)
        fitted = ImageOps.contain(picture, (PICTURE_PIXELS - 2 * GAP_PIXELS, height))
        left = (PICTURE_PIXELS - fitted.width) // 2
        sheet.paste(fitted, (left, top + TEXT_PIXELS + (height - fitted.height) // 2))
        sheet.paste(spectrogram.convert("RGB"), (PICTURE_PIXELS, top + TEXT_PIXELS))
    return sheet


if __name__ == "__main__":
    main()
