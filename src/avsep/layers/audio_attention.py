"""DGFNet's audio attention: which cells of a map matter, after efficient multi-scale attention."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class AudioAttention(nn.Module):
    """Efficient multi-scale attention whose 3x3 branch has batch norm and ReLU (DGFNet, Figure 3).

    Channels are treated in groups that share all weights. Shapes are kept, nothing is reduced.
    """

    def __init__(self, num_channels: int, num_groups: int = 32) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"{num_channels} channels cannot be parted in {num_groups} groups")
        width = num_channels // num_groups
        self.num_groups = num_groups
        self.along_axes = nn.Conv2d(width, width, 1)
        self.norm = nn.GroupNorm(width, width)
        # Departure: the paper does not say whether this convolution keeps its bias beside the batch
        # norm; it does here, as in the module that the paper starts from.
        self.local = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, maps: Float[Tensor, "B D F T"]) -> Float[Tensor, "B D F T"]:
        """The maps, every cell of every group weighted by a number in 0..1."""
        num_maps, _, height, width = maps.shape
        groups = maps.reshape(num_maps * self.num_groups, -1, height, width)
        wide = self._wide(groups)
        local = self.local(groups)
        weight = _attend(wide, local) + _attend(local, wide)
        return (groups * torch.sigmoid(weight)).reshape_as(maps)

    def _wide(self, groups: Float[Tensor, "G D F T"]) -> Float[Tensor, "G D F T"]:
        """The 1x1 branch: what the means over time and over frequency say of each cell."""
        over_time, over_rows = groups.mean(3, keepdim=True), groups.mean(2, keepdim=True)
        both = self.along_axes(torch.cat([over_time, over_rows.transpose(2, 3)], dim=2))
        rows, columns = both.split([groups.shape[2], groups.shape[3]], dim=2)
        return self.norm(groups * rows.sigmoid() * columns.transpose(2, 3).sigmoid())


def _attend(
    asking: Float[Tensor, "G D F T"], answering: Float[Tensor, "G D F T"]
) -> Float[Tensor, "G 1 F T"]:
    """One map: the channels of one branch, weighted by the means of the other's."""
    importance = torch.softmax(asking.mean((2, 3)), dim=1)
    return torch.einsum("gd,gdft->gft", importance, answering)[:, None]
