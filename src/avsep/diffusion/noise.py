"""Noise for samplers: a field over time, which windows of one long sound share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

_BLOCK_FRAMES = 64


@dataclass(frozen=True)
class NoiseField:
    """Normal noise over an endless spectrogram, the same from wherever it is looked at.

    A cell hangs on seed, step, row and its frame from the start of the whole sound alone.
    Windows that overlap therefore start from, and are given, the same noise where they do, and
    separate it alike. NumPy makes it: PyTorch's generator for the CPU keeps 32 bits of a seed, too
    few to tell all blocks of a long sound apart.

    Attributes:
        seed: of the whole field, 0 or more.
    """

    seed: int

    def window(
        self,
        start_frames: Sequence[int],
        num_rows: int,
        num_frames: int,
        step: int,
        device: torch.device,
    ) -> Float[Tensor, "B R T"]:
        """The noise of a step (-1 for the start) in windows that begin at these frames.

        A window may begin before the sound does, at a negative frame.
        """
        blocks: dict[int, Float32[np.ndarray, "R 64"]] = {}
        windows = np.empty((len(start_frames), num_rows, num_frames), np.float32)
        for index, start in enumerate(start_frames):
            first, skipped = divmod(start, _BLOCK_FRAMES)
            places = range(first, -(-(start + num_frames) // _BLOCK_FRAMES))
            for place in places:
                if place not in blocks:
                    blocks[place] = self._block(place, num_rows, step)
            whole = np.concatenate([blocks[place] for place in places], axis=1)
            windows[index] = whole[:, skipped : skipped + num_frames]
        return torch.from_numpy(windows).to(device)

    def _block(self, place: int, num_rows: int, step: int) -> Float32[np.ndarray, "R 64"]:
        # Row after row, so that a row is the same however many follow it.
        key = (step + 1, place % 2**32)
        generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        return generator.standard_normal((num_rows, _BLOCK_FRAMES), dtype=np.float32)
