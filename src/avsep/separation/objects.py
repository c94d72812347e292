"""Which objects to separate: told in words and boxes, by a file, or by one beside the video."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from avsep.data.dataset_categories import find_in
from avsep.data.objects_file import read_objects
from avsep.errors import InputError
from avsep.media.names import readable
from avsep.records import TimedBox, VisibleObject

# What a caller may give: words as on the command line or objects, a list of them, or a file's path.
Objects = Sequence[str | VisibleObject] | str | VisibleObject | os.PathLike[str]
EXAMPLE = '"violin@0.1,0.2,0.5,0.9"'
_BESIDE = "objects.json"
_ENDING = ".json"


def find_objects(
    given: Objects | None,
    video: object,
    name: str,
    known: Sequence[VisibleObject] = (),
    text: Sequence[str] | str = (),
) -> tuple[VisibleObject, ...]:
    """The objects of a video, in the order given, then those that are known by words alone.

    What is given replaces all else, be it objects or words; then come those `known` of a clip, and
    objects.json in the folder that has the video's name without its ending.

    Raises:
        InputError: none are given and there is no file; the message says what to type.
    """
    by_word = tuple(parse_text(word) for word in ([text] if isinstance(text, str) else text))
    if isinstance(given, str | VisibleObject):
        given = [given]
    if given is None and by_word:
        given = []
    if given is None and not known and isinstance(video, str | os.PathLike):
        beside = Path(video).with_suffix("") / _BESIDE
        given = beside if beside.is_file() else None
    if isinstance(given, os.PathLike):
        found = read_objects(Path(given))
        if not found:
            raise InputError(f"'{os.fspath(given)}' holds no objects; add one, or name it: "
                             f"--object {EXAMPLE}")  # fmt: skip
        return (*found, *by_word)
    if given is not None:
        known = [parse_object(one) if isinstance(one, str) else one for one in given]
    known = (*known, *by_word)
    if not known:
        raise InputError(
            f"{name}: which objects? name each one with its box, x1,y1,x2,y2 from 0 to 1: "
            f"--object {EXAMPLE} (--object violin: the whole picture), or give --objects FILE.json"
        )
    return known


def parse_text(text: str) -> VisibleObject:
    """An object that is known by its word alone, no box and no picture.

    >>> parse_text("violin").is_seen
    False
    """
    word = text.strip()
    if not word:
        raise InputError(f"--text '{text}' holds no word; write one, such as --text violin")
    if "@" in word:
        raise InputError(f"--text '{text}': words alone have no box; write --object '{text}'")
    return VisibleObject(label=word, prompt=word)


def parse_object(text: str) -> VisibleObject:
    """An object in one word: `LABEL@x1,y1,x2,y2`, without a box the whole picture.

    Without a label (`@x1,y1,x2,y2`, or `@` alone) the picture decides what it is.

    >>> parse_object("violin@0.1,0.2,0.5,0.9").boxes[0].box
    (0.1, 0.2, 0.5, 0.9)
    >>> parse_object("@").label is None
    True
    """
    if text.strip().lower().endswith(_ENDING):
        raise InputError(
            f"--object '{text}' would be a label; for the file of that name write --objects "
            f"{text.strip()}, in Python pathlib.Path({text.strip()!r})"
        )
    label, at, box = text.rpartition("@")
    if not at:
        label, box = text, ""
    if not at and not label.strip():
        raise InputError(
            f"--object '{text}' names nothing; write a label, a box or both: {EXAMPLE}"
        )
    boxes: tuple[TimedBox, ...] = ()
    if box.strip():
        try:
            x1, y1, x2, y2 = (float(number) for number in box.split(","))
            boxes = (TimedBox(time_seconds=0, box=(x1, y1, x2, y2)),)
        except (ValidationError, ValueError) as error:
            raise InputError(
                f"--object '{text}': '{box}' is no box; write x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 "
                f"and 0 <= y1 < y2 <= 1, such as {EXAMPLE}"
            ) from error
    return VisibleObject(label=label.strip() or None, boxes=boxes)


def with_categories(
    objects: Sequence[VisibleObject], categories: Sequence[str]
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """The objects with the index of their label's category, and a remark on each word unknown."""
    found, remarks = [], []
    for visible in objects:
        label = readable(visible.label).strip() if visible.label else ""
        index = find_in(categories, label) if label else None
        prompt = visible.prompt and readable(visible.prompt)
        changes = {"label": label or None, "category": index, "prompt": prompt}
        found.append(visible.model_copy(update=changes))
        if label and index is None:
            near = difflib.get_close_matches(label.lower(), categories, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            remarks.append(
                f"'{label}' is no category of this model, so the picture decides; {hint}"
                f"known: {', '.join(categories)}"
            )
    return tuple(found), tuple(dict.fromkeys(remarks))


def alike(objects: Sequence[VisibleObject], categories: Sequence[str | None]) -> tuple[str, ...]:
    """A remark on objects that nothing tells apart: one category in one place, or one word.

    `categories` are those the model goes by, told or seen; none where it goes by the picture alone.
    """
    groups: dict[object, list[int]] = {}
    for index, (visible, category) in enumerate(zip(objects, categories, strict=True)):
        groups.setdefault((category, *_place(visible, category)), []).append(index)
    remarks = []
    for group in groups.values():
        if len(group) > 1:
            numbers = " and ".join(str(index + 1) for index in group)
            word = categories[group[0]] or objects[group[0]].label or "object"
            known = "in one place" if objects[group[0]].is_seen else "by its word"
            remarks.append(
                f"objects {numbers} are the same to the model, {word} {known}, and cannot be told "
                f"apart; give each a box of its own, such as {EXAMPLE}"
            )
    return tuple(remarks)


def _place(visible: VisibleObject, category: str | None) -> tuple[object, ...]:
    """Where an object is; of one that nobody sees, the word, unless its category says it all."""
    if not visible.is_seen:
        return "word", category or (visible.prompt or "").casefold()
    return "place", visible.boxes if len(visible.boxes) > 1 else visible.box_at(0)
