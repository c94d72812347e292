"""The sixteen instrument categories of toyband, of the note bank and of the mini models."""

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

# Synonyms from the label lists of MUSIC, MUSIC-21 and AVE and from everyday English.
ALIASES = {
    "acoustic guitar": "guitar",
    "drum": "drums",
    "drum kit": "drums",
    "fiddle": "violin",
    "sax": "saxophone",
    "violoncello": "cello",
}


def find_category(label: str) -> str | None:
    """Return the category of a label, or None; case, underscores and aliases are resolved.

    >>> find_category("Acoustic_Guitar"), find_category("kazoo")
    ('guitar', None)
    """
    word = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    word = ALIASES.get(word, word)
    return word if word in CATEGORIES else None


def category_index(label: str) -> int:
    """Return the index in CATEGORIES of a label's category.

    Raises:
        InputError: the label is unknown; the message lists the known ones.
    """
    category = find_category(label)
    if category is None:
        raise unknown_name("category", label, [*CATEGORIES, *ALIASES])
    return CATEGORIES.index(category)
