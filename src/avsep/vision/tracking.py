"""Join the detections of sampled pictures to objects over time, across gaps and scene cuts.

Samples are half a second or more apart, so that objects move by more than their size between two of
them. Trackers for every frame of a video, such as ByteTrack, join boxes that overlap and lose such
objects. Here boxes are assigned by distance in sizes of the object, by size and by label.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from avsep.records import TimedBox, VisibleObject
from avsep.vision.detectors.base import Detections

# An object that has begun goes on with detections of this share of the least score.
CONTINUING_SHARE = 0.5
# Pictures that differ less are of one scene, and more are of two; between both, it depends on how
# much neighbouring pictures of the video usually differ. See `scene_cuts`.
_SMALLEST_CUT, _SURE_CUT = 0.16, 0.40
_CUT_RATIO = 4.0
# Largest cost of a pair of track and box: distance in sizes, plus a half of the logarithm of their
# areas' ratio, plus one where the labels differ.
_LARGEST_COST, _LARGEST_COST_OF_LABELS = 4.0, 1.5
# Where a label has one track and one box, the object may be anywhere.
_LARGEST_COST_ALONE = 20.0
# Of a pair that is possible.
_LEAST_WORTH = 0.02
# Share of the predicted place in the distance; the rest is of the last place. Objects that cross go
# on as they went, and objects that stop are where they were.
_PREDICTED_SHARE = 0.75
# Samples further apart tell no speed, and an object is not predicted for longer.
_PREDICTED_SECONDS = 2.0
# A track without a box for longer has ended, if at least two samples lack it.
_LOST_SECONDS = 3.0
# Tracks that overlap more than this (intersection over union) in most of their samples are one,
# those of one label also where this much of the smaller box is in the larger.
_SAME_OVERLAP, _SAME_INSIDE, _SAME_OVERLAP_OF_LABELS = 0.5, 0.85, 0.65
_MOST_SAMPLES_SHARE = 0.5
# An object stands still whose boxes all overlap their median by this (intersection over union), the
# stricter of COCO's two usual limits: boxes that are moved by a seventh of a side.
_STILL_OVERLAP = 0.75
# Time between the two boxes where an object jumps from one place to another.
_JUMP_SECONDS = 0.01
_LEAST_SIDE = 0.001


@dataclass(frozen=True)
class DetectedSamples:
    """The detections in sampled pictures of a video.

    Attributes:
        times_seconds: of each sample, rising.
        detections: in each sample.
        changes: how much each sample differs from the one before it, 0..1; 0 for the first.
    """

    times_seconds: tuple[float, ...]
    detections: tuple[Detections, ...]
    changes: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.times_seconds) == len(self.detections) == len(self.changes), "one a sample"

    @property
    def step_seconds(self) -> float:
        """Return the usual time between two samples; 0 for a single one."""
        return float(np.median(np.diff(self.times_seconds))) if len(self.detections) > 1 else 0.0


@dataclass
class _Track:
    """Boxes of one object in successive samples of one scene."""

    scene: int
    samples: list[int] = field(default_factory=list)
    boxes: list[Float[np.ndarray, "4"]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score_of_label: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def label(self) -> str:
        """Return the label with the largest sum of scores."""
        return max(self.score_of_label, key=self.score_of_label.__getitem__)

    @property
    def total_score(self) -> float:
        """Return the sum of scores, which orders tracks."""
        return sum(self.scores)

    @property
    def mean_score(self) -> float:
        """Return the mean score of its boxes."""
        return self.total_score / len(self.scores)

    @property
    def num_spanned(self) -> int:
        """Return the number of samples from the first to the last, with those that lack it."""
        return self.samples[-1] - self.samples[0] + 1

    def add(self, sample: int, box: Float[np.ndarray, "4"], label: str, score: float) -> None:
        """Append the box of a sample."""
        self.samples.append(sample)
        self.boxes.append(box)
        self.scores.append(score)
        self.score_of_label[label] += score

    def predict(self, times: Float[np.ndarray, " K"], sample: int) -> Float[np.ndarray, "4"]:
        """Return the box at a sample if the object goes on as in the last two samples."""
        last = self.boxes[-1]
        if len(self.boxes) < 2:
            return last
        passed = times[self.samples[-1]] - times[self.samples[-2]]
        ahead = times[sample] - times[self.samples[-1]]
        if passed > _PREDICTED_SECONDS or ahead > _PREDICTED_SECONDS:
            return last
        before = self.boxes[-2]
        # The place moves on and the size stays: sizes of detections are noisy.
        shift = (last + last[[2, 3, 0, 1]] - before - before[[2, 3, 0, 1]]) / 2
        return last + shift * (ahead / passed)


def track_objects(
    samples: DetectedSamples, *, least_score: float = 0.0, least_seconds: float = 0.0
) -> tuple[VisibleObject, ...]:
    """Join detections to objects with boxes over time, surest first.

    An object begins with a detection of the least score; detections of half that score continue it.
    A cut ends all tracks; where one track of a label alone is before a cut, or before a gap, and
    one alone after it, both are one object, whose box jumps there.

    Args:
        samples: the detections.
        least_score: of the first detection of an object.
        least_seconds: objects that are seen for less in all are left out; two samples are enough
            where samples are further apart, and one where there are only two.
    """
    scenes = np.cumsum(scene_cuts(samples.changes))
    tracks = _without_duplicates(_join_in_scenes(samples, scenes.tolist(), least_score))
    chains = list(_join_across_scenes(tracks))
    step_seconds = samples.step_seconds
    least_samples = 1
    if len(samples.detections) > 2:
        least_samples = max(2, round(least_seconds / step_seconds))
    # A video that is shorter than that still has objects.
    least_samples = min(least_samples, max(1, len(samples.detections) // 2))
    objects = [
        _to_object(chain, samples.times_seconds)
        for chain in chains
        if sum(len(track.samples) for track in chain) >= least_samples
    ]
    return tuple(sorted(objects, key=lambda item: -item.confidence))


def scene_cuts(changes: Sequence[float]) -> list[bool]:
    """Return whether each sample begins another scene than the sample before it.

    It does where it differs by much more than samples of this video usually do.

    >>> scene_cuts([0.0, 0.02, 0.35, 0.03, 0.02])
    [False, False, True, False, False]
    """
    usual = float(np.median(changes[1:])) if len(changes) > 1 else 0.0
    limit = min(_SURE_CUT, max(_SMALLEST_CUT, _CUT_RATIO * usual))
    return [index > 0 and change > limit for index, change in enumerate(changes)]


def overlap(first: Float[np.ndarray, "*n 4"], second: Float[np.ndarray, "*n 4"]) -> np.ndarray:
    """Return the intersection over union of boxes, pair by pair, and broadcast."""
    shared, areas = _shared_area(first, second)
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)


def _shared_area(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the area that boxes share, and the areas of both."""
    begin = np.maximum(first[..., :2], second[..., :2])
    end = np.minimum(first[..., 2:], second[..., 2:])
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    return (end - begin).clip(0).prod(-1), areas


# Within a scene


def _join_in_scenes(
    samples: DetectedSamples, scenes: Sequence[int], least_score: float
) -> list[_Track]:
    """Join the detections of each scene, whose number is given for each sample, to tracks."""
    times = np.asarray(samples.times_seconds, np.float64)
    lost_seconds = max(_LOST_SECONDS, 2.5 * samples.step_seconds)
    tracks: list[_Track] = []
    for sample, detections in enumerate(samples.detections):
        chosen = detections.select(
            np.flatnonzero(detections.scores >= least_score * CONTINUING_SHARE).tolist()
        )
        active = [
            track
            for track in tracks
            if track.scene == scenes[sample]
            and times[sample] - times[track.samples[-1]] <= lost_seconds
        ]
        boxes = chosen.boxes.astype(np.float64)
        rest = set(range(len(boxes)))
        for row, column in _assign(active, chosen, times, sample):
            score = float(chosen.scores[column])
            active[row].add(sample, boxes[column], chosen.labels[column], score)
            rest.discard(column)
        for column in sorted(rest):
            if (score := float(chosen.scores[column])) >= least_score:
                track = _Track(scenes[sample])
                track.add(sample, boxes[column], chosen.labels[column], score)
                tracks.append(track)
    return tracks


def _assign(
    tracks: Sequence[_Track],
    detections: Detections,
    times: Float[np.ndarray, " K"],
    sample: int,
) -> list[tuple[int, int]]:
    """Return the pairs of track and detection of a sample that are worth most in all."""
    if not tracks or not detections.labels:
        return []
    boxes, scores = detections.boxes.astype(np.float64), detections.scores
    last = np.stack([track.boxes[-1] for track in tracks])[:, None]
    predicted = np.stack([track.predict(times, sample) for track in tracks])[:, None]
    is_same = np.array([[track.label == label for label in detections.labels] for track in tracks])
    areas = [(b[..., 2:] - b[..., :2]).prod(-1).clip(1e-9) for b in (last, boxes[None])]
    sizes = (areas[0] * areas[1]) ** 0.25
    distances = [np.hypot(*np.moveaxis(_centres(boxes) - _centres(b), -1, 0)) / sizes
                 for b in (predicted, last)]  # fmt: skip
    costs = _PREDICTED_SHARE * distances[0] + (1 - _PREDICTED_SHARE) * distances[1]
    costs = costs + np.abs(np.log(areas[1] / areas[0])) / 2 + ~is_same
    is_alone = is_same & (is_same.sum(0) == 1) & (is_same.sum(1, keepdims=True) == 1)
    limits = np.where(is_alone, _LARGEST_COST_ALONE, _LARGEST_COST)
    limits = np.where(is_same, limits, _LARGEST_COST_OF_LABELS)
    is_possible = costs < limits
    # Not the least cost of most pairs: an error of the detector would push a sure pair aside to get
    # a place of its own. A pair is worth what it saves of the largest cost, sure ones more.
    sureness = np.outer([track.mean_score for track in tracks], scores)
    worth = np.where(is_possible, (1 - costs / _LARGEST_COST).clip(_LEAST_WORTH) * sureness, 0.0)
    pairs = np.transpose(linear_sum_assignment(worth, maximize=True)).tolist()
    return [(row, column) for row, column in pairs if is_possible[row, column]]


def _centres(boxes: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 2"]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _without_duplicates(tracks: Iterable[_Track]) -> list[_Track]:
    """Leave out tracks that share the place of a surer one most of the time."""
    chosen: list[_Track] = []
    for track in sorted(tracks, key=lambda item: -item.total_score):
        if not any(_is_same_place(track, other) for other in chosen):
            chosen.append(track)
    return chosen


def _is_same_place(track: _Track, surer: _Track) -> bool:
    """Return whether a track is where a surer one is, in most of its samples.

    Where the surer one was missed in a sample, perhaps for the other's name, it is where it was
    before and after.
    """
    samples = np.array(track.samples)
    is_shared = (samples >= surer.samples[0]) & (samples <= surer.samples[-1])
    boxes, others = np.stack(track.boxes), np.stack(surer.boxes)
    places = np.stack([np.interp(samples, surer.samples, side) for side in others.T], axis=1)
    is_label = track.label == surer.label
    is_same = overlap(boxes, places) >= (_SAME_OVERLAP if is_label else _SAME_OVERLAP_OF_LABELS)
    if is_label:
        shared, areas = _shared_area(boxes, places)
        is_same |= shared >= _SAME_INSIDE * np.minimum(*areas)
    return float((is_same & is_shared).mean()) > _MOST_SAMPLES_SHARE


# Across gaps and cuts


def _join_across_scenes(tracks: Sequence[_Track]) -> Iterable[list[_Track]]:
    """Yield the tracks of each object, in order of time.

    Tracks of one label are one object where no two of them are seen at once in their scenes.
    """
    ordered = sorted(tracks, key=lambda track: (track.label, track.samples[0]))
    for _, of_label in groupby(ordered, key=lambda track: track.label):
        chain: list[_Track] = []
        for _, of_scene in groupby(of_label, key=lambda track: track.scene):
            scene = list(of_scene)
            if all(a.samples[-1] < b.samples[0] for a, b in pairwise(scene)):
                chain += scene
                continue
            if chain:
                yield chain
            yield from ([track] for track in scene)
            chain = []
        if chain:
            yield chain


def _to_object(chain: Sequence[_Track], times_seconds: Sequence[float]) -> VisibleObject:
    """Return the object of successive tracks, with a jump between each two of them."""
    boxes: list[TimedBox] = []
    for track in chain:
        first = track.samples[0]
        if boxes:
            jump_seconds = (times_seconds[first - 1] + times_seconds[first]) / 2
            before = max(boxes[-1].time_seconds, jump_seconds - _JUMP_SECONDS)
            boxes.append(TimedBox(time_seconds=before, box=boxes[-1].box))
            boxes.append(_timed_box(jump_seconds, track.boxes[0]))
        boxes += [
            _timed_box(times_seconds[sample], box)
            for sample, box in zip(track.samples, track.boxes, strict=True)
        ]
    scores: defaultdict[str, float] = defaultdict(float)
    for track in chain:
        scores[track.label] += track.total_score
    # Samples in which it was missed count as zero.
    confidence = sum(scores.values()) / sum(track.num_spanned for track in chain)
    label = max(scores, key=scores.__getitem__)
    confidence = min(1.0, round(confidence, 3))
    return VisibleObject(label=label, boxes=tuple(boxes), confidence=confidence)


def hold_still(item: VisibleObject) -> VisibleObject:
    """Return an object that does not move with its median box at all its times.

    Boxes of a detector differ from picture to picture. A crop that follows them moves, and a model
    that reads motion takes it for playing.
    """
    boxes = np.array([timed.box for timed in item.boxes], np.float64).reshape(-1, 4)
    if not len(boxes):
        return item
    middle = np.median(boxes, axis=0)
    if overlap(boxes, np.broadcast_to(middle, boxes.shape)).min() < _STILL_OVERLAP:
        return item
    still = tuple(_timed_box(timed.time_seconds, middle) for timed in item.boxes)
    return item.model_copy(update={"boxes": still})


def _timed_box(time_seconds: float, box: Float[np.ndarray, "4"]) -> TimedBox:
    """Return a box within the picture that is not empty, rounded."""
    first = box[:2].clip(0, 1 - _LEAST_SIDE)
    last = np.maximum(box[2:].clip(0, 1), first + _LEAST_SIDE)
    x1, y1, x2, y2 = (round(float(value), 4) for value in (*first, *last))
    return TimedBox(time_seconds=round(max(0.0, time_seconds), 3), box=(x1, y1, x2, y2))
