"""Errors for bad input: each states the value given, the values allowed and what to type."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

# Longer lists, such as the mixtures of a pair file, would fill the terminal; the rest is counted.
_MAX_LISTED = 40


class InputError(ValueError):
    """A file, name or value given by the user cannot be used; commands exit with 2."""


def unknown_name(kind: str, name: str, known_names: Iterable[str]) -> InputError:
    """Return the error for an unknown name, with the closest known name as a suggestion.

    >>> str(unknown_name("category", "violn", ["violin", "cello"]))
    "unknown category 'violn'; did you mean 'violin'? known: cello, violin"
    """
    names = sorted(known_names)
    matches = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean '{matches[0]}'?" if matches else ";"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    listed = ", ".join(names[:_MAX_LISTED]) or "none"
    return InputError(f"unknown {kind} '{name}'{hint} known: {listed}{more}")


def require_package(name: str, feature: str) -> ModuleType:
    """Import an optional package.

    Raises:
        InputError: it is not installed, or fails to import; the message has the pip command.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        # An installed package can fail because of one that it imports; then the name helps.
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == name
        reason = "" if is_missing else f" ({error})"
        raise InputError(f"{feature} needs a package{reason}: pip install {name}") from error
