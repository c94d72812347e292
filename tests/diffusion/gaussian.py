"""Normal data whose best denoiser and probability flow have closed forms."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from avsep.diffusion.paths import ProbabilityPath


@dataclass(frozen=True)
class Normals:
    """Equal mixture of normal distributions with one common deviation."""

    means: tuple[float, ...]
    deviation: float

    def denoiser(self, path: ProbabilityPath) -> Callable[[Tensor, float], Tensor]:
        """Return the best denoiser: the mean of the data given x."""

        def denoise(noisy: Tensor, time: float) -> Tensor:
            away, variance, signal = self._noisy(path, noisy, time)
            chances = torch.softmax(-(away**2) / (2 * variance), dim=-1)
            data = torch.tensor(self.means) + signal * self.deviation**2 / variance * away
            return (chances * data).sum(-1)

        return denoise

    def flowed(self, path: ProbabilityPath, noisy: Tensor, time: float, end: float) -> Tensor:
        """Where the probability flow takes x: numbers keep their order, so each its share below."""
        share = self._share_below(path, noisy, time)
        low, high = torch.full_like(noisy, -50), torch.full_like(noisy, 50)
        for _ in range(100):
            middle = (low + high) / 2
            is_below = self._share_below(path, middle, end) < share
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        return (low + high) / 2

    def _share_below(self, path: ProbabilityPath, noisy: Tensor, time: float) -> Tensor:
        away, variance, _ = self._noisy(path, noisy, time)
        return torch.special.ndtr(away / variance**0.5).mean(-1)

    def _noisy(
        self, path: ProbabilityPath, noisy: Tensor, time: float
    ) -> tuple[Tensor, float, float]:
        """Return the distance of x from each noised mean, their variance, and the signal."""
        signal, noise_scale = path.weights(time)
        away = noisy[..., None] - signal * torch.tensor(self.means)
        return away, (signal * self.deviation) ** 2 + noise_scale**2, signal


ONE = Normals((0.3,), 0.4)
TWO = Normals((-0.5, 0.7), 0.4)
