"""The data sets and the functions that find and read a folder of any of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from avsep.errors import InputError
from avsep.registry import Registry

if TYPE_CHECKING:
    from avsep.data.clips import ClipFiles
    from avsep.data.datasets import Dataset

# The first that recognises a folder reads it: those with a sign of their own come first, toyband,
# which takes any folder with an .mp4 in it, last. docs/adding-a-dataset.md shows how to add one.
DATASETS: Registry["Dataset"] = Registry({
    "prepared": "avsep.data.prepared:PREPARED",
    "fair-play": "avsep.data.fair_play:FAIR_PLAY",
    "toyband": "avsep.data.toyband:TOYBAND",
})  # fmt: skip


def find_dataset(folder: Path) -> "Dataset | None":
    """Return the first data set that recognises a folder, or None."""
    return next((dataset for dataset in DATASETS.values() if dataset.recognise(folder)), None)


def describe_datasets() -> str:
    """Return the descriptions of all data sets, for the end of an error message.

    >>> describe_datasets().startswith("neither a prepared folder (index.csv")
    True
    """
    return "neither " + ", nor ".join(dataset.description for dataset in DATASETS.values())


def open_dataset(folder: Path) -> "tuple[ClipFiles, ...]":
    """Read the clips of a folder of any data set.

    Raises:
        InputError: a folder of no known data set, or one that its data set cannot read.
    """
    dataset = find_dataset(folder)
    if dataset is None:
        raise InputError(
            f"'{folder}' holds no clips: it is {describe_datasets()}; make toyband clips: "
            f"avsep toyband {folder} --clips 10"
        )
    return dataset.read(folder)
