"""objects.json: the visible objects of a video as people write them down and programs read them.

A list of `{label?, box: [x1, y1, x2, y2] | boxes: [{time_seconds, box}], confidence?,
azimuth_degrees?}`; coordinates are normalised 0..1 with the origin top left.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from avsep.errors import InputError
from avsep.records import Box, TimedBox, VisibleObject


class ObjectEntry(BaseModel):
    """One entry of the file: a box for the whole clip, or boxes over time; neither: the picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    box: Box | None = None
    boxes: tuple[TimedBox, ...] = ()
    confidence: float = 1.0
    azimuth_degrees: float | None = None

    @model_validator(mode="after")
    def _one_way_to_give_boxes(self) -> "ObjectEntry":
        if self.box is not None and self.boxes:
            raise ValueError("give box or boxes, not both")
        times = [timed.time_seconds for timed in self.boxes]
        if times != sorted(times):
            raise ValueError("boxes must be in order of time")
        return self


def read_objects(path: Path) -> tuple[VisibleObject, ...]:
    """The objects of a file, in its order; anything not as described above is an InputError."""
    try:
        # Some editors begin a file with a byte order mark, which "utf-8-sig" leaves out.
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"cannot read objects from '{path}': {error}") from error
    if not isinstance(entries, list):
        example = '[{"label": "violin", "box": [0.1, 0.2, 0.5, 0.9]}]'
        raise InputError(f"'{path}' must hold a list of objects, such as {example}")
    found = []
    for index, entry in enumerate(entries, 1):
        try:
            found.append(_visible_object(ObjectEntry.model_validate(entry)))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "entry"
            message = first["msg"].removeprefix("Value error, ")
            raise InputError(f"'{path}', object {index}: {field}: {message}") from error
    return tuple(found)


def objects_text(objects: Sequence[VisibleObject]) -> str:
    """The file's text for these objects; `read_objects` gives equal ones back."""
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


def _visible_object(entry: ObjectEntry) -> VisibleObject:
    boxes = entry.boxes
    if entry.box is not None:
        boxes = (TimedBox(time_seconds=0, box=entry.box),)
    return VisibleObject(
        label=entry.label,
        boxes=boxes,
        confidence=entry.confidence,
        azimuth_degrees=entry.azimuth_degrees,
    )
