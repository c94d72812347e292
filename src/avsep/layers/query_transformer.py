"""The audio-visual transformer of iQuery and DGFNet: a query a category, named by what is seen."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import one_hot

from avsep.layers.positions import sine_positions, sine_positions_2d
from avsep.layers.transformer import CrossLayer, DecoderLayer, EncoderLayer


class QueryTransformer(nn.Module):
    """A mask embedding for each source (DGFNet, section 3.4).

    A motion layer and three audio-visual layers; four of these where no motion is seen (AVE).

    Departure: in iQuery's code the motion layer holds a self-attention and an audio-visual
    attention that it never uses, and the other layers a motion attention: 1,318,400 parameters that
    are left out here.
    """

    def __init__(
        self,
        num_queries: int,
        *,
        object_channels: int,
        motion_channels: int | None,
        mask_channels: int,
        width: int = 256,
        num_heads: int = 8,
        feed_forward_width: int = 1024,
    ) -> None:
        super().__init__()
        sizes = (width, num_heads, feed_forward_width)
        with_motion = motion_channels is not None
        self.object_to_query = nn.Conv1d(object_channels, width, 1)
        self.queries = nn.Embedding(num_queries, width)
        self.audio_encoder = EncoderLayer(*sizes)
        self.motion_projection = nn.Conv1d(motion_channels, width, 1) if motion_channels else None
        self.motion_layer = CrossLayer(*sizes) if with_motion else None
        self.layers = nn.ModuleList(DecoderLayer(*sizes) for _ in range(3 if with_motion else 4))
        self.norm = nn.LayerNorm(width)
        self.mask_mlp = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, mask_channels),
        )

    def project(self, features: Float[Tensor, "N object"]) -> Float[Tensor, "N D"]:
        """Object features at the width of the queries; the fusion uses the same projection."""
        return self.object_to_query(features[:, :, None])[:, :, 0]

    def forward(
        self,
        fused: Float[Tensor, "n D f t"],
        named: Float[Tensor, "N D"],
        category: Int64[Tensor, " N"],
        motion: Float[Tensor, "N motion K"] | None,
        motion_padding: Bool[Tensor, "N K"] | None,
    ) -> Float[Tensor, "N E"]:
        """The mask embedding of each source's category (equations 1 to 4)."""
        positions = sine_positions_2d(fused.shape[2], fused.shape[3], fused.shape[1]).to(fused)
        tokens, places = fused.flatten(2).mT, positions.flatten(1).mT  # [n, f t, D], [f t, D]
        memory = self.audio_encoder(tokens, places)  # equation 2
        memory = memory.repeat_interleave(len(named) // len(memory), dim=0)
        asked = self.queries.weight
        # Visual naming: only the query of the source's category carries its object feature.
        naming = one_hot(category, len(asked)).to(named.dtype)  # [N, Q]
        queries = naming[:, :, None] * named[:, None]
        if self.motion_layer is not None and self.motion_projection is not None:
            assert motion is not None, "a model with a motion layer is given motion"
            moves = self.motion_projection(motion).mT  # [N, K, D]
            times = sine_positions(moves.shape[1], moves.shape[2]).to(moves)
            queries = self.motion_layer(queries, asked, moves, times, motion_padding)  # equation 1
        for layer in self.layers:
            queries = layer(queries, asked, memory, places)  # equations 3 and 4
        chosen = queries[torch.arange(len(queries), device=queries.device), category]
        return self.mask_mlp(self.norm(chosen))
