"""The stage: performers, background and silent things put together, frame by frame."""

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

MAX_FILLED_SHARE = 0.98  # of the width, at most
MAX_OVERLAP = (
    1.25  # how wide things may be, by the distance of their middles, where places are told
)
MIN_ROOM_SHARE = 0.08  # share of the width that each has however near its neighbours are
MAX_HIDDEN_SHARE = 0.4  # share of a silent thing that one performer may cover
NUM_PLACEMENT_TRIES = 12  # random places a thing is tried at
MAX_PHOTOGRAPHS = 5  # on one stage, performers and others


@dataclass(frozen=True)
class Role:
    """Who is to be seen.

    Attributes:
        category: the instrument.
        notes: what is played; drawn musicians move with it.
        envelope: loudness of each frame, 0..1; photographs shake with it.
    """

    category: str
    notes: Sequence[PlayedNote]
    envelope: Float[np.ndarray, " K"]


class Distractor(NamedTuple):
    """A thing that makes no sound, as written to score.json."""

    label: str
    box: Box


class Stage:
    """A scene that is ready to be shown.

    Attributes:
        performers: in the order of the cast.
        distractors: label and box of silent things, drawings or photographs.
    """

    def __init__(
        self,
        settings: StageSettings,
        backdrop: Image.Image,
        performers: Sequence[Performer],
        distractors: Sequence[Distractor],
        silent: Sequence[Performer] = (),
    ) -> None:
        self.settings = settings
        self.performers = tuple(performers)
        self.distractors = tuple(distractors)
        self._backdrop = backdrop
        self._drawn = (*silent, *performers)

    def frames(self) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """The pictures of the clip, RGB, one after the other."""
        for index in range(self.settings.num_frames):
            yield self.frame(index / self.settings.frame_rate_hz)

    def frame(self, time_seconds: float) -> UInt8[np.ndarray, "H W 3"]:
        """The picture at one time, RGB."""
        canvas = self._backdrop.copy()
        for performer in self._drawn:
            performer.draw(canvas, time_seconds)
        return np.asarray(canvas)

    def objects(self) -> list[VisibleObject]:
        """Label, category and box of each performer, in the order of the cast."""
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
    """A stage for a cast: places, looks, background and distractors drawn at random.

    With photographs, each performer is a photograph of the instrument instead of a drawing. The
    same cast, settings and state of the generator give the same pixels.
    """
    for role in cast:
        assert role.category in CATEGORIES, f"'{role.category}' is no category"
    backdrop = draw_backdrop(settings.picture_size, generator)
    if photographs is not None:
        return _photograph_stage(cast, settings, generator, photographs, backdrop)
    musicians = [_sample_musician(role, generator) for role in cast]
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
    """Side by side in random order and of varied size, the whole of each inside the picture."""
    height = settings.height_pixels
    corners = np.array(bounds).reshape(-1, 4)
    extents = corners[:, 2:] - corners[:, :2]  # [performers, x y]
    tallest = 0.95 * height / extents[:, 1]
    scales = generator.uniform(settings.least_size, 1.0, len(bounds)) * tallest
    scales, lefts = _scale_and_arrange(scales, extents[:, 0], settings, generator)
    placements = []
    for (x1, y1, _, y2), scale, left in zip(corners, scales, lefts, strict=True):
        # The nearer, the larger and the lower; small ones may stand a little farther back.
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
    """Scales at which things of these widths find room beside each other, and their left edges."""
    whole = settings.width_pixels
    if settings.centres is None:
        scales = scales * min(
            1.0, MAX_FILLED_SHARE * whole / max(1e-9, float((scales * widths).sum()))
        )
        return scales, _side_by_side(scales * widths, whole, generator)
    # Where they are to stand is told: each is as large as the edges and its neighbours let it be.
    num_silent = len(widths) - len(settings.centres)
    centres = np.concatenate([settings.centres, generator.uniform(0.1, 0.9, num_silent)])
    apart = np.abs(centres[:, None] - centres) + np.eye(len(centres))
    apart[:, len(settings.centres) :] = 1  # silent things stand behind, and are in nobody's way
    room = np.minimum(2 * np.minimum(centres, 1 - centres), MAX_OVERLAP * apart.min(axis=1))
    room = np.maximum(room, MIN_ROOM_SHARE) * (whole - 4)
    scales = scales * np.minimum(1.0, room / (scales * widths))
    lefts = (centres * whole - scales * widths / 2).clip(2, whole - 2 - scales * widths)
    return scales, lefts.tolist()


def _side_by_side(
    widths: Float[np.ndarray, " P"], whole: float, generator: np.random.Generator
) -> list[float]:
    """Left edges of things in random order, with the free space shared at random."""
    order = generator.permutation(len(widths))
    gaps = generator.dirichlet(np.full(len(widths) + 1, 2.0)) * (whole - float(widths.sum()))
    lefts = np.zeros(len(widths))
    lefts[order] = np.cumsum(gaps[:-1]) + np.cumsum(widths[order]) - widths[order]
    return lefts.tolist()


def _add_distractors(
    backdrop: Backdrop,
    performers: Sequence[Performer],
    settings: StageSettings,
    generator: np.random.Generator,
) -> list[Distractor]:
    """Silent things painted on the backdrop, where performers leave them to be seen."""
    added: list[Distractor] = []
    for _ in range(int(generator.integers(settings.most_distractors + 1))):
        thing = sample_distractor(backdrop.has_wall, generator)
        taken = [performer.box for performer in performers] + [each.box for each in added]
        places = [
            _sample_placement(thing, settings, backdrop.floor_share, generator)
            for _ in range(NUM_PLACEMENT_TRIES)
        ]
        hidden = [
            max((_covered_share(box, other) for other in taken), default=0.0) for box, _ in places
        ]
        best = int(np.argmin(hidden))
        if hidden[best] > MAX_HIDDEN_SHARE:
            continue
        box, placement = places[best]
        sprite = rasterise(thing.sketch, placement)
        assert sprite is not None, "a thing draws something"
        sprite.paste(backdrop.picture)
        added.append(Distractor(thing.label, box))
    return added


def _sample_placement(
    thing: DistractorSketch,
    settings: StageSettings,
    floor_share: float,
    generator: np.random.Generator,
) -> tuple[Box, Placement]:
    """A random place: on the floor, or high on the wall."""
    width, height = settings.picture_size
    x1, y1, x2, y2 = thing.sketch.bounds()
    most = min(0.6 * height / (y2 - y1), 0.34 * width / (x2 - x1))
    scale = min(most, height / 300) * float(generator.uniform(0.6, 1.0))
    left = float(generator.uniform(2, width - 2 - scale * (x2 - x1)))
    bottom = height * float(generator.uniform(min(floor_share + 0.04, 0.95), 0.97))
    if thing.on_the_wall:
        bottom = scale * (y2 - y1) + height * float(generator.uniform(0.04, 0.2))
    placement = Placement(left - scale * x1, bottom - scale * y2, scale)
    box = pixels_to_box(placement.rectangle((x1, y1, x2, y2)), settings.picture_size)
    return box, placement


def _covered_share(box: Box, other: Box) -> float:
    """The share of a box that another one covers."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    tall = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, wide) * max(0.0, tall) / ((box[2] - box[0]) * (box[3] - box[1]))


# Stages of photographs


def _photograph_stage(
    cast: Sequence[Role],
    settings: StageSettings,
    generator: np.random.Generator,
    photographs: Photographs,
    backdrop: Backdrop,
) -> Stage:
    """The same with photographs: performers and, from `other/`, silent things, side by side."""
    held_out = settings.held_out_photographs
    others = photographs.distractor_files(held_out)
    spare = min(settings.most_distractors, MAX_PHOTOGRAPHS - len(cast))
    num_others = int(generator.integers(max(0, spare) + 1)) if others else 0
    files = [_choose_file(photographs.files(role.category, held_out), generator) for role in cast]
    files += [_choose_file(others, generator) for _ in range(num_others)]
    pictures = [open_photograph(path) for path in files]
    rectangles = _place_photographs(pictures, settings, generator)
    silence = np.zeros(settings.num_frames)
    envelopes = [*(role.envelope for role in cast), *[silence] * num_others]
    labels = [*(role.category for role in cast), *["photograph"] * num_others]
    shown = [
        PhotographPerformer(label, picture, rectangle, settings, envelope, generator)
        for label, picture, rectangle, envelope in zip(
            labels, pictures, rectangles, envelopes, strict=True
        )
    ]
    performers, silent = shown[: len(cast)], shown[len(cast) :]
    distractors = [Distractor(each.category, each.box) for each in silent]
    return Stage(settings, backdrop.picture, performers, distractors, silent)


def _place_photographs(
    pictures: Sequence[Image.Image], settings: StageSettings, generator: np.random.Generator
) -> list[PixelBox]:
    """Rectangles of the photographs' shape, side by side."""
    height = settings.height_pixels
    shapes = np.array([picture.size for picture in pictures], dtype=np.float64).reshape(-1, 2)
    scales = generator.uniform(settings.least_size, 1.0, len(pictures)) * 0.94 * height
    scales /= shapes.max(axis=1)
    scales, lefts = _scale_and_arrange(scales, shapes[:, 0], settings, generator)
    sides = np.maximum(8, np.floor(shapes * scales[:, None])).astype(int)
    tops = generator.uniform(2, height - 2 - sides[:, 1])
    return [
        (int(left), int(top), int(left) + int(wide), int(top) + int(tall))
        for left, top, (wide, tall) in zip(lefts, tops, sides, strict=True)
    ]


def _choose_file(files: Sequence[Path], generator: np.random.Generator) -> Path:
    return files[int(generator.integers(len(files)))]
