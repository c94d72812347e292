"""Test the examples in docstrings: they run and print what is written below them."""

import doctest
import importlib
import pkgutil

import avsep

NAMES = [item.name for item in pkgutil.walk_packages(avsep.__path__, "avsep.")]


def test_examples() -> None:
    # What failed is printed, with its file and line; one test a module would cost more than the
    # examples themselves.
    failed = [name for name in NAMES if doctest.testmod(importlib.import_module(name)).failed]
    assert failed == []
