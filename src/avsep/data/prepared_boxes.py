"""Find and check the boxes of a prepared folder's clips: of objects/, or else of detections."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from avsep.data.categories import find_in
from avsep.data.checks.clip_files import detection_faults
from avsep.data.checks.reports import EMPTY, NO_BOXES, UNREADABLE, Fault
from avsep.data.clips import ClipFiles, find_file, frame_paths, read_picture_size
from avsep.data.detections import DETECTION_ENDINGS, DETECTIONS_FOLDER, object_by_frame
from avsep.errors import InputError
from avsep.media.objects_file import read_objects
from avsep.records import VisibleObject


def sounding_object(
    folder: Path, place: Path, clip: ClipFiles, numbers: Mapping[str, int]
) -> VisibleObject | None:
    """Return the object that makes the sound, with its boxes; None if the clip has no boxes.

    Of `objects/` the most confident one of the clip's category, else the most confident of all;
    without that file, of the detections the box of each frame that the released codes crop.
    """
    label = clip.sources[0].category
    path = _objects_path(folder, place)
    if path.is_file():
        objects = read_objects(path)
        if not objects:
            return None
        same_category = [
            item for item in objects if item.label and find_in([label], item.label) == 0
        ]
        best = max(same_category or objects, key=lambda item: item.confidence)
        # The model gets the clip's own category, whatever the detector called the object.
        return best.model_copy(update={"label": label})
    detections = _detections_path(folder, place)
    if detections is None:
        return None
    assert clip.frame_rate_hz is not None, "a folder of frames has a frame rate"
    # Boxes are in pixels of the frames, which are all of one size.
    size_pixels = read_picture_size(frame_paths(clip)[0])
    visible = object_by_frame(
        detections, label, size_pixels, clip.frame_rate_hz, numbers.get(label)
    )
    return visible if visible.boxes else None


def object_faults(folder: Path, place: Path, frames: Path) -> Iterator[Fault]:
    """Yield the faults of a clip's boxes, and a note if it lacks the boxes that others have."""
    boxes, detections = _objects_path(folder, place), _detections_path(folder, place)
    if boxes.is_file():
        name = boxes.relative_to(folder).as_posix()
        try:
            if not read_objects(boxes):
                yield Fault(EMPTY, name)
        except InputError as error:
            yield Fault(UNREADABLE, name, str(error))
    elif detections is None and (folder / DETECTIONS_FOLDER).is_dir():
        yield Fault(NO_BOXES, place.as_posix())
    if detections is None:
        return
    name = detections.relative_to(folder).as_posix()
    faults = list(detection_faults(detections, name))
    yield from faults
    paths = frame_paths(ClipFiles(place.name, frames, ())) if frames.is_dir() else []
    if faults or not paths:
        return
    try:  # the boxes lie in the frames
        object_by_frame(detections, place.parent.name, read_picture_size(paths[0]), 1.0)
    except InputError as error:
        yield Fault(UNREADABLE, name, str(error))


def _objects_path(folder: Path, place: Path) -> Path:
    return folder / "objects" / place.with_name(f"{place.name}.json")


def _detections_path(folder: Path, place: Path) -> Path | None:
    return find_file(folder / DETECTIONS_FOLDER / place, DETECTION_ENDINGS)
