"""Checkpoints as the released codes save them, filled by the rule of the golden files."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference.released import golden, released_state

State = dict[str, Tensor]
Shape = list[int]


def released(name: str, reshape: Callable[[str, Shape], Shape] | None = None) -> State:
    """Fill the state dict of a golden file, with the shapes of a variant of the same layout."""
    file: dict[str, Any] = copy.deepcopy(golden(name))
    if reshape is not None:
        file["state"] = [[key, reshape(key, shape), dtype] for key, shape, dtype in file["state"]]
    return released_state(file)


def sixteenth(_: str, shape: Shape) -> Shape:
    """Divide the widths of a network by 16; kernels, queries and the features stay."""
    return [size // 16 if size >= 64 else size for size in shape]


def of_motion(key: str, shape: Shape) -> Shape:
    """Divide the widths of iQuery's predictor, but for that of I3D's features."""
    small = sixteenth(key, shape)
    return [small[0], shape[1], 1] if key == "down.weight" else small


def as_separator(key: str, shape: Shape) -> Shape:
    """Return the shapes of 2.5D's U-Net as LAVSS separates with it: one magnitude, one mask."""
    changed = {
        "audionet_convlayer1.0.weight": [64, 1, 4, 4],
        "audionet_upconvlayer1.0.weight": [512 + 8 * 49, 512, 4, 4],
        "audionet_upconvlayer5.0.weight": [128, 1, 4, 4],
        "audionet_upconvlayer5.0.bias": [1],
    }
    return changed.get(key, shape)


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def write(folder: Path, files: Mapping[str, object]) -> Path:
    """Write files of a checkpoint into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        torch.save(content, folder / name)
    return folder


def sound_of_pixels(*, small: bool = True) -> dict[str, object]:
    """Three files: one with the prefix of DataParallel, one in a wrapper, and the history."""
    return {
        "sound_best.pth": released("sop-unet7-32", sixteenth if small else None),
        "frame_best.pth": prefixed("module.", released("sop-resnet-dilated")),
        "synthesizer_best.pth": {"epoch": 7, "state_dict": released("sop-synthesizer")},
        "sound_latest.pth": {"bn0.weight": torch.ones(1)},
        "history_best.pth": {"train": {"err": [0.5]}},
    }


def iquery(*, motion: bool = False, small: bool = True) -> dict[str, object]:
    """A file for each network."""
    predictor = "iquery-predictor" if motion else "iquery-ave-predictor"
    return {
        "sound_best.pth": released("iquery-audio-unet", sixteenth if small else None),
        "frame_best.pth": released("iquery-resnet"),
        "maskformer_best.pth": released(predictor, of_motion if small else None),
    }


def lavss() -> dict[str, object]:
    """A file for the visual network and one for the U-Net."""
    return {
        "visual_best.pth": prefixed("module.", released("lavss-visual")),
        "unet_best.pth": prefixed("module.", released("lavss-unet")),
    }


def separation_25d() -> dict[str, object]:
    """A file for the visual network and one for the U-Net, in the variant that separates."""
    return {
        "visual_best.pth": released("separation25d-visual"),
        "audio_best.pth": released("separation25d-audio", as_separator),
    }


def davis() -> dict[str, object]:
    """One file with the moving average, the weights that it is of, and the optimizer's state."""
    network = prefixed("net_unet.", released("davis-unet"))
    network |= prefixed("temporal_transformer.", released("davis-temporal-transformer"))
    network["time_mlp.1.weight"] = torch.zeros(256, 64)
    latest = {name: torch.zeros_like(value) for name, value in network.items()}
    average = prefixed("ema_model.module.", network) | prefixed("online_model.module.", latest)
    return {
        "davis.pt": {
            "step": torch.tensor(3),
            "ema": average | {"initted": torch.tensor(True)},
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        }
    }
