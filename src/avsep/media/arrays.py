"""Read arrays of numbers in .npy files, without running code in them."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy.lib.format import MAGIC_PREFIX

from avsep.errors import InputError


def read_array(path: Path) -> Shaped[np.ndarray, "..."]:
    """Memory-map the array of an .npy file.

    Raises:
        InputError: a missing or damaged file, or one of another format.
    """
    try:
        with path.open("rb") as file:
            # np.load also opens zip archives, and leaves a damaged one open.
            is_array = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
        if not is_array:
            raise InputError(f"'{path}' is no array in .npy: it does not begin like one")
        # Object arrays, which could run code, are refused: np.load reads plain numbers by default.
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' is no array of numbers in .npy: {error}") from error
