"""Make safe names of files and folders from labels and titles."""

import re
import unicodedata
from collections.abc import Iterable

# File systems allow 255 bytes a name; 60 characters leave room for numbers and endings even where
# each takes four bytes in UTF-8.
_LONGEST_NAME = 60


def plain_name(text: str, default: str) -> str:
    """Reduce a text to a portable file name: letters, digits, `_`, `-` and inner dots.

    Path separators and leading dots are removed, so that a label never names another folder.

    >>> plain_name("../Acoustic guitar\\n", "object"), plain_name("..", "object")
    ('Acoustic-guitar', 'object')
    """
    # NFC: some systems store é as two code points, and the second is no letter for `\w`.
    composed = unicodedata.normalize("NFC", readable(text))
    name = re.sub(r"[^\w.]+", "-", composed).strip("-._")
    return name[:_LONGEST_NAME].rstrip("-._") or default


def readable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by question marks.

    Python decodes bytes of file names that are not UTF-8 to such surrogates.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def stem_file(number: int, label: str) -> str:
    """Return the file name of an object's stem.

    >>> stem_file(2, "violin")
    '02-violin.wav'
    """
    return f"{number:02d}-{plain_name(label, 'object')}.wav"


def distinct(labels: Iterable[str]) -> list[str]:
    """Append numbers to repeated labels to make all of them different.

    >>> distinct(["violin", "harp", "violin", "violin-2"])
    ['violin', 'harp', 'violin-2', 'violin-2-2']
    """
    names: list[str] = []
    for label in labels:
        name, number = label, 2
        while name in names:
            name, number = f"{label}-{number}", number + 1
        names.append(name)
    return names
