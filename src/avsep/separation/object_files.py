"""Find the objects of video files and write what is found: objects.json and pictures of it."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.media.frames import FrameSettings, read_frames
from avsep.media.objects_file import format_objects
from avsep.pages.html_page import draw_objects
from avsep.records import VisibleObject
from avsep.separation.input_files import find_inputs
from avsep.separation.output_folder import check_writable, folder_name, is_result_folder
from avsep.vision.detectors.base import Detector
from avsep.vision.finding import FindSettings, FoundObjects, find_objects_by

# Called with the name of a file, a stage, its seconds done, and all of them.
Watch = Callable[[str, str, float, float | None], None]

OBJECTS_NAME, PICTURE_NAME, STRIP_NAME = "objects.json", "objects.png", "strip.png"
# An earlier objects.json that differs, perhaps by hand, is renamed to this.
EARLIER_NAME = "objects.before.json"
_PICTURE_PIXELS, _STRIP_PIXELS = 1280, 320
# A strip of more pictures could not be looked at; they are in rows of this many.
_MOST_IN_STRIP, _IN_A_ROW = 60, 5


@dataclass(frozen=True)
class FindOptions:
    """Words, settings and part of the videos to look in, and whether to draw a strip.

    Attributes:
        words: to look for; none: all labels of the detector.
        settings: detector and samples.
        start_seconds, end_seconds: part of each video.
        every_seconds: a strip with a picture each time so much has passed; none: no strip.
    """

    words: tuple[str, ...] = ()
    settings: FindSettings = field(default_factory=FindSettings)
    start_seconds: float = 0.0
    end_seconds: float | None = None
    every_seconds: float | None = None


@dataclass(frozen=True)
class ObjectFiles:
    """The outcome of one file: its objects and the files written, or an error.

    Attributes:
        folder: folder of the files; none after an error.
        files: names of the files in it.
    """

    video: Path
    folder: Path | None = None
    objects: tuple[VisibleObject, ...] = ()
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str | None = None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and a row for each object: number, label, confidence, times, box."""
        rows = [
            [
                f"{number:02d}",
                item.label or "",
                f"{item.confidence:.2f}",
                f"{item.boxes[0].time_seconds:.1f} s",
                f"{item.boxes[-1].time_seconds:.1f} s",
                ",".join(f"{side:.2f}" for side in item.boxes[len(item.boxes) // 2].box),
            ]
            for number, item in enumerate(self.objects, 1)
        ]
        return ["", "label", "confidence", "seen from", "to", "box, midway"], rows

    def as_json(self) -> dict[str, object]:
        """Return all fields as JSON values."""
        return {
            "video": str(self.video),
            "folder": None if self.folder is None else str(self.folder),
            "files": list(self.files),
            "objects": [item.model_dump(exclude_defaults=True) for item in self.objects],
            "warnings": list(self.warnings),
            "error": self.error,
        }


@dataclass
class _Folders:
    """Choose the folder of each video; those of one name get numbers."""

    out: Path
    used: set[Path] = field(default_factory=set)

    def choose(self, video: Path, subfolder: PurePath) -> Path:
        """Return the folder of a video; what is in it stays but for the files written."""
        name, number = folder_name(video), 1
        while (folder := self.out / subfolder / _numbered(name, number)) in self.used:
            number += 1
        self.used.add(folder)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise InputError(f"'{folder}' exists and is not a folder; give another with -o")
        if is_result_folder(folder):
            raise InputError(
                f"'{folder}' contains a result of avsep separate; give another folder with -o"
            )
        return folder


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def find_in_files(
    inputs: Sequence[str | Path],
    out: Path,
    detector: Detector,
    options: FindOptions,
    watch: Watch,
) -> Iterator[ObjectFiles]:
    """Find the objects of files and write `out`/NAME/ for each, in their order.

    Args:
        inputs: files, folders, patterns and lists, as `find_inputs` takes them; those of an input
            folder keep their place in it.
        out: folder of the results.
        detector: finds the objects.
        options: what to look for and to write.
        watch: called with the name of a file, a stage in words, its seconds done, and all of them.

    Raises:
        InputError: an input that contains no file, or `out` cannot be written; a file that cannot
            be read is an error of its outcome.
    """
    files = find_inputs(inputs)
    check_writable(out)
    folders = _Folders(out)
    for item in files:
        try:
            folder = folders.choose(item.path, item.subfolder)
            result = find_objects_by(
                detector,
                item.path,
                options.words,
                settings=options.settings,
                progress=partial(watch, item.path.name),
                start_seconds=options.start_seconds,
                end_seconds=options.end_seconds,
            )
            names = write_objects(result, item.path, folder, options.every_seconds)
        except InputError as error:
            yield ObjectFiles(item.path, error=str(error))
            continue
        yield ObjectFiles(item.path, folder, result.objects, names, result.warnings)


def write_objects(
    result: FoundObjects, video: Path, folder: Path, every_seconds: float | None = None
) -> tuple[str, ...]:
    """Write objects.json, objects.png and, if asked for, strip.png; return their names.

    An objects.json that is there and differs is renamed to objects.before.json.

    Raises:
        InputError: the folder cannot be written, or the video not be read.
    """
    contents: dict[str, str | bytes] = {
        PICTURE_NAME: draw_overview(result, video),
        OBJECTS_NAME: format_objects(result.objects),
    }
    if every_seconds is not None:
        contents[STRIP_NAME] = draw_strip(result, video, every_seconds)
    make_folder(folder)
    earlier = folder / OBJECTS_NAME
    if earlier.is_file() and earlier.read_bytes() != str(contents[OBJECTS_NAME]).encode():
        earlier.replace(folder / EARLIER_NAME)
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return tuple(contents)


# Pictures


def draw_overview(result: FoundObjects, video: Path) -> bytes:
    """Draw the boxes on the middle picture, or the one with most objects, as PNG."""
    seconds = result.overview_seconds
    (picture,) = _read_pictures(result, video, [seconds], _PICTURE_PIXELS)
    return _png(_draw(result, picture, seconds))


def draw_strip(result: FoundObjects, video: Path, every_seconds: float) -> bytes:
    """Draw pictures from all of the video at equal distances, in rows, as PNG.

    Each has the boxes of the objects that are seen then. Of a video with more than 60 they are
    further apart.
    """
    first, last = result.times_seconds[0], result.times_seconds[-1]
    number = min(_MOST_IN_STRIP, 1 + math.floor((last - first) / every_seconds))
    step_seconds = max(every_seconds, (last - first) / max(1, number - 1) if number > 1 else 0.0)
    times = [min(last, first + index * step_seconds) for index in range(number)]
    pictures = _read_pictures(result, video, times, _STRIP_PIXELS)
    num_columns = min(number, _IN_A_ROW)
    height, width = pictures.shape[1:3]
    sheet = Image.new("RGB", (num_columns * width, math.ceil(number / num_columns) * height))
    for index, (picture, seconds) in enumerate(zip(pictures, times, strict=True)):
        row, column = divmod(index, num_columns)
        sheet.paste(_draw(result, picture, seconds), (column * width, row * height))
    return _png(sheet)


def _read_pictures(
    result: FoundObjects, video: Path, times: Sequence[float], longest_side_pixels: int
) -> UInt8[np.ndarray, "K H W 3"]:
    """Read the pictures at times on the time line of boxes."""
    settings = FrameSettings(longest_side_pixels=longest_side_pixels, on_damage="skip")
    file_times = [seconds + result.sound_seconds for seconds in times]
    return read_frames(video, file_times, settings).pictures


def _draw(result: FoundObjects, picture: UInt8[np.ndarray, "H W 3"], seconds: float) -> Image.Image:
    numbers = result.numbers_at(seconds)
    # The surest last, above the others.
    return draw_objects(picture, [(n, result.objects[n]) for n in reversed(numbers)], seconds)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
