"""The query transformer of iQuery and DGFNet, its attention layers and sine positions."""

import math

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn.functional import one_hot

# Longest period of the sine positions over 2 pi, and the constant against division by zero in
# their normalisation; both as in DETR.
TEMPERATURE = 10_000.0
_EPSILON = 1e-6


class QueryTransformer(nn.Module):
    """The audio-visual transformer: one mask embedding for each source (DGFNet, section 3.4).

    Departure: in iQuery's code the motion layer has a self-attention and an audio-visual attention
    that it never uses, and the other layers a motion attention: 1,318,400 parameters, left out
    here.
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
        """Build the layers; `motion_channels` None builds no motion layer.

        Args:
            num_queries: N, the number of categories.
            object_channels: channels of the object features F_O.
            motion_channels: channels of the motion features F_M, or None.
            mask_channels: channels of the audio features F_a and of a mask embedding.
            width: D of all tokens.
            num_heads: heads of every attention.
            feed_forward_width: hidden channels of every feed-forward layer.
        """
        super().__init__()
        sizes = (width, num_heads, feed_forward_width)
        has_motion = motion_channels is not None
        # Three audio-visual layers behind the motion layer; iQuery on AVE has four and no motion.
        num_layers = 3 if has_motion else 4
        self.object_to_query = nn.Conv1d(object_channels, width, 1)
        self.queries = nn.Embedding(num_queries, width)
        self.audio_encoder = EncoderLayer(*sizes)
        self.motion_projection = nn.Conv1d(motion_channels, width, 1) if motion_channels else None
        self.motion_layer = CrossLayer(*sizes) if has_motion else None
        self.layers = nn.ModuleList(DecoderLayer(*sizes) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.mask_mlp = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, mask_channels),
        )

    def project(self, features: Float[Tensor, "N object"]) -> Float[Tensor, "N D"]:
        """Project object features to the width of the queries; the fusion uses the same layer."""
        return self.object_to_query(features[:, :, None])[:, :, 0]

    def forward(
        self,
        fused: Float[Tensor, "n D f t"],
        objects: Float[Tensor, "N D"],
        category: Int64[Tensor, " N"],
        motion: Float[Tensor, "N motion K"] | None,
        padding: Shaped[Tensor, "N K"] | None,
    ) -> Float[Tensor, "N E"]:
        """Return the mask embedding of each source's category (equations 1 to 4).

        Args:
            fused: features F_d, one map a source (n = N) or one a mixture (N a multiple of n).
            objects: object features of `project`.
            category: index of each source's category.
            motion: motion features F_M; required if there is a motion layer.
            padding: true where a motion feature is padding; numbers are added to the scores.
        """
        positions = sine_positions_2d(fused.shape[2], fused.shape[3], fused.shape[1]).to(fused)
        tokens, audio_positions = fused.flatten(2).mT, positions.flatten(1).mT  # [n, f t, D]
        memory = self.audio_encoder(tokens, audio_positions)  # equation 2: F'_d
        memory = memory.repeat_interleave(len(objects) // len(memory), dim=0)
        # As in iQuery's code the learned queries act as positions, and the content starts at zero.
        query_positions = self.queries.weight
        # Visual naming (3.4.1): only the query of the source's category gets its object feature.
        naming = one_hot(category, len(query_positions)).to(objects.dtype)  # [N, Q]
        queries = naming[:, :, None] * objects[:, None]  # Q_v
        if self.motion_layer is not None and self.motion_projection is not None:
            assert motion is not None, "a model with a motion layer needs motion features"
            steps = self.motion_projection(motion).mT  # [N, K, D]
            times = sine_positions(torch.arange(steps.shape[1]), steps.shape[2]).to(steps)
            queries = self.motion_layer(queries, query_positions, steps, times, padding)  # eq. 1
        for layer in self.layers:
            queries = layer(queries, query_positions, memory, audio_positions)  # equations 3, 4
        # The other queries only take part in the self-attention; their masks are not needed.
        chosen = queries[torch.arange(len(queries), device=queries.device), category]
        return self.mask_mlp(self.norm(chosen))


# Transformer layers of DETR and MaskFormer

# Post-norm. Positions are added to queries and keys, never to values or to the output. Padding
# masks are boolean, true where a token is padding; numbers are added to the scores instead.


class Attention(nn.Module):
    """Multi-head attention with residual and layer norm.

    Departure: iQuery passes its padding mask as floats, which are added to the scores and mask
    nothing (REFERENCE 6.1). Here it is boolean, unless `motion_padding` is "added".
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        tokens: Float[Tensor, "B Q D"],
        positions: Float[Tensor, "*#batch Q D"],
        memory: Float[Tensor, "B K D"] | None = None,
        memory_positions: Float[Tensor, "*#batch K D"] | None = None,
        padding: Shaped[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Return tokens after attention to a memory, or to each other without one.

        With a memory of padding alone only the norm changes the tokens.
        """
        query = tokens + positions
        if memory is None:
            memory, memory_positions = tokens, positions
        key = memory if memory_positions is None else memory + memory_positions
        is_empty = None
        if padding is not None and padding.dtype == torch.bool:
            # A softmax over masked scores alone is NaN: such rows attend to the padding, and their
            # result is replaced by zeros.
            is_empty = padding.all(dim=1)
            padding = padding & ~is_empty[:, None]
        update, _ = self.attention(query, key, memory, key_padding_mask=padding, need_weights=False)
        if is_empty is not None:
            update = update.masked_fill(is_empty[:, None, None], 0.0)
        return self.norm(tokens + update)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, residual and layer norm."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden_width)
        self.narrow = nn.Linear(hidden_width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B Q D"]) -> Float[Tensor, "B Q D"]:
        """Transform each token on its own."""
        return self.norm(tokens + self.narrow(torch.relu(self.widen(tokens))))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward layer (DGFNet, equation 2)."""

    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__()
        self.self_attention = Attention(width, num_heads)
        self.feed_forward = FeedForward(width, hidden_width)

    def forward(
        self, tokens: Float[Tensor, "B Q D"], positions: Float[Tensor, "*#batch Q D"]
    ) -> Float[Tensor, "B Q D"]:
        """Return tokens after attention to each other."""
        return self.feed_forward(self.self_attention(tokens, positions))


class CrossLayer(nn.Module):
    """Cross-attention to a memory and feed-forward layer (DGFNet equation 1, LAVSS equation 2)."""

    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__()
        self.cross_attention = Attention(width, num_heads)
        self.feed_forward = FeedForward(width, hidden_width)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        positions: Float[Tensor, "*#batch Q D"],
        memory: Float[Tensor, "B K D"],
        memory_positions: Float[Tensor, "*#batch K D"],
        padding: Shaped[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Return queries after attention to the memory, except where it is padding."""
        queries = self.cross_attention(queries, positions, memory, memory_positions, padding)
        return self.feed_forward(queries)


class DecoderLayer(CrossLayer):
    """A cross-attention layer behind a self-attention of the queries (DGFNet, equations 3, 4)."""

    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__(width, num_heads, hidden_width)
        self.self_attention = Attention(width, num_heads)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        positions: Float[Tensor, "*#batch Q D"],
        memory: Float[Tensor, "B K D"],
        memory_positions: Float[Tensor, "*#batch K D"],
        padding: Shaped[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Return queries after attention to each other and to the memory."""
        queries = self.self_attention(queries, positions)  # equation 3
        return super().forward(queries, positions, memory, memory_positions, padding)  # equation 4


# Sine positions


def sine_positions(positions: Shaped[Tensor, " K"], width: int) -> Float[Tensor, "K D"]:
    """Encode positions as alternating sines and cosines of growing periods."""
    # In float64: angles reach hundreds, where float32 sines are off in the fifth digit.
    periods = TEMPERATURE ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = positions.double()[:, None] / periods
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def sine_positions_2d(num_rows: int, num_columns: int, width: int) -> Float[Tensor, "D f t"]:
    """Encode the cells of a map: the row in the first half of the channels, then the column."""
    halves = []
    for count in (num_rows, num_columns):
        # As DETR normalises: counted from one, divided by the last, times 2 pi.
        places = torch.arange(1, count + 1, dtype=torch.float64)
        halves.append(sine_positions(places / (count + _EPSILON) * 2 * math.pi, width // 2))
    rows, columns = halves
    rows = rows[:, None].expand(-1, num_columns, -1)
    columns = columns[None].expand(num_rows, -1, -1)
    return torch.cat([rows, columns], dim=-1).permute(2, 0, 1)  # [D, f, t]
