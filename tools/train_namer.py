"""Train the shipped namer: words for pictures of objects, a linear layer on EfficientNet-Lite0.

    python tools/detector_scenes.py --stages 1800 --seed 0 --drawn drawn.npz
    python tools/train_namer.py --photos PHOTOS PHOTOS2 --drawn drawn.npz --drawn-test test.npz \
        --out src/avsep/weights/namer.safetensors

PHOTOS holds <class>/<name>.jpg; every fifth photograph of a class is held out. Of each one
several views are embedded: boxes around its object as a detector may draw them, small
ones too. Of drawn stages, boxes around the musicians. It prints how many of the held-out ones it
names right, and how many it leaves unnamed.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from avsep.toyband.categories import CATEGORIES
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from avsep.vision.namer import Namer, NamerSettings, embed_crops
from detector_scenes import Photograph, Scene, find_labels, load_scenes, read_photographs
from store_network import store_network

VIEWS = 4  # of a photograph in training
CROP_PIXELS = 224
BATCH = 32
EPOCHS = 60
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 2e-2
LABEL_SMOOTHING = 0.05


def main() -> None:
    """Embed, train, write and test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--drawn", type=Path, required=True)
    parser.add_argument("--drawn-test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--drawn-scenes", type=int, default=1500, help="of the training")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    labels = find_labels(given.photos)
    scenes = load_scenes(given.drawn)[: 2 * given.drawn_scenes : 2]
    photographs = read_photographs(given.photos, labels, held_out=False)
    parts = [embed(photograph_views(photographs, VIEWS)), embed(scene_views(scenes))]
    vectors, numbers = (torch.cat(items) for items in zip(*parts, strict=True))
    namer = train(vectors, numbers, labels)
    store_network(namer, given.out, {"tool": "train_namer.py"})
    held_out = read_photographs(given.photos, labels, held_out=True)
    report(namer, "photographs", *embed(photograph_views(held_out, 1)))
    report(namer, "drawn", *embed(scene_views(load_scenes(given.drawn_test))))


def photograph_views(
    photographs: Sequence[Photograph], num_views: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield views of photographs with their labels: the box of the object first."""
    generator = np.random.default_rng(0)
    for photograph in photographs:
        for view in range(num_views):
            yield (
                _view(photograph.pixels, photograph.box, generator, is_exact=not view),
                (photograph.label),
            )


def scene_views(scenes: Sequence[Scene]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield views of everything in scenes with its label."""
    generator = np.random.default_rng(1)
    for scene in scenes:
        height, width = scene.picture.shape[:2]
        for box, label in zip(scene.boxes, scene.labels.tolist(), strict=True):
            shares = tuple((box / (width, height, width, height)).clip(0, 1).tolist())
            yield _view(scene.picture, shares, generator, is_exact=False), label


def _view(
    pixels: np.ndarray,
    box: tuple[float, ...],
    generator: np.random.Generator,
    *,
    is_exact: bool,
) -> np.ndarray:
    """Return a box, somewhat moved, as a square; sometimes from far away, or mirrored."""
    height, width = pixels.shape[:2]
    corners = np.array(box)
    if not is_exact:
        sides = np.tile(corners[2:] - corners[:2], 2)
        corners = (corners + sides * generator.uniform(-0.14, 0.14, 4)).clip(0, 1)
    x1, y1, x2, y2 = corners * (width, height, width, height)
    view = (x1, y1, max(x2, x1 + 2), max(y2, y1 + 2))
    crop = Image.fromarray(pixels).crop(tuple(map(round, view)))
    if not is_exact:
        far = int(generator.integers(56, CROP_PIXELS))
        crop = crop.resize((far, far), Image.Resampling.BILINEAR)
    crop = crop.resize((CROP_PIXELS, CROP_PIXELS), Image.Resampling.BILINEAR)
    square = np.asarray(crop)
    if not is_exact and generator.random() < 0.5:
        square = square[:, ::-1]
    return square


def embed(views: Iterator[tuple[np.ndarray, int]]) -> tuple[Tensor, Tensor]:
    """Return the embeddings [N, 1280] of views and their labels."""
    encoder = load_efficientnet_lite()
    vectors, numbers, squares = [], [], []

    def flush() -> None:
        crops = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        with torch.autocast("cpu", torch.bfloat16):
            vectors.append(embed_crops(crops, encoder).float())
        squares.clear()

    for square, label in views:
        squares.append(square)
        numbers.append(label)
        if len(squares) == BATCH:
            flush()
    if squares:
        flush()
    return torch.cat(vectors), torch.tensor(numbers)


def train(vectors: Tensor, numbers: Tensor, labels: Sequence[str]) -> Namer:
    """Train a linear layer, every label as often."""
    namer = Namer(NamerSettings(labels=tuple(labels)))
    namer.standardise(vectors)
    counts = torch.bincount(numbers, minlength=len(labels)).clamp(min=1)
    weights = (1 / counts.float()).sqrt()[numbers]
    optimiser = torch.optim.AdamW(namer.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    num_steps = EPOCHS * len(numbers) // 256
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    for _ in range(num_steps):
        chosen = torch.multinomial(weights, 256, replacement=True)
        logits = namer(vectors[chosen])
        loss = cross_entropy(logits, numbers[chosen], label_smoothing=LABEL_SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return namer.eval()


def report(namer: Namer, kind: str, vectors: Tensor, numbers: Tensor) -> None:
    """Print the accuracy over all labels, among toyband's categories, and by label."""
    with torch.inference_mode():
        logits = namer(vectors)
    right = logits.argmax(1) == numbers
    in_toyband = numbers < len(CATEGORIES)
    among = logits[:, : len(CATEGORIES)].argmax(1) == numbers
    print(f"{kind}: {right.float().mean():.3f} of {len(numbers)} right; of toyband's categories "
          f"{right[in_toyband].float().mean():.3f}, "
          f"among themselves {among[in_toyband].float().mean():.3f}")  # fmt: skip
    for label, word in enumerate(namer.settings.labels):
        is_word = numbers == label
        if is_word.any() and right[is_word].float().mean() < 0.85:
            wrong = logits[is_word & ~right].argmax(1).bincount().topk(1).indices.item()
            print(f"  {word} {right[is_word].float().mean():.2f} of {int(is_word.sum())}, "
                  f"most often {namer.settings.labels[wrong]}")  # fmt: skip


if __name__ == "__main__":
    main()
