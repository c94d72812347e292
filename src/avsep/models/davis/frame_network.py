"""Encode the frames or the word of each source as one vector (DAVIS, section 3.3)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.clip_encoder import ClipImageEncoder, ColoursName
from avsep.vision.image_encoder import SmallImageEncoder
from avsep.vision.resnet18 import ResNet18Dilated

FrameEncoderName = Literal["clip", "resnet18", "small"]

_NO_CUES = "this model reads `crops`: give it pictures of each source, or its word"


class CLIPSettings(BaseModel):
    """Settings of CLIP; the defaults are those of the released code on MUSIC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colours: ColoursName = Field(
        default="imagenet",
        description="mean and deviation that pictures are normalised by: those of ImageNet (MUSIC) "
        "or those of CLIP's training (AVE)",
    )
    equal_lengths: bool = Field(
        default=False,
        description="ours: scale the vectors of pictures and words to one length, sqrt(512), as "
        "CLIP is trained on directions alone; released: as they are",
    )


class TemporalTransformerSettings(BaseModel):
    """Sizes of the temporal transformer: layers as in the paper, the rest as in its code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_heads: int = Field(default=8, gt=0, description="of every attention layer")
    num_encoder_layers: int = Field(default=3, gt=0)
    num_decoder_layers: int = Field(default=1, gt=0)
    feed_forward_width: int = Field(
        default=2048, gt=0, description="of every feed-forward layer; 512 with ResNet-18"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="while training")


class FrameNetwork(nn.Module):
    """Visual condition v of DAVIS (section 3.3): frozen frame encoder and temporal transformer.

    A source that is not visible is described by its word instead: a text embedding (CLIP, section
    4.4), or a stored embedding of one of `words`, trained with the pictures.
    """

    def __init__(
        self,
        image_encoder: FrameEncoderName,
        encoder_categories: Sequence[str],
        transformer: TemporalTransformerSettings,
        words: Sequence[str] = (),
        clip: CLIPSettings | None = None,
    ) -> None:
        """Build the encoder and the transformer.

        Args:
            image_encoder: name of the frame encoder.
            encoder_categories: categories of the small encoder's head.
            transformer: sizes of the temporal transformer.
            words: vocabulary of stored embeddings, in the order of `Cues.category`.
            clip: use of CLIP, if that is the encoder; none: as released.
        """
        super().__init__()
        clip = clip or CLIPSettings()
        self.equal_lengths = image_encoder == "clip" and clip.equal_lengths
        self.vocabulary = tuple(words)
        self.encoder = FrameEncoder(image_encoder, encoder_categories, clip.colours)
        self.num_channels = self.encoder.num_channels
        self.transformer = TemporalTransformer(transformer, self.num_channels)
        self.words = nn.Embedding(len(words), self.num_channels) if words else None

    def precompute(self, cues: Cues) -> Cues:
        """Return cues with the frozen encoder's vectors, as maps of one cell, and no crops."""
        if cues.appearance is not None or cues.crops is None:
            return cues
        vectors = self.encoder(cues.crops.flatten(0, 2)).unflatten(0, cues.crops.shape[:3])
        return replace(cues, crops=None, appearance=vectors[..., None, None])

    def forward(self, cues: Cues, word_probability: float = 0.0) -> Float[Tensor, "B S D"]:
        """Return one vector for each source.

        Args:
            cues: crops or their vectors, visibility, and words as category or embedding.
            word_probability: share of visible sources described by their word, in training.

        Raises:
            InputError: a source has neither pictures nor a word of the vocabulary.
        """
        cues = self.precompute(cues)
        use_text = self._use_text(cues, word_probability)
        frames = None if cues.appearance is None else cues.appearance.flatten(3).float()  # B S K D
        if use_text is not None and bool(use_text.any()):
            # The word takes the place of every frame feature I_j.
            text = self._text_features(cues, use_text)[:, :, None]  # B S 1 D
            frames = (
                text if frames is None else torch.where(use_text[..., None, None], text, frames)
            )
        if frames is None:
            raise InputError(_NO_CUES)
        if self.equal_lengths:
            frames = normalize(frames, dim=-1) * math.sqrt(self.num_channels)
        return self.transformer(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def _use_text(self, cues: Cues, word_probability: float) -> Bool[Tensor, "B S"] | None:
        """Return true for sources described by their word; None if there are none."""
        use_text = None if cues.is_visible is None else ~cues.is_visible
        if cues.appearance is None and (use_text is None or not bool(use_text.all())):
            raise InputError(_NO_CUES)
        if not word_probability or cues.category is None:
            return use_text
        drawn = torch.rand(cues.category.shape, device=cues.category.device) < word_probability
        drawn &= cues.category >= 0  # -1: the source has no word
        return drawn if use_text is None else drawn | use_text

    def _text_features(self, cues: Cues, use_text: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Return the given text embeddings, or else the stored ones of the categories."""
        if cues.embedding is not None:
            return cues.embedding
        if self.words is None:
            raise InputError("a source without pictures needs its word as `embedding`")
        if cues.category is None or bool((cues.category[use_text] < 0).any()):
            raise InputError(
                "a source without pictures needs a word of this model's vocabulary: "
                f"{', '.join(self.vocabulary)}"
            )
        # Clamped because visible sources may have no category; their row is not used.
        return self.words(cues.category.clamp_min(0))


def count_sources(cues: Cues) -> int:
    """Return the number of sources of each mixture."""
    for cue in (cues.appearance, cues.crops, cues.embedding, cues.is_visible):
        if cue is not None:
            return cue.shape[1]
    raise InputError(_NO_CUES)


class FrameEncoder(nn.Module):
    """Frame features of DAVIS (section 3.3): one vector a picture by a frozen image encoder.

    CLIP gives its image embedding (D 512), ResNet-18 and the small encoder the mean of their maps
    (512, 192). Pictures are resized as each was trained and normalised by the colours of its
    training, those for CLIP by `colours`; ResNet-18 keeps their size.

    Departure: with ResNet-18 DAVIS uses the maps of 7 x 7 and the first frame only. Here they are
    the dilated ones of 14 x 14, and all frames are used.
    """

    def __init__(
        self,
        name: FrameEncoderName,
        categories: Sequence[str],
        colours: ColoursName = "imagenet",
    ) -> None:
        super().__init__()
        self.encoder = _build_encoder(name, categories, colours)
        self.num_channels: int = self.encoder.num_channels
        self.eval()

    def forward(self, pictures: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Encode pictures of any size, whole frames or crops."""
        features = self.encoder(pictures)
        return features if features.ndim == 2 else features.mean((2, 3))

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: the encoder is frozen."""
        return super().train(False)


def _build_encoder(
    name: FrameEncoderName, categories: Sequence[str], colours: ColoursName
) -> ClipImageEncoder | ResNet18Dilated | SmallImageEncoder:
    if name == "clip":
        return ClipImageEncoder(colours=colours)
    if name == "resnet18":
        return ResNet18Dilated()
    # The weights of the small encoder include a head of these categories, unused here.
    settings = SmallImageEncoder.Settings(categories=tuple(categories))
    return SmallImageEncoder(settings).freeze()


class TemporalTransformer(nn.Module):
    """Temporal transformer phi over frame features, and the mean over time (section 3.3)."""

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
        """Return v, the mean of the transformed frame features; their order does not matter."""
        # The released code gives the frames to encoder and decoder alike, without positions.
        return self.transformer(frames, frames).mean(1)
