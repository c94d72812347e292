"""The category lists of toyband, MUSIC, MUSIC-21 and AVE, and label lookup in them."""

import re
from collections.abc import Iterable, Sequence

from avsep.errors import unknown_name
from avsep.labels import ALIASES, normalise_label
from avsep.toyband.categories import CATEGORIES

# The order of iQuery's released code: the index of a category in published weights. Never reorder.
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

# iQuery's lists of AVE name folders by one word of the category. Aliases hold for every list: none
# of these words is a category of another one.
_ALIASES = ALIASES | {
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
    """Return the index of a label's category, or None.

    Case, underscores, hyphens and aliases are ignored. Of a category with several names, such as
    AVE's "violin, fiddle", one suffices.

    >>> find_in(MUSIC, "Acoustic_Guitar"), find_in(AVE, "fiddle"), find_in(MUSIC, "kazoo")
    (1, 27, None)
    """
    word = normalise_label(label, _ALIASES)
    # A whole name comes first, so that one category's second name never hides another category.
    for index, category in enumerate(categories):
        if word == normalise_label(category, _ALIASES):
            return index
    for index, category in enumerate(categories):
        # AVE's "frying (food)" is also plain "frying".
        names = re.sub(r"\(.*\)", "", category).split(",")
        if word in [normalise_label(name, _ALIASES) for name in names]:
            return index
    return None


def category_label(folder_name: str) -> str:
    """Return the label of a category's folder: underscores become spaces, the case stays.

    >>> category_label("Acoustic_guitar")
    'Acoustic guitar'
    """
    return " ".join(folder_name.replace("_", " ").split())


def category_indices(labels: Iterable[str], categories: Sequence[str]) -> list[int]:
    """Return the index of each label's category.

    Raises:
        InputError: a label that is in no category; the message lists the categories.
    """
    # A data set has thousands of clips and a few labels: each is looked up once.
    index_of: dict[str, int] = {}
    indices = []
    for label in labels:
        if label not in index_of:
            index = find_in(categories, label)
            if index is None:
                raise unknown_name("category", label, categories)
            index_of[label] = index
        indices.append(index_of[label])
    return indices
