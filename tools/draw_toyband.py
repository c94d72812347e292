"""Draw the pictures of README and docs: sixteen instruments, and how they move with their notes.

Run `python tools/draw_toyband.py`; it writes docs/images/toyband.png and docs/images/motion.png.
Each small picture is a crop of a clip as a network sees it: 112 x 112 pixels.
"""

import itertools
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import Cast, ToybandSettings, play, set_stage
from avsep.toyband.material import Material
from avsep.toyband.music.score import ScorePart
from avsep.toyband.pictures.stage import Stage

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SIDE_PIXELS, GAP_PIXELS, TEXT_PIXELS = 112, 6, 16
MOVING = ("violin", "trombone", "accordion", "drums", "xylophone", "piano")
NUM_MOMENTS = 8
AFTER_SECONDS = 0.05  # of a note's onset


def main() -> None:
    """Write both pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    looks = [(name, crop(make_duet(name, seed)[0], 2.0)) for name in CATEGORIES for seed in (1, 2)]
    save("toyband.png", looks, columns=8)
    moments = []
    for name in MOVING:
        duets = (make_duet(name, seed) for seed in itertools.count(5))
        stage, events = next(
            (stage, list(events.values()))
            for stage, part in duets
            if len(events := {round(e.onset_seconds, 1): e for e in part.events}) >= NUM_MOMENTS
        )
        for event in events[:NUM_MOMENTS]:
            time_seconds = event.onset_seconds + AFTER_SECONDS
            moments.append((f"{time_seconds:.1f} s, note {event.midi}", crop(stage, time_seconds)))
    save("motion.png", moments, columns=NUM_MOMENTS)


def make_duet(category: str, seed: int) -> tuple[Stage, ScorePart]:
    """The stage of a duet whose first performer plays this instrument, and its part."""
    generator = np.random.default_rng([seed, CATEGORIES.index(category)])
    partner = CATEGORIES[(CATEGORIES.index(category) + 1 + seed) % len(CATEGORIES)]
    cast, settings, material = Cast((category, partner), ()), ToybandSettings(), Material.read()
    music = play(cast, settings, material, False, generator)
    stage = set_stage(cast, music, settings, material, False, generator)
    return stage, music.score.parts[0]


def crop(stage: Stage, time_seconds: float) -> Image.Image:
    """The square around the first performer's box, shrunk."""
    picture = Image.fromarray(stage.frame(time_seconds))
    x1, y1, x2, y2 = stage.objects()[0].box_at(time_seconds)
    x1, x2, y1, y2 = (
        edge * size for edge, size in zip((x1, x2, y1, y2), np.repeat(picture.size, 2), strict=True)
    )
    half = min(max(x2 - x1, y2 - y1), *picture.size) / 2
    middles = [(x1 + x2) / 2, (y1 + y2) / 2]
    x, y = (min(max(m, half), s - half) for m, s in zip(middles, picture.size, strict=True))
    square = picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return square.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS)


def save(name: str, pictures: list[tuple[str, Image.Image]], columns: int) -> None:
    """Write pictures row by row, the text below each."""
    across, down = SIDE_PIXELS + GAP_PIXELS, SIDE_PIXELS + TEXT_PIXELS + GAP_PIXELS
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * across + GAP_PIXELS, rows * down + GAP_PIXELS), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for index, (text, picture) in enumerate(pictures):
        x = GAP_PIXELS + index % columns * across
        y = GAP_PIXELS + index // columns * down
        sheet.paste(picture, (x, y))
        pen.text((x + 2, y + SIDE_PIXELS), text, fill="black", font=font)
    sheet.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
