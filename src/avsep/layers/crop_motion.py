"""Features of how the crops of an object move; ours, of no paper.

Axes are those of records.py.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

# Width of the features.
CROP_MOTION_CHANNELS = 64


class CropMotionEncoder(nn.Module):
    """Encode an object's grey crops over time as one feature vector per picture.

    The input is each picture minus the mean of all, which hides what does not move, and minus the
    picture before, which shows what just moved.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pictures = nn.Sequential(
            _halving_layer(2, 16), _halving_layer(16, 32), _halving_layer(32, 48)
        )
        self.times = nn.Sequential(
            nn.Conv1d(2 * 48, CROP_MOTION_CHANNELS, 5, padding=2),
            nn.BatchNorm1d(CROP_MOTION_CHANNELS),
            nn.ReLU(),
            nn.Conv1d(CROP_MOTION_CHANNELS, CROP_MOTION_CHANNELS, 5, padding=2),
        )

    def forward(self, crop_motion: UInt8[Tensor, "B M H W"]) -> Float[Tensor, "B D M"]:
        """Return features at the time of each picture."""
        pictures = crop_motion.float() / 255
        # The first picture has none before it: its change is zero.
        deviation = pictures - pictures.mean(dim=1, keepdim=True)
        change = torch.diff(pictures, dim=1, prepend=pictures[:, :1])
        inputs = torch.stack([deviation, change], dim=2).flatten(0, 1)  # [B M, 2, H, W]
        # Differences of pictures are small numbers: scaled up before the first convolution.
        maps = self.pictures(4 * inputs)
        features = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return self.times(features.unflatten(0, crop_motion.shape[:2]).transpose(1, 2))


def _halving_layer(num_in: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(),
    )
