"""DGFNet's dynamic gating fusion: how much of what is seen goes into what is heard."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GatedFusion(nn.Module):
    """Dynamic gating fusion (section 3.3, Figure 4): sigma F_av + (1 - sigma) F_mid.

    Departure: the paper leaves open whether the gate is one map or one for each channel; this one
    has a number for every channel and cell.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh_product = nn.Conv2d(width, width, 1)
        self.weigh_audio = nn.Conv2d(width, width, 1)

    def forward(
        self, product: Float[Tensor, "N D f t"], audio: Float[Tensor, "N D f t"]
    ) -> tuple[Float[Tensor, "N D f t"], Float[Tensor, "N D f t"]]:
        """F_d and the gate sigma."""
        gate = torch.sigmoid(self.weigh_product(product) + self.weigh_audio(audio))
        return gate * product + (1 - gate) * audio, gate
