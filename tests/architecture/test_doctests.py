"""The examples in docstrings run and print what they say."""

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
