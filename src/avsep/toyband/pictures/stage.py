"""Compose a stage from performers, background and distractors, and render its frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from avsep.records import Box, TimedBox, VisibleObject
from avsep.toyband.categories import CATEGORIES, category_index
from avsep.toyband.pictures.distractors import DistractorSketch, sample_distractor
from avsep.toyband.pictures.drawing import Placement, rasterise
from avsep.toyband.pictures.instruments import INSTRUMENTS
from avsep.toyband.pictures.instruments.motion import PlayedNote
from avsep.toyband.pictures.instruments.people import sample_appearance
from avsep.toyband.pictures.performers import (
    Bounds,
    DrawnPerformer,
    Musician,
    Performer,
    PhotographPerformer,
    PixelBox,
    StageSettings,
    pixels_to_box,
)
from avsep.toyband.pictures.photographs import Photographs, open_photograph
from avsep.toyband.pictures.scenery import Backdrop, draw_backdrop

MAX_FILLED_SHARE = 0.98  # of the picture's width that performers side by side may fill
# With given centres: largest width of a performer relative to the distance of its nearest
# neighbour. Above 1, since arms and bows may overlap a little without hiding an instrument.
MAX_OVERLAP = 1.25
MIN_ROOM_SHARE = 0.08  # of the picture's width for each performer, however close the neighbours
MAX_HIDDEN_SHARE = 0.4  # of a distractor that one performer or other distractor may cover
NUM_PLACEMENT_TRIES = 12  # random positions of a distractor, of which the least hidden is taken
MAX_PHOTOGRAPHS = 5  # of performers and distractors together: more would be too small


@dataclass(frozen=True)
class Role:
    """One member of the cast: instrument, notes and loudness.

    Attributes:
        category: the instrument.
        notes: of its part; drawn musicians move with them.
        envelope: loudness of each frame, 0..1; photographs shake with it.
    """

    category: str
    notes: Sequence[PlayedNote]
    envelope: Float[np.ndarray, " K"]


class Distractor(NamedTuple):
    """Label and box of a silent object, as written to score.json."""

    label: str
    box: Box


class Stage:
    """A complete scene that renders the frames of a clip.

    Attributes:
        performers: in the order of the cast.
        distractors: label and box of silent objects, drawings or photographs.
    """

    def __init__(
        self,
        settings: StageSettings,
        backdrop: Image.Image,
        performers: Sequence[Performer],
        distractors: Sequence[Distractor],
        silent_performers: Sequence[Performer] = (),
    ) -> None:
        self.settings = settings
        self.performers = tuple(performers)
        self.distractors = tuple(distractors)
        self._backdrop = backdrop
        # Distractors that move, as photographs do, are behind the performers. Drawn ones are still:
        # they are part of the backdrop.
        self._back_to_front = (*silent_performers, *performers)

    def frames(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """Render the frames of the clip, RGB, in order."""
        for index in range(self.settings.num_frames):
            yield self.frame(index / self.settings.frame_rate_hz)

    def frame(self, time_seconds: float) -> UInt8[np.ndarray, "H W 3"]:
        """Render the frame at a time, RGB."""
        canvas = self._backdrop.copy()
        for performer in self._back_to_front:
            performer.draw(canvas, time_seconds)
        return np.asarray(canvas)

    def objects(self) -> list[VisibleObject]:
        """Return label, category and box of each performer, in the order of the cast."""
        # One box for the whole clip, as performers move but stay in their place.
        return [
            VisibleObject(
                label=performer.category,
                category=category_index(performer.category),
                boxes=(TimedBox(time_seconds=0, box=performer.box),),
            )
            for performer in self.performers
        ]


def make_stage(
    cast: Sequence[Role],
    settings: StageSettings,
    generator: np.random.Generator,
    photographs: Photographs | None = None,
) -> Stage:
    """Compose a stage with random positions, appearances, background and distractors.

    With photographs, each performer is a photograph of the instrument instead of a drawing. Equal
    casts, settings and generator states give equal pixels.
    """
    for role in cast:
        assert role.category in CATEGORIES, f"'{role.category}' is no category"
    backdrop = draw_backdrop(settings.picture_size, generator)
    if photographs is not None:
        return _photograph_stage(cast, settings, generator, photographs, backdrop)
    musicians = [_sample_musician(role, generator) for role in cast]
    # Bounds over the whole clip: no gesture may leave the picture or the performer's box.
    bounds = [musician.bounds(settings.frame_times_seconds) for musician in musicians]
    placements = _place_musicians(bounds, settings, generator)
    performers = [
        DrawnPerformer(role.category, musician, placement, settings)
        for role, musician, placement in zip(cast, musicians, placements, strict=True)
    ]
    distractors = _add_distractors(backdrop, performers, settings, generator)
    return Stage(settings, backdrop.picture, performers, distractors)


# Drawn stages


def _sample_musician(role: Role, generator: np.random.Generator) -> Musician:
    instrument = INSTRUMENTS[role.category]
    return Musician(instrument, sample_appearance(generator, instrument.body_colours), role.notes)


def _place_musicians(
    bounds: Sequence[Bounds], settings: StageSettings, generator: np.random.Generator
) -> list[Placement]:
    """Return placements at random sizes, with every musician entirely inside the picture."""
    height = settings.height_pixels
    corners = np.array(bounds).reshape(-1, 4)
    extents = corners[:, 2:] - corners[:, :2]  # [performers, x y]
    largest_scales = 0.95 * height / extents[:, 1]
    scales = generator.uniform(settings.least_size, 1.0, len(bounds)) * largest_scales
    scales, lefts = _scale_and_arrange(scales, extents[:, 0], settings, generator)
    placements = []
    for (x1, y1, _, y2), scale, left in zip(corners, scales, lefts, strict=True):
        # In perspective, distant musicians are small and high in the picture: the smaller one is,
        # the more room there is for its top to vary.
        room = height - 4 - scale * (y2 - y1)
        top = 2 + room * float(generator.uniform(0.55, 1.0))
        placements.append((left, top - scale * y1, scale, x1))
    return [Placement(left - scale * x1, y, scale) for left, y, scale, x1 in placements]


def _scale_and_arrange(
    scales: Float[np.ndarray, " P"],
    widths: Float[np.ndarray, " P"],
    settings: StageSettings,
    generator: np.random.Generator,
) -> tuple[Float[np.ndarray, " P"], list[float]]:
    """Reduce scales until objects of these widths fit beside each other; also return left edges."""
    total_width = settings.width_pixels
    if settings.centres is None:
        needed_width = max(1e-9, float((scales * widths).sum()))
        scales = scales * min(1.0, MAX_FILLED_SHARE * total_width / needed_width)
        return scales, _side_by_side(scales * widths, total_width, generator)
    # Given centres are the directions of a binaural clip and may not move, so the sizes give way.
    num_silent = len(widths) - len(settings.centres)
    centres = np.concatenate([settings.centres, generator.uniform(0.1, 0.9, num_silent)])
    # The identity keeps an object from being its own nearest neighbour. Silent objects are at the
    # back and do not limit the size of others: their distance is set to the whole width.
    distances = np.abs(centres[:, None] - centres) + np.eye(len(centres))
    distances[:, len(settings.centres) :] = 1
    room = np.minimum(2 * np.minimum(centres, 1 - centres), MAX_OVERLAP * distances.min(axis=1))
    room = np.maximum(room, MIN_ROOM_SHARE) * (total_width - 4)
    scales = scales * np.minimum(1.0, room / (scales * widths))
    lefts = (centres * total_width - scales * widths / 2).clip(2, total_width - 2 - scales * widths)
    return scales, lefts.tolist()


def _side_by_side(
    widths: Float[np.ndarray, " P"], total_width: float, generator: np.random.Generator
) -> list[float]:
    """Return left edges of objects in random order, with random gaps between them."""
    order = generator.permutation(len(widths))
    # A Dirichlet distribution gives gaps that add up to the free width; with concentration 2, gaps
    # close to zero are rare.
    gaps = generator.dirichlet(np.full(len(widths) + 1, 2.0)) * (total_width - float(widths.sum()))
    lefts = np.zeros(len(widths))
    lefts[order] = np.cumsum(gaps[:-1]) + np.cumsum(widths[order]) - widths[order]
    return lefts.tolist()


def _add_distractors(
    backdrop: Backdrop,
    performers: Sequence[Performer],
    settings: StageSettings,
    generator: np.random.Generator,
) -> list[Distractor]:
    """Paint distractors on the backdrop at positions where performers leave them visible."""
    distractors: list[Distractor] = []
    for _ in range(int(generator.integers(settings.most_distractors + 1))):
        candidate = sample_distractor(backdrop.has_wall, generator)
        occupied = [performer.box for performer in performers]
        occupied += [distractor.box for distractor in distractors]
        positions = [
            _sample_placement(candidate, settings, backdrop.floor_share, generator)
            for _ in range(NUM_PLACEMENT_TRIES)
        ]
        hidden = [
            max((_covered_share(box, other) for other in occupied), default=0.0)
            for box, _ in positions
        ]
        best = int(np.argmin(hidden))
        if hidden[best] > MAX_HIDDEN_SHARE:
            continue
        box, placement = positions[best]
        sprite = rasterise(candidate.sketch, placement)
        assert sprite is not None, "the sketch of a distractor has shapes"
        sprite.paste(backdrop.picture)
        distractors.append(Distractor(candidate.label, box))
    return distractors


def _sample_placement(
    distractor: DistractorSketch,
    settings: StageSettings,
    floor_share: float,
    generator: np.random.Generator,
) -> tuple[Box, Placement]:
    """Sample box and placement of a distractor: on the floor, or high on the wall."""
    width, height = settings.picture_size
    x1, y1, x2, y2 = distractor.sketch.bounds()
    # At most 0.6 of the height and 0.34 of the width: smaller than performers. On top of that a
    # common scale, since all objects are designed in the units of a musician of 200.
    max_scale = min(0.6 * height / (y2 - y1), 0.34 * width / (x2 - x1))
    scale = min(max_scale, height / 300) * float(generator.uniform(0.6, 1.0))
    left = float(generator.uniform(2, width - 2 - scale * (x2 - x1)))
    bottom = height * float(generator.uniform(min(floor_share + 0.04, 0.95), 0.97))
    if distractor.on_wall:
        bottom = scale * (y2 - y1) + height * float(generator.uniform(0.04, 0.2))
    placement = Placement(left - scale * x1, bottom - scale * y2, scale)
    box = pixels_to_box(placement.rectangle((x1, y1, x2, y2)), settings.picture_size)
    return box, placement


def _covered_share(box: Box, other: Box) -> float:
    """Return the share of a box that another one covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    # Both are negative for boxes far apart: clipped before they are multiplied.
    return max(0.0, width) * max(0.0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


# Stages of photographs


def _photograph_stage(
    cast: Sequence[Role],
    settings: StageSettings,
    generator: np.random.Generator,
    photographs: Photographs,
    backdrop: Backdrop,
) -> Stage:
    """Compose a stage of photographs: performers and, from `other/`, distractors, side by side."""
    held_out = settings.held_out_photographs
    others = photographs.distractor_files(held_out)
    max_others = max(0, min(settings.most_distractors, MAX_PHOTOGRAPHS - len(cast)))
    num_others = int(generator.integers(max_others + 1)) if others else 0
    files = [_choose_file(photographs.files(role.category, held_out), generator) for role in cast]
    files += [_choose_file(others, generator) for _ in range(num_others)]
    pictures = [open_photograph(path) for path in files]
    rectangles = _place_photographs(pictures, settings, generator)
    silence = np.zeros(settings.num_frames)
    envelopes = [*(role.envelope for role in cast), *[silence] * num_others]
    labels = [*(role.category for role in cast), *["photograph"] * num_others]
    # A distractor is a performer whose loudness is always 0: it pans and zooms but never shakes.
    photograph_performers = [
        PhotographPerformer(label, picture, rectangle, settings, envelope, generator)
        for label, picture, rectangle, envelope in zip(
            labels, pictures, rectangles, envelopes, strict=True
        )
    ]
    performers = photograph_performers[: len(cast)]
    silent_performers = photograph_performers[len(cast) :]
    distractors = [Distractor(silent.category, silent.box) for silent in silent_performers]
    return Stage(settings, backdrop.picture, performers, distractors, silent_performers)


def _place_photographs(
    pictures: Sequence[Image.Image], settings: StageSettings, generator: np.random.Generator
) -> list[PixelBox]:
    """Return side-by-side rectangles with the aspect ratios of the photographs."""
    picture_height = settings.height_pixels
    shapes = np.array([picture.size for picture in pictures], dtype=np.float64).reshape(-1, 2)
    scales = generator.uniform(settings.least_size, 1.0, len(pictures)) * 0.94 * picture_height
    # By the longer side: portrait and landscape photographs get about the same area.
    scales /= shapes.max(axis=1)
    scales, lefts = _scale_and_arrange(scales, shapes[:, 0], settings, generator)
    # At least 8 pixels, as Pillow cannot resize to nothing.
    sides = np.maximum(8, np.floor(shapes * scales[:, None])).astype(int)
    tops = generator.uniform(2, picture_height - 2 - sides[:, 1])
    return [
        (int(left), int(top), int(left) + int(width), int(top) + int(height))
        for left, top, (width, height) in zip(lefts, tops, sides, strict=True)
    ]


def _choose_file(files: Sequence[Path], generator: np.random.Generator) -> Path:
    return files[int(generator.integers(len(files)))]
