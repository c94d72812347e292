"""Find objects by any word with published open-vocabulary detectors, through transformers.

Liu et al., Grounding DINO: marrying DINO with grounded pre-training for open-set object detection
(2023); Minderer et al., Simple open-vocabulary object detection with vision transformers (2022,
OWL-ViT) and Scaling open-vocabulary object detection (2023, OWLv2). The networks come from the
package transformers, imported only when one is used; which of them is a setting, by name.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from avsep.devices import find_device, own_settings, same_random_state
from avsep.errors import InputError
from avsep.published_weights import weights_digest
from avsep.vision.detectors.base import Detections, Detector, Picture
from avsep.vision.detectors.duplicates import clean
from avsep.vision.detectors.labels import plain_word
from avsep.vision.detectors.settings import DetectorSettings
from avsep.vision.hub import (
    PublishedKind,
    check_place,
    check_tokenizer,
    load_pretrained,
    transformers_errors,
)

GROUNDING_DINO_WEIGHTS = "IDEA-Research/grounding-dino-tiny"
OWLV2_WEIGHTS = "google/owlv2-base-patch16-ensemble"
OWLVIT_WEIGHTS = "google/owlvit-base-patch32"
_KIND = PublishedKind("open-vocabulary detector", GROUNDING_DINO_WEIGHTS)
# One of CLIP's prompts, which OWL-ViT was trained with too.
_OWL_PROMPT = "a photo of a {}"
# Grounding DINO's text is in phrases that end with these.
_ENDS_OF_PHRASES = re.compile(r"[.?]")


class OpenVocabularyDetector(Detector):
    """Find objects by words, those given or a list that stands for them.

    Attributes:
        labels: the list, where none are given; none: words must be given.
    """

    finds_any_word = True
    # Least score of an object, near those that the released code uses.
    usual_least_score: float

    def __init__(
        self, network: Any, processor: Any, name: str, settings: DetectorSettings, device: str
    ) -> None:
        """Take a network and its processor, as transformers loads them.

        Args:
            network: the network, frozen.
            processor: of its pictures and words.
            name: of the detector, for errors.
            settings: its words and its least score.
            device: where it computes.
        """
        self._processor, self._name = processor, name
        score = settings.least_score
        self._least_score = self.usual_least_score if score is None else score
        self.labels = settings.categories or None
        self.longest_side_pixels = max(dict(processor.image_processor.size).values())
        self.fingerprint = (
            f"{network.config.model_type} {weights_digest(network)} {self._least_score} "
            f"{','.join(settings.categories)}"
        )
        self._device = find_device(device)
        self._network = network.to(self._device)

    @own_settings()
    def detect(
        self,
        pictures: Sequence[Picture],
        times_seconds: Sequence[float],
        words: Sequence[str] = (),
    ) -> tuple[Detections, ...]:
        """Return the objects in each picture, surest first; the label of each is one of the words.

        Raises:
            InputError: no words and no list, or a word that is empty or too long for the network.
        """
        all_words = tuple(dict.fromkeys(words or self.labels or ()))
        if not all_words:
            raise InputError(
                f"{self._name} finds objects by words, and there are none: name the objects, "
                'such as "violin"'
            )
        for word in all_words:
            if not self._phrase(word):
                raise InputError(f"{self._name} cannot look for {word!r}: give a word of letters")
        with torch.inference_mode():
            return tuple(
                clean(self._find(Image.fromarray(picture), all_words), self._least_score)
                for picture in pictures
            )

    @abstractmethod
    def _find(self, picture: Image.Image, words: tuple[str, ...]) -> Detections:
        """Return all boxes of a picture, each with its best word, however unsure."""

    def _phrase(self, word: str) -> str:
        """Return a word as the network's text has it."""
        return plain_word(word)

    def _too_long(self, word: str, num_tokens: int, most_tokens: int) -> InputError:
        return InputError(
            f"'{word[:40]}' makes {num_tokens} tokens and {self._name} reads {most_tokens}: "
            "shorten it"
        )

    def _run(self, picture: Image.Image, text: object) -> tuple[Any, Any]:
        """Return the inputs for a picture and a text, and the network's outputs for them."""
        inputs = self._processor(images=picture, text=text, return_tensors="pt").to(self._device)
        return inputs, self._network(**inputs)


class GroundingDino(OpenVocabularyDetector):
    """Find objects by phrases of one text, in which each box points at its tokens.

    Departure: the released code names a box by the tokens above a threshold, which may be of
    several words or half a word. Here it is the word whose tokens have the highest mean, so that a
    label is always one of the words; the score is that of its best token, as there.
    """

    usual_least_score = 0.3

    def _phrase(self, word: str) -> str:
        return plain_word(_ENDS_OF_PHRASES.sub(" ", word))

    def _find(self, picture: Image.Image, words: tuple[str, ...]) -> Detections:
        parts = [self._find_together(picture, text_words) for text_words in self._texts(words)]
        return Detections(
            np.concatenate([part.boxes for part in parts]),
            tuple(label for part in parts for label in part.labels),
            np.concatenate([part.scores for part in parts]),
        )

    def _texts(self, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """Divide words so that those of each part fit into one text."""
        # The text begins and ends with a token of its own.
        most_tokens = self._network.config.max_text_len - 2
        part, num_tokens = list[str](), 0
        for word in words:
            num_added = self._num_tokens(word) + 1
            if num_added > most_tokens:
                raise self._too_long(word, num_added, most_tokens)
            if num_tokens + num_added > most_tokens:
                yield tuple(part)
                part, num_tokens = [], 0
            part.append(word)
            num_tokens += num_added
        yield tuple(part)

    def _num_tokens(self, word: str) -> int:
        tokens = self._processor.tokenizer(self._phrase(word), add_special_tokens=False)
        return len(tokens["input_ids"])

    def _find_together(self, picture: Image.Image, words: tuple[str, ...]) -> Detections:
        text = ". ".join(map(self._phrase, words)) + "."
        inputs, outputs = self._run(picture, text)
        probabilities = outputs.logits[0].float().sigmoid()
        means, bests = list[Tensor](), list[Tensor]()
        start = 1  # after the token that begins the text
        for word in words:
            of_word = probabilities[:, start : start + self._num_tokens(word)]
            means.append(of_word.mean(dim=1))
            bests.append(of_word.amax(dim=1))
            start += self._num_tokens(word) + 1  # and the full stop
        assert start + 1 == inputs["input_ids"].shape[1], "words have the same tokens in a text"
        chosen = torch.stack(means).argmax(dim=0)
        scores = torch.stack(bests).gather(0, chosen[None])[0]
        return _detections(_corners(outputs.pred_boxes[0]), chosen, scores, words)


class OwlVit(OpenVocabularyDetector):
    """Find objects by words, each embedded in a sentence of its own: OWL-ViT and OWLv2."""

    usual_least_score = 0.1

    def _find(self, picture: Image.Image, words: tuple[str, ...]) -> Detections:
        texts = [_OWL_PROMPT.format(self._phrase(word)) for word in words]
        most_tokens = self._network.config.text_config.max_position_embeddings
        for word, tokens in zip(words, self._processor.tokenizer(texts)["input_ids"], strict=True):
            if len(tokens) > most_tokens:
                raise self._too_long(word, len(tokens), most_tokens)
        _, outputs = self._run(picture, [texts])
        scores, chosen = outputs.logits[0].float().sigmoid().max(dim=-1)
        corners = _corners(outputs.pred_boxes[0]) * self._scale(picture).to(self._device)
        return _detections(corners, chosen, scores, words)

    def _scale(self, picture: Image.Image) -> Float[Tensor, " 4"]:
        """Return the factors from boxes of the network's picture to those of a picture."""
        return torch.ones(4)


class Owlv2(OwlVit):
    """OWLv2, whose pictures are padded to squares at the right or below."""

    usual_least_score = 0.2

    def _scale(self, picture: Image.Image) -> Float[Tensor, " 4"]:
        return max(picture.size) / torch.tensor([*picture.size, *picture.size])


# Architecture in a network's config -> its detector, the name of one on the hub.
FAMILIES: dict[str, type[OpenVocabularyDetector]] = {
    "grounding-dino": GroundingDino,
    "mm-grounding-dino": GroundingDino,
    "owlv2": Owlv2,
    "owlvit": OwlVit,
}


@same_random_state()
def load_open_vocabulary(
    name_or_path: str, device: str = "auto", settings: DetectorSettings | None = None
) -> OpenVocabularyDetector:
    """Load a detector from the hub or from a folder that transformers saved; safetensors only.

    Args:
        name_or_path: `owner/name` on the hub, or a folder.
        device: where it computes.
        settings: `categories` and `least_score` are read.

    Raises:
        InputError: transformers is not installed, no such folder, a network of another
            architecture, or the hub cannot be reached and the weights are not in its local cache.
    """
    check_place(name_or_path, _KIND)
    with transformers_errors(name_or_path, _KIND) as transformers:
        config = transformers.AutoConfig.from_pretrained(name_or_path)
    if config.model_type not in FAMILIES:
        raise InputError(
            f"'{name_or_path}' is no open-vocabulary detector but a network of the architecture "
            f"'{config.model_type}'; allowed are {', '.join(FAMILIES)}; give one of them, such as "
            f"{_KIND.example}"
        )
    network = load_pretrained("AutoModelForZeroShotObjectDetection", name_or_path, _KIND)
    with transformers_errors(name_or_path, _KIND) as transformers:
        processor = transformers.AutoProcessor.from_pretrained(name_or_path)
    check_tokenizer(processor.tokenizer, config.text_config.vocab_size, name_or_path)
    family = FAMILIES[config.model_type]
    return family(network, processor, name_or_path, settings or DetectorSettings(), device)


def _corners(boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """Return x1 y1 x2 y2 of boxes given by centre, width and height."""
    centres, sides = boxes.float().split(2, dim=-1)
    return torch.cat([centres - sides / 2, centres + sides / 2], dim=-1)


def _detections(
    corners: Float[Tensor, "N 4"],
    chosen: Int64[Tensor, " N"],
    scores: Float[Tensor, " N"],
    words: tuple[str, ...],
) -> Detections:
    labels = tuple(words[int(index)] for index in chosen.tolist())
    return Detections(corners.cpu().numpy(), labels, scores.cpu().numpy())
