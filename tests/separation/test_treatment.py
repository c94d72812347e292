"""Test the treatment of objects: categories, near words, other things, and what is not heard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.records import VisibleObject
from avsep.separation.separator import separate
from avsep.separation.treatment import NEAREST, Treatment, choose_treatments
from avsep.sound.activity import SoundActivity
from avsep.sound.classifier import load_classifier
from media.making import noise
from separation.brightness import two_tone, video
from tiny_models import tiny_model

SILENCE = SoundActivity(
    np.zeros((3, len(load_classifier().settings.labels)), np.float32),
    1.0,
    load_classifier().settings.labels,
)


def no_crops(places: Sequence[int]) -> list[torch.Tensor]:
    assert not places, "objects with a label are not named"
    return []


def treat(*labels: str, activity: SoundActivity = SILENCE, **options: bool) -> list[Treatment]:
    model = tiny_model("dgfnet")
    categories = model.settings.categories
    objects = [
        VisibleObject(
            label=label, category=categories.index(label) if label in categories else None
        )
        for label in labels
    ]
    keep_absent = options.get("keep_absent", False)
    return list(choose_treatments(objects, model, activity, no_crops, keep_absent=keep_absent))


def test_known_things_are_the_models_and_others_are_not() -> None:
    categories = tiny_model("dgfnet").settings.categories
    known, dog, strange = treat(categories[0], "dog", "Otto")
    assert (known.kind, dog.kind, strange.kind) == ("model", "rest", "model")
    assert dog.warning and "no category for 'dog'" in dog.warning
    assert strange.warning and "the category is predicted from the picture" in strange.warning


def test_a_known_word_in_a_label_counts() -> None:
    categories = tiny_model("dgfnet").settings.categories
    singer, player = treat("person singing", f"my old {categories[0]}")
    assert singer.kind == "rest" and player.kind == "model" and player.category == 0
    assert player.label == f"my old {categories[0]}"


@pytest.mark.parametrize("word", ["viola", "double bass", "concertina"])
def test_a_near_instrument_stands_in_with_a_warning(word: str) -> None:
    categories = tiny_model("dgfnet").settings.categories
    (treatment,) = treat(word)
    near = [name for name in NEAREST[word] if name in categories]
    if near:
        assert treatment.kind == "model" and categories[treatment.category or 0] == near[0]
        assert treatment.warning and f"separated as '{near[0]}'" in treatment.warning
    else:
        assert treatment.kind == "rest" or treatment.category is None


def test_what_is_not_heard_is_silent_unless_it_is_kept() -> None:
    labels = load_classifier().settings.labels
    first, second = [word for word in tiny_model("dgfnet").settings.categories if word in labels][
        :2
    ]
    probabilities = np.zeros((3, len(labels)), np.float32)
    probabilities[:, labels.index(first)] = 0.9
    sounds = SoundActivity(probabilities, 1.0, labels)
    heard, silent = treat(first, second, activity=sounds)
    assert (heard.kind, silent.kind) == ("model", "silence")
    assert silent.warning and "--keep-absent" in silent.warning
    assert [item.kind for item in treat(first, second, activity=sounds, keep_absent=True)] == [
        "model", "model",
    ]  # fmt: skip
    # A dog that is not heard may bark in a way that the classifier does not know.
    assert treat(first, "dog", activity=sounds)[1].kind == "rest"


def test_stems_of_other_things_share_the_rest(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 10), noise(1, 16_000), 16_000)
    result = separate(path, ["dog@0,0,0.5,1", "cat@0.5,0,1,1"], model=tiny_model("dgfnet"))
    first, second = (item.stem for item in result.objects)
    np.testing.assert_allclose(first, second)
    np.testing.assert_allclose(first + second, result.mixture, atol=1e-6)
    assert [item.separated_as for item in result.manifest.objects] == ["rest", "rest"]
    assert result.objects[0].category is None and len(result.warnings) >= 2
