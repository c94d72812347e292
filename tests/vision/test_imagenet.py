"""Names of the ImageNet classes: the published list, and the classes of words and categories."""

import pytest
from torchvision.models import ResNet18_Weights

from avsep.data.categories import CATEGORY_LISTS
from avsep.errors import InputError
from avsep.vision.imagenet import class_names, find_classes, require_classes

# Categories of the data sets that no class of ImageNet is.
WITHOUT_CLASS = {
    "toyband": {"clarinet", "mandolin", "tuba"},
    "music": {"clarinet", "erhu", "tuba"},
    "music-21": {"bagpipe", "clarinet", "erhu", "guzheng", "pipa", "tuba", "ukulele"},
    "ave": {
        "baby cry, infant cry", "female speech, woman speaking", "goat", "helicopter",
        "male speech, man speaking", "mandolin", "shofar", "ukulele",
    },
}  # fmt: skip


def names_of(word: str) -> list[str]:
    return [class_names()[index] for index in find_classes(word)]


def test_the_names_are_those_of_torchvision() -> None:
    assert list(class_names()) == ResNet18_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("violin", ["violin"]),
        ("drum", ["drum"]),  # not the drumstick
        ("Drums", ["drum"]),
        ("chain_saw", ["chain saw"]),
        ("saxophone", ["sax"]),
        ("guitar", ["acoustic guitar", "electric guitar"]),
        ("piano", ["grand piano", "upright"]),
        ("trumpet", ["cornet"]),
        ("rodents, rats, mice", ["hamster", "porcupine", "fox squirrel", "marmot", "beaver",
                                 "guinea pig"]),
        ("frying (food)", ["frying pan"]),
        ("elephant", ["tusker", "Indian elephant", "African elephant"]),
        ("cardigan", ["Cardigan", "cardigan"]),  # a dog and a garment
        ("kazoo", []),
        ("", []),
        ("s", []),
    ],
)  # fmt: skip
def test_words_have_their_classes(word: str, names: list[str]) -> None:
    assert names_of(word) == names


def test_groups_of_animals_are_whole() -> None:
    assert len(find_classes("dog")) == 118 and find_classes("bark") == find_classes("dogs")
    assert names_of("cat") == ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"]
    assert len(find_classes("bird")) == 59
    assert {"hen", "pelican"} < set(names_of("bird")) and "koala" not in names_of("bird")


def test_every_class_is_found_by_its_name() -> None:
    assert all(index in find_classes(name) for index, name in enumerate(class_names()))


@pytest.mark.parametrize("name", list(CATEGORY_LISTS))
def test_categories_of_data_sets_have_classes(name: str) -> None:
    without = {category for category in CATEGORY_LISTS[name] if not find_classes(category)}
    assert without == WITHOUT_CLASS[name]


def test_words_without_a_class_are_an_error_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="unknown ImageNet class 'acordion'; did you mean 'accord"):
        require_classes("acordion")
