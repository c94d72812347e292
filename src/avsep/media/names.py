"""Make safe names of files and folders from labels and titles."""

import re
import unicodedata
from collections.abc import Iterable

from avsep.errors import InputError

# File systems allow 255 bytes a name; 60 characters leave room for numbers and endings even where
# each takes four bytes in UTF-8. Names of several parts are cut to as many bytes.
_LONGEST_NAME = 60
_LONGEST_NAME_BYTES = 4 * _LONGEST_NAME
_PORTABLE = re.compile(r"[^\w.]+")
_FIELD = re.compile(r"\{(label|category|video|number(?::(0?[1-9]))?)\}")
_TEMPLATE_HELP = (
    "write text with {number}, {number:02}, {label}, {category} and {video}, such as "
    "{number:02}-{label}"
)


def plain_name(text: str, default: str) -> str:
    """Reduce a text to a portable file name: letters, digits, `_`, `-` and inner dots.

    Path separators and leading dots are removed, so that a label never names another folder.

    >>> plain_name("../Acoustic guitar\\n", "object"), plain_name("..", "object")
    ('Acoustic-guitar', 'object')
    """
    # NFC: some systems store é as two code points, and the second is no letter for `\w`.
    composed = unicodedata.normalize("NFC", readable(text))
    name = _PORTABLE.sub("-", composed).strip("-._")
    return name[:_LONGEST_NAME].rstrip("-._") or default


def readable(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by question marks.

    Python decodes bytes of file names that are not UTF-8 to such surrogates.
    """
    return text.encode("utf-8", "replace").decode("utf-8")


def check_template(template: str) -> None:
    """Check a template of file names, see `fill_template`.

    Raises:
        InputError: a field that there is not, or braces that are none.
    """
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise InputError(f"'{template}' is no template of names; {_TEMPLATE_HELP}")


def fill_template(template: str, *, number: int, label: str, category: str, video: str) -> str:
    """Return a portable file name, without ending, by a template that `check_template` accepts.

    >>> fill_template("{video}/{number:02}-{label}", number=2, label="..", category="", video="a b")
    'a-b-02-object'
    """
    values = {"label": plain_name(label, "object"), "category": plain_name(category, "unknown"),
              "video": plain_name(video, "video")}  # fmt: skip

    def value(field: re.Match[str]) -> str:
        return values.get(field[1]) or f"{number:{field[2] or ''}}"

    name = _PORTABLE.sub("-", _FIELD.sub(value, template)).strip("-._")
    cut = name.encode("utf-8")[:_LONGEST_NAME_BYTES].decode("utf-8", "ignore")
    return cut.rstrip("-._") or "object"


def distinct(labels: Iterable[str]) -> list[str]:
    """Append numbers to repeated labels to make all of them different, whatever their case.

    >>> distinct(["violin", "harp", "Violin", "violin-2"])
    ['violin', 'harp', 'Violin-2', 'violin-2-2']
    """
    names: list[str] = []
    # Some file systems take names that differ in case for one.
    used: set[str] = set()
    for label in labels:
        name, number = label, 2
        while name.casefold() in used:
            name, number = f"{label}-{number}", number + 1
        names.append(name)
        used.add(name.casefold())
    return names
