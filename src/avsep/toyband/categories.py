"""The sixteen instruments that toyband plays, recorded notes hold and the mini models know."""

from avsep.errors import unknown_name

# Order is the category index stored in checkpoints: append, never reorder.
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

# Other people's words for the same thing (MUSIC, MUSIC-21, AVE and everyday English).
ALIASES = {
    "acoustic guitar": "guitar",
    "drum": "drums",
    "drum kit": "drums",
    "fiddle": "violin",
    "sax": "saxophone",
    "violoncello": "cello",
}


def find_category(label: str) -> str | None:
    """The category that a word means, or none: case, underscores and aliases do not matter.

    >>> find_category("Acoustic_Guitar"), find_category("kazoo")
    ('guitar', None)
    """
    word = " ".join(label.lower().replace("_", " ").replace("-", " ").split())
    word = ALIASES.get(word, word)
    return word if word in CATEGORIES else None


def category_index(label: str) -> int:
    """The index of the category that a word means; an unknown word is an error that lists them."""
    found = find_category(label)
    if found is None:
        raise unknown_name("category", label, [*CATEGORIES, *ALIASES])
    return CATEGORIES.index(found)
