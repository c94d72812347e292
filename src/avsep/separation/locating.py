"""Locate the objects of a video: all that a detector finds, those of a word or under a point."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from avsep.errors import InputError
from avsep.records import Box, Clip, TimedBox, TimedPoint, VisibleObject
from avsep.separation.progress import Progress
from avsep.separation.settings import NO_DETECTOR, SeparatorSettings
from avsep.separation.video_input import VideoInput


@runtime_checkable
class Located(Protocol):
    """Objects that a detector finds, surest first, and lines for the user (`FoundObjects`)."""

    @property
    def objects(self) -> tuple[VisibleObject, ...]:
        """Return the objects."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the lines."""
        ...


# Returns the objects of some words, or all that the detector has labels for.
ObjectFinder = Callable[[Sequence[str]], Located]

# Boxes are detected some times a second; this long before its first and after its last one an
# object is still there.
_SLACK_SECONDS = 1.0
# Side of the box around a point without an object, over the picture's short side.
_SIDE_SHARE = 1 / 3


def find_in(
    video_input: VideoInput,
    settings: SeparatorSettings,
    device: str,
    progress: Progress,
    categories: Sequence[str] = (),
) -> ObjectFinder | None:
    """Return a finder for the part of a video that is separated; none without a detector.

    A clip that is given as arrays has no file in which a detector looks.

    Args:
        video_input: the video.
        settings: detector and part.
        device: where the detector computes.
        progress: called while it looks.
        categories: of the model; a detector without labels looks for them where no words are given.

    Raises:
        InputError: a frame rate for a detector that counts no frames.
    """
    if settings.frame_rate_hz is not None:
        # Here, since a detector is loaded only where it has to look.
        from avsep.vision.detectors.registry import check_frame_rate

        check_frame_rate(settings.detector, settings.frame_rate_hz)
    source = video_input.pictures
    if settings.detector == NO_DETECTOR or not video_input.has_pictures or isinstance(source, Clip):
        return None

    def report(stage: str, done_seconds: float, all_seconds: float | None) -> None:
        progress(f"{video_input.file_name}: {stage}", done_seconds, all_seconds)

    def find(words: Sequence[str]) -> Located:
        # Not above: most separations have boxes, and a detector takes long to import.
        from avsep.vision.finding import FindSettings, find_objects

        return find_objects(
            source,
            words,
            settings=FindSettings(
                detector=settings.detector,
                categories=tuple(categories),
                frame_rate_hz=settings.frame_rate_hz,
                audio_track=settings.audio_track,
                align=settings.align,
            ),
            device=device,
            progress=report,
            start_seconds=settings.start_seconds,
            end_seconds=settings.end_seconds,
        )

    return find


def locate_objects(
    objects: Sequence[VisibleObject], video_input: VideoInput, finder: ObjectFinder | None = None
) -> tuple[VisibleObject, ...]:
    """Return the objects with the boxes at which they are found; none given: all that are found.

    A word that is not found is the whole picture, and a point without an object a square around it;
    the video gets a warning that says so. An object without a label takes that of the detector.

    Args:
        objects: objects of any kind; those that are located already are returned as they are.
        video_input: the video, for the size of its pictures and for warnings.
        finder: finds the objects of the video; none: nothing is looked for.

    Raises:
        InputError: nothing is given and nothing found; the pictures cannot be decoded; and all that
            the finder raises.
    """
    if not objects:
        return _find_all(video_input, finder)
    objects = _locate_words(objects, video_input, finder)
    return _locate_points(objects, video_input, finder)


def _find_all(video_input: VideoInput, finder: ObjectFinder | None) -> tuple[VisibleObject, ...]:
    located = None if finder is None else finder(())
    if located is None or not located.objects:
        reason = "no objects are given, and none are found" if located else "no objects are given"
        raise InputError(
            f"'{video_input.file_name}': {reason}; give each one with its box, x1,y1,x2,y2 from 0 "
            f'to 1: --object "violin@0.1,0.2,0.5,0.9", or give --objects FILE.json'
        )
    video_input.warnings.extend(located.warnings)
    names = ", ".join(f"{item.label} ({item.confidence:.2f})" for item in located.objects)
    video_input.warnings.append(
        f"no objects are given; found, with how sure the detector is: {names}. Choose with "
        "--object, or look at them with `avsep objects`"
    )
    return tuple(
        item.model_copy(update={"is_named_by_detector": item.label is not None})
        for item in located.objects
    )


def _locate_words(
    objects: Sequence[VisibleObject], video_input: VideoInput, finder: ObjectFinder | None
) -> tuple[VisibleObject, ...]:
    """Look for all words at once; a word that is given twice has the two surest objects."""
    words = [item.label for item in objects if item.is_sought and item.label]
    if not words or finder is None:
        return tuple(objects)
    try:
        result = finder(words)
    except InputError as error:
        # A word that no detector knows is still a label of the whole picture.
        video_input.warnings.append(f"{error}; the whole picture is taken")
        return tuple(objects)
    # Of each word that is not found, or found more often, there is a line.
    video_input.warnings.extend(result.warnings)
    detected = list(result.objects)
    located = []
    for item in objects:
        match = None
        if item.is_sought and item.label:
            match = next((other for other in detected if other.label == item.label), None)
            if match is None:
                video_input.warnings.append(
                    f"'{item.label}' is not found, so the whole picture is taken"
                )
        if match is not None:
            # By identity: of two equal boxes, each belongs to one object.
            detected = [other for other in detected if other is not match]
            changes: dict[str, object] = {"boxes": match.boxes, "confidence": match.confidence}
            item = item.model_copy(update=changes)
        located.append(item)
    return tuple(located)


def _locate_points(
    objects: Sequence[VisibleObject], video_input: VideoInput, finder: ObjectFinder | None
) -> tuple[VisibleObject, ...]:
    """Look for the objects under points."""
    if not any(item.point is not None and not item.boxes for item in objects):
        return tuple(objects)
    detected: tuple[VisibleObject, ...] = ()
    if finder is not None:
        result = finder(())
        detected = result.objects
        # Where nothing is found, the line of each point says so.
        video_input.warnings.extend(result.warnings if detected else ())
    located = []
    for item in objects:
        if item.point is None or item.boxes:
            located.append(item)
            continue
        match = choose_at_point(detected, item.point)
        if match is not None:
            changes: dict[str, object] = {"boxes": match.boxes, "confidence": match.confidence}
            if item.label is None and match.label is not None:
                changes |= {"label": match.label, "is_named_by_detector": True}
            located.append(item.model_copy(update=changes))
            continue
        box = box_around(item.point, _picture_size(video_input, item.point))
        reason = "no object is detected there" if finder else "no detector looks for objects"
        video_input.warnings.append(
            f"{describe_point(item.point)}: {reason}, so the box is a square around it of a third "
            "of the picture's short side; give the box itself with --object "
            f'"{item.label or ""}@{",".join(f"{corner:.2f}" for corner in box)}"'
        )
        boxes = (TimedBox(time_seconds=0, box=box),)
        located.append(item.model_copy(update={"boxes": boxes}))
    return tuple(located)


def choose_at_point(objects: Sequence[VisibleObject], point: TimedPoint) -> VisibleObject | None:
    """Return the object with the smallest box that contains a point at its time; none without one.

    Of equal boxes it is that of the surer detection.
    """
    candidates = []
    for item in objects:
        x1, y1, x2, y2 = item.box_at(point.time_seconds)
        if _is_there(item, point.time_seconds) and x1 <= point.x <= x2 and y1 <= point.y <= y2:
            candidates.append(((x2 - x1) * (y2 - y1), -item.confidence, item))
    return min(candidates, key=lambda candidate: candidate[:2])[-1] if candidates else None


def _is_there(visible: VisibleObject, time_seconds: float) -> bool:
    """True if an object has a box near a time; a single box holds at all times."""
    if len(visible.boxes) < 2:
        return True
    first, last = visible.boxes[0].time_seconds, visible.boxes[-1].time_seconds
    return first - _SLACK_SECONDS <= time_seconds <= last + _SLACK_SECONDS


def box_around(point: TimedPoint, size: tuple[int, int]) -> Box:
    """Return the square around a point, moved into the picture where it would stand out.

    >>> box_around(TimedPoint(x=0.5, y=0.0), (300, 400))
    (0.375, 0.0, 0.625, 0.3333333333333333)

    Args:
        point: the point.
        size: height and width of the picture.
    """
    height, width = size
    side = min(height, width) * _SIDE_SHARE
    x1, x2 = _interval(point.x, side / width)
    y1, y2 = _interval(point.y, side / height)
    return (x1, y1, x2, y2)


def _interval(middle: float, length: float) -> tuple[float, float]:
    begin = min(max(0.0, middle - length / 2), 1 - length)
    return begin, min(1.0, begin + length)


def _picture_size(video_input: VideoInput, point: TimedPoint) -> tuple[int, int]:
    try:
        picture, _ = video_input.key_frame(point.time_seconds - video_input.sound.offset_seconds)
    except InputError as error:
        raise InputError(f"{describe_point(point)}: {error}") from error
    return picture.shape[0], picture.shape[1]


def describe_point(point: TimedPoint) -> str:
    """Return a point in words.

    >>> describe_point(TimedPoint(x=0.25, y=0.5, time_seconds=12))
    'point 0.25,0.5 at 12 s'
    """
    return f"point {point.x:g},{point.y:g} at {point.time_seconds:g} s"
