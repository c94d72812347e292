"""Find everyday objects with the detectors of torchvision, or with a Faster R-CNN trained by users.

Ren et al., Faster R-CNN (2015), He et al., Mask R-CNN (2017), Lin et al., Focal loss (2017,
RetinaNet), Tian et al., FCOS (2019), Liu et al., SSD (2016), all trained on the 80 categories of
COCO: people, vehicles and animals, but no instruments. torchvision is imported when one is used.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn

from avsep.devices import find_device, own_settings, same_random_state
from avsep.errors import InputError
from avsep.published_weights import StateDict, fit, read_weights, weights_digest
from avsep.vision.detectors.base import Detections, Detector, Picture
from avsep.vision.detectors.duplicates import clean
from avsep.vision.detectors.labels import label_of_class, match_labels, read_labels
from avsep.vision.detectors.settings import DetectorSettings

# Names of classes of COCO that have none, and of the one that stands for no object.
_NO_LABELS = ("__background__", "N/A", "")
_USUAL_LEAST_SCORE = 0.5
_LEAST_MASK = 0.5
# The last layer of a Faster R-CNN: a row for each class, the first for the background.
_CLASS_LAYER = "roi_heads.box_predictor.cls_score.weight"
_COCO_CLASSES = 91
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class TorchvisionDetector(Detector):
    """Find objects of a fixed list with a network of torchvision."""

    finds_any_word = False

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        name: str,
        settings: DetectorSettings,
        device: str,
    ) -> None:
        """Take a network with its weights.

        Args:
            network: a detector of torchvision; pictures in, dicts of boxes, labels, scores out.
            classes: label of each class by its number; that of class 0 is never used.
            name: of the detector, for errors.
            settings: its least score and the size of its pictures.
            device: where it computes.
        """
        score = settings.least_score
        self._classes, self._name = tuple(classes), name
        self._least_score = _USUAL_LEAST_SCORE if score is None else score
        self.labels = self._words = tuple(word for word in classes[1:] if word not in _NO_LABELS)
        transform: Any = network.transform
        if settings.shortest_side_pixels is not None:
            _set_shortest_side(transform, settings.shortest_side_pixels, name)
        self.longest_side_pixels = max(transform.fixed_size or (transform.max_size,))
        self.fingerprint = (
            f"{type(network).__name__} {weights_digest(network)} {self._least_score} "
            f"{transform.min_size[-1]} {','.join(classes)}"
        )
        self._device = find_device(device)
        self._network = network.to(self._device).eval().requires_grad_(False)

    @own_settings()
    def detect(
        self,
        pictures: Sequence[Picture],
        times_seconds: Sequence[float],
        words: Sequence[str] = (),
    ) -> tuple[Detections, ...]:
        """Return the objects in each picture, surest first.

        Raises:
            InputError: a word that is none of the labels.
        """
        labels = match_labels(words, self._words, self._name)
        with torch.inference_mode():
            return tuple(self._find(picture, labels) for picture in pictures)

    def _find(self, picture: Picture, labels: frozenset[str]) -> Detections:
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).to(self._device)
        output = self._network([pixels.permute(2, 0, 1).float() / 255])[0]
        height, width = picture.shape[:2]
        sides = torch.tensor([width, height, width, height], device=self._device)
        masks = output.get("masks")
        detections = Detections(
            (output["boxes"] / sides).cpu().numpy(),
            tuple(label_of_class(self._classes, number) for number in output["labels"].tolist()),
            output["scores"].cpu().numpy(),
            None if masks is None else (masks[:, 0] > _LEAST_MASK).cpu().numpy(),
        )
        rows = [row for row, label in enumerate(detections.labels) if label in labels]
        return clean(detections.select(rows), self._least_score)


@same_random_state()
def load_torchvision(
    name: str, device: str = "auto", settings: DetectorSettings | None = None
) -> TorchvisionDetector:
    """Load a detector of torchvision by its name there, with weights trained on COCO.

    The weights are downloaded once, checked by their digest, and read without running code.

    Raises:
        InputError: torchvision has no such detector, or its weights cannot be downloaded.
    """
    from torchvision.models import get_model, get_model_weights

    weights = get_model_weights(name)["DEFAULT"]
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # Lost connections are OSErrors, as is a full disk; a digest that differs is a RuntimeError.
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"cannot download the weights of {name} from {weights.url} ({_first_line(error)}); try "
            f"again with a network, or put the file into {Path(torch.hub.get_dir(), 'checkpoints')}"
        ) from error
    classes = weights.meta["categories"]
    network = get_model(name, weights=None, weights_backbone=None, num_classes=len(classes))
    fit(network, state, name)
    return TorchvisionDetector(network, classes, name, settings or DetectorSettings(), device)


@same_random_state()
def load_faster_rcnn(
    path: str | Path, device: str = "auto", settings: DetectorSettings | None = None
) -> TorchvisionDetector:
    """Load a Faster R-CNN of torchvision from a file of weights that users trained.

    The names of the weights say which network it is, their shapes how many classes it has. Labels
    are those of the settings, else of `NAME.labels.txt` beside the file, else COCO's for its 91
    classes; with or without one for the background, which comes first.

    Raises:
        InputError: an unreadable file, weights of another network, or another number of labels.
    """
    path, settings = Path(path), settings or DetectorSettings()
    state = read_weights(path)
    if _CLASS_LAYER not in state:
        raise InputError(
            f"'{path}' holds no Faster R-CNN of torchvision: it has no {_CLASS_LAYER}; give a "
            "state dict of one"
        )
    num_classes = len(state[_CLASS_LAYER])
    classes = _classes(settings.labels or read_labels(path), num_classes, path)
    network = _empty_like(state, num_classes, path)
    fit(network, state, f"'{path}'")
    return TorchvisionDetector(network, classes, path.name, settings, device)


def _classes(labels: Sequence[str], num_classes: int, path: Path) -> Sequence[str]:
    """Return the label of each class, that of the background first."""
    if not labels and num_classes == _COCO_CLASSES:
        from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

        return FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    if len(labels) == num_classes - 1:
        return (_NO_LABELS[0], *labels)
    if len(labels) != num_classes:
        raise InputError(
            f"'{path}' has {num_classes - 1} classes beside the background, and "
            f"{len(labels)} labels are given; write one a line, in their order, into "
            f"'{path.stem}.labels.txt' beside it"
        )
    return labels


def _empty_like(state: StateDict, num_classes: int, path: Path) -> nn.Module:
    """Build the network that has weights of these names and shapes."""
    shapes = _shapes(state)
    for build in _builders(num_classes).values():
        with torch.device("meta"):
            is_match = _shapes(build().state_dict()) == shapes
        if is_match:
            return build()
    raise InputError(
        f"'{path}' holds a Faster R-CNN of an unknown backbone; allowed are torchvision's with "
        f"feature pyramid: {', '.join(_builders(num_classes))}"
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of weights, without counters, which frozen batch norms do not have."""
    return {
        name: tuple(weight.shape)
        for name, weight in state.items()
        if not name.endswith("num_batches_tracked")
    }


def _builders(num_classes: int) -> dict[str, Callable[[], nn.Module]]:
    """Return name of the backbone -> function that builds a Faster R-CNN with it."""
    from torchvision.models import detection
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    options = {"weights": None, "weights_backbone": None, "num_classes": num_classes}

    def with_resnet(backbone: str) -> nn.Module:
        layers = resnet_fpn_backbone(
            backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )
        return detection.FasterRCNN(layers, num_classes)

    builders: dict[str, Callable[[], nn.Module]] = {
        name: lambda name=name: with_resnet(name) for name in _RESNETS
    }
    builders["resnet50 v2"] = lambda: detection.fasterrcnn_resnet50_fpn_v2(**options)
    builders["mobilenet v3"] = lambda: detection.fasterrcnn_mobilenet_v3_large_fpn(**options)
    return builders


def _set_shortest_side(transform: Any, side_pixels: int, name: str) -> None:
    """Set the size that a network's pictures are resized to."""
    if transform.fixed_size is not None:
        width, height = transform.fixed_size
        raise InputError(
            f"{name} resizes all pictures to {width}x{height}, so shortest_side_pixels="
            f"{side_pixels} cannot be followed; leave it out, or use faster-rcnn"
        )
    # In proportion, so that wide pictures are shrunk as in training too.
    transform.max_size = round(transform.max_size * side_pixels / transform.min_size[-1])
    transform.min_size = (side_pixels,)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(" .")
