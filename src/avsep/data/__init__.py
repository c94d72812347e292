"""From files to batches: clip lists, mix-and-separate, one file a data set."""

from collections.abc import Callable
from pathlib import Path

from avsep.data.clips import ClipFiles
from avsep.data.prepared import INDEX_NAME, read_prepared
from avsep.data.toyband.folder import read_toyband
from avsep.errors import InputError

# Name -> reader of a folder. A new data set is one file with a reader, and one line here.
DATASETS: dict[str, Callable[[Path], tuple[ClipFiles, ...]]] = {
    "toyband": read_toyband,
    "prepared": read_prepared,
}


def open_dataset(folder: Path) -> tuple[ClipFiles, ...]:
    """The clips of a folder of any data set, told by what lies there; an InputError if none."""
    if (folder / INDEX_NAME).is_file():
        return read_prepared(folder)
    if any(folder.glob("*.mp4")):
        return read_toyband(folder)
    raise InputError(
        f"'{folder}' holds no clips: neither {INDEX_NAME} of a prepared folder (docs/data.md) nor "
        f"toyband clips; make some: avsep toyband {folder} --clips 10"
    )
