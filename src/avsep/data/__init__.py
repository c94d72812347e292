"""From files to batches: clip lists, mix-and-separate, one file a data set."""

from collections.abc import Callable
from pathlib import Path

from avsep.data.clips import ClipFiles
from avsep.data.toyband.folder import read_toyband

# Name -> reader of a folder. A new data set is one file with a reader, and one line here.
DATASETS: dict[str, Callable[[Path], tuple[ClipFiles, ...]]] = {"toyband": read_toyband}
