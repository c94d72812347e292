"""The toyband categories: sixteen instruments, their aliases and label lookup."""

import re
from collections.abc import Mapping

from avsep.errors import unknown_name

# The position in this tuple is the category index stored in checkpoints: append, never reorder.
CATEGORIES = (
    "accordion",
    "banjo",
    "cello",
    "clarinet",
    "drums",
    "flute",
    "guitar",
    "harp",
    "mandolin",
    "piano",
    "saxophone",
    "trombone",
    "trumpet",
    "tuba",
    "violin",
    "xylophone",
)

# Other labels of the same instrument in MUSIC, MUSIC-21, AVE and everyday English.
ALIASES = {
    "acoustic guitar": "guitar",
    "drum": "drums",
    "drum kit": "drums",
    "fiddle": "violin",
    "sax": "saxophone",
    "violoncello": "cello",
}


def normalise_label(label: str, aliases: Mapping[str, str] = ALIASES) -> str:
    """Return a label in lower case, words separated by single spaces, aliases resolved.

    >>> normalise_label("Acoustic_Guitar"), normalise_label(" Church-bell")
    ('guitar', 'church bell')
    """
    words = " ".join(re.sub("[_-]", " ", label.lower()).split())
    return aliases.get(words, words)


def find_category(label: str) -> str | None:
    """Return the toyband category of a label, or None.

    >>> find_category("Acoustic_Guitar"), find_category("kazoo")
    ('guitar', None)
    """
    word = normalise_label(label)
    return word if word in CATEGORIES else None


def category_index(label: str) -> int:
    """Return the index of a label's category.

    Raises:
        InputError: an unknown label; the message lists the categories.
    """
    category = find_category(label)
    if category is None:
        raise unknown_name("category", label, [*CATEGORIES, *ALIASES])
    return CATEGORIES.index(category)
