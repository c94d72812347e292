"""The contract of a separation model: settings, losses, separation, required cues.

Axes are those of records.py; R t are the rows and columns of a network's log-frequency input.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, Literal, Protocol, Self, cast, get_args, runtime_checkable

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from typing_extensions import TypeVar

from avsep.cues.crops import CropSettings
from avsep.errors import unknown_name
from avsep.records import Batch, Cues, Quality, Separation
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import input_gain

# Keeps the presence of a silent mixture defined; far below the energy of one 16-bit step.
_SMALLEST_ENERGY = 1e-12


class ModelSettings(BaseModel):
    """Settings that every model has; subclasses add those of their paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(
        default=(), description="categories that the model knows, in the order of their indices"
    )
    front_end: FrontEndSettings = FrontEndSettings()
    crops: CropSettings = CropSettings()
    time_stride: int = Field(
        default=1,
        ge=1,
        description="ours: spectrogram frames averaged into one column before the network; masks "
        "are interpolated back after it. 2 halves the work",
    )
    input_rms: float | None = Field(
        default=None,
        gt=0,
        description="ours: RMS that every mixture is scaled to before the network; none: unscaled",
    )


@runtime_checkable
class SeparationMethod(Protocol):
    """Anything that separates a batch: models, baselines and ceilings alike."""

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Separate every mixture of the batch; samplers draw from `generator`."""
        ...


# Covariant, so that DGFNet is a `SeparationModel` wherever the settings class does not matter.
Settings_co = TypeVar("Settings_co", bound=ModelSettings, default=ModelSettings, covariant=True)


class SeparationModel(nn.Module, ABC, Generic[Settings_co]):
    """A trainable separation model; a new system subclasses it and is listed in `MODELS`.

    Abstract: `losses` and `separate`. `Settings` is the settings class, without arguments those of
    the paper.
    """

    Settings: ClassVar[type[ModelSettings]] = ModelSettings

    def __init__(self, settings: Settings_co | None = None) -> None:
        super().__init__()
        self.settings: Settings_co = settings or cast("Settings_co", self.Settings())
        self.front_end = FrontEnd(self.settings.front_end)

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses of a batch with references; the entry `total` is minimised."""

    @abstractmethod
    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Separate every mixture of the batch; `batch.sources` is not read.

        Raises:
            InputError: a required cue is missing.
        """

    # Defaults that a system may override

    @property
    def required_cues(self) -> frozenset[str]:
        """Names of the fields of `Cues` that the model reads; `category` may still be unknown.

        `losses` and `separate` raise an InputError that begins "this model reads `NAME`" where one
        is missing. A model that reads a category writes to `Separation.metadata` which it took.
        """
        return frozenset({"crops"})

    @property
    def predicts_category(self) -> bool:
        """False for a model that reads a category and cannot predict one that is not given."""
        return True

    @property
    def takes_predicted_category(self) -> bool:
        """True if a category has the same effect, to the bit, predicted and given.

        Evaluations then run the model once where both are the same category.
        """
        return False

    @property
    def text_prompts(self) -> Literal["category", "embedding"] | None:
        """Form of an object given by text alone: category or embedding; none: not supported."""
        return None

    @property
    def widenable_tensors(self) -> frozenset[str]:
        """Names of tensors with one entry for each input map.

        A training that starts from a network with fewer input maps widens them by zeros.
        """
        return frozenset()

    @property
    def is_joint(self) -> bool:
        """True if the estimate of one object depends on which other objects are given."""
        return False

    @property
    def frozen_encoder(self) -> nn.Module:
        """The module whose frozen parts alone decide what `precompute` makes of a crop."""
        return self

    def precompute(self, cues: Cues) -> Cues:
        """Replace cues by features of frozen encoders; unchanged where all encoders are trained.

        Training stores its result for each source, so `losses` and `separate` take cues as they
        are before it and after it.
        """
        return cues

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained parameters by the name of their optimizer in the recipe."""
        return {"model": [p for p in self.parameters() if p.requires_grad]}

    def at_quality(self, quality: str) -> Self:
        """Return the model at a quality of `--quality`; one-pass models have only one."""
        if quality not in get_args(Quality):
            raise unknown_name("quality", quality, get_args(Quality))
        return self

    def with_sampling(self, changes: Mapping[str, object]) -> Self:
        """Return the model with changed sampling settings; one-pass models have none to change.

        Raises:
            InputError: an unknown setting, or a value that does not fit.
        """
        return self

    # Between waveform magnitudes and the network

    def input_gain(self, mixture: Float[Tensor, "B C N"]) -> Float[Tensor, "B 1"]:
        """Return the factor that scales each mixture to `input_rms`; 1 where that is none."""
        return input_gain(mixture, self.settings.input_rms)

    def to_network(self, magnitude: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """Warp a magnitude to log-frequency rows and average `time_stride` frames."""
        rows = self.front_end.to_rows(magnitude)
        stride = self.settings.time_stride
        if stride == 1:
            return rows
        flat = rows.reshape(-1, *rows.shape[-2:])  # * R T -> batch R T
        # ceil_mode: a last column of fewer frames is the mean of those it has.
        flat = avg_pool2d(flat, (1, stride), ceil_mode=True)
        return flat.reshape(*rows.shape[:-2], *flat.shape[-2:])

    def from_network(
        self, rows: Float[Tensor, "*batch R t"], num_frames: int
    ) -> Float[Tensor, "*batch F T"]:
        """Interpolate masks or magnitudes of the network back to `num_frames` and linear bins."""
        if self.settings.time_stride > 1:
            flat = rows.reshape(1, -1, *rows.shape[-2:])
            # Without align_corners a column is at the centre of the frames that it is the mean of.
            size = (rows.shape[-2], num_frames)
            flat = interpolate(flat, size=size, mode="bilinear", align_corners=False)
            rows = flat.reshape(*rows.shape[:-2], *flat.shape[-2:])
        return self.front_end.to_bins(rows, num_frames)


def presence(
    estimates: Float[Tensor, "B S C F T"], mixture: Float[Tensor, "B C F T"]
) -> Float[Tensor, "B S"]:
    """Compute each estimate's share of the energy of the mixture, 0..1."""
    energy = mixture.square().sum((1, 2, 3))[:, None]
    share = estimates.square().sum((2, 3, 4)) / energy.clamp_min(_SMALLEST_ENERGY)
    return share.clamp(0, 1)


def trained_groups(
    model: nn.Module, parts: dict[str, nn.Module], rest: str
) -> dict[str, list[nn.Parameter]]:
    """Group trained parameters: those of each part by its name, all others under `rest`."""
    groups = {
        name: [p for p in part.parameters() if p.requires_grad] for name, part in parts.items()
    }
    # By identity: `in` would compare the values of the tensors.
    grouped = {id(parameter) for group in groups.values() for parameter in group}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in grouped]
    return {**groups, rest: others}


def require_sources(batch: Batch) -> Float[Tensor, "B S C N"]:
    """Return the references of a training batch."""
    assert batch.sources is not None, "losses need a batch with references"
    return batch.sources
