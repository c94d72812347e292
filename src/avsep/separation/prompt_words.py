"""Read the prompts of a video: words of the command line, objects, and objects.json beside it."""

import os
import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsep.errors import InputError
from avsep.media.masks import read_mask_boxes
from avsep.media.objects_file import read_objects
from avsep.records import Box, Span, TimedBox, TimedPoint, VisibleObject, merge_spans

# As on the command line ("violin@0.1,0.2,0.5,0.9"), as objects, or the path of an objects.json.
ObjectPrompts = Sequence[str | VisibleObject] | str | VisibleObject | os.PathLike[str]

BOX_EXAMPLE = '"violin@0.1,0.2,0.5,0.9"'
_NUMBER = r"\s*(\d+\.?\d*|\.\d+)\s*"
_SPAN = re.compile(rf"{_NUMBER}-{_NUMBER}", re.ASCII)
_POINT = re.compile(rf"{_NUMBER},{_NUMBER}(?:@{_NUMBER})?", re.ASCII)


@dataclass(frozen=True)
class PromptWords:
    """Prompts in words, as the command line takes them beside objects.

    Attributes:
        text: words of objects without a box; in Python of any type, checked here.
        points: `[LABEL=]x,y[@seconds]`: the object under a point.
        masks: `[LABEL=]FILE`: the object in the white of a picture or video.
        excluded: words of objects whose sound goes to the residual: those that are given with
            this label or number, else one more object.
        spans: `[LABEL=]START-END` in seconds: when the objects of a label or number sound, without
            one all of them.
    """

    text: object = ()
    points: Sequence[str] | str = ()
    masks: Sequence[str] | str = ()
    excluded: Sequence[str] | str = ()
    spans: Sequence[str] | str = ()

    def new_objects(self) -> tuple[VisibleObject, ...]:
        """Return the objects of points, masks and text, in this order.

        Raises:
            InputError: a prompt that cannot be read, or is of another type.
        """
        return (
            *_parse_prompts(self.points, "points", parse_point),
            *_parse_prompts(self.masks, "masks", parse_mask),
            *_parse_prompts(self.text, "text", parse_text),
        )

    def apply(self, objects: Sequence[VisibleObject]) -> tuple[VisibleObject, ...]:
        """Return objects with the excluded ones marked or added last, and with their spans.

        Raises:
            InputError: a span of an object that there is not, or words that cannot be read.
        """
        changed = list(objects)
        for word in _listed(self.excluded):
            matches = [] if "@" in word else matching_objects(objects, word)
            for index in matches:
                changed[index] = changed[index].model_copy(update={"is_excluded": True})
            if not matches:
                changed.append(parse_excluded(word))
        for text in _listed(self.spans):
            label, span = parse_span(text)
            matches = range(len(changed)) if label is None else matching_objects(changed, label)
            if not matches:
                names = ", ".join(
                    f"{number} {item.label or 'without a label'}"
                    for number, item in enumerate(changed, 1)
                )
                raise InputError(
                    f"--span '{text}': no object is called '{label}'; there are {names}: write a "
                    "label or a number, such as --span violin=12-15.5"
                )
            for index in matches:
                spans = merge_spans([*changed[index].spans, span])
                changed[index] = changed[index].model_copy(update={"spans": spans})
        return tuple(changed)


def resolve_prompts(
    prompts: object,
    video: object,
    name: str,
    clip_objects: object = (),
    words: PromptWords | None = None,
) -> tuple[VisibleObject, ...]:
    """Return the objects to separate: in the order given, then those of points, masks and text.

    None where none are given: they are to be found, and `words` to be applied to them.

    Objects of the caller replace the objects of a clip, and those replace objects.json in the
    folder that is named as the video without its ending. Masks are read.

    Args:
        prompts: objects of the caller (`ObjectPrompts`); none: those of the clip or the file.
        video: path, bytes, file object or clip.
        name: name of the video in errors.
        clip_objects: objects of a clip given as arrays.
        words: further prompts; none: no more.

    Raises:
        InputError: a prompt that cannot be read or of another type, or all are excluded.
    """
    words = words or PromptWords()
    new_objects = words.new_objects()
    if prompts is None and new_objects:
        prompts = []
    if prompts is None and not clip_objects:
        prompts = _objects_file(video)
    if prompts is None:
        objects = _parse_prompts(clip_objects, "the objects of the clip", parse_object)
    elif isinstance(prompts, os.PathLike):
        objects = read_objects(Path(prompts))
        if not objects:
            raise InputError(
                f"'{os.fspath(prompts)}' contains no objects; add one, or give it with --object "
                f"{BOX_EXAMPLE}"
            )
    else:
        objects = _parse_prompts(prompts, "objects", parse_object)
    objects += new_objects
    if not objects:
        return ()
    objects = words.apply([_with_mask_boxes(item) for item in objects])
    if all(item.is_excluded for item in objects):
        raise InputError(
            f"{name}: all objects are excluded, which leaves the whole sound in the residual; give "
            "one to separate, such as --object violin"
        )
    return objects


def _parse_prompts(
    prompts: object, what: str, parse: Callable[[str], VisibleObject]
) -> tuple[VisibleObject, ...]:
    """Parse one prompt or several in order; `VisibleObject`s are returned as they are."""
    # A set has no order, in which stems are numbered, and an iterator is empty when used again.
    listed = [prompts] if isinstance(prompts, str | VisibleObject) else prompts
    if not isinstance(listed, Sequence) or isinstance(listed, bytes | bytearray | memoryview):
        raise _wrong_prompt(what, prompts)
    parsed = []
    for number, prompt in enumerate(listed, 1):
        if not isinstance(prompt, str | VisibleObject):
            raise _wrong_prompt(f"{what}, item {number}", prompt)
        parsed.append(parse(prompt) if isinstance(prompt, str) else prompt)
    return tuple(parsed)


def _wrong_prompt(what: str, prompt: object) -> InputError:
    """Return the error for a prompt of a type that none has."""
    return InputError(
        f"{what}: given is {reprlib.repr(prompt)}, of type {type(prompt).__name__}; give a list of "
        f'strings such as {BOX_EXAMPLE}, or of avsep.records.VisibleObject(label="violin", '
        "boxes=[TimedBox(time_seconds=0, box=(0.1, 0.2, 0.5, 0.9))]); for objects also the "
        "pathlib.Path of an objects.json"
    )


def _listed(words: Sequence[str] | str) -> Sequence[str]:
    return [words] if isinstance(words, str) else words


def _objects_file(video: object) -> Path | None:
    """Return the path of objects.json beside a video, where toyband writes it; else none."""
    if not isinstance(video, str | os.PathLike):
        return None
    path = Path(video).with_suffix("") / "objects.json"
    return path if path.is_file() else None


def _with_mask_boxes(visible: VisibleObject) -> VisibleObject:
    if visible.mask is None or visible.boxes:
        return visible
    return visible.model_copy(update={"boxes": read_mask_boxes(Path(visible.mask))})


def matching_objects(objects: Sequence[VisibleObject], word: str) -> list[int]:
    """Return the places of the objects with a label, or else of the one with a number from 1.

    >>> objects = [parse_object(label) for label in ("violin", "piano", "Violin")]
    >>> matching_objects(objects, "violin"), matching_objects(objects, "2")
    ([0, 2], [1])
    """
    key = word.strip().casefold()
    if not key:
        return []
    matches = [
        index
        for index, item in enumerate(objects)
        if item.label is not None and item.label.strip().casefold() == key
    ]
    return matches or [index for index in range(len(objects)) if str(index + 1) == key]


# Words of the command line


def parse_object(text: str) -> VisibleObject:
    """Parse `LABEL@x1,y1,x2,y2`, or a label that a detector looks for.

    `LABEL@` is the whole picture. Without a label (`@x1,y1,x2,y2`, or `@`) the object is named
    from the picture.

    >>> parse_object("violin@0.1,0.2,0.5,0.9").boxes[0].box
    (0.1, 0.2, 0.5, 0.9)
    >>> parse_object("@").label is None
    True
    """
    # --object FILE.json for --objects FILE.json is an easy slip, and would be a silent label.
    if text.strip().lower().endswith(".json"):
        raise InputError(
            f"--object '{text}' is read as a label; to read the file of that name write --objects "
            f"{text.strip()}, in Python pathlib.Path({text.strip()!r})"
        )
    # The last @ separates label and box, so that labels may contain one.
    label, at, box = text.rpartition("@")
    if not at:
        label, box = text, ""
    if not at and not label.strip():
        raise InputError(
            f"--object '{text}' has neither label nor box; write one or both: {BOX_EXAMPLE}"
        )
    boxes: tuple[TimedBox, ...] = ()
    if box.strip():
        boxes = (TimedBox(time_seconds=0, box=_parse_box(box, f"--object '{text}'")),)
    return VisibleObject(label=label.strip() or None, boxes=boxes, is_sought=not at)


def _parse_box(box: str, where: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(number) for number in box.split(","))
        return TimedBox(time_seconds=0, box=(x1, y1, x2, y2)).box
    except ValueError as error:
        raise InputError(
            f"{where}: '{box}' is not a box; write x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 and 0 <= y1 "
            f"< y2 <= 1, such as {BOX_EXAMPLE}"
        ) from error


def parse_text(text: str) -> VisibleObject:
    """Parse a text prompt: an object without box and picture.

    >>> parse_text("violin").is_visible
    False
    """
    word = text.strip()
    if not word:
        raise InputError(f"--text '{text}' is empty; write a word, such as --text violin")
    if "@" in word:
        raise InputError(f"--text '{text}': a text prompt has no box; write --object '{text}'")
    return VisibleObject(label=word, prompt=word)


def parse_excluded(text: str) -> VisibleObject:
    """Parse a word, or `LABEL@x1,y1,x2,y2`, of an object whose sound goes to the residual.

    Without a box it is a text prompt, where the model takes those, and else the whole picture.

    >>> parse_excluded("piano@0.5,0,1,1").boxes[0].box, parse_excluded("piano").prompt
    ((0.5, 0.0, 1.0, 1.0), 'piano')
    """
    label, at, box = text.rpartition("@")
    word = (label if at else text).strip()
    if not word:
        raise InputError(f"--not '{text}' has no word; write one, such as --not piano")
    if not at:
        return VisibleObject(label=word, prompt=word, is_excluded=True)
    boxes = (TimedBox(time_seconds=0, box=_parse_box(box, f"--not '{text}'")),)
    return VisibleObject(label=word, boxes=boxes, is_excluded=True)


def parse_point(text: str) -> VisibleObject:
    """Parse `[LABEL=]x,y[@seconds]`: the object under a point of the picture, at a time.

    >>> parse_point("violin=0.3,0.5@12").point
    TimedPoint(x=0.3, y=0.5, time_seconds=12.0)
    """
    label, place = _split_label(text)
    match = _POINT.fullmatch(place)
    if match is None or max(float(match[1]), float(match[2])) > 1:
        raise InputError(
            f"--point '{text}': '{place}' is not a point; write x,y from 0 to 1, origin top left, "
            "and perhaps a time in seconds: 0.3,0.5 or 0.3,0.5@12 or violin=0.3,0.5@12"
        )
    x, y, seconds = (float(number or 0) for number in match.groups())
    return VisibleObject(label=label, point=TimedPoint(x=x, y=y, time_seconds=seconds))


def parse_mask(text: str) -> VisibleObject:
    """Parse `[LABEL=]FILE`: an object whose boxes are those of a mask, which is not read here."""
    # A file may have an = in its name.
    label, file = (None, text) if Path(text).is_file() else _split_label(text)
    if not file.strip():
        raise InputError(
            f"--mask '{text}' names no file; write a picture or video that is white where the "
            "object is: --mask violin.png or --mask violin=mask.mp4"
        )
    return VisibleObject(label=label, mask=file)


def parse_span(text: str) -> tuple[str | None, Span]:
    """Parse `[LABEL=]START-END`: label or none, start and end in seconds of the video.

    >>> parse_span("violin=12-15.5"), parse_span("0-3")
    (('violin', (12.0, 15.5)), (None, (0.0, 3.0)))
    """
    label, times = _split_label(text)
    match = _SPAN.fullmatch(times)
    if match is None or not float(match[1]) < float(match[2]):
        raise InputError(
            f"--span '{text}': '{times}' is not a span; write START-END in seconds of the video "
            "with 0 <= START < END, such as --span 12-15.5 or --span violin=12-15.5"
        )
    return label, (float(match[1]), float(match[2]))


def _split_label(text: str) -> tuple[str | None, str]:
    """Split `LABEL=VALUE` at the last equals sign; none: there is no label."""
    label, _, value = text.rpartition("=")
    return label.strip() or None, value
