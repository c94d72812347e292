"""Registries: names of classes and records, whose modules are imported on first use."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """A mapping from names to entries, in order, each given by its place in the package.

    A command that uses one model or no data set does not import the others.

    >>> Registry({"encoder": "json:JSONEncoder"})["encoder"].__name__
    'JSONEncoder'

    Args:
        places: name -> "module:attribute".
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of a name; KeyError if there is none."""
        module, _, attribute = self._places[name].partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._places)
