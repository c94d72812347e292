"""The front end as one piece: a waveform's way to what a network sees, and a mask's way back."""

from typing import Literal

from jaxtyping import Complex, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from avsep.sound.log_frequency import to_linear_frequency, to_log_frequency
from avsep.sound.stft import StftSettings, istft, stft, unit_phase


class FrontEndSettings(BaseModel):
    """Numbers of the front end; the defaults are the ones shared since The Sound of Pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: int = Field(default=11025, gt=0, description="rate the model works at")
    window_samples: int = Field(default=65535, gt=0, description="one window, 5.944 seconds")
    num_channels: Literal[1, 2] = Field(
        default=1, description="one that all are averaged to, or two ears, left first"
    )
    stft: StftSettings = StftSettings()
    num_rows: int = Field(default=256, gt=1, description="rows R of the logarithmic axis")
    num_columns: int | None = Field(
        default=None,
        gt=1,
        description="columns that the frames are resized to; none: as many as there are frames",
    )
    legacy_corners: bool = Field(
        default=False, description="only to run weights of codes that leave out align_corners"
    )

    def columns_of(self, num_samples: int) -> int:
        """Columns of what a network sees of a waveform."""
        return self.num_columns or self.stft.num_frames(num_samples)


class FrontEnd:
    """Transforms on whatever device the tensors are on; nothing is learned."""

    def __init__(self, settings: FrontEndSettings | None = None) -> None:
        self.settings = settings or FrontEndSettings()

    def spectrogram(
        self, waveform: Float[Tensor, "*batch N"]
    ) -> tuple[Float[Tensor, "*batch F T"], Complex[Tensor, "*batch F T"]]:
        """Magnitude and unit phase of a waveform."""
        spectrum = stft(waveform, self.settings.stft)
        return spectrum.abs(), unit_phase(spectrum)

    def magnitude(self, waveform: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch F T"]:
        """The magnitude alone, all that the truth of a mask is made of."""
        return stft(waveform, self.settings.stft).abs()

    def waveform(
        self,
        magnitude: Float[Tensor, "*batch F T"],
        phase: Complex[Tensor, "*#batch F T"],
        num_samples: int | None = None,
    ) -> Float[Tensor, "*batch N"]:
        """The waveform of a magnitude with the mixture's phase; lengths as `istft` has them."""
        return istft(magnitude * phase, self.settings.stft, num_samples=num_samples)

    def to_rows(self, linear: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """A magnitude on the logarithmic axis, its frames resized to `num_columns`."""
        return to_log_frequency(
            linear,
            self.settings.num_rows,
            num_columns=self.settings.num_columns,
            legacy_corners=self.settings.legacy_corners,
        )

    def to_bins(
        self, rows: Float[Tensor, "*batch R t"], num_frames: int | None = None
    ) -> Float[Tensor, "*batch F T"]:
        """A mask or magnitude of the logarithmic axis, on the linear one.

        Its columns are resized to `num_frames`; none: they stay as they are.
        """
        return to_linear_frequency(
            rows,
            self.settings.stft.num_bins,
            num_frames=num_frames,
            legacy_corners=self.settings.legacy_corners,
        )
