"""Read and write objects.json: the labels and boxes of a video's visible objects.

A list of `{label?, box: [x1, y1, x2, y2] | boxes: [{time_seconds, box}] | mask | point: {x, y,
time_seconds?}, confidence?, azimuth_degrees?, is_excluded?, spans?: [[start, end]]}`; coordinates
are normalised 0..1 with the origin top left, times are seconds of the video.
"""

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.errors import InputError
from avsep.media.masks import read_mask_boxes
from avsep.recipe import check_settings
from avsep.records import Box, Spans, TimedBox, TimedBoxes, TimedPoint, VisibleObject

_EXAMPLE = '[{"label": "violin", "box": [0.1, 0.2, 0.5, 0.9]}]'


class ObjectEntry(BaseModel):
    """One entry: `box` for the whole clip, `boxes` over time, or a `mask` or `point` to find them.

    None of them: the whole picture. A mask or point beside boxes says where they came from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    box: Box | None = None
    boxes: TimedBoxes = ()
    confidence: float = Field(default=1.0, ge=0, le=1)
    azimuth_degrees: float | None = Field(default=None, ge=-180, le=180)
    is_excluded: bool = False
    spans: Spans = ()
    point: TimedPoint | None = None
    mask: str | None = None

    @model_validator(mode="after")
    def _check_boxes(self) -> "ObjectEntry":
        if self.box is not None and self.boxes:
            raise ValueError("give box or boxes, not both")
        if self.mask is not None and self.point is not None:
            raise ValueError("give mask or point, not both")
        return self

    def visible_object(self, folder: Path) -> VisibleObject:
        """Return the object, with the boxes of its mask where it has no others.

        Args:
            folder: folder of the file, which contains the mask.

        Raises:
            InputError: the mask is outside of the folder, or cannot be read.
        """
        boxes = self.boxes
        if self.box is not None:
            boxes = (TimedBox(time_seconds=0, box=self.box),)
        if self.mask is not None and not boxes:
            boxes = read_mask_boxes(_path_inside(folder, self.mask))
        fields = self.model_dump(exclude={"box", "boxes", "point"})
        return VisibleObject(boxes=boxes, point=self.point, **fields)


def _path_inside(folder: Path, name: str) -> Path:
    """Return the path of a file that an objects.json names; it may come from anywhere."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"the mask '{name}' is outside of '{folder}', the folder of its objects.json; move it "
            "there"
        )
    return path


def read_objects(path: Path) -> tuple[VisibleObject, ...]:
    """Read the objects of a file, in its order.

    Raises:
        InputError: the file is missing, is not JSON, or departs from the format described above.
    """
    try:
        # Some editors begin a file with a byte order mark, which "utf-8-sig" removes.
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read objects from '{path}': {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"'{path}' is not JSON: {error}; write {_EXAMPLE}") from error
    if not isinstance(entries, list):
        raise InputError(f"'{path}' must hold a list of objects, such as {_EXAMPLE}")
    objects = []
    for index, entry in enumerate(entries, 1):
        where = f"'{path}', object {index}"
        if not isinstance(entry, dict):
            shortened = reprlib.repr(entry)
            raise InputError(f"{where} is {shortened}, not a label and a box as in {_EXAMPLE}")
        checked = check_settings(entry, ObjectEntry, where, "field")
        try:
            objects.append(checked.visible_object(path.parent))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    return tuple(objects)


def format_objects(objects: Sequence[VisibleObject]) -> str:
    """Format objects as the text of a file; the inverse of `read_objects`."""
    entries = []
    for visible in objects:
        entry: dict[str, object] = {"label": visible.label} if visible.label else {}
        if len(visible.boxes) == 1 and visible.boxes[0].time_seconds == 0:
            entry["box"] = visible.boxes[0].box
        elif visible.boxes:
            entry["boxes"] = [timed.model_dump() for timed in visible.boxes]
        if visible.confidence != 1:
            entry["confidence"] = visible.confidence
        if visible.azimuth_degrees is not None:
            entry["azimuth_degrees"] = visible.azimuth_degrees
        if visible.is_excluded:
            entry["is_excluded"] = True
        if visible.spans:
            entry["spans"] = visible.spans
        if visible.point is not None:
            entry["point"] = visible.point.model_dump()
        if visible.mask is not None:
            entry["mask"] = visible.mask
        entries.append(entry)
    return json.dumps(entries, indent=1) + "\n"
