"""One sampling as settings have it: sampler, steps, and what silence tells (section 3.5)."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from avsep.diffusion.paths import Path
from avsep.diffusion.samplers import SAMPLERS, Denoiser, evaluations
from avsep.diffusion.silence import as_released, equation_5

# Numbers of steps that no sampler counts to: equation 5 draws noise of its own.
_SILENCE_STEPS = 1_000_000


class SamplingSettings(BaseModel):
    """How an answer is drawn; the defaults are those of DAVIS' released code on MUSIC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: str = Field(default="ddim", description="a name of diffusion's SAMPLERS")
    num_steps: int = Field(default=15, ge=1, description="from noise to sound")
    eta: float = Field(default=1.0, ge=0, le=1, description="fresh noise in the steps of ddim")
    silence: Literal["off", "released", "equation-5"] = Field(
        default="released",
        description="silent cells of the mixture take its value: in the estimate of the clean "
        "sound, as released, or in what is still noisy (equation 5)",
    )
    silence_threshold: float = Field(
        default=0.002, ge=0, description="a represented mixture below it is silent (Table 4)"
    )
    reduced_precision: bool = Field(
        default=False,
        description="most convolutions in bfloat16, and TF blocks' projections, on devices with "
        "instructions for it",
    )

    @model_validator(mode="after")
    def _known(self) -> "SamplingSettings":
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler '{self.sampler}' is none of {', '.join(SAMPLERS)}")
        return self

    @property
    def evaluations(self) -> int:
        """How often the network is asked."""
        return evaluations(self.sampler, self.num_steps)


def sample(
    settings: SamplingSettings,
    estimate: Denoiser,
    mixture: Float[Tensor, "N R T"],
    path: Path,
    noise: Callable[[int], Float[Tensor, "N R T"]],
) -> Float[Tensor, "N R T"]:
    """Clean sounds as they are represented.

    Args:
        settings: of the sampling.
        estimate: the clean sounds, given noisy ones and their time.
        mixture: as it is represented, once for each source.
        path: from data to noise.
        noise: normal noise of each step; -1 is the start.
    """
    threshold = settings.silence_threshold

    def denoise(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
        found = estimate(noisy, time)
        is_on = settings.silence == "released"
        return as_released(found, mixture, threshold) if is_on else found

    steps = iter(range(_SILENCE_STEPS, 2 * _SILENCE_STEPS))

    def silenced(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
        return equation_5(noisy, mixture, threshold, path, time, noise(next(steps)))

    return SAMPLERS[settings.sampler](
        denoise,
        noise(-1),
        path,
        settings.num_steps,
        noise=noise,
        eta=settings.eta,
        after_step=silenced if settings.silence == "equation-5" else None,
    )
