"""The toyband categories: sixteen instruments, their aliases and label lookup."""

from avsep.errors import unknown_name
from avsep.labels import ALIASES, normalise_label

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
