"""Compare tracking with ByteTrack on sparse samples, for the table of docs/objects.md.

Run `python tools/compare_trackers.py`; ByteTrack needs the packages trackers and supervision, and
is left out without them. Boxes of made objects, two samples a second, one in ten missed, with the
noise of a detector. It prints the share of boxes that are in the main track of their object, each
track being that of one object only.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from avsep.vision.detectors.base import Detections
from avsep.vision.tracking import DetectedSamples, track_objects

NUM_SAMPLES, STEP_SECONDS, NUM_SCENES = 20, 0.5, 10
MISSED_SHARE, PLACE_NOISE, SIZE_NOISE = 0.1, 0.01, 0.08
# Place of an object's centre at a time, its label and its side.
Thing = tuple[Callable[[float], tuple[float, float]], str, float]
# Detections of successive samples -> the number of the track of each box, none below 0.
Tracker = Callable[[Sequence[Detections]], list[list[int]]]


def still(_: np.random.Generator) -> list[Thing]:
    """Three objects that stand still."""
    words = ("violin", "cello", "violin")
    return [(lambda t, x=0.2 + 0.3 * i: (x, 0.5), words[i], 0.15) for i in range(3)]


def crossing(_: np.random.Generator) -> list[Thing]:
    """Two of a kind that cross, one a little lower than the other."""
    speed = 0.9 / (NUM_SAMPLES * STEP_SECONDS)
    return [
        (lambda t: (0.05 + speed * t, 0.45), "person", 0.2),
        (lambda t: (0.95 - speed * t, 0.55), "person", 0.2),
    ]


def fast_kinds(generator: np.random.Generator) -> list[Thing]:
    """Two of two kinds that move by several sizes from sample to sample."""
    phases = generator.random(2) * 6

    def place(t: float, i: int) -> tuple[float, float]:
        phase = phases[i]
        return (0.5 + 0.35 * np.sin(3 * t + phase), 0.5 + 0.35 * np.cos((2 + i) * t + phase))

    return [(lambda t, i=i: place(t, i), word, 0.12) for i, word in enumerate(("dog", "ball"))]


def fast_of_a_kind(generator: np.random.Generator) -> list[Thing]:
    """Three of a kind that go to and fro by several sizes from sample to sample."""
    phases = generator.random(3) * 6
    return [
        (lambda t, i=i: (0.5 + 0.4 * np.sin(2.2 * t + phases[i]), 0.2 + 0.3 * i), "dog", 0.1)
        for i in range(3)
    ]


SCENES = {
    "stand still": still,
    "two of a kind cross": crossing,
    "two kinds move fast": fast_kinds,
    "three of a kind move fast": fast_of_a_kind,
}


def detect(
    things: Sequence[Thing], generator: np.random.Generator
) -> tuple[list[Detections], list[list[int]]]:
    """Return detections of all samples, and which thing each of them is."""
    detections, truth = [], []
    for sample in range(NUM_SAMPLES):
        rows, words, numbers = [], [], []
        for number, (place, word, side) in enumerate(things):
            if generator.random() < MISSED_SHARE:
                continue
            centre = np.array(place(sample * STEP_SECONDS)) + generator.normal(0, PLACE_NOISE, 2)
            half = side * np.exp(generator.normal(0, SIZE_NOISE, 2)) / 2
            rows.append([*(centre - half), *(centre + half)])
            words.append(word)
            numbers.append(number)
        boxes = np.array(rows, np.float32).reshape(-1, 4)
        scores = generator.uniform(0.5, 0.95, len(rows)).astype(np.float32)
        detections.append(Detections(boxes, tuple(words), scores))
        truth.append(numbers)
    return detections, truth


def track_here(detections: Sequence[Detections]) -> list[list[int]]:
    """Return the object of each box by `track_objects`."""
    times = tuple(STEP_SECONDS * index for index in range(len(detections)))
    samples = DetectedSamples(times, tuple(detections), (0.0,) * len(detections))
    objects = track_objects(samples)
    return [
        [
            next(
                (
                    number
                    for number, item in enumerate(objects)
                    for timed in item.boxes
                    if timed.time_seconds == time and np.allclose(timed.box, box, atol=1e-3)
                ),
                -1,
            )
            for box in sample.boxes.clip(0, 1)
        ]
        for time, sample in zip(times, detections, strict=True)
    ]


def byte_track(**settings: Any) -> Tracker:
    """Return ByteTrack with settings."""
    import supervision
    from trackers import ByteTrackTracker

    def track(detections: Sequence[Detections]) -> list[list[int]]:
        tracker = ByteTrackTracker(frame_rate=1 / STEP_SECONDS, **settings)
        result = []
        for sample in detections:
            numbers = np.full(len(sample.labels), -1)
            rows = supervision.Detections(
                xyxy=sample.boxes.astype(np.float64) * 1000,
                confidence=sample.scores.astype(np.float64),
                class_id=np.arange(len(sample.labels)),
            )
            tracked = tracker.update(rows)
            if len(tracked):
                numbers[tracked.class_id] = tracked.tracker_id
            result.append(numbers.tolist())
        return result

    return track


def trackers() -> Iterator[tuple[str, Tracker]]:
    """Yield the trackers by name."""
    if find_spec("trackers") is not None:
        from trackers import DIoU

        sparse = {"lost_track_buffer": 90, "track_activation_threshold": 0.2,
                  "minimum_consecutive_frames": 1, "high_conf_det_threshold": 0.3}  # fmt: skip
        yield "ByteTrack, its defaults", byte_track()
        yield "ByteTrack, lowest overlap", byte_track(minimum_iou_threshold=0.01, **sparse)
        yield "ByteTrack, DIoU", byte_track(minimum_iou_threshold=-0.7, iou=DIoU(), **sparse)
    yield "here", track_here


def main_share(tracks: Sequence[Sequence[int]], truth: Sequence[Sequence[int]]) -> float:
    """Return the share of boxes that are in the track that is given to their thing."""
    pairs = Counter(
        pair
        for numbers, things in zip(tracks, truth, strict=True)
        for pair in zip(numbers, things, strict=True)
    )
    rows = sorted({number for number, _ in pairs if number >= 0})
    columns = sorted({thing for _, thing in pairs})
    table = np.array([[pairs[row, column] for column in columns] for row in rows])
    matched = table[linear_sum_assignment(table, maximize=True)].sum() if rows else 0
    return float(matched / pairs.total())


def measure(tracker: Tracker) -> Mapping[str, float]:
    """Return the mean share in each kind of scene."""
    shares: dict[str, float] = {}
    for name, make in SCENES.items():
        values = []
        for seed in range(NUM_SCENES):
            generator = np.random.default_rng(seed)
            detections, truth = detect(make(generator), generator)
            values.append(main_share(tracker(detections), truth))
        shares[name] = float(np.mean(values))
    return shares


def main() -> None:
    """Print a row for each tracker."""
    print("", *SCENES, sep=" | ")
    for name, tracker in trackers():
        print(name, *(f"{share:.2f}" for share in measure(tracker).values()), sep=" | ")


if __name__ == "__main__":
    main()
