"""CLIP: embed pictures and words in one vector space with published networks and weights.

Radford et al., Learning transferable visual models from natural language supervision (2021). The
networks and the tokenizer come from the package transformers, imported only when CLIP is used.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avsep.devices import same_random_state
from avsep.errors import InputError, require_package
from avsep.recipe import check_settings
from avsep.vision.hub import (
    PublishedKind,
    check_tokenizer,
    load_pretrained,
    transformers_errors,
)
from avsep.vision.resnet18 import IMAGENET_MEAN, IMAGENET_STD

CLIP_WEIGHTS = "openai/clip-vit-base-patch32"
# Prompt template of the CLIP paper, section 3.1.4.
TEMPLATE = "a photo of a {}."
# Mean and deviation of CLIP's training pictures, pixels 0..1, red, green, blue.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
ColoursName = Literal["clip", "imagenet"]
_COLOURS = {"clip": (CLIP_MEAN, CLIP_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
# Fields of ClipImageSettings -> fields of transformers' CLIPVisionConfig.
_CONFIG_FIELDS = {
    "picture_pixels": "image_size",
    "patch_pixels": "patch_size",
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "feed_forward_width": "intermediate_size",
    "activation": "hidden_act",
    "num_channels": "projection_dim",
}
_CLIP = PublishedKind("CLIP", CLIP_WEIGHTS)


class ClipImageSettings(BaseModel):
    """Size of CLIP's image network; the defaults are ViT-B/32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    picture_pixels: int = Field(default=224, ge=1, description="side of its input pictures")
    patch_pixels: int = Field(default=32, ge=1, description="side of the patches of a picture")
    num_layers: int = Field(default=12, ge=1, description="layers of the transformer")
    width: int = Field(default=768, ge=1, description="channels of the transformer")
    num_heads: int = Field(default=12, ge=1, description="heads of its attention")
    feed_forward_width: int = Field(default=3072, ge=1, description="channels between its layers")
    activation: Literal["quick_gelu", "gelu"] = Field(
        default="quick_gelu", description="OpenAI's, or GELU as in most retrained CLIPs"
    )
    num_channels: int = Field(default=512, ge=1, description="of the embedding space")


class ClipImageEncoder(nn.Module):
    """CLIP's image network: one embedding a picture, frozen, as long as the network makes it.

    Raises:
        InputError: the package transformers is not installed.
    """

    Settings = ClipImageSettings
    mean: Tensor
    std: Tensor

    def __init__(
        self, settings: ClipImageSettings | None = None, colours: ColoursName = "clip"
    ) -> None:
        """Build the network.

        Args:
            settings: its size.
            colours: mean and deviation that pictures are normalised by.
        """
        super().__init__()
        self.settings = settings or ClipImageSettings()
        self.num_channels = self.settings.num_channels
        self.network = _image_network(self.settings)
        mean, std = (torch.tensor(values)[:, None, None] for values in _COLOURS[colours])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Return embeddings of the central square of each picture."""
        pixels = _center_crop(pictures, self.settings.picture_pixels).to(self.mean.dtype)
        return self.network((pixels / 255 - self.mean) / self.std).image_embeds

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: the encoder is frozen."""
        return super().train(False)


@same_random_state()
def load_clip(name_or_path: str = CLIP_WEIGHTS) -> ClipImageEncoder:
    """Load the image network of a CLIP from a hub or a folder in its layout; safetensors only.

    Args:
        name_or_path: `owner/name` on the hub, or a folder.

    Raises:
        InputError: transformers is not installed, no such folder, not a CLIP, or the hub cannot be
            reached and the weights are not in its local cache.
    """
    published = load_pretrained("CLIPVisionModelWithProjection", name_or_path, _CLIP)
    sizes = {ours: getattr(published.config, theirs) for ours, theirs in _CONFIG_FIELDS.items()}
    settings = check_settings(sizes, ClipImageSettings, f"CLIP '{name_or_path}'")
    encoder = ClipImageEncoder(settings)
    encoder.network.load_state_dict(published.state_dict())
    return encoder


@same_random_state()
def embed_words(
    words: Sequence[str], name_or_path: str = CLIP_WEIGHTS, template: str = TEMPLATE
) -> Float[Tensor, "words D"]:
    """Embed words, each in the template, in the space of `ClipImageEncoder`.

    Args:
        words: words, such as the names of categories.
        name_or_path: as in `load_clip`; it must be the CLIP of the pictures.
        template: a sentence with `{}` in place of the word.

    Raises:
        InputError: as `load_clip`; also no words, or a sentence longer than CLIP's context.
    """
    if not words:
        raise InputError("no words to embed; give one or more, such as 'violin'")
    network = load_pretrained("CLIPTextModelWithProjection", name_or_path, _CLIP)
    with transformers_errors(name_or_path, _CLIP) as transformers:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name_or_path)
    check_tokenizer(tokenizer, network.config.vocab_size, name_or_path)
    sentences = [template.format(word) for word in words]
    tokens = tokenizer(sentences, padding=True, return_tensors="pt")
    num_tokens, longest = tokens["input_ids"].shape[1], network.config.max_position_embeddings
    if num_tokens > longest:
        sentence = sentences[int(tokens["attention_mask"].sum(dim=1).argmax())]
        raise InputError(
            f"'{sentence[:40]}…' makes {num_tokens} tokens and CLIP reads {longest}: shorten it"
        )
    with torch.no_grad():
        output = network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return output.text_embeds


def _center_crop(pictures: UInt8[Tensor, "N 3 H W"], side: int) -> UInt8[Tensor, "N 3 P P"]:
    """Resize the shorter side to `side` pixels and crop the centre, as CLIP's preprocessing."""
    # Imported here because it takes half a second, also for users who never load CLIP.
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    resized = resize(pictures, [side], interpolation=InterpolationMode.BICUBIC, antialias=True)
    top, left = ((length - side) // 2 for length in resized.shape[-2:])
    return resized[..., top : top + side, left : left + side]


def _image_network(settings: ClipImageSettings) -> Any:
    transformers = require_package("transformers", "CLIP")
    sizes = {theirs: getattr(settings, ours) for ours, theirs in _CONFIG_FIELDS.items()}
    return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**sizes))
