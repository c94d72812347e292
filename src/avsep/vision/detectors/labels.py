"""Labels of detectors: match words with them, and read them from a file beside others."""

from collections.abc import Sequence
from pathlib import Path

from avsep.errors import InputError, unknown_name
from avsep.labels import normalise_label

_ENDING = ".labels.txt"
# A longer file is no list of labels.
_MOST_BYTES = 1_000_000


def plain_word(word: str) -> str:
    """Return a word as the text of a network has it.

    >>> plain_word(" Acoustic_Guitar")
    'acoustic guitar'
    """
    return normalise_label(word, aliases={})


def match_labels(words: Sequence[str], labels: Sequence[str], detector: str) -> frozenset[str]:
    """Return the labels that words name, in any spelling: "sax" names "saxophone".

    Args:
        words: words; none: all labels.
        labels: of the detector.
        detector: its name, for errors.

    Raises:
        InputError: a word that is no label, with the closest one.
    """
    if not words:
        return frozenset(labels)
    normalised = {label: normalise_label(label) for label in labels}
    for word in words:
        if normalise_label(word) not in normalised.values():
            raise unknown_name(f"label of {detector}", word, labels)
    chosen = {normalise_label(word) for word in words}
    return frozenset(label for label, spelling in normalised.items() if spelling in chosen)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read the labels of a file's classes from `NAME.labels.txt` beside it: one a line.

    Empty without such a file. `NAME` is the file's name, with or without its ending.

    Raises:
        InputError: an unreadable file, or one that is no list of labels.
    """
    places = [path.with_name(name + _ENDING) for name in (path.name, path.stem)]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        return ()
    try:
        if place.stat().st_size > _MOST_BYTES:
            raise InputError(f"'{place}' is no list of labels: it is larger than a megabyte")
        # Some editors begin a file with a byte order mark, which "utf-8-sig" removes.
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read labels from '{place}': {error}; write one a line") from error
    return tuple(line.strip() for line in text.strip().splitlines())


def label_of_class(labels: Sequence[str], number: int) -> str:
    """Return the label of a class by its number from 0, or a name for a class without one.

    >>> label_of_class(["violin", ""], 0), label_of_class(["violin", ""], 1)
    ('violin', 'class 1')
    """
    return (labels[number] if 0 <= number < len(labels) else "") or f"class {number}"
