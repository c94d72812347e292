"""Train the small image encoder that the mini models ship, on photographs and drawn musicians.

    avsep toyband out/drawn --clips 1000 --recipe toyband-training
    python tools/train_image_encoder.py --photos PHOTOS --drawn out/drawn \
        --teacher squeezenet1_1.pth --out src/avsep/weights/image-encoder-mini.safetensors

PHOTOS holds <class>/<n>.jpg: the categories, and whatever else is to be told from them. Every fifth
photograph of a class and every fifth clip are kept for the test. The teacher is SqueezeNet 1.1 with
ImageNet weights for BGR pictures, 0..255 less (104, 117, 123). It first
learns to name the labels, its features as they are; then it sees what the encoder sees, and its
answer is half of the encoder's target, its map what a projection of the encoder's map is to be.
A run that was stopped goes on after the last whole epoch, from OUT.resume.pt.
"""

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, interpolate, smooth_l1_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models import squeezenet1_1

from avsep.data.toyband import read_toyband
from avsep.media.frames import read_frames
from avsep.toyband.categories import CATEGORIES, find_category
from avsep.toyband.pictures.photographs import (
    HELD_OUT_EVERY,
    HELD_OUT_INDEX,
    SUFFIXES,
    Photographs,
    open_photograph,
)
from avsep.vision.image_encoder import SmallImageEncoder, load_image_encoder, save_image_encoder
from picture_views import augmented, mixed

STORED_PIXELS = 144  # crops are kept as squares of this side, as squashed as those in use
CLIP_TIMES_SECONDS = (1.0, 4.5, 8.0)
BOX_JITTER = 0.08  # of a box's sides, each way
TEN = ("banjo", "clarinet", "drums", "flute", "guitar", "mandolin", "piano", "saxophone",
       "trombone", "violin")  # fmt: skip
SHARES = {"category": 0.55, "other": 0.3, "drawn": 0.15}  # of the pictures of an epoch
EPOCH_PICTURES = 4096
BATCH_PICTURES = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1
TEACHER_PIXELS = 176  # of smaller ones it tells less itself
TEACHER_CHANNELS = 512
TEACHER_WEIGHT = 4.0
EMA_DECAY = 0.996


class Crops(NamedTuple):
    """Pictures [N, 3, 144, 144] as bytes, their labels [N], and which of SHARES each belongs to."""

    pictures: Tensor
    labels: Tensor
    kinds: tuple[str, ...]


def main() -> None:
    """Read, train, test what was written, and print the accuracies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--drawn", type=Path, required=True, help="a folder of toyband clips")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60, help=f"of {EPOCH_PICTURES} pictures")
    parser.add_argument("--clips", type=int, default=1000, help="of the drawn ones at most")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)  # Adam's squares of tiny gradients slow the processor down
    torch.manual_seed(given.seed)
    photographs, classes = find_photographs(given.photos)
    labels = (*CATEGORIES, *(name for name in classes if name not in CATEGORIES))
    kept = [read_photographs(photographs, labels, held_out) for held_out in (False, True)]
    drawn = [read_drawn(given.drawn, given.clips, held_out) for held_out in (False, True)]
    start = time.monotonic()
    encoder = train(joined(kept[0], drawn[0]), labels, given)
    minutes = (time.monotonic() - start) / 60
    metadata = {
        "tool": "train_image_encoder.py",
        "epochs": str(given.epochs),
        "seed": str(given.seed),
    }
    save_image_encoder(encoder, given.out, metadata)
    print(f"{given.out}: {minutes:.0f} minutes")
    report(load_image_encoder(given.out), {"photographs": kept[1], "drawn": drawn[1]})


# Pictures


def find_photographs(folder: Path) -> tuple[Photographs, tuple[str, ...]]:
    """The photographs of every class, known to avsep or not, and the classes in order."""
    files = {
        find_category(inner.name) or inner.name: tuple(
            sorted(path for path in inner.iterdir() if path.suffix.lower() in SUFFIXES)
        )
        for inner in sorted(folder.iterdir())
        if inner.is_dir()
    }
    return Photographs(folder, files), tuple(sorted(files))


def read_photographs(photographs: Photographs, labels: tuple[str, ...], held_out: bool) -> Crops:
    """One side of the split, whole, squashed to squares."""
    pictures, numbers = [], []
    for name in track(photographs.categories, "photographs"):
        for path in photographs.files(name, held_out):
            pictures.append(square(np.asarray(open_photograph(path)), (0, 0, 1, 1)))
            numbers.append(labels.index(name))
    kinds = tuple("category" if number < len(CATEGORIES) else "other" for number in numbers)
    return Crops(torch.stack(pictures), torch.tensor(numbers), kinds)


def read_drawn(folder: Path, num_clips: int, held_out: bool) -> Crops:
    """Every musician of every clip at several times, cut out along a box a little off."""
    generator = np.random.default_rng(0)
    pictures, numbers = [], []
    clips = read_toyband(folder)[:num_clips]
    side = [
        clip
        for index, clip in enumerate(clips)
        if (index % HELD_OUT_EVERY == HELD_OUT_INDEX) == held_out
    ]
    for clip in track(side, "drawn clips"):
        frames = read_frames(clip.video, CLIP_TIMES_SECONDS)
        for frame, seconds in zip(frames.pictures, CLIP_TIMES_SECONDS, strict=True):
            for source in clip.sources:
                box = np.array(source.visible.box_at(seconds))
                sides = np.tile(box[2:] - box[:2], 2)
                box = box + sides * generator.uniform(-BOX_JITTER, BOX_JITTER, 4)
                pictures.append(square(frame, tuple(box.clip(0, 1).tolist())))
                numbers.append(CATEGORIES.index(source.category))
    return Crops(torch.stack(pictures), torch.tensor(numbers), ("drawn",) * len(numbers))


def square(picture: np.ndarray, box: tuple[float, ...]) -> Tensor:
    """What a box (x1 y1 x2 y2, 0..1) shows, squashed to [3, 144, 144]."""
    height, width = picture.shape[:2]
    area = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    image = Image.fromarray(picture).resize(
        (STORED_PIXELS, STORED_PIXELS), Image.Resampling.BILINEAR, box=area
    )
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def joined(first: Crops, second: Crops) -> Crops:
    """Both, one after the other."""
    return Crops(
        torch.cat([first.pictures, second.pictures]),
        torch.cat([first.labels, second.labels]),
        first.kinds + second.kinds,
    )


# Training


class Pupil(nn.Module):
    """The encoder and what only its training needs: logits of other things, a projection."""

    def __init__(self, encoder: SmallImageEncoder, num_labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.others = nn.Linear(encoder.num_channels, num_labels - len(CATEGORIES))
        self.projection = nn.Conv2d(encoder.num_channels, TEACHER_CHANNELS, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all labels, and the map in the teacher's terms."""
        maps = self.encoder(crops)
        logits = torch.cat([self.encoder.logits(maps), self.others(maps.mean(dim=(2, 3)))], dim=1)
        return logits, self.projection(maps)


class Teacher(nn.Module):
    """SqueezeNet's last map, every channel with mean 0 and spread 1, and from it the labels."""

    def __init__(self, path: Path, num_labels: int, map_cells: int) -> None:
        super().__init__()
        self.map_cells = map_cells
        weights = torch.load(path, weights_only=True, map_location="cpu")
        parts = {"squeeze": "squeeze", "e1": "expand1x1", "e3": "expand3x3"}
        renamed = {}
        for name, value in weights.items():
            match name.split("."):
                case ["body", number, part, leaf]:
                    renamed[f"{int(number) + 2}.{parts[part]}.{leaf}"] = value
                case ["conv1", leaf]:
                    renamed[f"0.{leaf}"] = value
        self.features = squeezenet1_1().features
        self.features.load_state_dict(renamed)
        self.features.eval().to(memory_format=torch.channels_last)
        self.even = nn.BatchNorm2d(TEACHER_CHANNELS, affine=False, momentum=None)  # of all batches
        self.names = nn.Linear(TEACHER_CHANNELS, num_labels)

    @torch.no_grad()
    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of all labels, and maps of crops as fine as the pupil's, [N, 512, 7, 7]."""
        size = (TEACHER_PIXELS, TEACHER_PIXELS)
        colours = interpolate(crops.float(), size=size, mode="bilinear").flip(1)
        colours = colours - torch.tensor([104.0, 117.0, 123.0])[:, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            maps = self.features(colours.contiguous(memory_format=torch.channels_last))
        maps = self.even(adaptive_avg_pool2d(maps.float(), self.map_cells))
        return self.names(maps.mean(dim=(2, 3))), maps

    def learn(self, crops: Crops, side: int) -> None:
        """Fit the logits to one random view of each crop; the features stay as they are."""
        views = [augmented(batch, side) for batch in crops.pictures.split(BATCH_PICTURES)]
        for batch in views:  # the means and spreads first
            self(batch)
        self.eval()
        pooled = torch.cat([self(batch)[1].mean(dim=(2, 3)) for batch in views])
        optimizer = torch.optim.AdamW(self.names.parameters(), 1e-2, weight_decay=0.3)
        for _ in range(200):
            loss = cross_entropy(self.names(pooled), crops.labels, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def train(crops: Crops, labels: tuple[str, ...], given: argparse.Namespace) -> SmallImageEncoder:
    """The running average of the encoder over the last steps."""
    encoder = SmallImageEncoder(SmallImageEncoder.Settings(categories=CATEGORIES))
    pupil = Pupil(encoder, len(labels)).to(memory_format=torch.channels_last)
    average = AveragedModel(pupil, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    map_cells = encoder.settings.picture_pixels // 2 ** len(encoder.settings.widths)
    teacher = Teacher(given.teacher, len(labels), map_cells)
    optimizer = torch.optim.AdamW(pupil.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCH_PICTURES // BATCH_PICTURES
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=given.epochs * steps, pct_start=0.1
    )
    parts = {"pupil": pupil, "average": average, "teacher": teacher, "optimizer": optimizer,
             "schedule": schedule}  # fmt: skip
    resume = given.out.with_name(given.out.name + ".resume.pt")
    first = 0
    if resume.is_file():
        states = torch.load(resume, weights_only=True)
        first = states.pop("epoch") + 1
        for name, state in states.items():
            parts[name].load_state_dict(state)
        teacher.eval()
    else:
        teacher.learn(crops, encoder.settings.picture_pixels)
    weights = sampling_weights(crops.kinds)
    for epoch in range(first, given.epochs):
        torch.manual_seed(given.seed * 1_000_003 + epoch)
        order = torch.multinomial(weights, steps * BATCH_PICTURES, replacement=True)
        losses = []
        for chosen in track(order.split(BATCH_PICTURES), f"epoch {epoch + 1} of {given.epochs}"):
            loss = losses_of(pupil, teacher, crops.pictures[chosen], crops.labels[chosen], labels)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(pupil)
            losses.append(loss.detach())
        named, taught = torch.stack(losses).mean(dim=0).tolist()
        print(f"epoch {epoch + 1}: labels {named:.3f}, teacher {taught:.3f}", flush=True)
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**states, "epoch": epoch}, resume)
    resume.unlink()
    averaged = average.module
    assert isinstance(averaged, Pupil), "the average of a pupil is a pupil"
    return averaged.encoder.eval()


def losses_of(
    pupil: Pupil, teacher: Teacher, pictures: Tensor, numbers: Tensor, labels: tuple[str, ...]
) -> Tensor:
    """How far the pupil is from the labels and from the teacher on random views: two numbers."""
    targets = torch.zeros(len(numbers), len(labels))
    targets[torch.arange(len(numbers)), numbers] = 1
    views, targets = mixed(augmented(pictures, pupil.encoder.settings.picture_pixels), targets)
    with torch.autocast("cpu", torch.bfloat16):
        logits, maps = pupil(views)
    hints, expected = teacher(views)
    targets = (targets + hints.softmax(dim=1)) / 2
    named = cross_entropy(logits.float(), targets, label_smoothing=LABEL_SMOOTHING)
    # A square would leave the say to the few cells where the teacher's channels are far out.
    return torch.stack([named, TEACHER_WEIGHT * smooth_l1_loss(maps.float(), expected)])


def sampling_weights(kinds: tuple[str, ...]) -> Tensor:
    """How often each picture is drawn, so that the kinds have their SHARES."""
    share = {kind: SHARES[kind] / kinds.count(kind) for kind in set(kinds)}
    return torch.tensor([share[kind] for kind in kinds])


# Test


@torch.no_grad()
def report(encoder: SmallImageEncoder, tests: dict[str, Crops]) -> None:
    """Print, as JSON, the share of crops told right: of all categories, of ten, of each."""
    figures: dict[str, dict[str, float]] = {}
    ten = torch.tensor([CATEGORIES.index(name) for name in TEN])
    for name, crops in tests.items():
        known = crops.labels < len(CATEGORIES)
        labels = crops.labels[known]
        batches = crops.pictures[known].split(BATCH_PICTURES)
        logits = torch.cat([encoder.logits(encoder(batch)) for batch in batches])
        right = (logits.argmax(dim=1) == labels).float()
        of_ten = torch.isin(labels, ten)
        right_of_ten = (ten[logits[of_ten][:, ten].argmax(dim=1)] == labels[of_ten]).float()
        figures[name] = {
            "crops": len(labels),
            "all categories": right.mean().item(),
            "ten, told from all": right[of_ten].mean().item(),
            "ten, told from ten": right_of_ten.mean().item(),
        } | {
            CATEGORIES[number]: right[labels == number].mean().item()
            for number in labels.unique().tolist()
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
