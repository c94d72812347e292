"""Measure the shipped picture encoders on folders of photographs, as in their cards.

    python tools/measure_encoder.py --photos PHOTOS [PHOTOS ...]

PHOTOS holds <class>/<name>.jpg. EfficientNet-Lite0 and the small encoder are measured alike, each
with its own classes and its own framing of a picture:

- naming: photographs whose class the encoder names right, of the classes that it has; among all its
  classes, and among those of the folders alone;
- probe: accuracy of a logistic regression on embeddings, tested on every fifth photograph of a
  class, which is the part that the small encoder was not trained with;
- pointing: mosaics of two photographs of different classes side by side, where the class activation
  map of each class peaks in its own half;
- milliseconds a picture, one at a time on one core.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from avsep.errors import InputError
from avsep.toyband.categories import CATEGORIES, find_category
from avsep.toyband.pictures.photographs import (
    DISTRACTOR_FOLDER,
    HELD_OUT_EVERY,
    HELD_OUT_INDEX,
    SUFFIXES,
    open_photograph,
)
from avsep.vision.efficientnet_lite import load_efficientnet_lite, preprocess
from avsep.vision.image_encoder import load_image_encoder
from avsep.vision.imagenet import find_classes

# Of a class with fewer photographs, a fifth is one or none.
FEWEST_PHOTOGRAPHS = 10
MOSAIC_PIXELS = 224  # side of each half
NUM_TIMED = 50

Picture = UInt8[Tensor, "1 3 H W"]


@dataclass(frozen=True)
class Encoder:
    """An encoder behind one interface.

    Attributes:
        name: of its weights.
        classes: of a folder's name, the indices of its classes; empty if it has none.
        maps: the last maps of a picture, and of a whole mosaic.
        logits: of all classes, from maps.
        activation: class activation maps from maps and indices, [1, classes, h, w].
    """

    name: str
    classes: Callable[[str], Sequence[int]]
    maps: Callable[[Picture], Float[Tensor, "1 D h w"]]
    mosaic_maps: Callable[[Picture], Float[Tensor, "1 D h w"]]
    logits: Callable[[Float[Tensor, "1 D h w"]], Float[Tensor, "1 classes"]]
    activation: Callable[[Float[Tensor, "1 D h w"], Sequence[int]], Float[Tensor, "1 c h w"]]


@dataclass(frozen=True)
class Encoded:
    """Embeddings and logits of the photographs of one class, and which of them are held out."""

    embeddings: Float[Tensor, "N D"]
    logits: Float[Tensor, "N classes"]
    held_out: np.ndarray


def main() -> None:
    """Measure both encoders and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--mosaics", type=int, default=100, help="for each encoder and folder")
    parser.add_argument("--limit", type=int, help="photographs of a class at most")
    given = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print(json.dumps(measure(given.photos, given.mosaics, given.limit), indent=1))
    except InputError as error:
        parser.error(str(error))


@torch.inference_mode()
def measure(folders: Sequence[Path], num_mosaics: int, limit: int | None = None) -> dict[str, Any]:
    """Return the figures of both encoders on all folders.

    Raises:
        InputError: a folder is missing or holds no photographs.
    """
    by_folder = {folder.name: find_photographs(folder, limit) for folder in folders}
    figures: dict[str, Any] = {}
    for encoder in (efficientnet(), small()):
        encoded = {
            folder: {label: encode(encoder, files) for label, files in classes.items()}
            for folder, classes in by_folder.items()
        }
        figures[encoder.name] = {
            "naming": {name: naming(encoder, classes) for name, classes in encoded.items()},
            "probe": {name: probe(classes) for name, classes in encoded.items()}
            | {"all": probe(dict(chain.from_iterable(c.items() for c in encoded.values())))},
            "pointing": {
                name: pointing(encoder, classes, num_mosaics) for name, classes in by_folder.items()
            },
            "milliseconds a picture": milliseconds(encoder, by_folder),
        }
    return figures


def find_photographs(folder: Path, limit: int | None) -> dict[str, list[Path]]:
    """Return the files of each class in order of name; photographs of anything are left out."""
    subfolders = sorted(path for path in folder.glob("*/") if path.name != DISTRACTOR_FOLDER)
    classes = {
        subfolder.name: sorted(p for p in subfolder.iterdir() if p.suffix.lower() in SUFFIXES)
        for subfolder in subfolders
    }
    classes = {name: files[:limit] for name, files in classes.items() if files}
    if not classes:
        raise InputError(f"no photographs in '{folder}'; give a folder of <class>/<name>.jpg")
    return classes


# The two encoders


def efficientnet() -> Encoder:
    """Return EfficientNet-Lite0: the central square of a picture, mosaics whole."""
    network = load_efficientnet_lite()

    def maps_of(framing: Any, picture: Picture) -> Float[Tensor, "1 D h w"]:
        return network(preprocess(picture, network.settings.picture_pixels, framing))

    return Encoder(
        "efficientnet-lite0",
        find_classes,
        partial(maps_of, "centre"),
        partial(maps_of, "whole"),
        network.logits,
        network.class_activation,
    )


def small() -> Encoder:
    """Return the small encoder: whole pictures as squares, which mosaics are one by one."""
    network = load_image_encoder()

    def classes(label: str) -> Sequence[int]:
        category = find_category(label)
        return () if category is None else (CATEGORIES.index(category),)

    def activation(
        maps: Float[Tensor, "1 D h w"], indices: Sequence[int]
    ) -> Float[Tensor, "1 c h w"]:
        return torch.einsum("bdhw,cd->bchw", maps, network.head.weight[list(indices)])

    return Encoder("image-encoder-mini", classes, network, network, network.logits, activation)


# Figures


def encode(encoder: Encoder, files: Sequence[Path]) -> Encoded:
    """Encode the photographs of one class."""
    embeddings, logits = [], []
    for path in files:
        maps = encoder.maps(read_picture(path))
        embeddings.append(maps.mean(dim=(2, 3)))
        logits.append(encoder.logits(maps))
    held_out = np.arange(len(files)) % HELD_OUT_EVERY == HELD_OUT_INDEX
    return Encoded(torch.cat(embeddings), torch.cat(logits), held_out)


def naming(encoder: Encoder, encoded: Mapping[str, Encoded]) -> dict[str, Any]:
    """Return the shares that are named right, of the held-out photographs too."""
    indices = {label: list(encoder.classes(label)) for label in encoded if encoder.classes(label)}
    of_folders = sorted(set(chain.from_iterable(indices.values())))
    rights: dict[str, list[np.ndarray]] = {"all its classes": [], "classes of the folders": []}
    held_out, by_class = [], {}
    for label, numbers in indices.items():
        logits = encoded[label].logits
        among_all = np.isin(logits.argmax(dim=1).numpy(), numbers)
        nearest = logits[:, of_folders].argmax(dim=1).numpy()
        rights["all its classes"].append(among_all)
        rights["classes of the folders"].append(np.isin(np.array(of_folders)[nearest], numbers))
        held_out.append(encoded[label].held_out)
        by_class[label] = percent(among_all)
    if not indices:
        return {"classes": 0}
    tested = np.concatenate(held_out)
    result: dict[str, Any] = {"classes": len(indices), "photographs": len(tested)}
    for name, parts in rights.items():
        right = np.concatenate(parts)
        result[f"among {name}"] = percent(right)
        result[f"among {name}, held out"] = percent(right[tested])
    return result | {"by class": by_class}


def probe(encoded: Mapping[str, Encoded]) -> dict[str, Any]:
    """Return the accuracy of a logistic regression, on held-out photographs."""
    used = {
        label: part for label, part in encoded.items() if len(part.held_out) >= FEWEST_PHOTOGRAPHS
    }
    if len(used) < 2:
        return {"classes": len(used)}
    embeddings = np.concatenate([part.embeddings.numpy() for part in used.values()])
    labels = np.concatenate([np.full(len(p.held_out), name) for name, p in used.items()])
    held_out = np.concatenate([part.held_out for part in used.values()])
    # The strength is not searched: one value for both encoders, usual for so many channels.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    model.fit(embeddings[~held_out], labels[~held_out])
    right = model.predict(embeddings[held_out]) == labels[held_out]
    return {"classes": len(used), "tested": len(right), "right": percent(right)}


def pointing(
    encoder: Encoder, classes: Mapping[str, Sequence[Path]], num_mosaics: int
) -> dict[str, Any]:
    """Return the share of halves of mosaics in which the map of their class peaks."""
    # Labels that share a class, such as bongo and drums, cannot be told apart.
    indices = {label: list(encoder.classes(label)) for label in classes if encoder.classes(label)}
    if len({tuple(numbers) for numbers in indices.values()}) < 2:
        return {"mosaics": 0}
    generator = np.random.default_rng(0)
    hits = []
    while len(hits) < 2 * num_mosaics:
        pair = generator.choice(list(indices), 2, replace=False).tolist()
        if set(indices[pair[0]]).intersection(indices[pair[1]]):
            continue
        files = [classes[label][int(generator.integers(len(classes[label])))] for label in pair]
        mosaic = torch.cat([square(path) for path in files], dim=3)
        maps = encoder.mosaic_maps(mosaic)
        for side, label in enumerate(pair):
            activation = encoder.activation(maps, indices[label]).amax(dim=1)[0]
            column = int(activation.argmax()) % activation.shape[1]
            hits.append((column >= activation.shape[1] / 2) == bool(side))
    return {"mosaics": num_mosaics, "halves": percent(np.array(hits))}


def milliseconds(encoder: Encoder, by_folder: Mapping[str, Mapping[str, Sequence[Path]]]) -> float:
    """Return the median time of a picture, from its pixels to logits, after some to warm up."""
    files = [path for classes in by_folder.values() for path in chain(*classes.values())]
    pictures = [read_picture(path) for path in files[:NUM_TIMED]]
    seconds = []
    for picture in pictures:
        start = time.perf_counter()
        encoder.logits(encoder.maps(picture))
        seconds.append(time.perf_counter() - start)
    return round(1000 * float(np.median(seconds[len(seconds) // 10 :])), 1)


def percent(right: np.ndarray) -> float | None:
    """Return the share of true values in percent; None if there are no values."""
    return round(100 * float(np.mean(right)), 1) if len(right) else None


def read_picture(path: Path) -> Picture:
    """Read a photograph as a batch of one."""
    return torch.from_numpy(np.array(open_photograph(path))).permute(2, 0, 1)[None]


def square(path: Path) -> Picture:
    """Read a photograph, resized to a square half of a mosaic."""
    size = (MOSAIC_PIXELS, MOSAIC_PIXELS)
    image = open_photograph(path).resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


if __name__ == "__main__":
    main()
