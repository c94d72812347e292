"""Encode the frames or the word of each source as one vector (DAVIS, section 3.3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.clip_encoder import ClipImageEncoder
from avsep.vision.image_encoder import SmallImageEncoder
from avsep.vision.resnet18 import ResNet18Dilated

# Frames as vectors: one a picture, by CLIP, ResNet-18 or the small encoder that is shipped


FrameEncoderName = Literal["clip", "resnet18", "small"]


class FrameEncoder(nn.Module):
    """One vector a picture by a frozen image encoder, the frame features of DAVIS (section 3.3).

    CLIP gives its image embedding (D 512), ResNet-18 and the small encoder the mean of their maps
    over places (512, 192). Colours are brought to what each was trained with, and so are sizes but
    for ResNet-18, which takes pictures as large as they are.

    Departure: DAVIS shows CLIP the pictures of MUSIC in ImageNet's colours, and of ResNet-18 it
    reads the maps of 7 x 7 and the first frame only. Here every encoder sees what it was trained
    to see, ResNet-18's maps are the dilated ones of 14 x 14, and all frames are read.
    """

    def __init__(self, name: FrameEncoderName, categories: Sequence[str]) -> None:
        super().__init__()
        self.encoder = _encoder(name, categories)
        self.num_channels: int = self.encoder.num_channels
        self.eval()

    def forward(self, pictures: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Vectors of pictures of any size, whole frames or crops."""
        found = self.encoder(pictures)
        return found if found.ndim == 2 else found.mean((2, 3))

    def train(self, mode: bool = True) -> Self:
        """Itself, unchanged: it is frozen for good."""
        return super().train(False)


def _encoder(
    name: FrameEncoderName, categories: Sequence[str]
) -> ClipImageEncoder | ResNet18Dilated | SmallImageEncoder:
    if name == "clip":
        return ClipImageEncoder()
    if name == "resnet18":
        return ResNet18Dilated()
    # Its weights come with a head, which tells these categories.
    settings = SmallImageEncoder.Settings(categories=tuple(categories))
    return SmallImageEncoder(settings).freeze()


# DAVIS' temporal transformer: what the frames of a clip show, as one vector (section 3.3)


class TemporalTransformerSettings(BaseModel):
    """The paper's three encoder layers and one decoder layer, the rest from its code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_heads: int = Field(default=8, gt=0, description="of every attention layer")
    num_encoder_layers: int = Field(default=3, gt=0)
    num_decoder_layers: int = Field(default=1, gt=0)
    feed_forward_width: int = Field(
        default=2048, gt=0, description="of every feed-forward layer; 512 with ResNet-18"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="while training")


class TemporalTransformer(nn.Module):
    """Frame features look at each other, then again from the decoder; their mean is the answer."""

    def __init__(self, settings: TemporalTransformerSettings, width: int) -> None:
        super().__init__()
        self.transformer = nn.Transformer(
            width,
            settings.num_heads,
            settings.num_encoder_layers,
            settings.num_decoder_layers,
            settings.feed_forward_width,
            settings.dropout,
            batch_first=True,
        )

    def forward(self, frames: Float[Tensor, "N K D"]) -> Float[Tensor, "N D"]:
        """One vector for the frames of each source; the order of frames does not count."""
        return self.transformer(frames, frames).mean(1)


_NOTHING = "this model reads `crops`: give it pictures of each source, or its word"


class FrameNetwork(nn.Module):
    """DAVIS' visual condition (section 3.3): frame encoder, frozen, and temporal transformer.

    A source that nobody sees is told by its word: a vector from the encoder's own language (CLIP,
    section 4.4), or one stored for each of `words` and learned beside the pictures.
    """

    def __init__(
        self,
        image_encoder: FrameEncoderName,
        encoder_categories: Sequence[str],
        transformer: TemporalTransformerSettings,
        words: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.known_words = tuple(words)
        self.encoder = FrameEncoder(image_encoder, encoder_categories)
        self.num_channels = self.encoder.num_channels
        self.transformer = TemporalTransformer(transformer, self.num_channels)
        self.words = nn.Embedding(len(words), self.num_channels) if words else None

    def precompute(self, cues: Cues) -> Cues:
        """The cues with the frozen encoder's vectors, as maps of one cell, instead of pictures."""
        if cues.appearance is not None or cues.crops is None:
            return cues
        vectors = self.encoder(cues.crops.flatten(0, 2)).unflatten(0, cues.crops.shape[:3])
        return replace(cues, crops=None, appearance=vectors[..., None, None])

    def forward(self, cues: Cues, word_probability: float = 0.0) -> Float[Tensor, "B S D"]:
        """One vector for each source.

        With a probability, in training, the word stands for a source that is seen.

        Raises InputError for a source without pictures and without a word that is known.
        """
        cues = self.precompute(cues)
        told = self._told(cues, word_probability)
        frames = None if cues.appearance is None else cues.appearance.flatten(3).float()  # B S K D
        if told is not None and bool(told.any()):
            words = self._vectors(cues, told)[:, :, None]  # B S 1 D
            frames = words if frames is None else torch.where(told[..., None, None], words, frames)
        if frames is None:
            raise InputError(_NOTHING)
        return self.transformer(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def _told(self, cues: Cues, word_probability: float) -> Bool[Tensor, "B S"] | None:
        """Where the word tells; none: nowhere."""
        told = None if cues.is_visible is None else ~cues.is_visible
        if cues.appearance is None and (told is None or not bool(told.all())):
            raise InputError(_NOTHING)
        if not word_probability or cues.category is None:
            return told
        drawn = torch.rand(cues.category.shape, device=cues.category.device) < word_probability
        drawn &= cues.category >= 0
        return drawn if told is None else drawn | told

    def _vectors(self, cues: Cues, told: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Vectors of words: those given, else the stored ones of the categories."""
        if cues.embedding is not None:
            return cues.embedding
        if self.words is None:
            raise InputError("a source without pictures needs its word as `embedding`")
        if cues.category is None or bool((cues.category[told] < 0).any()):
            raise InputError(
                "a source without pictures needs a word that this model knows: "
                f"{', '.join(self.known_words)}"
            )
        return self.words(cues.category.clamp_min(0))


def num_sources(cues: Cues) -> int:
    """How many sources each mixture's cues are of."""
    for cue in (cues.appearance, cues.crops, cues.embedding, cues.is_visible):
        if cue is not None:
            return cue.shape[1]
    raise InputError(_NOTHING)
