"""Find a detector by its name, or by the file, folder or hub id that it is loaded from."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from avsep.errors import InputError, unknown_name
from avsep.vision.detectors.base import Detector
from avsep.vision.detectors.settings import DetectorSettings, no_frames

_FOLDER = "avsep.vision.detectors"
# Read by callers for whichever detector comes: detectors with labels of their own do not need it.
_FOR_ALL = "categories"


@dataclass(frozen=True)
class DetectorEntry:
    """A detector, whose module is imported when it is loaded.

    Attributes:
        loader: "module:function" in this folder; the function takes what to load, a device and
            settings, and the last of them only with `settings` below.
        description: one line for help.
        weights: first argument of the loader; none: the loader has nothing to choose.
        needs_words: true if it has no labels, so that it must be given words.
        settings: the fields of `DetectorSettings` that it reads, beside `categories`.
    """

    loader: str
    description: str
    weights: str | None = None
    needs_words: bool = False
    settings: tuple[str, ...] = ()

    def load(self, place: str | None, device: str, settings: DetectorSettings) -> Detector:
        """Import the module and load the detector from a place."""
        module, _, function = self.loader.partition(":")
        load = getattr(import_module(f"{_FOLDER}.{module}"), function)
        arguments: list[object] = [] if place is None else [place]
        return load(*arguments, device, *([settings] if self.settings else []))


def _open_vocabulary(weights: str | None, description: str) -> DetectorEntry:
    return DetectorEntry(
        "open_vocabulary:load_open_vocabulary",
        description,
        weights,
        needs_words=True,
        settings=("least_score",),
    )


def _torchvision(weights: str, description: str) -> DetectorEntry:
    return DetectorEntry(
        "torchvision_models:load_torchvision",
        f"{description}; 80 everyday objects of COCO, no instruments",
        weights,
        settings=("least_score", "shortest_side_pixels"),
    )


DETECTORS: dict[str, DetectorEntry] = {
    "avsep-detector": DetectorEntry(
        "avsep_detector:load_avsep_detector",
        "the shipped detector: instruments and other sounding things",
        settings=("least_score",),
    ),
    "grounding-dino": _open_vocabulary(
        "IDEA-Research/grounding-dino-tiny", "Grounding DINO with Swin-T: any words (hub)"
    ),
    "grounding-dino-base": _open_vocabulary(
        "IDEA-Research/grounding-dino-base", "Grounding DINO with Swin-B: slower, surer (hub)"
    ),
    "owlv2": _open_vocabulary(
        "google/owlv2-base-patch16-ensemble", "OWLv2 with ViT-B/16: any words (hub)"
    ),
    "owlvit": _open_vocabulary(
        "google/owlvit-base-patch32", "OWL-ViT with ViT-B/32: any words, faster (hub)"
    ),
    "faster-rcnn": _torchvision("fasterrcnn_resnet50_fpn_v2", "Faster R-CNN, ResNet-50"),
    "faster-rcnn-mobilenet": _torchvision(
        "fasterrcnn_mobilenet_v3_large_fpn", "Faster R-CNN, MobileNetV3: faster"
    ),
    "mask-rcnn": _torchvision("maskrcnn_resnet50_fpn_v2", "Mask R-CNN, ResNet-50, with masks"),
    "retinanet": _torchvision("retinanet_resnet50_fpn_v2", "RetinaNet, ResNet-50"),
    "fcos": _torchvision("fcos_resnet50_fpn", "FCOS, ResNet-50"),
    "ssdlite": DetectorEntry(
        "torchvision_models:load_torchvision",
        "SSDlite, MobileNetV3: the fastest; 80 everyday objects of COCO, no instruments",
        "ssdlite320_mobilenet_v3_large",
        settings=("least_score",),
    ),
}
_FROM_HUB = _open_vocabulary(None, "an open-vocabulary detector of the hub, or a folder of one")
_CHECKPOINT = DetectorEntry(
    "torchvision_models:load_faster_rcnn",
    "a Faster R-CNN that you trained, its labels in NAME.labels.txt beside it",
    settings=("least_score", "shortest_side_pixels", "labels"),
)
_ROWS = DetectorEntry(
    "files:load_detection_file",
    "detections in a file: objects.json, COCO's JSON, or an .npy of rows",
    settings=("least_score", "labels", "frame_rate_hz", "frame_size"),
)
_MASKS = DetectorEntry(
    "mask_files:load_masks",
    "masks: a picture, a video that is white where the object is, or a folder of them",
    settings=("labels",),
)
# Form of a name -> the detector that is loaded from it.
PLACES: dict[str, DetectorEntry] = {
    "owner/name or FOLDER/": _FROM_HUB,
    "FILE.safetensors or .pth": _CHECKPOINT,
    "FILE.json or .npy": _ROWS,
    "MASK.png or .mp4, or MASKS/": _MASKS,
}
_ENDINGS: dict[str, DetectorEntry] = {
    **dict.fromkeys((".safetensors", ".pth", ".pt", ".tar"), _CHECKPOINT),
    **dict.fromkeys((".json", ".npy"), _ROWS),
    **dict.fromkeys((".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg"), _MASKS),
    **dict.fromkeys((".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"), _MASKS),
}
# transformers writes it into each folder that it saves.
_HUB_CONFIG = "config.json"


def load_detector(
    name: str, device: str = "auto", settings: DetectorSettings | None = None
) -> Detector:
    """Load a detector.

    Args:
        name: one of `DETECTORS`, or a place as in `PLACES`: `owner/name` of a network on the hub, a
            folder that transformers saved, a file of weights, a file of detections, or masks.
        device: where it computes: "auto", "cpu" or as PyTorch calls it.
        settings: `categories` may be set for each; of the others those that the detector reads.

    Raises:
        InputError: an unknown name, a missing file, a setting that the detector does not have, or
            what its loader refuses.
    """
    settings = settings or DetectorSettings()
    named = DETECTORS.get(name)
    place = named.weights if named else name
    entry = named or _entry_of_place(name)
    for setting in _changed(settings):
        if setting not in (*entry.settings, _FOR_ALL):
            allowed = ", ".join(entry.settings) or "none"
            raise InputError(
                f"detector '{name}' has no setting {setting}; those that it has: {allowed}; leave "
                f"{setting} out"
            )
    return entry.load(place, device, settings)


def has_setting(name: str, setting: str) -> bool:
    """True if a detector can be loaded with a setting.

    Raises:
        InputError: an unknown name, or a missing file.
    """
    entry = DETECTORS.get(name) or _entry_of_place(name)
    return setting in (*entry.settings, _FOR_ALL)


def check_frame_rate(name: str, frame_rate_hz: float | None) -> None:
    """Refuse a frame rate for a detector that counts no frames.

    Raises:
        InputError: a rate without a meaning, an unknown name, or a missing file.
    """
    if frame_rate_hz is not None and not has_setting(name, "frame_rate_hz"):
        raise InputError(no_frames(name))


def _entry_of_place(name: str) -> DetectorEntry:
    """Return the entry for a file, a folder or a hub id."""
    path = Path(name)
    if name and path.is_dir():
        return _FROM_HUB if (path / _HUB_CONFIG).is_file() else _MASKS
    entry = _ENDINGS.get(path.suffix.lower())
    if path.is_file():
        if entry is None:
            raise InputError(
                f"detector '{name}': files that end in '{path.suffix}' are not read; allowed: "
                f"{', '.join(_ENDINGS)}"
            )
        return entry
    if entry is not None or path.is_absolute() or name.startswith((".", "~")):
        raise InputError(f"detector '{name}': there is no such file or folder; check the path")
    # As on the hub; two names with a slash between.
    if len(path.parts) == 2 and not name.endswith("/"):
        return _FROM_HUB
    raise InputError(f"{unknown_name('detector', name, DETECTORS)}; or give {'; '.join(PLACES)}")


def _changed(settings: DetectorSettings) -> Iterator[str]:
    """Yield the names of settings that differ from their defaults."""
    for name, field in DetectorSettings.model_fields.items():
        if getattr(settings, name) != field.default:
            yield name
