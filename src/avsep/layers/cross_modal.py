"""LAVSS cross-modal fusion: fuse visual and position features, then attend to audio (Figure 3).

Axes: N one source at one ear each, E one ear of one mixture each, Q and P tokens, W their width.
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool1d

from avsep.layers.transformer import CrossLayer

# Cells along each side of a visual map: 7 x 7 = 49 visual tokens (Figure 3).
VISUAL_CELLS = 7

# Width and height of the frames whose pixels are encoded (section 3.2).
_FRAME_PIXELS = (1280, 720)


class CrossModalSettings(BaseModel):
    """Size of the cross-modal attention blocks (section 4.1) and the switches of Table 4."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: Literal["paper", "released"] = Field(
        default="paper",
        description="attention of equations 2, 3, 5 and 6, or that of the released code, for its "
        "weights",
    )
    num_heads: int = Field(default=8, gt=0, description="of every block")
    num_layers: int = Field(default=2, ge=1, description="'decoder layers' of every block")
    hidden_width: int = Field(default=1024, gt=0, description="of their feed-forward layers")
    vision_position: bool = Field(
        default=True,
        description="visual and position features attend to each other (Table 4: w/o VP)",
    )
    audio: bool = Field(
        default=True, description="audio and visual tokens attend to each other (w/o AVP)"
    )
    multi_scale: bool = Field(
        default=True,
        description="audio tokens of the three deepest scales (w/o multi: of the last alone)",
    )
    fusion: Literal["attention", "tile"] = Field(
        default="attention",
        description="tile: mean visual features concatenated to every audio cell (Tile-Concat), "
        "no attention",
    )

    @model_validator(mode="after")
    def _check_released(self) -> Self:
        whole = self.vision_position and self.audio and self.multi_scale
        is_released = self.blocks == "released"
        if is_released and not (whole and self.fusion == "attention" and self.num_layers == 1):
            raise ValueError(
                "blocks 'released' have one layer (num_layers = 1) and no switches of Table 4"
            )
        return self


class CrossModalAttention(nn.Module):
    """CMA(M, N, N) of equation 2: tokens M attend to a memory N, layer by layer."""

    def __init__(self, width: int, settings: CrossModalSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossLayer(width, settings.num_heads, settings.hidden_width)
            for _ in range(settings.num_layers)
        )

    def forward(
        self, tokens: Float[Tensor, "N Q W"], memory: Float[Tensor, "N P W"]
    ) -> Float[Tensor, "N Q W"]:
        """Return the tokens after attention to the memory.

        Departure: LAVSS's code gives every layer the input of the first; here each layer gets the
        output of the one before.
        """
        # No positions are added: where an object is comes in as features (PositionNetwork).
        zeros = tokens.new_zeros(1, 1, 1)
        for layer in self.layers:
            tokens = layer(
                tokens,
                zeros.expand(1, *tokens.shape[1:]),
                memory,
                zeros.expand(1, *memory.shape[1:]),
            )
        return tokens


# Position network (section 3.2)


class PositionNetwork(nn.Module):
    """Position features F_p: encoding of the box in 7 x 7 cells, and an MLP on each cell."""

    def __init__(self, width: int, num_octaves: int, hidden_width: int) -> None:
        super().__init__()
        self.num_octaves = num_octaves
        self.layers = nn.Sequential(
            nn.Conv2d(4 * num_octaves, hidden_width, 1),
            nn.ReLU(),
            nn.Conv2d(hidden_width, width, 1),
        )

    def forward(self, boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N W h w"]:
        """Return F_p of boxes x1 y1 x2 y2, normalised to 0..1."""
        encoding = box_positions(boxes, self.num_octaves, VISUAL_CELLS)
        return self.layers(encoding.to(self.layers[0].weight.dtype))  # type: ignore[arg-type]


def box_positions(
    boxes: Float[Tensor, "N 4"], num_octaves: int, num_cells: int
) -> Float[Tensor, "N D h w"]:
    """Encode the pixels of boxes (gamma, equation 1) and max-pool them to a square of cells.

    D = 4 `num_octaves`: sin x, cos x, sin y, cos y of each octave, for pixel coordinates x, y in
    -1..1. Boxes are x1 y1 x2 y2, normalised to 0..1.

    Departure: the released code reads the encoding from a file of 59 million values.
    """
    sides = []
    for axis, num_pixels in enumerate(_FRAME_PIXELS):
        # 2 k / size - 1, as in the released file: the last pixel is below 1. In float64, since
        # 2^15 pi x is off by 1e-3 in float32.
        places = 2 * torch.arange(num_pixels, dtype=torch.float64) / num_pixels - 1
        octaves = 2.0 ** torch.arange(num_octaves)
        angles = places[:, None] * math.pi * octaves  # [pixels, octaves]
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).mT  # [2 octaves, pixels]
        spans = [
            _pixel_span(start, end, num_pixels)
            for start, end in boxes[:, [axis, axis + 2]].double().tolist()
        ]
        # Each channel depends on x alone or on y alone, so pooling rows and columns separately is
        # exact, and the encoding of a whole box is never built.
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


def _pixel_span(start: float, end: float, num_pixels: int) -> slice:
    """Return the pixels that a stretch of 0..1 touches, at least one."""
    first = min(math.floor(start * num_pixels), num_pixels - 1)
    # An end on a pixel's edge, up to rounding, does not touch the next pixel.
    return slice(first, max(first + 1, math.ceil(end * num_pixels - 1e-6)))


# Fusion of visual and position features, and of both with audio


class VisionPosition(nn.Module):
    """Visual-positional features F_vp (equation 3): two CMA blocks and a 1 x 1 convolution."""

    def __init__(self, width: int, settings: CrossModalSettings) -> None:
        super().__init__()
        self.blocks = (
            nn.ModuleList([CrossModalAttention(width, settings) for _ in range(2)])
            if settings.vision_position
            else None
        )
        # Batch norm and ReLU are those of the released code; equation 3 names the convolution.
        self.join = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(
        self, visual: Float[Tensor, "N W h w"], position: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N W h w"]:
        """Return F_vp of visual features F_v and position features F_p.

        Departure: in the code the second block reads the output of the first; here both read F_v
        and F_p.
        """
        visual_tokens, position_tokens = visual.flatten(2).mT, position.flatten(2).mT
        if self.blocks is not None:
            # One assignment, so that the second block reads F_v and not the first one's output.
            visual_tokens, position_tokens = (
                self.blocks[0](visual_tokens, position_tokens),
                self.blocks[1](position_tokens, visual_tokens),
            )
        both = torch.cat([visual_tokens, position_tokens], dim=2).mT  # N 2W h*w
        return self.join(both.unflatten(2, visual.shape[2:]))


class AudioFusion(nn.Module):
    """Fused features F_avp (equations 5 and 6) of the deepest audio maps and visual features."""

    def __init__(
        self, width: int, sizes: Sequence[tuple[int, int]], settings: CrossModalSettings
    ) -> None:
        """Build the blocks.

        Args:
            width: W, channels of the audio maps and of the visual features.
            sizes: rows and columns of the three deepest audio maps, the last one deepest.
            settings: size of the blocks and switches.
        """
        super().__init__()
        self.settings = settings
        self.bottom = sizes[-1]
        self.sizes = tuple(sizes) if settings.multi_scale else tuple(sizes[-1:])
        # At the paper's size 64 + 16 + 4 = 84 audio tokens.
        num_tokens = sum(rows * columns for rows, columns in self.sizes)
        if settings.fusion == "tile":
            return
        with_blocks = settings.audio
        self.to_audio = CrossModalAttention(width, settings) if with_blocks else None
        self.to_visual = CrossModalAttention(width, settings) if with_blocks else None
        self.project_visual = nn.Conv1d(VISUAL_CELLS**2, num_tokens, 1)  # f_1 of equation 6
        self.to_bottom = nn.Conv1d(num_tokens, self.bottom[0] * self.bottom[1], 1)  # part of f_2

    def forward(
        self, maps: Sequence[Float[Tensor, "E W _ _"]], visual: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N V f t"]:
        """Return the input of the decoder, V = 2 W; N is a multiple of E (the sources of an ear).

        Departure: the two-dimensional convolution of f_2 is the first of the decoder, as in the
        code.
        """
        num_sources = len(visual) // len(maps[-1])
        if self.settings.fusion == "tile":
            deepest = maps[-1].repeat_interleave(num_sources, dim=0)
            tiled = visual.mean((2, 3))[:, :, None, None].expand(-1, -1, *deepest.shape[2:])
            return torch.cat([deepest, tiled], dim=1)
        scales = maps[-len(self.sizes) :]
        # Equation 5: tokens of all scales, deepest first.
        audio = torch.cat([scale.flatten(2).mT for scale in scales[::-1]], dim=1)  # E Q W
        audio = audio.repeat_interleave(num_sources, dim=0)
        visual_tokens = visual.flatten(2).mT
        if self.to_audio is not None and self.to_visual is not None:
            # Equation 6: each block reads the other's input, not its output.
            audio, visual_tokens = (
                self.to_audio(audio, visual_tokens),
                self.to_visual(visual_tokens, audio),
            )
        both = torch.cat([audio, self.project_visual(visual_tokens)], dim=2)  # N Q 2W
        return self.to_bottom(both).mT.unflatten(2, self.bottom)
