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
from avsep.vision.namer import load_namer
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


def pictured(label: str | None, shares: dict[str, float], monkeypatch: pytest.MonkeyPatch,
             **peaks: float) -> Treatment:  # fmt: skip
    """Treat an object, named by a detector if at all, whose picture has some probabilities."""

    class MadeNamer:
        words = load_namer().words

        def probabilities(self, *_: object) -> dict[str, float]:
            return dict.fromkeys(self.words, 0.0) | shares

    monkeypatch.setattr("avsep.cues.naming.load_namer", MadeNamer)
    labels = load_classifier().settings.labels
    row = [peaks.get(word, 0.001) for word in labels]
    activity = SoundActivity(np.array([row] * 3, np.float32), 1.0, labels)
    item = VisibleObject(label=label, is_named_by_detector=label is not None)
    crops = [torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
    (treatment,) = choose_treatments(
        [item], tiny_model("dgfnet"), activity, lambda _: crops, keep_absent=False
    )
    return treatment


def test_a_detected_name_that_is_not_heard_gives_way_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = {"dog": 0.8, "tuba": 0.15}
    for label in ("dog", None):
        tuba = pictured(label, shares, monkeypatch, tuba=0.9)
        assert (tuba.kind, tuba.label, tuba.is_by_sound) == ("model", "tuba", True)
        assert tuba.category == tiny_model("dgfnet").settings.categories.index("tuba")
        assert tuba.warning == (
            "an object looks like 'dog', and is named 'tuba', which is heard; give it a label if "
            "that is wrong"
        )
        assert tuba.presence.state == "present"
    dog = pictured("dog", shares, monkeypatch, dog=0.9, tuba=0.9)
    assert (dog.kind, dog.label, dog.is_by_sound) == ("rest", "dog", False)


def test_what_picture_and_sound_leave_open_is_left_to_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    treatment = pictured(None, {"tuba": 0.4, "harp": 0.3, "dog": 0.3}, monkeypatch)
    assert treatment.kind == "rest" and treatment.label is None
    assert treatment.warning and "not surely named" in treatment.warning


def test_a_thing_of_several_sounds_is_the_category_that_is_heard_best() -> None:
    model = tiny_model("dgfnet", categories=("speech", "laughter", "violin"))
    labels = load_classifier().settings.labels
    for index, best in enumerate(("speech", "laughter")):
        row = [0.9 * (word == best) for word in labels]
        activity = SoundActivity(np.array([row] * 3, np.float32), 1.0, labels)
        person = VisibleObject(label="person")
        (treatment,) = choose_treatments([person], model, activity, no_crops, keep_absent=False)
        assert (treatment.kind, treatment.category, treatment.label) == ("model", index, "person")


def test_the_network_is_not_run_where_no_object_is_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("dgfnet")

    def separate_none(*_: object, **__: object) -> None:
        raise AssertionError("the network is run")

    monkeypatch.setattr(model, "separate", separate_none)
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 10), noise(1, 16_000), 16_000)
    for rate in ("native", "model"):
        result = separate(path, ["dog@0,0,0.5,1"], model=model, rate=rate)
        np.testing.assert_allclose(result.objects[0].stem, result.mixture)
        assert not result.residual.any() and result.objects[0].gate is None
        (record,) = result.manifest.objects
        assert (record.separated_as, record.presence) == ("rest", 0)
