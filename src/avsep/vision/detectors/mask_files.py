"""Masks in files as a detector: pictures that hold for the whole video, and mask videos."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64

from avsep.errors import InputError
from avsep.media.frames import read_frames
from avsep.media.masks import is_white, mask_box, open_mask
from avsep.vision.detectors.base import Detections
from avsep.vision.detectors.duplicates import clip
from avsep.vision.detectors.files import FileDetector
from avsep.vision.detectors.labels import read_labels
from avsep.vision.detectors.settings import DetectorSettings

PICTURE_ENDINGS = (".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")
VIDEO_ENDINGS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
# Their pixels are not exactly those that were saved: they cannot be indices.
_LOSSY_FORMATS = ("WEBP", "JPEG")
# Above half of full brightness, a mask is white.
_WHITE, _FULL_WHITE = 127, 255
# A picture of more values, or of a few with white among them, is a mask with soft edges, not an
# index of objects.
_MOST_OBJECTS, _MOST_OBJECTS_WITH_WHITE = 64, 8
# Width by height of a mask may differ this much from the picture's, by rounding.
_MOST_STRETCH = 0.03
_IN_WORDS = (
    "a mask is white where the object is and black elsewhere; a picture of several objects has an "
    "index or a colour for each, and 0 or black elsewhere"
)


class MaskPictures(FileDetector):
    """Find objects whose masks hold for the whole video."""

    def __init__(
        self, paths: Sequence[Path], masks: Mapping[str, Bool[np.ndarray, "H W"]], origin: Path
    ) -> None:
        """Take masks by label, all of one size.

        Raises:
            InputError: masks of several sizes.
        """
        super().__init__(paths, tuple(masks), origin)
        sizes = {mask.shape for mask in masks.values()}
        if len(sizes) > 1:
            listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            raise InputError(f"the masks in '{origin}' have several sizes: {listed}; give one size")
        self._masks = np.stack(list(masks.values()))
        self._labels = tuple(masks)
        self._boxes = np.stack([_box(mask) for mask in self._masks])
        # Finer than the masks, pictures bring nothing.
        self.longest_side_pixels = max(self._masks.shape[1:])

    def _detections(
        self, sizes: Sequence[tuple[int, int]], times_seconds: Sequence[float]
    ) -> list[Detections]:
        resized: dict[tuple[int, int], Detections] = {}
        for size in sizes:
            if size not in resized:
                scores = np.ones(len(self._masks), np.float32)
                masks = _resize(self._masks, size, self._origin)
                resized[size] = clip(Detections(self._boxes, self._labels, scores, masks))
        return [resized[size] for size in sizes]


class MaskVideos(FileDetector):
    """Find objects by videos that are white where each is; where one is black, there is none."""

    longest_side_pixels = None  # masks are wanted as fine as they are

    def __init__(self, videos: Mapping[str, Path], origin: Path) -> None:
        """Take videos by label.

        Raises:
            InputError: one that cannot be read as video.
        """
        for path in videos.values():
            _masks_at(path, [0.0])
        super().__init__(list(videos.values()), tuple(videos), origin)
        self._videos = videos

    def _detections(
        self, sizes: Sequence[tuple[int, int]], times_seconds: Sequence[float]
    ) -> list[Detections]:
        if not times_seconds:
            return []
        # Per video, per time: a video is opened once for all times.
        masks = [_masks_at(path, times_seconds) for path in self._videos.values()]
        all_detections = []
        for size, *of_time in zip(sizes, *masks, strict=True):
            visible = [(label, mask) for label, mask in zip(self._videos, of_time, strict=True)]
            visible = [(label, mask) for label, mask in visible if mask.any()]
            if not visible:
                all_detections.append(Detections.none())
                continue
            boxes = np.stack([_box(mask) for _, mask in visible])
            resized = [_resize(mask[None], size, self._origin)[0] for _, mask in visible]
            labels = tuple(label for label, _ in visible)
            scores = np.ones(len(visible), np.float32)
            all_detections.append(clip(Detections(boxes, labels, scores, np.stack(resized))))
        return all_detections


def load_masks(
    path: str | Path, device: str = "auto", settings: DetectorSettings | None = None
) -> FileDetector:
    """Read masks: a picture, a video, or a folder of pictures or of videos, one an object.

    An object is called as its file, without its ending and a number before it. Objects that share a
    picture are called by the labels of the settings or of `NAME.labels.txt` beside it, in the order
    of their indices or colours, and "object 1", "object 2", ... without.

    Args:
        path: the file or folder.
        device: unused; files need none.
        settings: labels are read.

    Raises:
        InputError: an unreadable file, one without an object, or another number of labels.
    """
    path, settings = Path(path), settings or DetectorSettings()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    pictures = [file for file in files if file.suffix.lower() in PICTURE_ENDINGS]
    if path.is_dir() and not pictures:
        files = [file for file in files if file.suffix.lower() in VIDEO_ENDINGS]
    if not pictures and files:
        return MaskVideos(dict(zip(_names(files), files, strict=True)), path)
    if not pictures:
        endings = ", ".join((*PICTURE_ENDINGS, *VIDEO_ENDINGS))
        raise InputError(f"the folder '{path}' has no masks: no file in it ends in {endings}")
    if not path.is_dir():
        labels = settings.labels or read_labels(path)
        return MaskPictures([path], _objects(path, labels), path)
    masks = {}
    for name, file in zip(_names(pictures), pictures, strict=True):
        masks[name] = np.any(list(_objects(file, ()).values()), axis=0)
    return MaskPictures(pictures, masks, path)


def _masks_at(path: Path, times_seconds: Sequence[float]) -> list[Bool[np.ndarray, "H W"]]:
    """Return the mask of a video at each time."""
    return list(is_white(read_frames(path, times_seconds).pictures))


def _names(files: Sequence[Path]) -> list[str]:
    """Return the label of each file; a repeated one gets a number."""
    names: list[str] = []
    for file in files:
        name = re.sub(r"^\d+[-_. ]*", "", file.stem).replace("_", " ").strip() or file.stem
        number = sum(name == other.split(" #")[0] for other in names)
        names.append(f"{name} #{number + 1}" if number else name)
    return names


def _objects(path: Path, labels: Sequence[str]) -> dict[str, Bool[np.ndarray, "H W"]]:
    """Return the mask of each object in a picture, by label."""
    values = _read_values(path)
    objects = [int(value) for value in np.unique(values) if value]
    if not objects:
        raise InputError(f"the mask '{path}' has no object: all of it is black; {_IN_WORDS}")
    if not labels and len(objects) == 1:
        labels = _names([path])
    labels = labels or [f"object {number}" for number in range(1, len(objects) + 1)]
    if len(labels) != len(objects):
        raise InputError(
            f"the mask '{path}' has {len(objects)} objects, and {len(labels)} labels are given; "
            "write one a line, in the order of their indices or colours"
        )
    if len(set(labels)) < len(labels):
        raise InputError(f"two objects of '{path}' have one label; give each its own")
    return {label: values == value for label, value in zip(labels, objects, strict=True)}


def _read_values(path: Path) -> Int64[np.ndarray, "H W"]:
    """Return a number for the object at each pixel: 0 where there is none."""
    image = open_mask(path, _IN_WORDS)
    if image is None:
        raise InputError(f"cannot read the mask '{path}': it is no picture; {_IN_WORDS}")
    if image.mode == "P" and not image.has_transparency_data:
        return np.asarray(image).astype(np.int64)
    is_lossy = image.format in _LOSSY_FORMATS
    if image.mode.startswith("I") or image.mode in ("L", "1"):
        return _grey_values(np.asarray(image).astype(np.int64), is_lossy)
    # What is transparent is black.
    rgba = np.asarray(image.convert("RGBA")).astype(np.int64)
    colours = rgba[..., :3] * (rgba[..., 3:] > _WHITE)
    if (colours == colours[..., :1]).all():
        return _grey_values(colours[..., 0], is_lossy)
    values = (colours << np.array([16, 8, 0])).sum(axis=-1)
    if len(np.unique(values)) > _MOST_OBJECTS:
        raise InputError(
            f"the mask '{path}' has more than {_MOST_OBJECTS} colours; save it without soft edges, "
            f"as PNG; {_IN_WORDS}"
        )
    return values


def _grey_values(greys: Int64[np.ndarray, "H W"], is_lossy: bool) -> Int64[np.ndarray, "H W"]:
    """Return indices of objects from greys; one object where they are a white mask."""
    num_greys = len(np.unique(greys))
    has_soft_edges = greys.max() == _FULL_WHITE and num_greys > _MOST_OBJECTS_WITH_WHITE
    if is_lossy or has_soft_edges or num_greys > _MOST_OBJECTS:
        return (greys > max(greys.max(), _FULL_WHITE) // 2).astype(np.int64)
    return greys


def _box(mask: Bool[np.ndarray, "H W"]) -> Float32[np.ndarray, " 4"]:
    """Return the smallest box that contains a mask, which is not empty, normalised."""
    return np.array(mask_box(mask), np.float32)


def _resize(
    masks: Bool[np.ndarray, "N h w"], size: tuple[int, int], origin: Path
) -> Bool[np.ndarray, "N H W"]:
    """Return masks in the size of a picture."""
    height, width = masks.shape[1:]
    if abs(width * size[0] / (height * size[1]) - 1) > _MOST_STRETCH:
        raise InputError(
            f"masks of '{origin}' are {width}x{height}, and the picture is {size[1]}x{size[0]}: "
            "their shape differs; make masks of the whole picture"
        )
    rows = (np.arange(size[0]) + 0.5) * height // size[0]
    columns = (np.arange(size[1]) + 0.5) * width // size[1]
    return masks[:, rows.astype(np.int64)[:, None], columns.astype(np.int64)[None]]
