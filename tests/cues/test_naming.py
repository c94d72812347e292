"""Test names by picture and sound: what is not heard gives way, what is open is decided by ear."""

import numpy as np
import pytest
import torch

from avsep.cues import naming
from avsep.cues.naming import name_objects, name_sources, weigh_by_sound
from avsep.records import Cues
from avsep.sound.activity import SoundActivity

BLACK = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
CATEGORIES = ("violin", "flute", "drums", "cello")


class MadeNamer:
    """A namer whose answer is in the first pixel: a number of PICTURES."""

    words = ("violin", "flute", "drums", "cello", "tambourine", "person", "other")

    def probabilities(self, crops: torch.Tensor, _: object) -> dict[str, float]:
        """Return the probabilities of a picture."""
        shares = PICTURES[int(crops[0, 0, 0, 0])]
        return dict.fromkeys(self.words, 0.0) | shares


PICTURES: tuple[dict[str, float], ...] = (
    {"violin": 0.9, "flute": 0.06, "cello": 0.04},
    {"violin": 0.4, "flute": 0.3, "cello": 0.3},
    {"tambourine": 0.8, "drums": 0.15, "other": 0.05},
    {"person": 0.9, "other": 0.1},
    {"violin": 0.2, "other": 0.8},
)


@pytest.fixture(autouse=True)
def made_namer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "load_namer", MadeNamer)


def picture(number: int) -> torch.Tensor:
    return BLACK + number


def sounds(**peaks: float) -> SoundActivity:
    """Return three windows of a sound; what has no peak is not heard."""
    labels = ("violin", "flute", "drums", "cello", "percussion", "speech", "laughter")
    row = [peaks.get(label, 0.001) for label in labels]
    return SoundActivity(np.array([row] * 3, np.float32), 1.0, labels)


def names(*pictures: int, activity: SoundActivity, **options: bool) -> list[str]:
    namings = name_objects(
        [picture(number) for number in pictures],
        [None] * len(pictures),
        CATEGORIES,
        activity,
        **options,
    )
    return [item.word if item else "none" for item in namings]


def test_a_name_that_is_not_heard_gives_way_to_a_likely_one_that_is() -> None:
    assert names(0, activity=sounds(flute=0.9)) == ["flute"]
    # Of two that are heard, the picture tells.
    assert names(0, activity=sounds(violin=0.9, flute=0.9)) == ["violin"]
    # Nothing is heard more than in any window: a visible thing may be silent.
    assert names(0, activity=sounds(flute=0.02)) == ["violin"]


def test_the_weights_are_those_of_bayes_rule() -> None:
    shares = {"violin": 0.5, "flute": 0.25, "drums": 0.2, "kazoo": 0.05}
    activity = sounds(flute=0.9, drums=0.05)
    # Not heard at all 1/4, surely heard 20, the odds of 0.05 over those of 0.025, unknown 1.
    weights = {"violin": 0.25, "flute": 20, "drums": (0.05 / 0.95) / (0.025 / 0.975), "kazoo": 1}
    total = sum(shares[word] * weights[word] for word in shares)
    expected = {word: shares[word] * weights[word] / total for word in shares}
    assert weigh_by_sound(shares, set(), activity) == pytest.approx(expected, rel=1e-5)
    # A sound that another object makes speaks for nothing, and against nothing.
    explained = weigh_by_sound(shares, {"flute"}, activity)
    assert explained["flute"] / explained["kazoo"] == pytest.approx(0.25 / 0.05, rel=1e-5)


def test_what_another_object_explains_changes_no_name() -> None:
    activity = sounds(flute=0.9)
    labelled = name_objects([picture(0), None], [None, "flute"], CATEGORIES, activity)
    assert labelled[0] is not None and labelled[0].word == "violin" and labelled[1] is None
    # Of two like pictures one alone is the flute.
    assert sorted(names(0, 0, activity=activity)) == ["flute", "violin"]


def test_the_sound_decides_what_the_picture_leaves_open() -> None:
    (unsure,) = name_objects([picture(1)], [None], CATEGORIES, sounds())
    assert unsure is not None and (unsure.word, unsure.is_sure) == ("violin", False)
    (sure,) = name_objects([picture(1)], [None], CATEGORIES, sounds(flute=0.9, violin=0.02))
    assert sure is not None and (sure.word, sure.is_sure) == ("flute", True)
    assert sure.category == CATEGORIES.index("flute") and sure.picture_word == "violin"


def test_what_another_object_explains_decides_nothing_that_is_open() -> None:
    def name(**peaks: float) -> tuple[str, bool]:
        pair, labels = [picture(1), None], [None, "flute"]
        naming, _ = name_objects(pair, labels, CATEGORIES, sounds(**peaks))
        assert naming is not None
        return naming.word, naming.is_sure

    assert name(flute=0.9, violin=0.02) == ("violin", False)
    assert name(flute=0.9, violin=0.6) == ("violin", True)
    (first, second) = name_objects([picture(1)] * 2, [None, None], CATEGORIES, sounds(violin=0.9))
    assert first and second and first.word == second.word == "violin"
    assert first.is_sure and second.is_sure


def test_a_word_of_a_detector_is_no_category_and_gives_way_to_one() -> None:
    crops, labels = [picture(2)], ["tambourine"]
    (named,) = name_objects(crops, labels, CATEGORIES, sounds(drums=0.9))
    assert named is not None and (named.word, named.picture_word) == ("drums", "tambourine")
    assert named.category == CATEGORIES.index("drums")
    (same,) = name_objects(crops, labels, CATEGORIES, sounds(percussion=0.9, drums=0.9))
    assert same is not None and same.word == "tambourine" and same.category is None


def test_a_person_is_the_sound_that_is_heard_best() -> None:
    categories = ("violin", "speech", "laughter")
    for best in ("speech", "laughter"):
        (person,) = name_objects([picture(3)], [None], categories, sounds(**{best: 0.8}))
        assert person is not None and person.word == "person"
        assert person.category == categories.index(best)


def test_a_model_with_a_category_without_a_word_is_left_alone() -> None:
    assert name_objects([picture(0)], [None], ("violin", "erhu"), sounds()) == (None,)


def test_the_other_is_a_category_only_where_it_must_be() -> None:
    assert names(4, activity=sounds()) == ["other"]
    assert names(4, activity=sounds(), is_category=True) == ["violin"]


def test_sources_are_named_by_their_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "listen", lambda blocks, _: sounds(flute=float(blocks[0].max())))
    crops = torch.stack([picture(0), picture(4)])[None].repeat(2, 1, 1, 1, 1, 1)
    cues = Cues(crops=crops, category=torch.tensor([[-1, 3], [-1, -1]]))
    mixtures = np.zeros((2, 1, 9), np.float32)
    mixtures[0] = 0.9
    category = name_sources(cues, CATEGORIES, mixtures, 8000).category
    assert category is not None and category.tolist() == [[1, 3], [0, 0]]
