"""The shipped detector: instruments and everyday sounding things, on EfficientNet-Lite0.

An anchor-free head (Tian et al., FCOS: fully convolutional one-stage object detection, 2019) on a
feature pyramid (Lin et al., Feature pyramid networks for object detection, 2017) of the frozen
picture encoder. Departure: each cell predicts the overlap of its box with the object in place of
the centre-ness of FCOS; a class map of the encoder's last layer, which already tells a thousand
classes apart, is added to the head's class logits.

Words without a label of its own are looked for in the encoder's class activation maps.
"""

import hashlib
from collections.abc import Mapping, Sequence, Set
from functools import cache
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int32, UInt8
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, silu
from torchvision.ops import nms

from avsep.devices import find_device, own_settings, same_random_state
from avsep.labels import normalise_label
from avsep.published_weights import fit, read_shipped
from avsep.vision.detectors.base import Detections, Detector, Picture, join_detections
from avsep.vision.detectors.settings import DetectorSettings
from avsep.vision.efficientnet_lite import (
    PIXEL_MEAN,
    PIXEL_SPREAD,
    EfficientNetLite,
    FeaturePyramid,
    load_efficientnet_lite,
)
from avsep.vision.imagenet import require_classes
from avsep.vision.namer import OTHER, load_namer

SHIPPED = Path(__file__).parents[2] / "weights" / "avsep-detector.safetensors"
STRIDES = (8, 16, 32, 64)
_COARSEST_PADDED = 32  # sides are padded to whole cells of the encoder
_NUM_GROUPS = 8
# Class probability of cells before training: most cells hold nothing (Lin et al., Focal loss,
# section 4.1).
_FIRST_PROBABILITY = 0.01
_LARGEST_EXPONENT = 5.0
# A word without a label is found where a cell gives its classes this share of all; its place is
# what is activated by more than this share of the way from the median to the maximum.
_LEAST_POINTED, _POINTED_SHARE = 0.2, 0.35


class AvsepDetectorSettings(BaseModel):
    """Labels and sizes of the network, and what it counts as found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1, description='words of its classes, "other" last')
    width: int = Field(default=96, ge=8, multiple_of=8, description="channels of the pyramid")
    num_layers: int = Field(default=2, ge=1, description="convolutions of each tower")
    longest_side_pixels: int = Field(default=320, ge=64, description="of the pictures it reads")
    least_score: float = Field(default=0.3, ge=0, le=1, description="objects below are left out")
    most_overlap: float = Field(
        default=0.55, ge=0, le=1, description="of two boxes that overlap more, the surer is taken"
    )


class CellPredictions(NamedTuple):
    """Predictions of all cells of all levels, the finest first.

    Attributes:
        classes: logits of each label.
        distances: from the cell's centre to left, top, right and bottom of the box, in pixels.
        overlap: logit of the overlap (IoU) of this box with the object.
    """

    classes: Float[Tensor, "B cells labels"]
    distances: Float[Tensor, "B cells 4"]
    overlap: Float[Tensor, "B cells"]


class DetectorNetwork(nn.Module):
    """Pyramid and head; the encoder is not a part of it, and is given with the pictures."""

    Settings = AvsepDetectorSettings

    def __init__(self, settings: AvsepDetectorSettings, encoder: EfficientNetLite) -> None:
        super().__init__()
        self.settings, width = settings, settings.width
        num_labels = len(settings.labels)
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels in encoder.pyramid_channels
        )
        self.head_lateral = nn.Conv2d(encoder.num_channels, width, 1)
        self.smoothing = nn.ModuleList(_SeparableConvolution(width) for _ in range(3))
        self.coarsest = _SeparableConvolution(width, stride=2)
        self.class_tower, self.box_tower = (
            nn.Sequential(*(_SeparableConvolution(width) for _ in range(settings.num_layers)))
            for _ in range(2)
        )
        self.classes = nn.Conv2d(width, num_labels, 1)
        self.class_map = nn.Conv2d(encoder.num_channels, num_labels, 1)
        self.distances = nn.Conv2d(width, 4, 1)
        self.overlap = nn.Conv2d(width, 1, 1)
        self.scales = nn.Parameter(torch.zeros(len(STRIDES)))
        for layer in (self.classes, self.class_map):
            nn.init.normal_(layer.weight, std=0.01)
        with torch.no_grad():
            self.class_map.bias = nn.Parameter(torch.zeros(num_labels))
            first_logits = torch.full((num_labels,), _FIRST_PROBABILITY).logit()
            self.classes.bias = nn.Parameter(first_logits)

    def forward(self, features: FeaturePyramid, maps: Float[Tensor, "B D h w"]) -> CellPredictions:
        """Return the predictions for the encoder's pyramid and its head's maps (`encode`)."""
        levels = [lateral(level) for lateral, level in zip(self.laterals, features, strict=True)]
        levels[2] = levels[2] + self.head_lateral(maps)
        for finer in (1, 0):
            coarser = interpolate(levels[finer + 1], size=levels[finer].shape[2:])
            levels[finer] = levels[finer] + coarser
        levels = [smooth(level) for smooth, level in zip(self.smoothing, levels, strict=True)]
        levels.append(self.coarsest(levels[2]))
        class_map = self.class_map(maps)
        parts: list[CellPredictions] = []
        for level, stride, scale in zip(levels, STRIDES, self.scales, strict=True):
            classes = self.classes(self.class_tower(level))
            classes = classes + _resized(class_map, classes.shape[2:])
            boxes = self.box_tower(level)
            exponent = (self.distances(boxes) + scale).clamp(max=_LARGEST_EXPONENT)
            parts.append(
                CellPredictions(
                    _cells(classes),
                    _cells(exponent.exp() * stride),
                    _cells(self.overlap(boxes))[..., 0],
                )
            )
        return CellPredictions(*(torch.cat(items, dim=1) for items in zip(*parts, strict=True)))


class _SeparableConvolution(nn.Module):
    """Depthwise 3 x 3 and pointwise convolution, group norm and SiLU."""

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.GroupNorm(_NUM_GROUPS, width)

    def forward(self, maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D _ _"]:
        """Return maps divided in size by the stride, rounded up."""
        return silu(self.norm(self.pointwise(self.depthwise(maps))))


def _resized(maps: Float[Tensor, "B C h w"], size: Sequence[int]) -> Float[Tensor, "B C _ _"]:
    """Resize maps to another level of the pyramid."""
    if size[0] < maps.shape[2]:
        odd = (0, maps.shape[3] % 2, 0, maps.shape[2] % 2)
        return avg_pool2d(pad(maps, odd, mode="replicate"), 2)
    return interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _cells(maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B cells C"]:
    return maps.flatten(2).transpose(1, 2)


def encode(
    encoder: EfficientNetLite, pictures: Float[Tensor, "B 3 H W"]
) -> tuple[FeaturePyramid, Float[Tensor, "B D h w"]]:
    """Return pyramid and maps of pictures of `normalise`, for `DetectorNetwork`."""
    with torch.no_grad():
        features = encoder.features(pictures)
        return features, encoder.head(features.stride_32).clamp(0, 6)


def cell_centres(
    height: int, width: int, device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "cells 2"], Float[Tensor, " cells"]]:
    """Return centre (x, y in pixels) and stride of all cells of pictures of a size."""
    centres, strides = [], []
    for stride in STRIDES:
        rows = torch.arange(ceil(height / stride), device=device, dtype=torch.float32)
        columns = torch.arange(ceil(width / stride), device=device, dtype=torch.float32)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append((torch.stack([x, y], dim=-1).flatten(0, 1) + 0.5) * stride)
        strides.append(torch.full((y.numel(),), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)


def boxes_of(
    centres: Float[Tensor, "cells 2"], distances: Float[Tensor, "*B cells 4"]
) -> Float[Tensor, "*B cells 4"]:
    """Return x1 y1 x2 y2 in pixels of the distances from cells to the sides of their boxes."""
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)


def normalise(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 h w"]:
    """Normalise pixels 0..255 as the encoder takes them, and pad to whole cells with grey."""
    height, width = pictures.shape[2:]
    padding = (0, -width % _COARSEST_PADDED, 0, -height % _COARSEST_PADDED)
    return pad((pictures - PIXEL_MEAN) / PIXEL_SPREAD, padding)


# The detector


class AvsepDetector(Detector):
    """Find instruments, people, animals, vehicles and other sounding things.

    Attributes:
        labels: the words of its classes.
    """

    finds_any_word = True

    def __init__(
        self, network: DetectorNetwork, encoder: EfficientNetLite, fingerprint: str
    ) -> None:
        self.network, self._encoder = network, encoder
        settings = network.settings
        self.labels = tuple(word for word in settings.labels if word != OTHER)
        self.longest_side_pixels = settings.longest_side_pixels
        self.fingerprint = f"avsep-detector {fingerprint}"
        self.names = load_namer().words

    @own_settings()
    def detect(
        self,
        pictures: Sequence[Picture],
        times_seconds: Sequence[float],
        words: Sequence[str] = (),
    ) -> tuple[Detections, ...]:
        """Return the objects in each picture, surest first.

        Raises:
            InputError: a word that is neither a label nor a class of ImageNet.
        """
        names = [normalise_label(word) for word in words]
        all_labels = self.network.settings.labels
        pointed = {
            word: require_classes(name)
            for word, name in zip(words, names, strict=True)
            if name not in all_labels
        }
        labels = set(names or all_labels)
        return tuple(self._detect_in(picture, labels, pointed) for picture in pictures)

    def name(self, crops: UInt8[np.ndarray, "K 3 H W"]) -> dict[str, float]:
        """Return the probability of each word of the shipped namer for one object."""
        # On the CPU wherever the detector is: it is a few crops a video.
        return load_namer().probabilities(torch.from_numpy(crops), load_efficientnet_lite())

    def _detect_in(
        self, picture: Picture, labels: Set[str], pointed: Mapping[str, Sequence[int]]
    ) -> Detections:
        """Return the objects with some labels, and the places of the classes of words."""
        device = next(self.network.parameters()).device
        pixels = torch.from_numpy(np.array(picture)).to(device)
        longest_side = self.network.settings.longest_side_pixels
        shrunk = _shrink(pixels.permute(2, 0, 1)[None].float(), longest_side)
        height, width = shrunk.shape[2:]
        with torch.inference_mode():
            features, maps = encode(self._encoder, normalise(shrunk))
            detected = self._decode(self.network(features, maps), height, width)
            indices = [index for index, word in enumerate(detected.labels) if word in labels]
            places = [
                self._point(maps, word, classes, (height, width))
                for word, classes in pointed.items()
            ]
        return join_detections([detected.select(indices), *places])

    def _decode(self, predictions: CellPredictions, height: int, width: int) -> Detections:
        """Return the objects of one picture of a height and width."""
        settings = self.network.settings
        padded = [side + -side % _COARSEST_PADDED for side in (height, width)]
        centres, _ = cell_centres(*padded, device=predictions.distances.device)
        probabilities, labels = predictions.classes[0].float().sigmoid().max(-1)
        scores = (probabilities * predictions.overlap[0].float().sigmoid()).sqrt()
        chosen = scores >= settings.least_score
        limits = torch.tensor([width, height] * 2, device=scores.device)
        corners = boxes_of(centres[chosen], predictions.distances[0, chosen].float())
        corners = corners.clamp(min=0).minimum(limits)
        # Of all labels together: a thing has one name. Things of other kinds compete too.
        best = nms(corners, scores[chosen], settings.most_overlap)
        labels = labels[chosen][best]
        is_known = labels != settings.labels.index(OTHER)
        best, labels = best[is_known], labels[is_known]
        words = tuple(settings.labels[index] for index in labels.tolist())
        boxes = (corners[best] / limits).cpu().numpy().astype(np.float32)
        return Detections(boxes, words, scores[chosen][best].cpu().numpy())

    def _point(
        self,
        maps: Float[Tensor, "1 D h w"],
        word: str,
        classes: Sequence[int],
        size: tuple[int, int],
    ) -> Detections:
        """Return the place where the encoder sees classes of ImageNet, if it does anywhere."""
        logits = self._encoder.class_activation(maps, range(self._encoder.settings.num_classes))
        likely = logits.softmax(1)[0, list(classes)].sum(0)
        score = float(likely.max())
        if score < _LEAST_POINTED:
            return Detections.none()
        activation = logits[0, list(classes)].amax(0).cpu().numpy()
        low, high = float(np.median(activation)), float(activation.max())
        is_active = activation >= low + _POINTED_SHARE * (high - low)
        peak = np.unravel_index(int(likely.argmax()), activation.shape)
        is_active[peak] = True
        regions: Int32[np.ndarray, "h w"] = np.zeros(is_active.shape, np.int32)
        ndimage.label(is_active, output=regions)
        rows, columns = np.nonzero(regions == regions[peak])
        corners = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        height, width = size
        box = (corners * _COARSEST_PADDED / (width, height, width, height)).clip(0, 1)
        return Detections(box[None].astype(np.float32), (word,), np.array([score], np.float32))


def _shrink(pictures: Float[Tensor, "B 3 H W"], longest_side: int) -> Float[Tensor, "B 3 h w"]:
    """Resize pictures so that their longer side has a number of pixels."""
    height, width = pictures.shape[2:]
    scale = longest_side / max(height, width)
    if scale == 1:
        return pictures
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)


# Files


def read_network(path: Path, encoder: EfficientNetLite) -> DetectorNetwork:
    """Read a network, in float32.

    Raises:
        InputError: no such file, damaged, without settings, or of other names or shapes.
    """
    settings, weights = read_shipped(
        path, AvsepDetectorSettings, "an avsep detector", "tools/train_detector.py"
    )
    with own_settings(), same_random_state():
        network = DetectorNetwork(settings, encoder)
        fit(network, weights, f"'{path}'")
        return network.eval().requires_grad_(False)


@cache
def load_avsep_detector(
    device: str = "auto", settings: DetectorSettings | None = None
) -> AvsepDetector:
    """Return the shipped detector; one a process, device and settings.

    Args:
        device: where it computes, as in `find_device`.
        settings: its least score is read; none: the one it was shipped with.

    Raises:
        InputError: the shipped file is missing or damaged.
    """
    place = find_device(device)
    encoder = load_efficientnet_lite(place)
    network = read_network(SHIPPED, encoder).to(place)
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    if settings is not None and settings.least_score is not None:
        changes = {"least_score": settings.least_score}
        network.settings = network.settings.model_copy(update=changes)
    return AvsepDetector(network, encoder, f"{digest} {network.settings.least_score}")
