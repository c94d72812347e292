"""Train the shipped detector on drawn stages and on scenes composed of photographs.

    python tools/detector_scenes.py --stages 1800 --seed 0 --drawn drawn.npz
    python tools/train_detector.py --photos PHOTOS PHOTOS2 --drawn drawn.npz --run runs/detector \
        --out src/avsep/weights/avsep-detector.safetensors

PHOTOS holds <class>/<name>.jpg; every fifth photograph of a class is held out. The encoder is the
shipped EfficientNet-Lite0 and stays as it is: only pyramid and head are trained, with the losses of
FCOS (focal loss of the classes, GIoU of the boxes) and the overlap of each box. A run that was
stopped goes on from its last checkpoint.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, IterableDataset
from torchvision.ops import box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from avsep.vision.detectors.avsep_detector import (
    STRIDES,
    AvsepDetectorSettings,
    CellPredictions,
    DetectorNetwork,
    boxes_of,
    cell_centres,
    encode,
    normalise,
)
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from detector_scenes import SHAPES, SceneMaker, find_labels, load_scenes, read_photographs
from store_network import store_network

BATCH_SCENES = 16
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.02
WARM_UP_STEPS = 100
EMA_DECAY = 0.998
# Largest distance (pixels) from a cell to a side of its object, at each level of the pyramid.
REACHES = (32.0, 64.0, 128.0, float("inf"))
# An object belongs to the cells whose centre is this many strides from its own.
CENTRE_RADIUS = 1.5


class SceneBatches(IterableDataset):
    """Batches of scenes of one shape: pictures, and boxes and labels of each."""

    def __init__(self, maker: SceneMaker, num_batches: int, seed: int) -> None:
        self.maker, self.num_batches, self.seed = maker, num_batches, seed

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[tuple[Tensor, list[tuple[Tensor, Tensor]]]]:
        shapes, shares = list(SHAPES), list(SHAPES.values())
        # Other scenes in each epoch, and after a resumption.
        start = np.random.SeedSequence().entropy
        for number in range(self.num_batches):
            generator = np.random.default_rng([self.seed, int(start) % 2**32, number])
            shape = shapes[generator.choice(len(shapes), p=shares)]
            scenes = [self.maker.make(shape, generator) for _ in range(BATCH_SCENES)]
            pictures = torch.from_numpy(np.stack([scene.picture for scene in scenes]))
            truth = [
                (torch.from_numpy(scene.boxes).float(), torch.from_numpy(scene.labels))
                for scene in scenes
            ]
            yield pictures.permute(0, 3, 1, 2), truth


class DetectorTraining(lightning.LightningModule):
    """Losses and optimiser of the network."""

    def __init__(self, settings: AvsepDetectorSettings, num_steps: int) -> None:
        super().__init__()
        # Not a submodule: it is frozen, and no part of checkpoints.
        self._encoder = [load_efficientnet_lite()]
        self.network = DetectorNetwork(settings, self._encoder[0])
        self.num_steps = num_steps

    def training_step(self, batch: tuple, _: int) -> Tensor:
        """Return the sum of the losses."""
        pictures, truth = batch
        predictions = self.network(*encode(self._encoder[0], normalise(pictures.float())))
        losses = detector_losses(predictions, truth, tuple(pictures.shape[2:]))
        for name, value in losses.items():
            self.log(name, value, prog_bar=True)
        return sum(losses.values(), torch.zeros(()))

    def configure_optimizers(self) -> dict:
        """Return AdamW, warmed up and then lowered by a half cosine."""
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        warm_up = torch.optim.lr_scheduler.LinearLR(optimiser, 0.05, total_iters=WARM_UP_STEPS)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.num_steps)
        schedule = torch.optim.lr_scheduler.ChainedScheduler([warm_up, cosine])
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def detector_losses(
    predictions: CellPredictions,
    truth: list[tuple[Tensor, Tensor]],
    size: tuple[int, int],
) -> dict[str, Tensor]:
    """Return the losses of classes, boxes and overlaps.

    Args:
        predictions: of the network.
        truth: boxes [N, 4] in pixels and labels [N] of each picture.
        size: height and width of the pictures, multiples of 32.
    """
    centres, strides = cell_centres(*size)
    classes = predictions.classes.float()
    targets = torch.zeros_like(classes)
    owners = [assign(centres, strides, boxes) for boxes, _ in truth]
    predicted, wanted = [], []
    overlap_logits = []
    for item, ((boxes, labels), owner) in enumerate(zip(truth, owners, strict=True)):
        chosen = owner >= 0
        targets[item, chosen, labels[owner[chosen]]] = 1.0
        distances = predictions.distances[item, chosen].float()
        predicted.append(boxes_of(centres[chosen], distances))
        wanted.append(boxes[owner[chosen]])
        overlap_logits.append(predictions.overlap[item, chosen].float())
    boxes, true_boxes = torch.cat(predicted), torch.cat(wanted)
    num_cells = max(1, len(boxes))
    overlaps = box_iou(boxes.detach(), true_boxes).diagonal() if len(boxes) else boxes.new_zeros(0)
    return {
        "classes": sigmoid_focal_loss(classes, targets, reduction="sum") / num_cells,
        "boxes": 1.5 * generalized_box_iou_loss(boxes, true_boxes, reduction="sum") / num_cells,
        "overlaps": 0.5
        * binary_cross_entropy_with_logits(torch.cat(overlap_logits), overlaps, reduction="sum")
        / num_cells,
    }


def assign(centres: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Return the object of each cell, the smallest of those it may belong to; -1 for none."""
    if not len(boxes):
        return torch.full((len(centres),), -1)
    x, y = centres[:, None, 0], centres[:, None, 1]
    sides = torch.stack([x - boxes[:, 0], y - boxes[:, 1], boxes[:, 2] - x, boxes[:, 3] - y], -1)
    reach = sides.amax(-1)
    upper = torch.tensor(REACHES)[torch.searchsorted(torch.tensor(STRIDES).float(), strides)]
    lower = torch.tensor((0.0, *REACHES[:-1]))[
        torch.searchsorted(torch.tensor(STRIDES).float(), strides)
    ]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    offset = (centres[:, None] - middle).abs().amax(-1)
    is_candidate = (
        (sides.amin(-1) > 0)
        & (reach > lower[:, None])
        & (reach <= upper[:, None])
        & (offset < CENTRE_RADIUS * strides[:, None])
    )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    costs = torch.where(is_candidate, areas, torch.inf)
    cheapest, owner = costs.min(1)
    return torch.where(cheapest.isfinite(), owner, -1)


def main() -> None:
    """Train, and write the network with averaged weights."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--drawn", type=Path, required=True, help="stages of detector_scenes.py")
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000, help=f"of {BATCH_SCENES} scenes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lightning.seed_everything(given.seed)
    torch.set_num_threads(given.threads)
    labels = find_labels(given.photos)
    photographs = read_photographs(given.photos, labels, held_out=False)
    maker = SceneMaker(photographs, load_scenes(given.drawn), len(labels))
    training = DetectorTraining(AvsepDetectorSettings(labels=labels), given.steps)
    batches = DataLoader(
        SceneBatches(maker, given.steps, given.seed), batch_size=None, num_workers=1
    )
    checkpoints = ModelCheckpoint(given.run, save_last=True, every_n_train_steps=200)
    averaging = WeightAveraging(avg_fn=get_ema_avg_fn(EMA_DECAY))
    trainer = lightning.Trainer(
        max_steps=given.steps,
        precision="bf16-mixed",
        accelerator="cpu",
        gradient_clip_val=5.0,
        callbacks=[checkpoints, averaging],
        default_root_dir=given.run,
        log_every_n_steps=20,
    )
    last = given.run / "last.ckpt"
    trainer.fit(training, batches, ckpt_path=str(last) if last.exists() else None)
    facts = {"tool": "train_detector.py", "steps": str(given.steps), "seed": str(given.seed)}
    store_network(training.network, given.out, facts)


if __name__ == "__main__":
    main()
