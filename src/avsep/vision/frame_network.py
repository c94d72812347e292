"""What is known of each source, as one vector: its pictures over time, or its word alone."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.frame_encoders import FrameEncoder, FrameEncoderName
from avsep.vision.temporal_transformer import TemporalTransformer, TemporalTransformerSettings

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

    def embed(self, cues: Cues) -> Cues:
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
        cues = self.embed(cues)
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
        told = None if cues.pictured is None else ~cues.pictured
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
    for cue in (cues.appearance, cues.crops, cues.embedding, cues.pictured):
        if cue is not None:
            return cue.shape[1]
    raise InputError(_NOTHING)
