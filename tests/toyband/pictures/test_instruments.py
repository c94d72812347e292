"""Test drawn musicians: boxes, motion with the notes, silhouettes that differ by category."""

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from avsep.toyband.categories import CATEGORIES
from avsep.toyband.pictures.drawing import Placement
from avsep.toyband.pictures.instruments import INSTRUMENTS
from avsep.toyband.pictures.instruments.people import sample_appearance
from avsep.toyband.pictures.performers import DrawnPerformer, Musician, StageSettings

SIDE_PIXELS = 96  # small, as every test rasterises many poses of sixteen instruments
SETTINGS = StageSettings(
    width_pixels=SIDE_PIXELS, height_pixels=SIDE_PIXELS, duration_seconds=2.5, frame_rate_hz=10
)


# Not the NoteEvent of a score: any type with the fields of PlayedNote is accepted.
class PlainNote(NamedTuple):
    onset_seconds: float
    duration_seconds: float
    midi: int | None
    dynamic: float = 0.8


def make_performer(category, notes, seed=0, mirrored=False, settings=SETTINGS):
    """A performer that fills a small square picture."""
    instrument = INSTRUMENTS[category]
    appearance = sample_appearance(np.random.default_rng(seed), instrument.body_colours)
    musician = Musician(instrument, replace(appearance, mirrored=mirrored), notes)
    x1, y1, x2, y2 = musician.bounds(settings.frame_times_seconds)
    scale = (SIDE_PIXELS - 8) / max(x2 - x1, y2 - y1)
    middle = SIDE_PIXELS / 2  # of the picture, where the middle of the bounds goes
    x, y = middle - scale * (x1 + x2) / 2, middle - scale * (y1 + y2) / 2
    return DrawnPerformer(category, musician, Placement(x, y, scale), settings)


def picture_at(performer, time_seconds, paper="black"):
    canvas = Image.new("RGB", (SIDE_PIXELS, SIDE_PIXELS), paper)
    performer.draw(canvas, time_seconds)
    return np.asarray(canvas).astype(int)


def opacity_at(performer, time_seconds):
    """Return the opacity of each pixel, 0..1: opaque ones are equal on black and on white."""
    black = picture_at(performer, time_seconds, "black")
    white = picture_at(performer, time_seconds, "white")
    return 1 - (white - black).mean(axis=2) / 255


def pixel_box(performer):
    x1, y1, x2, y2 = (round(side * SIDE_PIXELS) for side in performer.box)
    return slice(y1, y2), slice(x1, x2)


def drum_or(category, key, pitch):
    return key if category == "drums" else pitch


def a_note_then_rest(category):
    return [PlainNote(1.0, 0.6, drum_or(category, 38, 64))]


def test_every_category_has_a_drawing():
    assert tuple(INSTRUMENTS) == CATEGORIES


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_the_box_encloses_the_drawing_tightly(category):
    pitches = (36, 38, 49, 51, 43) if category == "drums" else (50, 57, 64, 71, 78)
    notes = [PlainNote(0.1 + 0.3 * i, 0.25, midi) for i, midi in enumerate(pitches)]
    settings = SETTINGS.model_copy(update={"duration_seconds": 1.7})
    mirrored = CATEGORIES.index(category) % 2 == 1
    performer = make_performer(category, notes, mirrored=mirrored, settings=settings)
    drawn = np.max([opacity_at(performer, t) for t in settings.frame_times_seconds], axis=0)
    outside = drawn.copy()
    outside[pixel_box(performer)] = 0
    assert outside.max() == 0
    rows, columns = np.nonzero(drawn > 0.02)
    x1, y1, x2, y2 = np.array(performer.box) * SIDE_PIXELS
    # Sprites keep a pixel of margin on each side; thin ends of lines fade in another.
    tight = np.array([columns.min() - x1, rows.min() - y1, x2 - columns.max(), y2 - rows.max()])
    assert tight.max() <= 4


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_player_moves_with_the_note_and_is_still_in_rests(category):
    performer = make_performer(category, a_note_then_rest(category))
    before = [picture_at(performer, t) for t in (0.0, 0.7)]
    during = [picture_at(performer, t) for t in np.arange(0.9, 1.6, 0.1)]
    after = [picture_at(performer, t) for t in (2.0, 2.4)]
    for still in (before, after):
        assert all(np.array_equal(still[0], other) for other in still[1:])
    changes = [np.abs(a - b).max(axis=2) > 40 for a, b in pairwise(during)]
    # At least one frame differs from the one before in 1 % of the pixels, which is visible.
    assert max(change.mean() for change in changes) > 0.01


def test_a_player_without_notes_stands_still():
    performer = make_performer("saxophone", [])
    assert np.array_equal(picture_at(performer, 0.0), picture_at(performer, 2.0))


def centre_of_change(performer, time_seconds):
    """Return the centre (x, y), 0..1, of the pixels that differ from those of the rest at 0 s."""
    change = np.abs(picture_at(performer, time_seconds) - picture_at(performer, 0.0)).sum(axis=2)
    rows, columns = np.indices(change.shape)
    return np.array([(columns * change).sum(), (rows * change).sum()]) / change.sum() / SIDE_PIXELS


@pytest.mark.parametrize("category", ["piano", "xylophone"])
def test_low_and_high_keys_are_hit_left_and_right(category):
    performer = make_performer(category, [PlainNote(1.0, 0.3, 50), PlainNote(2.0, 0.3, 80)])
    low, high = centre_of_change(performer, 1.05), centre_of_change(performer, 2.05)
    assert high[0] - low[0] > 0.15


@pytest.mark.slow
def test_each_drum_is_hit_at_its_own_place():
    keys = {"kick": 36, "snare": 38, "floor": 41, "crash": 49, "ride": 51}
    places = {
        name: centre_of_change(make_performer("drums", [PlainNote(1.0, 0.2, key)]), 1.05)
        for name, key in keys.items()
    }
    assert places["kick"][1] > places["crash"][1] + 0.15
    assert places["crash"][0] < 0.5 < places["ride"][0]
    assert places["floor"][0] < places["kick"][0] < places["snare"][0]


def test_a_mirrored_drummer_is_the_mirror_image():
    crash = [PlainNote(1.0, 0.2, 49)]
    plain = centre_of_change(make_performer("drums", crash), 1.05)
    mirrored = centre_of_change(make_performer("drums", crash, mirrored=True), 1.05)
    # Positions are rounded to whole pixels in both.
    np.testing.assert_allclose(plain + mirrored * [1, -1], [1, 0], atol=0.03)


def test_the_slide_of_a_trombone_is_longer_for_low_notes():
    performer = make_performer("trombone", [PlainNote(0.5, 0.8, 40), PlainNote(1.5, 0.8, 64)])

    def right_end(time_seconds):
        return np.nonzero(opacity_at(performer, time_seconds) > 0.5)[1].max()

    assert right_end(1.0) > right_end(2.0) + 0.1 * SIDE_PIXELS


def test_an_accordion_opens_and_closes_in_turn():
    performer = make_performer("accordion", [PlainNote(0.5 + i, 0.9, 60) for i in range(2)])
    # At rest, near the end of the first stroke (out), and near the end of the second (in).
    areas = [opacity_at(performer, t).sum() for t in (0.4, 1.38, 2.4)]
    assert areas[0] < areas[1] > areas[2]


def test_equal_appearance_and_notes_give_equal_pixels():
    first, second = (make_performer("harp", a_note_then_rest("harp"), seed=3) for _ in range(2))
    assert np.array_equal(picture_at(first, 1.2), picture_at(second, 1.2))


@pytest.mark.slow
def test_a_silhouette_identifies_its_category():
    """Classify by the nearest mean silhouette: colours, hair and pose vary, the shape decides."""
    num_variants = 4
    shapes = np.array([[silhouette(c, seed) for seed in range(num_variants)] for c in CATEGORIES])
    num_correct = 0
    for held_out in range(num_variants):
        references = np.delete(shapes, held_out, axis=1).mean(axis=1)
        for category, shape in enumerate(shapes[:, held_out]):
            distances = ((references - shape) ** 2).sum(axis=(1, 2))
            num_correct += int(distances.argmin() == category)
    # Leave one out: at most 3 of 64 wrong.
    assert num_correct >= 0.95 * num_variants * len(CATEGORIES)
    # The classes are separate by a margin, not only in rank.
    means = shapes.mean(axis=1, keepdims=True)
    within = ((shapes - means) ** 2).mean()
    between = ((means - means.mean(axis=0, keepdims=True)) ** 2).mean()
    assert between > 2 * within


def silhouette(category, seed):
    pitch = drum_or(category, 38, 55 + 3 * seed)
    short = SETTINGS.model_copy(update={"duration_seconds": 0.3})
    performer = make_performer(category, [PlainNote(0.0, 0.5, pitch)], seed, settings=short)
    crop = opacity_at(performer, 0.05 * seed)[pixel_box(performer)]
    return np.asarray(Image.fromarray((crop * 255).astype(np.uint8)).resize((32, 32))) / 255
