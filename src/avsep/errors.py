"""Bad input: errors that say what was given, what is allowed and what to type."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

# So many names are listed; the rest are counted.
_MOST_LISTED = 40


class InputError(ValueError):
    """A file, a name or a value from outside that cannot be used; commands exit with 2."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not known, with the nearest known one suggested.

    >>> str(unknown_name("category", "violn", ["violin", "cello"]))
    "unknown category 'violn'; did you mean 'violin'? known: cello, violin"
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ";"
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    listed = ", ".join(names[:_MOST_LISTED]) or "none"
    return InputError(f"unknown {kind} '{given}'{hint} known: {listed}{more}")


def require_package(name: str, for_what: str) -> ModuleType:
    """An optional package, imported.

    Raises:
        InputError: it is not installed; the line says what to type.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        why = "" if isinstance(error, ModuleNotFoundError) and error.name == name else f" ({error})"
        raise InputError(f"{for_what} needs a package{why}: pip install {name}") from error
