"""The checker that the import hook hangs on every function: beartype, an int being a float."""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its arguments and result checked against their annotations."""
    hints = getattr(function, "__annotations__", {})
    # `Self` means nothing to a checker that sees methods one at a time.
    for name in [name for name, hint in hints.items() if hint is Self]:
        del hints[name]
    return _beartype(function)
