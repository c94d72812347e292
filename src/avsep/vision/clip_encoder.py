"""CLIP: pictures and words as vectors in one space, by networks and weights that others published.

Radford et al., Learning transferable visual models from natural language supervision (2021). The
networks and the tokenizer are those of transformers, which is needed only where CLIP is used.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from avsep.errors import InputError, require_package
from avsep.recipe import check_settings

CLIP_WEIGHTS = "openai/clip-vit-base-patch32"
# What the paper asks words in, section 3.1.4.
TEMPLATE = "a photo of a {}."
# Of the pictures that CLIP learned from, 0..1, red, green, blue.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Our settings -> what transformers calls them.
_THEIR_NAMES = {
    "picture_pixels": "image_size",
    "patch_pixels": "patch_size",
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "feed_forward_width": "intermediate_size",
    "activation": "hidden_act",
    "num_channels": "projection_dim",
}
_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


class ClipImageSettings(BaseModel):
    """The shape of CLIP's image network; what stands here is ViT-B/32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    picture_pixels: int = Field(default=224, ge=1, description="side of the pictures it sees")
    patch_pixels: int = Field(default=32, ge=1, description="side of the patches they are cut into")
    num_layers: int = Field(default=12, ge=1, description="layers of the transformer")
    width: int = Field(default=768, ge=1, description="channels of the transformer")
    num_heads: int = Field(default=12, ge=1, description="heads of its attention")
    feed_forward_width: int = Field(default=3072, ge=1, description="channels between its layers")
    activation: Literal["quick_gelu", "gelu"] = Field(
        default="quick_gelu", description="OpenAI's own, or GELU as most retrained ones have"
    )
    num_channels: int = Field(default=512, ge=1, description="of the space shared with words")


class ClipImageEncoder(nn.Module):
    """One vector a picture by CLIP's image network, frozen for good.

    Departure: DAVIS hands the embeddings on as long as they come. CLIP is trained on their
    directions alone, and nothing makes those of pictures as long as those of words; here both have
    the length sqrt(D), a mean square of 1, so that a word can stand where pictures were learned.

    Raises:
        InputError: the package transformers is not installed.
    """

    Settings = ClipImageSettings
    mean: Tensor
    std: Tensor

    def __init__(self, settings: ClipImageSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or ClipImageSettings()
        self.num_channels = self.settings.num_channels
        self.network = _image_network(self.settings)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD)[:, None, None], persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Embeddings of length sqrt(D); of a picture that is not square the middle is seen."""
        pixels = _middle_square(pictures, self.settings.picture_pixels).to(self.mean.dtype)
        return _at_one_length(self.network((pixels / 255 - self.mean) / self.std).image_embeds)

    def train(self, mode: bool = True) -> Self:
        """Itself, unchanged: it is frozen for good."""
        return super().train(False)


def load_clip(name_or_path: str = CLIP_WEIGHTS) -> ClipImageEncoder:
    """The image half of a CLIP: an id of the hub, or a folder in its form; safetensors only.

    Raises:
        InputError: transformers is not installed, no such folder, not a CLIP, the hub cannot be
            reached and did not send these weights before.
    """
    published = _load("CLIPVisionModelWithProjection", name_or_path)
    shape = {ours: getattr(published.config, theirs) for ours, theirs in _THEIR_NAMES.items()}
    settings = check_settings(shape, ClipImageSettings, f"CLIP '{name_or_path}'")
    encoder = ClipImageEncoder(settings)
    encoder.network.load_state_dict(published.state_dict())
    return encoder


def embed_words(
    words: Sequence[str], name_or_path: str = CLIP_WEIGHTS, template: str = TEMPLATE
) -> Float[Tensor, "words D"]:
    """Embeddings of words, each put into the template, in the space of `ClipImageEncoder`.

    Args:
        words: such as the names of categories.
        name_or_path: as `load_clip` takes it; it must be that of the pictures.
        template: a sentence with `{}` where the word goes.

    Raises:
        InputError: as `load_clip`; also no words, or more of them than CLIP reads.
    """
    if not words:
        raise InputError("no words to embed; give one or more, such as 'violin'")
    network = _load("CLIPTextModelWithProjection", name_or_path)
    tokenizer = _load_tokenizer(name_or_path, network.config.vocab_size)
    sentences = [template.format(word) for word in words]
    tokens = tokenizer(sentences, padding=True, return_tensors="pt")
    num_tokens, longest = tokens["input_ids"].shape[1], network.config.max_position_embeddings
    if num_tokens > longest:
        sentence = sentences[int(tokens["attention_mask"].sum(dim=1).argmax())]
        raise InputError(
            f"'{sentence[:40]}…' makes {num_tokens} tokens and CLIP reads {longest}: shorten it"
        )
    with torch.no_grad():
        found = network(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return _at_one_length(found.text_embeds)


def _middle_square(pictures: UInt8[Tensor, "N 3 H W"], side: int) -> UInt8[Tensor, "N 3 P P"]:
    """The shorter side resized to that many pixels and the middle cut out, as CLIP was trained."""
    # Takes half a second, which those who never use CLIP should not wait for.
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    resized = resize(pictures, [side], interpolation=InterpolationMode.BICUBIC, antialias=True)
    top, left = ((length - side) // 2 for length in resized.shape[-2:])
    return resized[..., top : top + side, left : left + side]


def _at_one_length(vectors: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    return normalize(vectors, dim=-1) * math.sqrt(vectors.shape[-1])


# What transformers does for us.


def _image_network(settings: ClipImageSettings) -> Any:
    transformers = require_package("transformers", "CLIP")
    shape = {theirs: getattr(settings, ours) for ours, theirs in _THEIR_NAMES.items()}
    return transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**shape))


def _load(kind: str, name_or_path: str) -> Any:
    """One half of a CLIP, frozen, in float32; whatever code lies beside the weights is not run."""
    if not Path(name_or_path).is_dir() and not _HUB_ID.fullmatch(name_or_path):
        raise InputError(
            f"cannot load CLIP '{name_or_path}': it is no folder here and no id of a hub, which is "
            f"'owner/name'; give one of them, such as {CLIP_WEIGHTS}"
        )
    with _no_weights_is_one_line(name_or_path) as transformers:
        network, report = getattr(transformers, kind).from_pretrained(
            name_or_path, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"'{name_or_path}' is no CLIP: {len(missing)} of its weights are missing, such as "
            f"{missing[0]}; give a CLIP, such as {CLIP_WEIGHTS}"
        )
    return network.requires_grad_(False).eval()


def _load_tokenizer(name_or_path: str, num_known: int) -> Any:
    with _no_weights_is_one_line(name_or_path) as transformers:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name_or_path)
    # Without its files transformers makes a tokenizer that knows nothing, and says nothing.
    if len(tokenizer) != num_known:
        raise InputError(
            f"'{name_or_path}' has no tokenizer of its own: {len(tokenizer)} tokens, its weights "
            f"know {num_known}; put its tokenizer.json, or vocab.json and merges.txt, beside them"
        )
    return tokenizer


@contextmanager
def _no_weights_is_one_line(name_or_path: str) -> Iterator[ModuleType]:
    """Give transformers, kept quiet; whatever fails inside becomes an InputError."""
    transformers = require_package("transformers", "CLIP")
    log = transformers.utils.logging
    verbosity, shows_progress = log.get_verbosity(), log.is_progress_bar_enabled()
    # It reports the other half of CLIP as left over.
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield transformers
    # A folder, file or hub that is not as it should be fails in whatever way it is read.
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(" .")
        raise InputError(
            f"cannot load CLIP '{name_or_path}' ({why}); give a folder that holds config.json, "
            f"model.safetensors and tokenizer.json, or an id of a hub in reach: {CLIP_WEIGHTS}"
        ) from error
    finally:
        log.set_verbosity(verbosity)
        if shows_progress:
            log.enable_progress_bar()
