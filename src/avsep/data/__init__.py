"""From files to batches: clip lists, mix-and-separate, one file a data set."""

from collections.abc import Callable
from pathlib import Path

from avsep.data.clips import ClipFiles
from avsep.data.fair_play import SOUNDS_FOLDER, is_fair_play, read_fair_play
from avsep.data.prepared import INDEX_NAME, read_prepared
from avsep.data.toyband import read_toyband
from avsep.errors import InputError

# Name -> reader of a folder. A new data set is one file with a reader, one line here and a sign.
DATASETS: dict[str, Callable[[Path], tuple[ClipFiles, ...]]] = {
    "toyband": read_toyband,
    "prepared": read_prepared,
    "fair-play": read_fair_play,
}
# Name -> whether a folder is of it; the first that says so is asked no further.
_SIGNS: dict[str, Callable[[Path], bool]] = {
    "prepared": lambda folder: (folder / INDEX_NAME).is_file(),
    "fair-play": is_fair_play,
    "toyband": lambda folder: any(folder.glob("*.mp4")),
}


def dataset_of(folder: Path) -> str | None:
    """The name of the data set that a folder is of, told by what lies there, or none."""
    return next((name for name, is_of_it in _SIGNS.items() if is_of_it(folder)), None)


def open_dataset(folder: Path) -> tuple[ClipFiles, ...]:
    """The clips of a folder of any data set; an InputError if it is of none."""
    name = dataset_of(folder)
    if name is None:
        raise InputError(
            f"'{folder}' holds no clips: neither {INDEX_NAME} of a prepared folder (docs/data.md), "
            f"nor {SOUNDS_FOLDER} of FAIR-Play, nor toyband clips; make some: avsep toyband "
            f"{folder} --clips 10"
        )
    return DATASETS[name](folder)
