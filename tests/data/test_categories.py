"""Test the category lists: their orders, and the labels of published folders."""

import pytest

from avsep.data.categories import (
    AVE,
    CATEGORY_LISTS,
    MUSIC,
    MUSIC_21,
    category_indices,
    find_in,
)
from avsep.errors import InputError
from avsep.models.dgfnet import MUSIC as MODEL_MUSIC

AVE_FOLDERS = [
    "Accordion", "Acoustic_guitar", "Baby", "Banjo", "Bark", "Bus", "Cat", "Chainsaw",
    "Church_bell", "Clock", "Female", "Aircraft", "Flute", "Food", "Goat", "Helicopter", "Horse",
    "Male", "Mandolin", "Motorcycle", "Race_car", "Rodent", "Shofar", "Toilet", "Train", "Truck",
    "Ukulele", "Violin"
]  # fmt: skip


def test_the_orders_are_those_of_the_papers() -> None:
    assert (len(MUSIC), len(MUSIC_21), len(AVE)) == (11, 21, 28)
    assert MUSIC == MUSIC_21[:11] == MODEL_MUSIC == tuple(sorted(MUSIC))
    assert MUSIC_21[11:] == tuple(sorted(MUSIC_21[11:])) and tuple(sorted(AVE)) == AVE
    assert all(len(set(names)) == len(names) for names in CATEGORY_LISTS.values())


@pytest.mark.parametrize("names", CATEGORY_LISTS.values(), ids=CATEGORY_LISTS)
def test_every_category_means_itself(names: tuple[str, ...]) -> None:
    assert category_indices(names, names) == list(range(len(names)))
    folders = [name.replace(" ", "_").title() for name in names]
    assert category_indices(folders, names) == list(range(len(names)))


def test_folders_of_released_lists_are_known() -> None:
    assert category_indices(AVE_FOLDERS, AVE) == list(range(28))
    assert [MUSIC_21[i] for i in category_indices(["drums", "guitar", "sax"], MUSIC_21)] == [
        "drum",
        "acoustic guitar",
        "saxophone",
    ]
    assert find_in(("guitar", "drums"), "acoustic_guitar") == 0
    assert find_in(MUSIC, "") is None


def test_a_word_that_means_nothing_lists_what_does() -> None:
    with pytest.raises(InputError, match="unknown category 'ehru'; did you mean 'erhu'"):
        category_indices(["violin", "ehru"], MUSIC)
