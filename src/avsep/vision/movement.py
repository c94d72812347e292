"""A small learned encoder of movement: an object's crop over time in, features over time out."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class MovementEncoder(nn.Module):
    """Features of how an object moves, one vector a picture; it learns with the model it serves.

    It sees each picture less the mean of all, which hides what does not move, and less the picture
    before, which shows what just moved.
    """

    def __init__(self, num_channels: int = 64) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.pictures = nn.Sequential(
            _picture_layer(2, 16), _picture_layer(16, 32), _picture_layer(32, 48)
        )
        self.times = nn.Sequential(
            nn.Conv1d(2 * 48, num_channels, 5, padding=2),
            nn.BatchNorm1d(num_channels),
            nn.ReLU(),
            nn.Conv1d(num_channels, num_channels, 5, padding=2),
        )

    def forward(self, movement: UInt8[Tensor, "B M H W"]) -> Float[Tensor, "B D M"]:
        """Features at the time of each picture."""
        pictures = movement.float() / 255
        still = pictures - pictures.mean(dim=1, keepdim=True)
        change = torch.diff(pictures, dim=1, prepend=pictures[:, :1])
        seen = torch.stack([still, change], dim=2).flatten(0, 1)  # [B M, 2, H, W]
        maps = self.pictures(4 * seen)  # differences are small numbers
        features = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return self.times(features.unflatten(0, movement.shape[:2]).transpose(1, 2))


def _picture_layer(num_in: int, num_out: int) -> nn.Sequential:
    """Half the height and width."""
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(),
    )
