"""DAVIS' temporal transformer: what the frames of a clip show, as one vector (section 3.3)."""

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


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
