"""Compose the pictures that the shipped detector is trained with: drawn stages and photographs.

A scene is a picture with the box and label of everything in it that the detector is to find:

- drawn: a frame of a toyband stage with its musicians;
- cards: photographs as rectangles on a background, as toyband's photograph stages have them;
- cut-outs: photographs whose background is plain, without it, on a real or drawn background;
- whole: one photograph that fills the picture, with the box of its object.

`python tools/detector_scenes.py --photos DIR DIR --out sheet.png` draws some to look at.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from avsep.labels import normalise_label
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import ToybandSettings, draw_cast, play, set_stage
from avsep.toyband.material import Material
from avsep.toyband.pictures.photographs import (
    HELD_OUT_EVERY,
    HELD_OUT_INDEX,
    SUFFIXES,
    open_photograph,
)
from avsep.toyband.pictures.scenery import draw_backdrop
from avsep.vision.efficientnet_lite import load_efficientnet_lite, preprocess
from avsep.vision.imagenet import find_classes

OTHER = "other"
# Names of folders that are no word for the thing.
WORDS = {"bus_truck": "truck", "siren": "police car", "toilet_tap": "tap",
         "keyboard": "computer keyboard"}  # fmt: skip
FEWEST_PHOTOGRAPHS = 10
LONGEST_SIDE = 320
# Shapes of pictures, height and width, and how often each is drawn; multiples of 32.
SHAPES = {(192, 320): 0.6, (256, 320): 0.2, (320, 320): 0.05, (320, 192): 0.15}
KINDS = {"cards": 0.4, "cut-outs": 0.25, "whole": 0.15, "drawn": 0.2}
# Crops of COCO hold this much of the object's side on each side of it.
COCO_MARGIN = 0.12
PLAIN_TOLERANCE = 26  # of 255, from the colour of the border
PLAIN_SHARE = 0.92  # of the border's pixels, for a plain background
MOST_COVERED = 0.3  # of an object that one in front may hide
# From this share of all classes on, ImageNet's classes rename a photograph of "other".
RENAMED_FROM, DOUBTFUL_FROM = 0.35, 0.08


class Photograph(NamedTuple):
    """A photograph: pixels, label, mask where its background is plain, box of its object."""

    pixels: np.ndarray
    label: int
    alpha: np.ndarray | None
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """A picture [H, W, 3], boxes [N, 4] in pixels x1 y1 x2 y2, and labels [N]."""

    picture: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def find_labels(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the words of all classes with enough photographs, toyband's first, "other" last."""
    counts: dict[str, int] = {}
    for name, files in photograph_files(folders).items():
        counts[name] = len(files)
    found = sorted(name for name, number in counts.items() if number >= FEWEST_PHOTOGRAPHS)
    others = [name for name in found if name not in (*CATEGORIES, OTHER)]
    return (*CATEGORIES, *others, OTHER)


def photograph_files(folders: Sequence[Path]) -> Mapping[str, tuple[Path, ...]]:
    """Return the files of each class of folders <class>/<name>.jpg, by the word for it."""
    files: dict[str, tuple[Path, ...]] = {}
    for inner in sorted(path for folder in folders for path in folder.iterdir() if path.is_dir()):
        word = WORDS.get(inner.name) or normalise_label(inner.name)
        found = sorted(path for path in inner.iterdir() if path.suffix.lower() in SUFFIXES)
        files[word] = (*files.get(word, ()), *found)
    return files


def read_photographs(
    folders: Sequence[Path], labels: Sequence[str], *, held_out: bool
) -> tuple[Photograph, ...]:
    """Read one part of the split of all classes; every fifth photograph is held out."""
    photographs = []
    for word, files in photograph_files(folders).items():
        for index, path in enumerate(files):
            is_held_out = index % HELD_OUT_EVERY == HELD_OUT_INDEX
            if is_held_out != held_out or (word not in labels and word != OTHER):
                continue
            pixels = np.asarray(open_photograph(path))
            label = rename(pixels, tuple(labels)) if word == OTHER else word
            if label is None:
                continue
            alpha = cut_out(pixels)
            box = object_box(pixels, label, alpha, is_coco=path.name.startswith("coco"))
            photographs.append(Photograph(pixels, labels.index(label), alpha, box))
    return tuple(photographs)


def rename(pixels: np.ndarray, labels: tuple[str, ...]) -> str | None:
    """Return the label of a photograph of anything: one of ImageNet's dogs is a dog here too.

    None where it is in doubt whether the photograph is one of the labels.
    """
    network = load_efficientnet_lite()
    with torch.inference_mode():
        maps = network(preprocess(as_batch(pixels), network.settings.picture_pixels))
        shares = network.logits(maps)[0].softmax(0)
    sums = {word: float(shares[list(found)].sum()) for word, found in classes_of(labels)}
    best = max(sums, key=lambda word: sums[word])
    if sums[best] >= RENAMED_FROM:
        return best
    return OTHER if sums[best] < DOUBTFUL_FROM else None


@cache
def classes_of(labels: tuple[str, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the ImageNet classes of each label that has some."""
    pairs = ((word, tuple(find_classes(word))) for word in labels)
    return tuple((word, found) for word, found in pairs if found)


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    """Return a picture as a batch [1, 3, H, W]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


def cut_out(pixels: np.ndarray) -> np.ndarray | None:
    """Return the mask (0..255) of what stands on a plain background; none if it is not plain."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(int)
    colour = np.median(border, axis=0)
    if (np.abs(border - colour).max(1) < PLAIN_TOLERANCE).mean() < PLAIN_SHARE:
        return None
    plain = np.abs(pixels.astype(int) - colour).max(2) < PLAIN_TOLERANCE
    regions, _ = ndimage.label(plain)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    background = np.isin(regions, np.unique(edge[edge > 0]))
    mask = ndimage.binary_opening(~background, iterations=1)
    if not 0.05 < mask.mean() < 0.9:
        return None
    alpha = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(alpha.filter(ImageFilter.GaussianBlur(0.7)))


def object_box(
    pixels: np.ndarray, label: str, alpha: np.ndarray | None, *, is_coco: bool
) -> tuple[float, float, float, float]:
    """Return the box of the object in its photograph, in shares of its sides."""
    height, width = pixels.shape[:2]
    if alpha is not None:
        rows, columns = (np.flatnonzero((alpha > 127).any(axis)) for axis in (1, 0))
        x1, x2 = columns[0] / width, (columns[-1] + 1) / width
        y1, y2 = rows[0] / height, (rows[-1] + 1) / height
        return (float(x1), float(y1), float(x2), float(y2))
    if is_coco:
        inset = COCO_MARGIN / (1 + 2 * COCO_MARGIN)
        return (inset, inset, 1 - inset, 1 - inset)
    found = find_classes(label)
    if not found or label in CATEGORIES:
        return (0.02, 0.02, 0.98, 0.98)
    network = load_efficientnet_lite()
    with torch.inference_mode():
        maps = network(preprocess(as_batch(pixels), network.settings.picture_pixels, "whole"))
        activation = network.class_activation(maps, found).amax(1)[0].numpy()
    low, high = float(np.median(activation)), float(activation.max())
    is_hot = activation > low + 0.3 * (high - low)
    regions, _ = ndimage.label(is_hot)
    peak = np.unravel_index(activation.argmax(), activation.shape)
    rows, columns = np.nonzero(regions == regions[peak])
    cells_down, cells_across = activation.shape
    # A cell sees more than its own pixels: half of one is added.
    return (
        max(0.0, (columns.min() - 0.4) / cells_across),
        max(0.0, (rows.min() - 0.4) / cells_down),
        min(1.0, (columns.max() + 1.4) / cells_across),
        min(1.0, (rows.max() + 1.4) / cells_down),
    )


# Scenes


class SceneMaker:
    """Compose scenes of photographs and drawn frames; a seed has the same scenes."""

    def __init__(
        self, photographs: Sequence[Photograph], drawn: Sequence[Scene], num_labels: int
    ) -> None:
        self._photographs, self._drawn = tuple(photographs), tuple(drawn)
        by_label = [
            [item for item in photographs if item.label == label] for label in range(num_labels)
        ]
        self._by_label = [items for items in by_label if items]
        self._cut_outs = [
            plain for items in by_label if (plain := [i for i in items if i.alpha is not None])
        ]
        self._others = [item for item in photographs if item.label == num_labels - 1]

    def make(self, shape: tuple[int, int], generator: np.random.Generator) -> Scene:
        """Compose one scene of a height and width."""
        kinds, shares = list(KINDS), list(KINDS.values())
        kind = kinds[generator.choice(len(kinds), p=shares)]
        if kind == "drawn" and (not self._drawn or shape[0] > shape[1]):
            kind = "cards"
        scene = {
            "cards": self._cards,
            "cut-outs": self._cut_out_scene,
            "whole": self._whole,
            "drawn": self._drawn_scene,
        }[kind](shape, generator)
        return _varied(scene, generator)

    def _cards(self, shape: tuple[int, int], generator: np.random.Generator) -> Scene:
        canvas = self._background(shape, generator)
        chosen = self._choose(self._by_label, int(generator.integers(1, 5)), generator)
        if generator.random() < 0.4:
            chosen.append(self._others[generator.integers(len(self._others))])
        return self._compose(canvas, chosen, generator, as_cards=True)

    def _cut_out_scene(self, shape: tuple[int, int], generator: np.random.Generator) -> Scene:
        canvas = self._background(shape, generator)
        chosen = self._choose(self._cut_outs, int(generator.integers(1, 5)), generator)
        return self._compose(canvas, chosen, generator, as_cards=False)

    def _whole(self, shape: tuple[int, int], generator: np.random.Generator) -> Scene:
        """Fill the picture with one photograph, cut to the shape around its object."""
        (photograph,) = self._choose(self._by_label, 1, generator)
        height, width = shape
        pixels, box = photograph.pixels, photograph.box
        zoom = float(generator.uniform(1.0, 1.35))
        scale = zoom * max(height / pixels.shape[0], width / pixels.shape[1])
        size = (max(width, round(pixels.shape[1] * scale)),
                max(height, round(pixels.shape[0] * scale)))  # fmt: skip
        centre = ((box[0] + box[2]) / 2 * size[0], (box[1] + box[3]) / 2 * size[1])
        left = int(np.clip(centre[0] - width * generator.uniform(0.35, 0.65), 0, size[0] - width))
        top = int(np.clip(centre[1] - height * generator.uniform(0.35, 0.65), 0, size[1] - height))
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        picture = picture.crop((left, top, left + width, top + height))
        corners = np.array(box) * np.tile(size, 2) - (left, top, left, top)
        corners = corners.clip(0, (width, height, width, height))
        return Scene(np.asarray(picture), corners[None], np.array([photograph.label]))

    def _drawn_scene(self, shape: tuple[int, int], generator: np.random.Generator) -> Scene:
        scene = self._drawn[generator.integers(len(self._drawn))]
        picture = np.zeros((*shape, 3), np.uint8)
        picture[:] = 127
        height, width = scene.picture.shape[:2]
        picture[:height, :width] = scene.picture[: shape[0], : shape[1]]
        return Scene(picture, scene.boxes.copy(), scene.labels)

    def _choose(
        self,
        groups: Sequence[Sequence[Photograph]],
        number: int,
        generator: np.random.Generator,
    ) -> list[Photograph]:
        """Choose photographs, every class as often."""
        chosen = (groups[generator.integers(len(groups))] for _ in range(number))
        return [group[generator.integers(len(group))] for group in chosen]

    def _background(self, shape: tuple[int, int], generator: np.random.Generator) -> Image.Image:
        height, width = shape
        if generator.random() < 0.55:
            return draw_backdrop((width, height), generator).picture.convert("RGB")
        # Far and out of focus, so that what it shows is no object of the scene.
        pixels = self._others[generator.integers(len(self._others))].pixels
        picture = Image.fromarray(pixels)
        share = float(generator.uniform(0.35, 0.9))
        side_x, side_y = picture.width * share, picture.height * share
        left = float(generator.uniform(0, picture.width - side_x))
        top = float(generator.uniform(0, picture.height - side_y))
        view = (left, top, left + side_x, top + side_y)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=view)
        return picture.filter(ImageFilter.GaussianBlur(float(generator.uniform(3, 9))))

    def _compose(
        self,
        canvas: Image.Image,
        chosen: Sequence[Photograph],
        generator: np.random.Generator,
        *,
        as_cards: bool,
    ) -> Scene:
        """Paste photographs from back to front where they hide little of one another."""
        boxes: list[np.ndarray] = []
        labels: list[int] = []
        for photograph in chosen:
            for _ in range(8):
                rectangle = _place(photograph, canvas.size, len(chosen), generator, as_cards)
                if all(_covered(box, rectangle) < MOST_COVERED for box in boxes):
                    break
            else:
                continue
            picture, alpha, corners = _view(photograph, rectangle, generator, as_cards)
            canvas.paste(picture, (int(rectangle[0]), int(rectangle[1])), alpha)
            boxes.append(corners)
            labels.append(photograph.label)
        corners = np.array(boxes).reshape(-1, 4)
        corners = corners.clip(0, (*canvas.size, *canvas.size))
        return Scene(np.asarray(canvas), corners, np.array(labels, np.int64))


def _place(
    photograph: Photograph,
    size: tuple[int, int],
    number: int,
    generator: np.random.Generator,
    as_card: bool,
) -> np.ndarray:
    """Return the rectangle of the photograph in the picture: x1 y1 x2 y2 in pixels."""
    width, height = size
    sides = np.array(photograph.pixels.shape[1::-1], np.float64)
    largest = 0.95 * min(width / sides[0], height / sides[1])
    least = 0.3 if number > 1 else 0.4
    sides = np.maximum(sides * largest * generator.uniform(least, 1.0), 12)
    if as_card:
        free = np.array(size) - sides
        corner = generator.uniform(0, 1, 2) * free
    else:
        # A part of it may be beyond the border.
        corner = generator.uniform(-0.12, 1.0, 2) * (np.array(size) - 0.88 * sides)
    return np.concatenate([corner, corner + sides]).round()


def _view(
    photograph: Photograph, rectangle: np.ndarray, generator: np.random.Generator, as_card: bool
) -> tuple[Image.Image, Image.Image | None, np.ndarray]:
    """Return picture and mask to paste, and the box of what is to be found."""
    size = tuple(np.maximum(rectangle[2:] - rectangle[:2], 2).astype(int).tolist())
    picture = Image.fromarray(photograph.pixels)
    if as_card:
        share = float(generator.uniform(0.7, 1.0))
        sides = np.array(picture.size) * share
        corner = generator.uniform(0, 1, 2) * (np.array(picture.size) - sides)
        view = (*corner.tolist(), *(corner + sides).tolist())
        return picture.resize(size, Image.Resampling.BICUBIC, box=view), None, rectangle
    assert photograph.alpha is not None, "only photographs with a mask are cut out"
    alpha = Image.fromarray(photograph.alpha).resize(size, Image.Resampling.BICUBIC)
    x1, y1, x2, y2 = photograph.box
    corners = rectangle[[0, 1, 0, 1]] + np.array([x1, y1, x2, y2]) * np.tile(size, 2)
    return picture.resize(size, Image.Resampling.BICUBIC), alpha, corners


def _covered(box: np.ndarray, other: np.ndarray) -> float:
    """Return the share of a box that another one covers."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(sides.clip(0).prod() / max((box[2:] - box[:2]).prod(), 1e-9))


def _varied(scene: Scene, generator: np.random.Generator) -> Scene:
    """Vary side, light, colour and sharpness of a scene; boxes too small to see are left out."""
    picture, boxes = scene.picture, scene.boxes.copy()
    width = picture.shape[1]
    if generator.random() < 0.5:
        picture = picture[:, ::-1]
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    pixels = picture.astype(np.float32)
    pixels = (pixels - 127) * generator.uniform(0.65, 1.3) + 127 + generator.uniform(-30, 30)
    pixels *= generator.uniform(0.9, 1.1, 3)
    if generator.random() < 0.1:
        pixels[:] = pixels.mean(2, keepdims=True)
    if generator.random() < 0.3:
        pixels += generator.normal(0, generator.uniform(2, 10), pixels.shape)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if generator.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(generator.uniform(0.3, 1.5))))
    is_seen = ((boxes[:, 2:] - boxes[:, :2]) > 8).all(1)
    return Scene(np.asarray(image), boxes[is_seen], scene.labels[is_seen])


# Drawn stages


def draw_stages(number: int, seed: int, *, frames_of_each: int = 2) -> Iterator[Scene]:
    """Draw frames of toyband stages, `LONGEST_SIDE` pixels wide; an odd seed is held out."""
    settings = ToybandSettings()
    material = Material.read()
    held_out = bool(seed % 2)
    for index in range(number):
        generator = np.random.default_rng([seed, index])
        cast = draw_cast(settings, material.categories(held_out, ()), generator)
        music = play(cast, settings, material, held_out, generator)
        stage = set_stage(cast, music, settings, material, held_out, generator)
        objects = stage.objects()
        labels = np.array([CATEGORIES.index(item.label or "") for item in objects], np.int64)
        for time in generator.uniform(0, settings.clip_seconds - 0.1, frames_of_each).tolist():
            image = Image.fromarray(stage.frame(round(time * 20) / 20))
            height = round(LONGEST_SIDE * image.height / image.width)
            picture = image.resize((LONGEST_SIDE, height), Image.Resampling.BOX)
            size = np.tile(picture.size, 2)
            boxes = np.array([item.box_at(time) for item in objects]).reshape(-1, 4) * size
            yield Scene(np.asarray(picture), boxes, labels)


def save_scenes(scenes: Sequence[Scene], path: Path) -> None:
    """Write scenes of one shape as arrays."""
    counts = np.array([len(scene.labels) for scene in scenes])
    np.savez(
        path,
        pictures=np.stack([scene.picture for scene in scenes]),
        counts=counts,
        boxes=np.concatenate([scene.boxes for scene in scenes]),
        labels=np.concatenate([scene.labels for scene in scenes]),
    )


def load_scenes(path: Path) -> list[Scene]:
    """Read scenes that `save_scenes` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        ends = arrays["counts"].cumsum()[:-1]
        parts = zip(
            arrays["pictures"],
            np.split(arrays["boxes"], ends),
            np.split(arrays["labels"], ends),
            strict=True,
        )
        return [Scene(*part) for part in parts]


def main() -> None:
    """Draw a sheet of scenes, or write drawn stages for a training."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--photos", type=Path, nargs="+")
    parser.add_argument("--drawn", type=Path, help="file of drawn stages; written with --stages")
    parser.add_argument("--stages", type=int, default=0, help="number of stages to draw")
    parser.add_argument("--seed", type=int, default=0, help="odd: held-out notes")
    parser.add_argument("--out", type=Path, help="sheet of scenes")
    given = parser.parse_args()
    if given.stages:
        save_scenes(list(draw_stages(given.stages, given.seed)), given.drawn)
    if given.out:
        labels = find_labels(given.photos)
        photographs = read_photographs(given.photos, labels, held_out=False)
        drawn = load_scenes(given.drawn) if given.drawn else []
        maker = SceneMaker(photographs, drawn, len(labels))
        sheet = Image.new("RGB", (5 * 324, 5 * 260))
        for index in range(25):
            scene = maker.make((256, 320), np.random.default_rng([1, index]))
            picture = Image.fromarray(scene.picture)
            pen = ImageDraw.Draw(picture)
            for box, label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True):
                pen.rectangle(box, outline="red", width=2)
                pen.text((box[0] + 3, box[1] + 2), labels[label], fill="red")
            sheet.paste(picture, (index % 5 * 324, index // 5 * 260))
        sheet.save(given.out)


if __name__ == "__main__":
    main()
