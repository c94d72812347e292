"""Pictures of the tests of EfficientNet-Lite: one by a formula, two photographs of scikit-learn."""

from functools import cache

import torch
from jaxtyping import UInt8
from sklearn.datasets import load_sample_images
from torch import Tensor


def made_picture(side: int = 224) -> UInt8[Tensor, "1 3 P P"]:
    """Return slopes and a chequerboard in integers, the same on every machine."""
    colour, y, x = torch.meshgrid(
        torch.arange(3), torch.arange(side), torch.arange(side), indexing="ij"
    )
    board = 96 * ((x // 28 + y // 28 + colour) % 2)
    return (((3 * x + 5 * y * (colour + 1)) // 4 + board) % 256).to(torch.uint8)[None]


@cache
def photographs() -> UInt8[Tensor, "2 3 H W"]:
    """Return the two photographs that scikit-learn ships: a palace, and a flower with petals."""
    pictures = [torch.from_numpy(image.copy()) for image in load_sample_images().images]
    return torch.stack(pictures).permute(0, 3, 1, 2)
