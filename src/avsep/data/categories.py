"""Category lists of toyband, MUSIC, MUSIC-21 and AVE, and label lookup."""

import re
from collections.abc import Iterable, Sequence

from avsep.errors import unknown_name
from avsep.toyband.categories import ALIASES, CATEGORIES

# The order is the index of a category in iQuery's released code and so in others' weights.
MUSIC = (
    "accordion", "acoustic guitar", "cello", "clarinet", "erhu", "flute", "saxophone", "trumpet",
    "tuba", "violin", "xylophone",
)  # fmt: skip
MUSIC_21 = (
    *MUSIC,
    "bagpipe", "banjo", "bassoon", "congas", "drum", "electric bass", "guzheng", "piano", "pipa",
    "ukulele",
)  # fmt: skip
AVE = (
    "accordion", "acoustic guitar", "baby cry, infant cry", "banjo", "bark", "bus", "cat",
    "chainsaw", "church bell", "clock", "female speech, woman speaking",
    "fixed-wing aircraft, airplane", "flute", "frying (food)", "goat", "helicopter", "horse",
    "male speech, man speaking", "mandolin", "motorcycle", "race car, auto racing",
    "rodents, rats, mice", "shofar", "toilet flush", "train horn", "truck", "ukulele",
    "violin, fiddle",
)  # fmt: skip

# The folders of AVE as iQuery's lists have them.
_AVE_FOLDERS = {
    "aircraft": "airplane",
    "baby": "baby cry",
    "female": "female speech",
    "food": "frying",
    "male": "male speech",
    "rodent": "rodents",
    "toilet": "toilet flush",
    "train": "train horn",
}

CATEGORY_LISTS: dict[str, tuple[str, ...]] = {
    "toyband": CATEGORIES,
    "music": MUSIC,
    "music-21": MUSIC_21,
    "ave": AVE,
}


def find_in(categories: Sequence[str], label: str) -> int | None:
    """The index of the category that a word means, or none.

    Case, underscores, hyphens and aliases do not matter; of a category with several names, one
    suffices.

    >>> find_in(MUSIC, "Acoustic_Guitar"), find_in(AVE, "fiddle"), find_in(MUSIC, "kazoo")
    (1, 27, None)
    """
    wanted = _word(label)
    for index, category in enumerate(categories):
        if wanted == _word(category):
            return index
    for index, category in enumerate(categories):
        names = [_word(name) for name in re.sub(r"\(.*\)", "", category).split(",")]
        if wanted in names:
            return index
    return None


def category_indices(labels: Iterable[str], categories: Sequence[str]) -> list[int]:
    """The index of each label's category; a word that means none is an error that lists them."""
    known: dict[str, int] = {}
    found = []
    for label in labels:
        if label not in known:
            index = find_in(categories, label)
            if index is None:
                raise unknown_name("category", label, categories)
            known[label] = index
        found.append(known[label])
    return found


def _word(name: str) -> str:
    word = " ".join(re.sub("[_-]", " ", name.lower()).split())
    return (ALIASES | _AVE_FOLDERS).get(word, word)
