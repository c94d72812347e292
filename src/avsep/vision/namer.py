"""Name the object in a crop: a linear layer on the embeddings of EfficientNet-Lite0.

It tells instruments and everyday sounding things from each other and from anything else ("other").
It was trained with a hundred photographs a word; the encoder's
own classifier saw a thousand a class, of people who play, too. Both answers are weighed.
"""

from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from avsep.devices import own_settings, same_random_state
from avsep.published_weights import fit, read_shipped
from avsep.vision.efficientnet_lite import (
    EfficientNetLite,
    preprocess,
)
from avsep.vision.imagenet import class_names, find_classes

SHIPPED = Path(__file__).parents[1] / "weights" / "namer.safetensors"
OTHER = "other"
_NUM_CHANNELS = 1280
# Weight of the linear layer's answer; the rest is that of the encoder's classes.
_WEIGHT = 0.6
# Words of the encoder's classes alone.
CLASS_WORDS: dict[str, tuple[str, ...]] = {
    "chainsaw": ("chain saw",),
    "gun": ("revolver", "rifle", "assault rifle"),
    "hammer": ("hammer",),
}
# Classes that stand for a label beside those of its word: people are named by what they wear.
_CLASSES_OF_LABEL: dict[str, tuple[str, ...]] = {
    "computer keyboard": ("typewriter keyboard",),
    "drums": ("drum", "drumstick"),
    "person": ("bow tie", "Windsor tie", "suit", "sweatshirt", "jersey", "cardigan", "lab coat",
               "trench coat", "wig", "sunglasses", "sunglass", "neck brace", "oxygen mask", "bib",
               "diaper", "bassinet", "crib", "cradle", "gown", "academic gown", "kimono", "abaya",
               "stole", "poncho", "groom", "scuba diver", "ballplayer", "stethoscope",
               "microphone", "bonnet", "apron", "swimming trunks", "bikini", "necklace",
               "ski mask", "miniskirt", "hair spray", "lipstick", "ice lolly"),
    "police car": ("police van",),
    "train": ("passenger car", "freight car", "streetcar"),
}  # fmt: skip
# Words whose class in the list of words is that of another label.
_WITHOUT_CLASSES = frozenset({"bongo"})


class NamerSettings(BaseModel):
    """The words that the namer tells apart."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1, description='words, "other" last')


class Namer(nn.Module):
    """Standardised embeddings, then one linear layer: logits of the words."""

    Settings = NamerSettings
    mean: Tensor
    spread: Tensor

    def __init__(self, settings: NamerSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", torch.zeros(_NUM_CHANNELS))
        self.register_buffer("spread", torch.ones(_NUM_CHANNELS))
        self.linear = nn.Linear(_NUM_CHANNELS, len(settings.labels))

    def forward(self, embeddings: Float[Tensor, "N 1280"]) -> Float[Tensor, "N labels"]:
        """Return the logits of the words."""
        return self.linear((embeddings - self.mean) / self.spread)

    def standardise(self, embeddings: Float[Tensor, "N 1280"]) -> None:
        """Set mean and spread of each channel to those of a training set."""
        self.mean.copy_(embeddings.mean(0))
        self.spread.copy_(embeddings.std(0).clamp(min=1e-3))

    @property
    def words(self) -> tuple[str, ...]:
        """Words of all kinds: labels, words of the encoder's classes, and "other" last."""
        return (*self.settings.labels[:-1], *CLASS_WORDS, OTHER)

    def probabilities(
        self, crops: UInt8[Tensor, "K 3 H W"], encoder: EfficientNetLite
    ) -> dict[str, float]:
        """Return the probability of each word for one object, seen in several crops.

        Logits are averaged over them: a crop in which the object is hidden says little.
        """
        with torch.inference_mode():
            embeddings = embed_crops(crops, encoder)
            labels = self(embeddings).mean(0).softmax(0).tolist()
            classes = encoder.classifier(embeddings).softmax(1).mean(0).tolist()
        shares = dict.fromkeys(self.words, 0.0)
        for word, share in zip((*self.settings.labels[:-1], OTHER), labels, strict=True):
            shares[word] += _WEIGHT * share
        for word in self.words:
            places = _classes_of(word)
            shares[word] += (1 - _WEIGHT) * sum(classes[place] for place in places)
        total = sum(shares.values())
        return {word: share / total for word, share in shares.items()}


@cache
def _classes_of(word: str) -> tuple[int, ...]:
    """Return the classes of the encoder that stand for a word."""
    if word == OTHER or word in _WITHOUT_CLASSES:
        return ()
    names = CLASS_WORDS.get(word) or _CLASSES_OF_LABEL.get(word, ())
    return tuple(sorted({*find_classes(word), *(class_names().index(name) for name in names)}))


@torch.inference_mode()
def embed_crops(
    crops: UInt8[Tensor, "K 3 H W"], encoder: EfficientNetLite
) -> Float[Tensor, "K 1280"]:
    """Return the encoder's embeddings of whole crops, squares of any size."""
    pictures = preprocess(crops, encoder.settings.picture_pixels, "whole")
    return encoder.embedding(encoder(pictures))


@cache
def load_namer(path: Path = SHIPPED) -> Namer:
    """Read a namer, in float32; one a process.

    Raises:
        InputError: no such file, damaged, without settings, or of other names or shapes.
    """
    settings, weights = read_shipped(path, NamerSettings, "a namer", "tools/train_namer.py")
    with own_settings(), same_random_state():
        namer = Namer(settings)
        fit(namer, weights, f"'{path}'")
        return namer.eval().requires_grad_(False)
