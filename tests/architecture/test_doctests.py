"""Test the examples in docstrings: they run and print what is written below them."""

import doctest
import importlib
import pkgutil

import pytest

import avsep

NAMES = [item.name for item in pkgutil.walk_packages(avsep.__path__, "avsep.")]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
