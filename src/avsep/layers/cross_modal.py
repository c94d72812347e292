"""LAVSS' meetings of modalities: what and where become one, then meet the sound (Figure 3).

Axes: N one source at one ear each, Q tokens, W the width of all of them.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avsep.layers.transformer import CrossLayer, box_positions

# Places of a map of what is seen, along each side (Figure 3: 7 x 7 = 49 tokens).
SEEN_CELLS = 7


class AttentionSettings(BaseModel):
    """The cross-modal attention blocks (CMA), section 4.1, and the switches of Table 4."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_heads: int = Field(default=8, gt=0, description="of every block")
    num_layers: int = Field(default=2, ge=1, description="'decoder layers' of every block")
    hidden_width: int = Field(default=1024, gt=0, description="of their feed-forward layers")
    vision_position: bool = Field(
        default=True, description="what and where attend to each other (Table 4: w/o VP)"
    )
    audio: bool = Field(
        default=True, description="sound and what is seen attend to each other (w/o AVP)"
    )
    multi_scale: bool = Field(
        default=True, description="the three deepest scales are tokens (w/o multi: the last alone)"
    )
    fusion: Literal["attention", "tile"] = Field(
        default="attention", description="tile: what is seen, side by side with the sound "
        "(Tile-Concat); nothing attends to the sound"
    )  # fmt: skip


class CrossModalAttention(nn.Module):
    """CMA(M, N, N), equation 2: M looks at N, with residuals, norms and a feed-forward layer."""

    def __init__(self, width: int, settings: AttentionSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossLayer(width, settings.num_heads, settings.hidden_width)
            for _ in range(settings.num_layers)
        )

    def forward(
        self, tokens: Float[Tensor, "N Q W"], memory: Float[Tensor, "N P W"]
    ) -> Float[Tensor, "N Q W"]:
        """Tokens that have looked at the memory, layer by layer.

        Departure: LAVSS's code hands every layer the first one's input; here each takes what the
        one before gave.
        """
        nowhere = tokens.new_zeros(1, 1, 1)
        for layer in self.layers:
            tokens = layer(
                tokens,
                nowhere.expand(1, *tokens.shape[1:]),
                memory,
                nowhere.expand(1, *memory.shape[1:]),
            )
        return tokens


class PositionNetwork(nn.Module):
    """Where an object is (section 3.2): gamma of its box in 7 x 7 cells, and an MLP."""

    def __init__(self, width: int, num_octaves: int, hidden_width: int) -> None:
        super().__init__()
        self.num_octaves = num_octaves
        self.layers = nn.Sequential(
            nn.Conv2d(4 * num_octaves, hidden_width, 1),
            nn.ReLU(),
            nn.Conv2d(hidden_width, width, 1),
        )

    def forward(self, boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N W h w"]:
        """F_p of normalised boxes x1 y1 x2 y2."""
        places = box_positions(boxes, self.num_octaves, SEEN_CELLS)
        return self.layers(places.to(self.layers[0].weight.dtype))  # type: ignore[arg-type]


class VisionPosition(nn.Module):
    """F_vp of equation 3: each of what and where attends to the other, then both become one."""

    def __init__(self, width: int, settings: AttentionSettings) -> None:
        super().__init__()
        self.blocks = (
            nn.ModuleList([CrossModalAttention(width, settings) for _ in range(2)])
            if settings.vision_position
            else None
        )
        self.join = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(
        self, seen: Float[Tensor, "N W h w"], place: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N W h w"]:
        """F_vp of both.

        Departure: the code's second branch reads what the first made; here both read F_v and F_p.
        """
        what, where = (maps.flatten(2).mT for maps in (seen, place))
        if self.blocks is not None:
            what, where = self.blocks[0](what, where), self.blocks[1](where, what)
        both = torch.cat([what, where], dim=2).mT.unflatten(2, seen.shape[2:])
        return self.join(both)


class AudioFusion(nn.Module):
    """F_avp of equations 5 and 6: the deepest maps of sound as tokens meet what is seen."""

    def __init__(
        self, width: int, sizes: Sequence[tuple[int, int]], settings: AttentionSettings
    ) -> None:
        """`sizes` are rows and columns of the three deepest maps, the last one deepest."""
        super().__init__()
        self.settings = settings
        self.bottom = sizes[-1]
        self.sizes = tuple(sizes) if settings.multi_scale else tuple(sizes[-1:])
        num_tokens = sum(rows * columns for rows, columns in self.sizes)
        if settings.fusion == "tile":
            return
        with_blocks = settings.audio
        self.to_sound = CrossModalAttention(width, settings) if with_blocks else None
        self.to_seen = CrossModalAttention(width, settings) if with_blocks else None
        self.tokens_of_seen = nn.Conv1d(SEEN_CELLS**2, num_tokens, 1)  # f_1
        self.to_bottom = nn.Conv1d(num_tokens, self.bottom[0] * self.bottom[1], 1)  # of f_2

    def forward(
        self, maps: Sequence[Float[Tensor, "E W _ _"]], seen: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N V f t"]:
        """What the decoder starts from, V = 2 W; N is a multiple of E: sources of one ear.

        Departure: f_2's two-dimensional convolution is the first of the decoder, as in the code.
        """
        num_sources = len(seen) // len(maps[-1])
        if self.settings.fusion == "tile":
            deep = maps[-1].repeat_interleave(num_sources, dim=0)
            tiled = seen.mean((2, 3))[:, :, None, None].expand(-1, -1, *deep.shape[2:])
            return torch.cat([deep, tiled], dim=1)
        scales = maps[-len(self.sizes) :]
        heard = torch.cat([one.flatten(2).mT for one in scales[::-1]], dim=1)  # E Q W (equation 5)
        heard = heard.repeat_interleave(num_sources, dim=0)
        objects = seen.flatten(2).mT
        if self.to_sound is not None and self.to_seen is not None:
            heard, objects = self.to_sound(heard, objects), self.to_seen(objects, heard)
        both = torch.cat([heard, self.tokens_of_seen(objects)], dim=2)  # N Q 2W
        return self.to_bottom(both).mT.unflatten(2, self.bottom)
