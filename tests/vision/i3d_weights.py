"""Random I3D weights under the names of either published layout."""

import torch
from torch import Tensor

# Inception blocks: channels before, then of the six convolutions in the order of Figure 3.
BLOCKS = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}
BRANCHES = {
    "fame": ("branch_0", "branch_1.0", "branch_1.1", "branch_2.0", "branch_2.1", "branch_3.1"),
    "pytorch-i3d": ("b0", "b1a", "b1b", "b2a", "b2b", "b3b"),
}
NORM = {"fame": "batch3d", "pytorch-i3d": "bn"}
EPSILON = {"fame": 1e-5, "pytorch-i3d": 1e-3}
LAYOUTS = tuple(BRANCHES)
State = dict[str, Tensor]


def first_letter(layout: str, name: str) -> str:
    return name if layout == "fame" else name.capitalize()


def published(layout: str) -> State:
    """Make a trunk with random weights under the names of a layout."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def unit(name: str, before: int, after: int, side: int) -> None:
        shape = (after, before, side, side, side)
        # Keeps the maps at about one level through all layers.
        spread = (2 / (before * side**3)) ** 0.5
        state[f"{name}.conv3d.weight"] = spread * torch.randn(shape, generator=generator)
        norm = f"{name}.{NORM[layout]}"
        state[f"{norm}.weight"] = 0.5 + torch.rand(after, generator=generator)
        state[f"{norm}.bias"] = 0.1 * torch.randn(after, generator=generator)
        state[f"{norm}.running_mean"] = 0.1 * torch.randn(after, generator=generator)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(after, generator=generator)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    for name, before, after, side in (
        ("conv3d_1a_7x7", 3, 64, 7),
        ("conv3d_2b_1x1", 64, 64, 1),
        ("conv3d_2c_3x3", 64, 192, 3),
    ):
        unit(first_letter(layout, name), before, after, side)
    for block, (before, *widths) in BLOCKS.items():
        inputs = (before, before, widths[1], before, widths[3], before)
        sides = (1, 1, 3, 1, 3, 1)
        for branch, width, num_in, side in zip(
            BRANCHES[layout], widths, inputs, sides, strict=True
        ):
            unit(f"{first_letter(layout, 'mixed_')}{block}.{branch}", num_in, width, side)
    return state


def with_heads(layout: str, state: State) -> State:
    if layout == "pytorch-i3d":
        heads = {"logits.conv3d.weight": (400, 1024, 1, 1, 1), "logits.conv3d.bias": (400,)}
    else:
        heads = {
            "id_head.2.weight": (1024, 1024),
            "id_head.2.bias": (1024,),
            "id_head.4.weight": (128, 1024),
            "id_head.4.bias": (128,),
        }
    return state | {name: torch.zeros(shape) for name, shape in heads.items()}
