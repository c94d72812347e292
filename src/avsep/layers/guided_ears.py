"""Ear separators that look at objects and may read where they stand, whatever their network is.

Axes beside those of records.py: E one ear of one mixture, N one source at one ear, Z maps that go
in, W the width of what is seen, R t rows and columns of the network's cells.
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Literal, Self, TypeVar

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from avsep.errors import InputError
from avsep.layers.cross_modal import AttentionSettings, PositionNetwork, VisionPosition
from avsep.layers.ear_separator import EarSeparator, EarSettings
from avsep.records import Cues
from avsep.sound.binaural import SpatialCues

_NUM_SCALES = 3  # the deepest maps of sound, which are tokens (equation 5)


class GuidedSettings(EarSettings):
    """What is seen and where, and how it meets the sound; the defaults are LAVSS's."""

    categories: tuple[str, ...] = Field(
        default=(), max_length=0, description="none: it goes by pictures and places alone"
    )
    encoder_categories: tuple[str, ...] = Field(
        default=(), description="what the head of the image encoder 'small' tells apart"
    )
    position: bool = Field(
        default=True, description="where the object stands is read (Table 3: position guidance)"
    )
    position_octaves: int = Field(default=16, ge=1, le=24, description="D of equation 1")
    position_width: int = Field(default=256, ge=1, description="hidden layer of the position MLP")
    attention: AttentionSettings = AttentionSettings()

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each layer of the U-Net on its way down."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Channels of all tokens, W: those of the U-Net's bottom."""
        return self.channels[-1]

    @property
    def token_sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of the three deepest maps, the deepest last."""
        depth = len(self.channels)
        levels = range(depth - _NUM_SCALES + 1, depth + 1)
        return [(self.size[0] >> level, self.size[1] >> level) for level in levels]

    def check_layers(self, *, with_tokens: bool) -> None:
        """See that the U-Net takes the spectrogram, and that its deepest maps can be tokens.

        Raises ValueError, in the words of settings.
        """
        channels = self.channels
        if with_tokens and (len(channels) < _NUM_SCALES or len(set(channels[-_NUM_SCALES:])) > 1):
            raise ValueError(
                f"unet.channels {list(channels)} must end with three equal numbers, the width of "
                "the tokens"
            )
        if (with_tokens or self.position) and channels[-1] % self.attention.num_heads:
            raise ValueError(
                f"the width {channels[-1]} must be a multiple of attention.num_heads, "
                f"{self.attention.num_heads}"
            )
        halved = 2 ** len(channels)
        if any(side % halved for side in self.size):
            raise ValueError(
                f"{self.size[0]} rows and {self.size[1]} columns must be multiples of {halved}, as "
                f"{len(channels)} layers halve them"
            )


class AddedSettings(GuidedSettings):
    """Of a network that is older than LAVSS: as published, and what Table 3 adds as switches."""

    spatial_cues: SpatialCues = Field(
        default="none", description="what two ears tell together goes in too (Table 3: IPD)"
    )
    position: bool = Field(
        default=False, description="where the object stands is read (Table 3: position guidance)"
    )
    fusion: Literal["none", "attention"] = Field(
        default="none",
        description="none: what is seen meets the sound as published; attention: at the bottom of "
        "the U-Net, by LAVSS's Figure 3, for which its three deepest layers are of one width",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.check_layers(with_tokens=self.fusion == "attention")
        return self


GuidedChosen = TypeVar("GuidedChosen", bound=GuidedSettings)


class GuidedEars(EarSeparator[GuidedChosen]):
    """Objects are seen once a mixture; the network is asked for each source at each ear."""

    def __init__(self, settings: GuidedChosen, vision: nn.Module, width: int) -> None:
        """`vision` is an `ObjectMaps`, which lies beside this folder; `width` is of its maps."""
        super().__init__(settings)
        self.vision: Any = vision
        where = settings.position
        self.position = (
            PositionNetwork(width, settings.position_octaves, settings.position_width)
            if where
            else None
        )
        self.what_and_where = VisionPosition(width, settings.attention) if where else None

    @property
    def needs(self) -> frozenset[str]:
        """The cues it reads: never a category."""
        return frozenset({"crops", "boxes"} if self.settings.position else {"crops"})

    def embed(self, cues: Cues) -> Cues:
        """The cues with a frozen encoder's maps instead of the crops; as they are if it learns."""
        maps = None if cues.appearance is not None else self.vision.look(cues)
        return cues if maps is None else replace(cues, crops=None, appearance=maps)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """What is trained: the vision network, and all that separates (REFERENCE 3.4, 4)."""
        vision = list(self.vision.parameters())
        known = {id(parameter) for parameter in vision}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        groups = {"vision": vision, "separation": rest}
        return {
            name: [parameter for parameter in group if parameter.requires_grad]
            for name, group in groups.items()
        }

    def logits(self, inputs: Float[Tensor, "B C Z R t"], cues: Cues) -> Float[Tensor, "B S C R t"]:
        """The mask of each source at each ear: the same object is shown to either."""
        num_mixtures, num_ears = inputs.shape[:2]
        seen = self.seen(cues)
        # N counts mixtures, then ears, then sources.
        guide = seen[:, None].expand(-1, num_ears, *seen.shape[1:]).flatten(0, 2)
        found = self.masks_of(inputs.flatten(0, 1), guide)
        return found.unflatten(0, (num_mixtures, num_ears, -1)).transpose(1, 2)

    @abstractmethod
    def masks_of(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N *seen"]
    ) -> Float[Tensor, "N R t"]:
        """The network proper: one mask, before its sigmoid, for what is seen of each source.

        N is a multiple of E; the sources of one ear follow each other.
        """

    def seen(self, cues: Cues) -> Float[Tensor, "B S *seen"]:
        """F_vp of every source, or F_v where nobody says where it is.

        Raises:
            InputError: a cue that it reads is missing.
        """
        seen = self.vision(cues)
        if self.position is None or self.what_and_where is None:
            return seen
        if cues.boxes is None:
            raise InputError("this model reads `boxes`: tell where each object is")
        boxes = cues.boxes.mean(2).flatten(0, 1)  # over the crops
        both = self.what_and_where(seen.flatten(0, 1), self.position(boxes))
        return both.unflatten(0, seen.shape[:2])
