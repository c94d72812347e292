"""Detect objects in sampled pictures of a video, and store the detections for the next time."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.media.audio import Align, AudioReader
from avsep.media.frames import FrameReader, FrameSettings
from avsep.media.opening import MediaSource, open_binary, open_media, source_name
from avsep.media.streams import Track, audio_streams, choose_video, stated_seconds, zero_seconds
from avsep.vision.detectors.base import Detections, Detector
from avsep.vision.tracking import DetectedSamples

# Called with a stage in words, its seconds done, and all of them.
Progress = Callable[[str, float, float | None], None]

# Part of every stored file's name: raised when its content changes.
_FORMAT = 1
# Pictures that a detector gets at once: more bring nothing on a processor, and take memory.
_BATCH = 4
# Pictures are compared at this size, their colours in this many steps a channel.
_COMPARED_PIXELS, _COLOUR_STEPS = 32, 4
# Stored files: a larger one is not ours, and of more of them the oldest are removed.
_MOST_BYTES, _MOST_FILES = 16_000_000, 400


@dataclass(frozen=True)
class SamplePlan:
    """The pictures of a video to detect objects in.

    Attributes:
        sound_seconds: time at which the sound starts on the file's time line; 0 without one.
        times_seconds: of the samples, from there on: the time line of boxes.
        end_seconds: end of the part of the video that they are spread over.
    """

    sound_seconds: float
    times_seconds: tuple[float, ...]
    end_seconds: float


def plan_samples(
    video: MediaSource,
    rate_hz: float,
    most_samples: int,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    *,
    track: Track | None = None,
    align: Align = "picture",
) -> SamplePlan:
    """Spread samples evenly over a video, or over a part of it.

    Args:
        video: path, bytes or file object.
        rate_hz: samples a second.
        most_samples: of a longer video there are this many.
        start_seconds, end_seconds: of the part, on the file's time line; none: to the end.
        track, align: audio track, and start of its sound, as `AudioReader` takes them.

    Raises:
        InputError: no video, a part that is not in it, or a track that it does not have.
    """
    with open_media(video) as container:
        stream = choose_video(container, None, source_name(video))
        begin = (stream.start_time or 0) * (stream.time_base or 0) - zero_seconds(container)
        last_seconds = float(begin + stated_seconds(container, stream))
        has_sound = bool(audio_streams(container))
    sound_seconds = 0.0
    # Pictures without sound that can be read have objects too.
    with suppress(InputError) if track is None else nullcontext():
        if has_sound or track is not None:
            with AudioReader(video, track, "skip", align, on_truncation="warn") as reader:
                sound_seconds = reader.start_seconds
    start = max(start_seconds, sound_seconds)
    end = last_seconds if end_seconds is None else min(end_seconds, last_seconds)
    if start_seconds > max(last_seconds, 0.0) or (end_seconds or end) < start_seconds:
        until = "its end" if end_seconds is None else f"{end_seconds:g} s"
        raise InputError(
            f"{source_name(video)} has no picture from {start_seconds:g} s to {until}; it is "
            f"{last_seconds:g} s long: change --start or --end"
        )
    seconds = max(end - start, 0.0)
    number = min(most_samples, max(1, round(seconds * rate_hz)))
    # In the middle of equal parts: videos often begin with a black picture.
    times = tuple((start - sound_seconds + seconds * (i + 0.5) / number) for i in range(number))
    return SamplePlan(sound_seconds, times, end)


def detect_samples(
    video: MediaSource,
    detector: Detector,
    plan: SamplePlan,
    words: Sequence[str],
    progress: Progress,
    *,
    cache_key: str | None = "",
) -> tuple[DetectedSamples, tuple[str, ...]]:
    """Detect objects, or read what was detected before in the same content in the same way.

    Args:
        video: path, bytes or file object.
        detector: finds the objects of each picture.
        plan: which pictures.
        words: to look for; none: all labels of the detector.
        progress: called after each few pictures.
        cache_key: all else that detections depend on; none: nothing is stored or read.

    Returns:
        samples: times, detections and changes; fewer than planned of a file that was cut off.
        warnings: damaged pictures that were skipped.

    Raises:
        InputError: no video, none of whose pictures can be decoded, or a word that the detector
            cannot look for.
    """
    path = None
    if cache_key is not None:
        path = _stored_path(video, [detector.fingerprint, cache_key, plan, sorted(set(words))])
    stored = None if path is None else _read_stored(path)
    if stored is None:
        stored = _detect(video, detector, plan, words, progress)
        if path is not None:
            _write_stored(path, stored)
    progress("finding objects", plan.end_seconds, plan.end_seconds)
    return stored.to_samples(), stored.warnings


def _detect(
    video: MediaSource,
    detector: Detector,
    plan: SamplePlan,
    words: Sequence[str],
    progress: Progress,
) -> "_StoredSamples":
    settings = FrameSettings(longest_side_pixels=detector.longest_side_pixels, on_damage="skip")
    samples: list[_StoredSample] = []
    before: UInt8[np.ndarray, "h w 3"] | None = None
    with FrameReader(video, settings) as reader:
        for times, pictures in _read_batches(reader, plan):
            detected = detector.detect(pictures, times, words)
            for time, picture, detections in zip(times, pictures, detected, strict=True):
                thumbnail = _thumbnail(picture)
                change = 0.0 if before is None else _change(before, thumbnail)
                samples.append(_StoredSample.of(time, change, detections))
                before = thumbnail
            progress("finding objects", times[-1] + plan.sound_seconds, plan.end_seconds)
        warnings = tuple(reader.damage.warnings())
    return _StoredSamples(samples=tuple(samples), warnings=warnings)


def _read_batches(
    reader: FrameReader, plan: SamplePlan
) -> Iterator[tuple[list[float], list[UInt8[np.ndarray, "H W 3"]]]]:
    """Yield times and pictures, a few at a time, to the end of the plan or of the video."""
    times: list[float] = []
    pictures: list[UInt8[np.ndarray, "H W 3"]] = []
    for index, time in enumerate(plan.times_seconds):
        file_seconds = time + plan.sound_seconds
        # A file that was cut off is shorter than it states; it still has its first picture.
        if index and reader.is_over(Fraction(file_seconds)):
            break
        times.append(time)
        pictures.append(reader.picture_at(file_seconds))
        if len(times) == _BATCH:
            yield times, pictures
            times, pictures = [], []
    if times:
        yield times, pictures


def _stored_path(video: MediaSource, key: Sequence[object]) -> Path:
    """Return the file for the content of a video and a key."""
    digest, num_bytes = hashlib.sha256(), 0
    with open_binary(video, source_name(video)) as file:
        file.seek(0)
        while block := file.read(2**20):
            digest.update(block)
            num_bytes += len(block)
    parts = [_FORMAT, digest.hexdigest(), num_bytes, *key]
    return cache_folder() / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"


def cache_folder() -> Path:
    """Return the folder of stored detections: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "avsep" / "detections"


# Stored detections


class _StoredDetection(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float]


class _StoredSample(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    time_seconds: float = Field(allow_inf_nan=False)
    change: float = Field(ge=0, le=1)
    detections: tuple[_StoredDetection, ...]

    @classmethod
    def of(cls, time_seconds: float, change: float, detections: Detections) -> "_StoredSample":
        """Return the sample of a time; masks are not stored."""
        rows = zip(detections.labels, detections.scores.tolist(), detections.boxes.tolist(),
                   strict=True)  # fmt: skip
        return cls(
            time_seconds=time_seconds,
            change=change,
            detections=tuple(
                _StoredDetection(label=label, score=score, box=tuple(box))
                for label, score, box in rows
            ),
        )

    def to_detections(self) -> Detections:
        """Return the detections."""
        items = self.detections
        return Detections(
            np.array([item.box for item in items], np.float32).reshape(-1, 4),
            tuple(item.label for item in items),
            np.array([item.score for item in items], np.float32),
        )


class _StoredSamples(BaseModel):
    """Content of a stored file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: tuple[_StoredSample, ...] = Field(min_length=1)
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "_StoredSamples":
        times = [sample.time_seconds for sample in self.samples]
        boxes = [item.box for sample in self.samples for item in sample.detections]
        if times != sorted(times) or not np.isfinite(np.array(boxes)).all():
            raise ValueError("times must rise and boxes be numbers")
        return self

    def to_samples(self) -> DetectedSamples:
        """Return the samples as they are tracked."""
        return DetectedSamples(
            tuple(sample.time_seconds for sample in self.samples),
            tuple(sample.to_detections() for sample in self.samples),
            tuple(sample.change for sample in self.samples),
        )


def _read_stored(path: Path) -> _StoredSamples | None:
    """Read a stored file; none where there is none, or a damaged one, which is removed."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        return _StoredSamples.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        with suppress(OSError):
            path.unlink()
        return None


def _write_stored(path: Path, samples: _StoredSamples) -> None:
    """Store detections; a folder that cannot be written to only costs time the next time."""
    with suppress(InputError, OSError):
        make_folder(path.parent)
        write_atomic(path, samples.model_dump_json())
        stored = sorted(path.parent.glob("*.json"), key=lambda item: item.stat().st_mtime)
        for old in stored[:-_MOST_FILES]:
            old.unlink(missing_ok=True)


# Changes from picture to picture


def _thumbnail(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Shrink a picture to the size at which pictures are compared."""
    size = (_COMPARED_PIXELS, _COMPARED_PIXELS)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _change(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> float:
    """Return how much two pictures differ, 0..1.

    The geometric mean of how their colours differ, wherever these are, and how their places do: of
    a camera that moves only the places change much, of a light that goes on the colours do.
    """
    difference = np.abs(first.astype(np.float64) - second).mean() / 255
    histograms = [_histogram(thumbnail) for thumbnail in (first, second)]
    colours = np.abs(histograms[0] - histograms[1]).sum() / 2
    return float(np.sqrt(min(1.0, difference) * min(1.0, colours)))


def _histogram(thumbnail: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, " bins"]:
    """Return the share of each colour in coarse steps, 64 of them."""
    steps = thumbnail.reshape(-1, 3).astype(np.int64) * _COLOUR_STEPS // 256
    bins = steps @ np.array([_COLOUR_STEPS**2, _COLOUR_STEPS, 1])
    return np.bincount(bins, minlength=_COLOUR_STEPS**3) / len(bins)
