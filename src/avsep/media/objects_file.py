"""Read and write objects.json: the labels and boxes of a video's visible objects.

A list of `{label?, box: [x1, y1, x2, y2] | boxes: [{time_seconds, box}], confidence?,
azimuth_degrees?}`; coordinates are normalised 0..1 with the origin top left.
"""

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from avsep.errors import InputError
from avsep.recipe import check_settings
from avsep.records import Box, TimedBox, VisibleObject

_EXAMPLE = '[{"label": "violin", "box": [0.1, 0.2, 0.5, 0.9]}]'


class ObjectEntry(BaseModel):
    """One entry: `box` for the whole clip or `boxes` over time; neither: the whole picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    box: Box | None = None
    boxes: tuple[TimedBox, ...] = ()
    confidence: float = Field(default=1.0, ge=0, le=1)
    azimuth_degrees: float | None = Field(default=None, ge=-180, le=180)

    # The two checks below run before pydantic's own, whose messages would name every field of the
    # tuple or model that a wrong value lacks.
    @field_validator("box", mode="before")
    @classmethod
    def _check_four_numbers(cls, box: object) -> object:
        if box is not None and not (isinstance(box, list | tuple) and len(box) == 4):
            raise ValueError("must be four numbers, [x1, y1, x2, y2]")
        return box

    @field_validator("boxes", mode="before")
    @classmethod
    def _check_timed(cls, boxes: object) -> object:
        if not isinstance(boxes, list | tuple) or any(
            not isinstance(box, dict | TimedBox) for box in boxes
        ):
            raise ValueError('must be [{"time_seconds": 0, "box": [x1, y1, x2, y2]}, ...]; write a '
                             "single box for the whole clip as box")  # fmt: skip
        return boxes

    @field_validator("box")
    @classmethod
    def _check_inside_picture(cls, box: Box | None) -> Box | None:
        # TimedBox checks order and range of the corners.
        return box and TimedBox(time_seconds=0, box=box).box

    @model_validator(mode="after")
    def _check_boxes(self) -> "ObjectEntry":
        if self.box is not None and self.boxes:
            raise ValueError("give box or boxes, not both")
        times = [timed.time_seconds for timed in self.boxes]
        if times != sorted(times):
            raise ValueError("boxes must be in order of time")
        return self


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
        boxes = checked.boxes
        if checked.box is not None:
            boxes = (TimedBox(time_seconds=0, box=checked.box),)
        objects.append(
            VisibleObject(
                label=checked.label,
                boxes=boxes,
                confidence=checked.confidence,
                azimuth_degrees=checked.azimuth_degrees,
            )
        )
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
        entries.append(entry)
    return json.dumps(entries, indent=1) + "\n"
