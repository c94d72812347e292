"""Name found objects by looking at each again, larger, at several times."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avsep.media.frames import FrameSettings, read_frames
from avsep.media.opening import MediaSource
from avsep.records import Box, VisibleObject
from avsep.vision.detectors.base import Detector
from avsep.vision.namer import OTHER

# Objects of one word are one where this much of the smaller box is in the larger, on average.
_SAME_PLACE = 0.5
# Times at which an object is looked at.
_NUM_LOOKS = 4
# Pictures are shrunk to this while they are decoded: an object a third as wide still fills a crop.
_LONGEST_SIDE_PIXELS = 640
_CROP_PIXELS = 224
# An object that is anything else with this probability is left out.
_SURE_FROM = 0.5
# Of an object that is taken for a word that a user asked for.
_LEAST_SHARE = 0.1
# Probability in the confidence of a name that only the detector gives.
_LEAST_CONFIDENCE = 0.05
# Weight of the detector's own word beside the probabilities of names.
_DETECTOR_WEIGHT = 0.25


@dataclass(frozen=True)
class NamedObject:
    """A found object, and the probability of each word for it."""

    visible: VisibleObject
    shares: dict[str, float]


def look_again(
    video: MediaSource,
    objects: Sequence[VisibleObject],
    detector: Detector,
    sound_seconds: float,
) -> tuple[NamedObject, ...]:
    """Name each object from several crops.

    Args:
        video: path, bytes or file object.
        objects: with boxes over time.
        detector: with names.
        sound_seconds: time of the first sample of the sound, from which the times of boxes count.
    """
    if not objects:
        return ()
    times = [_times_of(item) for item in objects]
    all_times = sorted({time for item in times for time in item})
    settings = FrameSettings(longest_side_pixels=_LONGEST_SIDE_PIXELS, on_damage="skip")
    frames = read_frames(video, [time + sound_seconds for time in all_times], settings)
    pictures = dict(zip(all_times, frames.pictures, strict=True))
    named = []
    for item, times_of_item in zip(objects, times, strict=True):
        crops = np.stack([_crop(pictures[time], item.box_at(time)) for time in times_of_item])
        named.append(NamedObject(item, detector.name(crops)))
    return tuple(named)


def rename_objects(objects: Sequence[NamedObject]) -> tuple[VisibleObject, ...]:
    """Return objects by their likeliest names, surest first; anything else is left out."""
    renamed = []
    for item in objects:
        weighed = dict(item.shares)
        label = item.visible.label or OTHER
        weighed[label] = weighed.get(label, 0.0) + _DETECTOR_WEIGHT
        word = max(weighed, key=lambda name: weighed[name])
        if word == OTHER:
            if item.shares[OTHER] >= _SURE_FROM:
                continue
            word = label
        renamed.append(_as_word(item, word))
    return merge_equal(sorted(renamed, key=lambda item: -item.confidence))


def merge_equal(objects: Sequence[VisibleObject]) -> tuple[VisibleObject, ...]:
    """Leave out objects that share their word and most of their place with a surer one.

    A part of a dog was found as a hen, and is a dog by its name.
    """
    chosen: list[VisibleObject] = []
    for item in objects:
        others = (other for other in chosen if other.label == item.label)
        if all(_shared_place(item, other) < _SAME_PLACE for other in others):
            chosen.append(item)
    return tuple(chosen)


def _shared_place(first: VisibleObject, second: VisibleObject) -> float:
    """Return the mean share of the smaller box that is in the larger, at the first's times."""
    shares = []
    for timed in first.boxes:
        box, other = np.array(timed.box), np.array(second.box_at(timed.time_seconds))
        sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        areas = [(item[2:] - item[:2]).prod() for item in (box, other)]
        shares.append(sides.clip(0).prod() / max(min(areas), 1e-9))
    return float(np.mean(shares))


def choose_by_word(objects: Sequence[NamedObject], word: str) -> tuple[VisibleObject, ...]:
    """Return the objects that may be a word, the likeliest first."""
    likely = [item for item in objects if item.shares.get(word, 0.0) >= _LEAST_SHARE]
    ordered = sorted(likely, key=lambda item: -item.shares[word] * item.visible.confidence)
    return tuple(_as_word(item, word) for item in ordered)


def _as_word(item: NamedObject, word: str) -> VisibleObject:
    # Both must agree that there is something, and what it is.
    share = max(item.shares.get(word, 0.0), _LEAST_CONFIDENCE)
    confidence = float(np.sqrt(item.visible.confidence * share))
    return item.visible.model_copy(update={"label": word, "confidence": round(confidence, 4)})


def _times_of(item: VisibleObject) -> list[float]:
    """Return times of its boxes, spread over all of them."""
    places = np.linspace(0, len(item.boxes) - 1, min(_NUM_LOOKS, len(item.boxes)))
    return [item.boxes[round(place)].time_seconds for place in places.tolist()]


def _crop(picture: UInt8[np.ndarray, "H W 3"], box: Box) -> UInt8[np.ndarray, "3 P P"]:
    """Crop a box, resized to a square."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    left, top = floor(x1 * width), floor(y1 * height)
    right, bottom = max(left + 2, ceil(x2 * width)), max(top + 2, ceil(y2 * height))
    crop = Image.fromarray(picture).crop((left, top, right, bottom))
    square = crop.resize((_CROP_PIXELS, _CROP_PIXELS), Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1)
