"""Labels of things in one spelling, whatever data set or user they come from."""

import re
from collections.abc import Mapping

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
