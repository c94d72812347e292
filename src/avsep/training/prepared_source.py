"""One prepared source in its file: sound, crops, boxes and movement, read piece by piece."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, Int64, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from avsep.errors import InputError
from avsep.vision.looks import LookSettings

# What 16 bits hold: sounds are kept as these steps of their peak.
FULL_SCALE = 32767


class PreparedSource:
    """One source in its file; of everything only the rows asked for are read."""

    def __init__(self, path: Path, looks: LookSettings) -> None:
        self._looks = looks
        try:
            self._file = safe_open(path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"'{path}' is not prepared or damaged ({error}): remove it if it is there and run "
                "again"
            ) from error
        self._names = set(self._file.keys())
        self._peak = float(self._file.get_tensor("peak")) if "peak" in self._names else 1.0

    @property
    def num_samples(self) -> int:
        """How long it sounds."""
        return self._num_rows("waveform")

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """A stretch of the sound."""
        steps: Int16[Tensor, "n C"] = self._file.get_slice("waveform")[start:stop]
        return steps.numpy().T.astype(np.float32) / FULL_SCALE * self._peak

    @property
    def is_pictured(self) -> bool:
        """Somebody sees it; else its crops are black and only its word tells."""
        return "unpictured" not in self._names

    @cached_property
    def motion(self) -> Float[Tensor, "D K"] | None:
        """Motion features of the whole clip, where it has some."""
        return self._file.get_tensor("motion").float() if "motion" in self._names else None

    def crop_rows(self, start_seconds: float, window_seconds: float) -> Int64[np.ndarray, " K"]:
        """Which crops lie in a window, as `Look.crops_within` has them."""
        shown = "appearance" if "appearance" in self._names else "crops"
        return self._looks.crops_within(self._num_rows(shown), start_seconds, window_seconds)

    def crops(self, rows: Int64[np.ndarray, " K"]) -> UInt8[Tensor, "K 3 H W"] | None:
        """These crops, where they were kept."""
        return self._rows("crops", rows)

    def appearance(self, rows: Int64[np.ndarray, " K"]) -> Float[Tensor, "K D h w"] | None:
        """The image encoder's maps of these crops, where there are any."""
        return self._rows("appearance", rows)

    def boxes(self, rows: Int64[np.ndarray, " K"]) -> Float[Tensor, "K 4"] | None:
        """Where these crops were cut out."""
        return self._rows("boxes", rows)

    def movement(self, start_seconds: float, num_frames: int) -> UInt8[Tensor, "M h w"] | None:
        """So many pictures of movement from a time on, the first and last repeated beyond.

        A clip that is shorter than that begins anew, as its sound then does.
        """
        if "movement" not in self._names:
            return None
        first = round(start_seconds * self._looks.movement_rate_hz)
        num_rows, rows = self._num_rows("movement"), np.arange(first, first + num_frames)
        rows = rows % num_rows if num_rows < num_frames else rows.clip(0, num_rows - 1)
        return self._rows("movement", rows)

    def _rows(self, name: str, rows: Int64[np.ndarray, " K"]) -> Shaped[Tensor, "K *rest"] | None:
        if name not in self._names:
            return None
        first = int(rows.min())
        piece = self._file.get_slice(name)[first : int(rows.max()) + 1]
        return piece[torch.from_numpy(rows - first)]

    def _num_rows(self, name: str) -> int:
        return self._file.get_slice(name).get_shape()[0]
