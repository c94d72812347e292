"""Transformer layers, sine positions and the query transformer of iQuery and DGFNet."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool1d, one_hot

# Transformer layers as DETR and MaskFormer have them: post-norm, positions added to queries,
# keys Positions are added wherever tokens are compared and never to what is passed on. Masks are
# boolean, true where a token is padding. Departure: iQuery hands its padding mask over as
# numbers, which are then added to the scores and hide nothing (REFERENCE 6.1).


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


# Sine encodings of positions: along one axis, over a map as DETR has them, of a box in a frame


TEMPERATURE = 10_000.0
_EPSILON = 1e-6


def sine_positions(num_positions: int, width: int) -> Float[Tensor, "K D"]:
    """Positions 0, 1, 2 ... as sines and cosines by turns, of ever longer periods."""
    return _sines(torch.arange(num_positions, dtype=torch.float64), width).float()


def sine_positions_2d(num_rows: int, num_columns: int, width: int) -> Float[Tensor, "D f t"]:
    """A map of encodings: half of the channels tell the row, half the column, each as 0..2 pi.

    Rows and columns count from one and are divided by the last, as in DETR.
    """
    halves = []
    for count in (num_rows, num_columns):
        places = torch.arange(1, count + 1, dtype=torch.float64)
        halves.append(_sines(places / (count + _EPSILON) * 2 * math.pi, width // 2))
    rows, columns = halves
    rows = rows[:, None].expand(-1, num_columns, -1)
    columns = columns[None].expand(num_rows, -1, -1)
    return torch.cat([rows, columns], dim=-1).permute(2, 0, 1).float()  # [D, f, t]


# The frame whose pixels LAVSS encodes: width and height.
_FRAME_PIXELS = (1280, 720)


def octave_positions(
    points: Float[Tensor, "*batch 2"], num_octaves: int
) -> Float[Tensor, "*batch D"]:
    """gamma(x, y) of LAVSS, equation 1, D = 4 `num_octaves`: of points in -1..1.

    By octave sin x, cos x, sin y, cos y. In double, since 2^15 pi x in single is off by 1e-3.

    >>> octave_positions(torch.tensor([0.5, 0.0]), 1).round().tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    angles = _octaves(points.double(), num_octaves)  # * 2 octaves
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)  # * 2 octaves 2
    return waves.transpose(-3, -2).flatten(-3).float()


def box_positions(
    boxes: Float[Tensor, "N 4"], num_octaves: int, num_cells: int
) -> Float[Tensor, "N D h w"]:
    """Equation 1 of every pixel of boxes in a frame, the greatest in each of a square of cells.

    Boxes are normalised x1 y1 x2 y2. Every channel hangs on x alone or on y alone, so rows and
    columns are pooled by themselves, exactly, and the map of a box is never made.

    Departure: the released code looks the encoding up in a file of 59 million values.
    """
    sides = []
    for axis, num_pixels in enumerate(_FRAME_PIXELS):
        places = 2 * torch.arange(num_pixels, dtype=torch.float64) / num_pixels - 1
        angles = _octaves(places, num_octaves)  # pixels octaves
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).mT  # [2 octaves, pixels]
        spans = [
            _pixels(first, beyond, num_pixels)
            for first, beyond in boxes[:, [axis, axis + 2]].double().tolist()
        ]
        pooled = torch.stack([adaptive_max_pool1d(waves[:, span], num_cells) for span in spans])
        sides.append(pooled.unflatten(1, (2, num_octaves)).transpose(1, 2))  # N octaves 2 cells
    across, down = sides
    maps = torch.stack(
        [
            across[:, :, :, None].expand(-1, -1, -1, num_cells, -1),
            down[..., None].expand(-1, -1, -1, -1, num_cells),
        ],
        dim=2,
    )  # N octaves (x y) (sin cos) h w
    return maps.flatten(1, 3).float().to(boxes.device)


def _octaves(values: Float[Tensor, "*any"], num_octaves: int) -> Float[Tensor, "*any octaves"]:
    return values[..., None] * math.pi * 2.0 ** torch.arange(num_octaves, device=values.device)


def _pixels(first: float, beyond: float, num_pixels: int) -> slice:
    """The pixels that a stretch of 0..1 touches, one at least."""
    start = min(math.floor(first * num_pixels), num_pixels - 1)
    return slice(start, max(start + 1, math.ceil(beyond * num_pixels - 1e-6)))


def _sines(places: Float[Tensor, " K"], width: int) -> Float[Tensor, "K D"]:
    periods = TEMPERATURE ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = places[:, None] / periods
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


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
        with_i3d_features = motion_channels is not None
        self.object_to_query = nn.Conv1d(object_channels, width, 1)
        self.queries = nn.Embedding(num_queries, width)
        self.audio_encoder = EncoderLayer(*sizes)
        self.motion_projection = nn.Conv1d(motion_channels, width, 1) if motion_channels else None
        self.motion_layer = CrossLayer(*sizes) if with_i3d_features else None
        self.layers = nn.ModuleList(
            DecoderLayer(*sizes) for _ in range(3 if with_i3d_features else 4)
        )
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
        padding: Bool[Tensor, "N K"] | None,
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
            queries = self.motion_layer(queries, asked, moves, times, padding)  # equation 1
        for layer in self.layers:
            queries = layer(queries, asked, memory, places)  # equations 3 and 4
        chosen = queries[torch.arange(len(queries), device=queries.device), category]
        return self.mask_mlp(self.norm(chosen))
