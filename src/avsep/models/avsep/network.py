"""The network of avsep's separator: cues to tokens, joint attention, one mask for each sound.

Axes beside those of records.py: R t rows and columns of the input, f u those of the middle of the
U-Net, D width of a token, E channels of the final features, P sounds: the S objects and the rest.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from avsep.layers.audio_unet import AudioUNet, UNetSettings
from avsep.layers.crop_motion import CROP_MOTION_CHANNELS, CropMotionEncoder
from avsep.layers.transformer import sine_positions_2d

# Width of the embeddings of EfficientNet-Lite0.
PICTURE_CHANNELS = 1280
# Columns that the presence over time is judged from, on each side: 0.4 s at 11025 Hz, stride 2.
_PRESENCE_REACH = 8
# Keeps the logarithm of a silent column finite: far below one step of 16 bits.
_FLOOR = 1e-4


@dataclass(frozen=True)
class ObjectCues:
    """The cues of each object that the network reads; all but one may be missing.

    Attributes:
        pictures: embeddings of its crops; ignored where it has none.
        has_picture: false for an object that is not visible.
        category: index of its category, -1 where it is not given.
        crop_motion: its crops in grey over time.
    """

    pictures: Float[Tensor, "B S K picture"]
    has_picture: Bool[Tensor, "B S"]
    category: Int64[Tensor, "B S"]
    crop_motion: UInt8[Tensor, "B S M h w"]


@dataclass(frozen=True)
class JointMasks:
    """Masks that add up to one in each cell, the rest last, with what is trained beside them.

    Attributes:
        masks: 0..1, of each object and the rest.
        presence_logits: of each object, whether it sounds in a column.
        category_logits: of each object, from its picture.
    """

    masks: Float[Tensor, "B P R t"]
    presence_logits: Float[Tensor, "B S t"]
    category_logits: Float[Tensor, "B S categories"]


class CueEncoder(nn.Module):
    """One token for each object: its category, given or predicted, plus its picture."""

    def __init__(self, num_categories: int, width: int) -> None:
        super().__init__()
        self.picture_norm = nn.LayerNorm(PICTURE_CHANNELS)
        self.category_head = nn.Linear(PICTURE_CHANNELS, num_categories)
        self.picture = nn.Linear(PICTURE_CHANNELS, width)
        self.categories = nn.Embedding(num_categories, width)
        self.no_picture = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, cues: ObjectCues
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B S categories"]]:
        """Return the tokens, and the logits of the categories by the picture."""
        pictures = self.picture_norm(cues.pictures.mean(2))
        logits = self.category_head(pictures)
        visible = cues.has_picture[..., None]
        # A category that is not given is the mean of all, weighted by their probabilities: without
        # a picture all are equally likely.
        predicted = (logits * visible).softmax(-1) @ self.categories.weight
        labelled = self.categories(cues.category.clamp_min(0))
        category = torch.where((cues.category >= 0)[..., None], labelled, predicted)
        picture = torch.where(visible, self.picture(pictures), self.no_picture)
        return self.norm(category + picture), logits


class JointNetwork(nn.Module):
    """Masks of all sounds of a mixture by one pass of the U-Net.

    The cells of the U-Net's middle, the objects and the rest attend to each other, so that the
    features are those of this set of objects; each sound's mask is then the softmax over all sounds
    of the inner products of its embedding, moved by the motion of its crops, with the features.
    """

    def __init__(
        self,
        num_categories: int,
        unet: UNetSettings,
        *,
        num_layers: int,
        num_heads: int,
        feed_forward_width: int,
    ) -> None:
        super().__init__()
        width, num_features = unet.middle_channels, unet.num_features
        self.audio_network = AudioUNet(unet)
        self.cues = CueEncoder(num_categories, width)
        self.rest = nn.Parameter(torch.randn(width) / width**0.5)
        layer = nn.TransformerEncoderLayer(
            width, num_heads, feed_forward_width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerEncoder(
            layer, num_layers, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.crop_motion = CropMotionEncoder()
        self.mask_mlp = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_features)
        )
        self.motion_to_mask = nn.Conv1d(CROP_MOTION_CHANNELS, num_features, 1)
        self.presence = PresenceHead(width)

    def forward(
        self,
        spectrogram: Float[Tensor, "B R t"],
        loudness: Float[Tensor, "B R t"],
        cues: ObjectCues,
    ) -> JointMasks:
        """Return the masks of all objects and the rest.

        Args:
            spectrogram: network input of the mixtures, log1p of their magnitudes.
            loudness: magnitudes, from which the presence is judged.
            cues: of the objects.
        """
        middle, skips = self.audio_network.to_middle(spectrogram[:, None])
        objects, category_logits = self.cues(cues)
        middle, tokens = self._attend(middle, objects)
        features = self.audio_network.from_middle(middle, skips)  # B E R t
        embeddings = self._embeddings(tokens, cues, spectrogram.shape[-1])  # B P E t
        # Columns in front, so that one product serves all rows of a column.
        cells = features.permute(0, 3, 2, 1)  # B t R E
        logits = cells @ embeddings.permute(0, 3, 2, 1)  # B t R P
        masks = logits.permute(0, 3, 2, 1).float().softmax(1)
        presence = self.presence(tokens[:, :-1], masks[:, :-1], loudness)
        return JointMasks(masks, presence, category_logits)

    def _attend(
        self, middle: Float[Tensor, "B D f u"], objects: Float[Tensor, "B S D"]
    ) -> tuple[Float[Tensor, "B D f u"], Float[Tensor, "B P D"]]:
        """Let cells, objects and rest attend to each other; return the cells and the sounds."""
        num_batch, width, num_rows, num_columns = middle.shape
        positions = sine_positions_2d(num_rows, num_columns, width).to(middle)
        cells = (middle + positions).flatten(2).mT
        rest = self.rest.expand(num_batch, 1, -1)
        together = torch.cat([cells, objects.to(cells), rest.to(cells)], dim=1)
        together = self.attention(together)
        cells, sounds = together.split([num_rows * num_columns, objects.shape[1] + 1], dim=1)
        return middle + cells.mT.reshape_as(middle), sounds

    def _embeddings(
        self, tokens: Float[Tensor, "B P D"], cues: ObjectCues, num_columns: int
    ) -> Float[Tensor, "B P E t"]:
        """Return the mask embedding of each sound at each column; the rest does not move."""
        embeddings = self.mask_mlp(tokens)[..., None]
        shape = cues.crop_motion.shape[:2]
        motion = self.motion_to_mask(self.crop_motion(cues.crop_motion.flatten(0, 1)))
        motion = interpolate(motion, size=num_columns, mode="linear", align_corners=False)
        motion = motion.unflatten(0, shape) * cues.has_picture[..., None, None]
        still = torch.zeros_like(motion[:, :1])
        return embeddings + torch.cat([motion, still], dim=1)


class PresenceHead(nn.Module):
    """Judge column by column if an object sounds, from its masked level and its token."""

    def __init__(self, width: int, hidden_channels: int = 16) -> None:
        super().__init__()
        self.token = nn.Linear(width, hidden_channels)
        self.levels = nn.Conv1d(3, hidden_channels, 2 * _PRESENCE_REACH + 1, padding="same")
        self.output = nn.Conv1d(hidden_channels, 1, 1)

    def forward(
        self,
        tokens: Float[Tensor, "B S D"],
        masks: Float[Tensor, "B S R t"],
        loudness: Float[Tensor, "B R t"],
    ) -> Float[Tensor, "B S t"]:
        """Return logits; gradients go to the head alone, and not into the masks."""
        masks = masks.detach()
        mixture = column_level(loudness)[:, None].expand(-1, masks.shape[1], -1)
        levels = column_level(masks * loudness[:, None])
        mean = levels.amax(-1, keepdim=True).expand_as(levels)
        inputs = torch.stack([levels, levels - mixture, mean], dim=2).flatten(0, 1)
        hidden = self.levels(inputs) + self.token(tokens.detach()).flatten(0, 1)[..., None]
        return self.output(torch.relu(hidden)).unflatten(0, masks.shape[:2])[:, :, 0]


def column_level(magnitude: Float[Tensor, "*batch R t"]) -> Float[Tensor, "*batch t"]:
    """Return the level of each column: log10 of the root of its energy."""
    return magnitude.square().sum(-2).clamp_min(_FLOOR**2).log10() / 2


def predicted_category(
    category: Int64[Tensor, "B S"], logits: Float[Tensor, "B S categories"]
) -> Int64[Tensor, "B S"]:
    """Return the given category, or where it is -1 the likeliest by the picture."""
    return torch.where(category >= 0, category, logits.argmax(-1))
