"""Names of files and folders made of words from outside, which are never taken for paths."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_MOST_CHARACTERS = 60


def plain_name(words: str, otherwise: str) -> str:
    """The words as a name that any file system takes: letters, digits, `_`, `-` and inner dots.

    >>> plain_name("../Acoustic guitar\\n", "object"), plain_name("..", "object")
    ('Acoustic-guitar', 'object')
    """
    composed = unicodedata.normalize("NFC", readable(words))
    name = re.sub(r"[^\w.]+", "-", composed).strip("-._")
    return name[:_MOST_CHARACTERS].rstrip("-._") or otherwise


def readable(words: str) -> str:
    """The words with a question mark for each byte or half sign that no text file can hold."""
    return words.encode("utf-8", "replace").decode("utf-8")


def stem_files(labels: Sequence[str]) -> list[str]:
    """The file of each object's stem, numbered in the order given.

    >>> stem_files(["violin", "violin"])
    ['01-violin.wav', '02-violin.wav']
    """
    return [f"{k:02d}-{plain_name(label, 'object')}.wav" for k, label in enumerate(labels, 1)]


def distinct(labels: Iterable[str]) -> list[str]:
    """Labels with a number behind those that were there before.

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
