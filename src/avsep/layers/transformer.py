"""Transformer layers as DETR and MaskFormer have them: post-norm, positions added to queries, keys.

Positions are added wherever tokens are compared and never to what is passed on. Masks are boolean,
true where a token is padding. Departure: iQuery hands its padding mask over as numbers, which are
then added to the scores and hide nothing (REFERENCE 6.1).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with its residual and layer norm."""

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
        padding: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Tokens that have looked at the memory, or at each other where none is given.

        Where all of a memory is padding the tokens stay as they were, but for the norm.
        """
        query = tokens + positions
        if memory is None:
            memory, memory_positions = tokens, positions
        key = memory if memory_positions is None else memory + memory_positions
        nothing = None
        if padding is not None:
            nothing = padding.all(dim=1)
            padding = padding & ~nothing[:, None]
        answer, _ = self.attention(query, key, memory, key_padding_mask=padding, need_weights=False)
        if nothing is not None:
            answer = answer.masked_fill(nothing[:, None, None], 0.0)
        return self.norm(tokens + answer)


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, residual and layer norm."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden_width)
        self.narrow = nn.Linear(hidden_width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B Q D"]) -> Float[Tensor, "B Q D"]:
        """Each token by itself."""
        return self.norm(tokens + self.narrow(torch.relu(self.widen(tokens))))


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward layer."""

    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__()
        self.self_attention = Attention(width, num_heads)
        self.feed_forward = FeedForward(width, hidden_width)

    def forward(
        self, tokens: Float[Tensor, "B Q D"], positions: Float[Tensor, "*#batch Q D"]
    ) -> Float[Tensor, "B Q D"]:
        """Tokens that know of each other."""
        return self.feed_forward(self.self_attention(tokens, positions))


class CrossLayer(nn.Module):
    """Cross-attention to a memory and feed-forward layer alone (DGFNet, equation 1)."""

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
        padding: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Queries that know of the memory; padding of it is not seen."""
        queries = self.cross_attention(queries, positions, memory, memory_positions, padding)
        return self.feed_forward(queries)


class DecoderLayer(CrossLayer):
    """The same behind a self-attention among the queries (DGFNet, equations 3 and 4)."""

    def __init__(self, width: int, num_heads: int, hidden_width: int) -> None:
        super().__init__(width, num_heads, hidden_width)
        self.self_attention = Attention(width, num_heads)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        positions: Float[Tensor, "*#batch Q D"],
        memory: Float[Tensor, "B K D"],
        memory_positions: Float[Tensor, "*#batch K D"],
        padding: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """Queries that know of each other and of the memory."""
        queries = self.self_attention(queries, positions)
        return super().forward(queries, positions, memory, memory_positions, padding)
