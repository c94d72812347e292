"""LAVSS cross-modal fusion as its released code computes it, for released weights, and the choice.

Axes as in cross_modal.py.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, scaled_dot_product_attention

from avsep.layers.cross_modal import VISUAL_CELLS, AudioFusion, CrossModalSettings, VisionPosition
from avsep.layers.transformer import FeedForward

# Slope of every LeakyReLU of the code, and the kernel of its convolutions over tokens.
_SLOPE = 0.2
_KERNEL = 3


class ReleasedVisionPosition(nn.Module):
    """Visual-positional features F_vp: two single-head attentions and a 1 x 1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.visual = _MapAttention(width)
        self.position = _MapAttention(width)
        self.join = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(
        self, visual: Float[Tensor, "N W h w"], position: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N W h w"]:
        """Return F_vp of visual features F_v and position features F_p."""
        visual = self.visual(visual, position)
        # The second attention reads the output of the first, as released.
        position = self.position(position, visual)
        return self.join(torch.cat([visual, position], dim=1))


class _MapAttention(nn.Module):
    """Attention of one map's cells to another's, with residual and without norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(
        self, maps: Float[Tensor, "N W h w"], memory: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N W h w"]:
        """Return maps after attention to the memory."""
        cells, others = self.enter(maps).flatten(2).mT, memory.flatten(2).mT
        update = scaled_dot_product_attention(
            self.query(cells), self.key(others), self.value(others)
        )
        return maps + self.leave(update.mT.unflatten(2, maps.shape[2:]))


class ReleasedAudioFusion(nn.Module):
    """Fused features F_avp of the deepest audio maps and visual features.

    Audio and visual tokens attend to each other in one layer. Two convolutions over tokens, of
    three features each, bring the audio tokens to the number of the visual ones and both to the
    cells of the bottom.
    """

    def __init__(
        self, width: int, sizes: Sequence[tuple[int, int]], settings: CrossModalSettings
    ) -> None:
        """Build the layer; arguments as of `AudioFusion`."""
        super().__init__()
        self.sizes, self.bottom = tuple(sizes), sizes[-1]
        num_tokens = sum(rows * columns for rows, columns in self.sizes)
        num_visual, num_cells = VISUAL_CELLS**2, self.bottom[0] * self.bottom[1]
        heads, hidden_width = settings.num_heads, settings.hidden_width
        self.to_audio = nn.MultiheadAttention(width, heads, batch_first=True)
        self.to_visual = nn.MultiheadAttention(width, heads, batch_first=True)
        self.audio_norm, self.visual_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.audio_layer = FeedForward(width, hidden_width)
        self.visual_layer = FeedForward(width, hidden_width)
        padding = _KERNEL // 2
        self.project_audio = nn.Conv1d(num_tokens, num_visual, _KERNEL, padding=padding)
        self.to_bottom = nn.Conv1d(num_visual, num_cells, _KERNEL, padding=padding)

    def forward(
        self, maps: Sequence[Float[Tensor, "E W _ _"]], visual: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N V f t"]:
        """Return the input of the decoder, V = 2 W; N is a multiple of E."""
        num_sources = len(visual) // len(maps[-1])
        # Tokens of all scales, the largest map first.
        audio = torch.cat([scale.flatten(2).mT for scale in maps[-len(self.sizes) :]], dim=1)
        audio, attended = self.attend(
            audio.repeat_interleave(num_sources, dim=0), visual.flatten(2).mT
        )
        audio = leaky_relu(self.project_audio(audio), _SLOPE)
        both = torch.cat([audio, attended], dim=2)  # N P 2W
        return leaky_relu(self.to_bottom(both), _SLOPE).mT.unflatten(2, self.bottom)

    def attend(
        self, audio: Float[Tensor, "N Q W"], visual: Float[Tensor, "N P W"]
    ) -> tuple[Float[Tensor, "N Q W"], Float[Tensor, "N P W"]]:
        """Return audio and visual tokens after attention to each other."""
        audio_update, _ = self.to_audio(audio, visual, visual, need_weights=False)
        # The code overwrites the audio tokens by this update before it passes them as values, but
        # after it has passed them as keys.
        visual_update, _ = self.to_visual(visual, audio, audio_update, need_weights=False)
        audio = self.audio_layer(self.audio_norm(audio + audio_update))
        return audio, self.visual_layer(self.visual_norm(visual + visual_update))


def make_vision_position(
    width: int, settings: CrossModalSettings
) -> VisionPosition | ReleasedVisionPosition:
    """Build the fusion of visual and position features that the settings name."""
    if settings.blocks == "released":
        return ReleasedVisionPosition(width)
    return VisionPosition(width, settings)


def make_audio_fusion(
    width: int, sizes: Sequence[tuple[int, int]], settings: CrossModalSettings
) -> AudioFusion | ReleasedAudioFusion:
    """Build the fusion of audio and visual features that the settings name."""
    make = ReleasedAudioFusion if settings.blocks == "released" else AudioFusion
    return make(width, sizes, settings)
