"""Draw the pictures of README and docs: all instruments, and their motion with the notes.

Run `python tools/draw_toyband.py`; it writes docs/images/toyband.png and docs/images/motion.png.
Each small picture is a crop of a frame at 112 x 112 pixels, the size of the models' input.
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
# While a stick still touches the drum (0.06 s): the pose that belongs to the note.
AFTER_ONSET_SECONDS = 0.05


def main() -> None:
    """Write both pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    variants = [
        (name, crop(make_duet(name, seed)[0], 2.0)) for name in CATEGORIES for seed in (1, 2)
    ]
    save("toyband.png", variants, columns=8)
    moments = []
    for name in MOVING:
        # The first seed with enough notes; rounded onsets count a chord as one.
        duets = (make_duet(name, seed) for seed in itertools.count(5))
        stage, events = next(
            (stage, list(events.values()))
            for stage, part in duets
            if len(events := {round(e.onset_seconds, 1): e for e in part.events}) >= NUM_MOMENTS
        )
        for event in events[:NUM_MOMENTS]:
            time_seconds = event.onset_seconds + AFTER_ONSET_SECONDS
            moments.append((f"{time_seconds:.1f} s, note {event.midi}", crop(stage, time_seconds)))
    save("motion.png", moments, columns=NUM_MOMENTS)


def make_duet(category: str, seed: int) -> tuple[Stage, ScorePart]:
    """Return the stage of a duet whose first performer plays an instrument, and its part."""
    generator = np.random.default_rng([seed, CATEGORIES.index(category)])
    partner = CATEGORIES[(CATEGORIES.index(category) + 1 + seed) % len(CATEGORIES)]
    cast, settings, material = Cast((category, partner), ()), ToybandSettings(), Material.read()
    music = play(cast, settings, material, False, generator)
    stage = set_stage(cast, music, settings, material, False, generator)
    return stage, music.score.parts[0]


def crop(stage: Stage, time_seconds: float) -> Image.Image:
    """Return the square around the first performer's box, resized to SIDE_PIXELS."""
    picture = Image.fromarray(stage.frame(time_seconds))
    x1, y1, x2, y2 = stage.objects()[0].box_at(time_seconds)
    x1, x2, y1, y2 = (
        edge * size for edge, size in zip((x1, x2, y1, y2), np.repeat(picture.size, 2), strict=True)
    )
    # Shifted inwards at the edges, instead of padded, so that every crop is filled.
    half = min(max(x2 - x1, y2 - y1), *picture.size) / 2
    centre = [(x1 + x2) / 2, (y1 + y2) / 2]
    x, y = (min(max(m, half), size - half) for m, size in zip(centre, picture.size, strict=True))
    square = picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return square.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.LANCZOS)


def save(name: str, pictures: list[tuple[str, Image.Image]], columns: int) -> None:
    """Write pictures row by row, with a caption below each."""
    cell_width, cell_height = SIDE_PIXELS + GAP_PIXELS, SIDE_PIXELS + TEXT_PIXELS + GAP_PIXELS
    rows = -(-len(pictures) // columns)
    sheet = Image.new(
        "RGB", (columns * cell_width + GAP_PIXELS, rows * cell_height + GAP_PIXELS), "white"
    )
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for index, (text, picture) in enumerate(pictures):
        x = GAP_PIXELS + index % columns * cell_width
        y = GAP_PIXELS + index // columns * cell_height
        sheet.paste(picture, (x, y))
        pen.text((x + 2, y + SIDE_PIXELS), text, fill="black", font=font)
    sheet.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
