"""What a run writes down while it trains: metrics.csv and TensorBoard, whole across resumes."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from torch.utils.tensorboard import SummaryWriter

from avsep.media.whole_file import write_whole


class Journal:
    """The figures of every step that was logged; what came after `first_step` is forgotten.

    A resumed run repeats the steps after its checkpoint, whose rows then stand here once. The file
    is written whole each time, so that it can be read, or the run be killed, at any moment.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._path = folder / "metrics.csv"
        self._rows: dict[int, dict[str, str]] = _rows_until(self._path, first_step)
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=first_step + 1 if first_step else None
        )

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Figures of one step, beside what was already written for it."""
        row = self._rows.setdefault(step, {"step": str(step)})
        row |= {name: f"{value:.6g}" for name, value in figures.items()}
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows[step] for step in sorted(self._rows))
        write_whole(self._path, text.getvalue())
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def sound(
        self, name: str, waveform: Float32[np.ndarray, " N"], sample_rate_hz: int, step: int
    ) -> None:
        """A sound to listen to in TensorBoard, at full level."""
        loudest = max(1e-5, float(np.abs(waveform).max()))
        self._board.add_audio(name, waveform[None] / loudest, step, sample_rate_hz)

    def picture(self, name: str, picture: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """A picture to look at in TensorBoard."""
        self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what waits."""
        self._board.close()


def _rows_until(path: Path, last_step: int) -> dict[int, dict[str, str]]:
    """The rows of a metrics.csv up to a step."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    found = {int(row["step"]): {k: v for k, v in row.items() if v != ""} for row in rows}
    return {step: row for step, row in found.items() if step <= last_step}
