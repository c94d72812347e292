"""The U-Net of Co-Separation, 2.5D Visual Sound and LAVSS, split at the bottom (REFERENCE 2.6).

Axes: Z input maps, E one ear of one mixture each, N one source at one ear each, D d channels,
W width of the FiLM vector.
"""

from collections.abc import Sequence

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from avsep.layers.audio_unet import Halving, exact_if_narrow
from avsep.released import Change, Rename, Weights, only


class BinauralUNetSettings(BaseModel):
    """Sizes of the U-Net; the defaults are the paper's, seven layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field(
        default=(64, 128, 256, 512, 512, 512, 512),
        min_length=2,
        description="of each downsampling layer; each halves both axes",
    )
    num_features: int = Field(
        default=1, ge=1, description="channels at the top; 1: the mask itself, as the paper"
    )


class BinauralUNet(nn.Module):
    """U-Net whose bottom takes a guide: fused audio and visual features (LAVSS, section 3.3).

    Down: convolution, batch norm, LeakyReLU; up: transposed convolution, batch norm, ReLU. The
    last layer is a transposed convolution alone; the sigmoid of a mask is applied by the model.
    """

    def __init__(
        self,
        settings: BinauralUNetSettings,
        num_inputs: int,
        guide_channels: int,
        film_width: int | None = None,
    ) -> None:
        """Build the layers.

        Args:
            settings: sizes.
            num_inputs: input maps Z.
            guide_channels: channels of the guide at the bottom.
            film_width: width of a vector that scales and shifts every upsampling layer, or None.
        """
        super().__init__()
        channels = settings.channels
        self.down = nn.ModuleList(
            _down(before, after)
            for before, after in zip((num_inputs, *channels), channels, strict=False)
        )
        outputs = (settings.num_features, *channels[:-1])
        self.up = nn.ModuleList(
            _Up(
                guide_channels if k == len(channels) - 1 else 2 * channels[k],
                outputs[k],
                is_last=k == 0,
                film_width=film_width,
            )
            for k in range(len(channels))
        )
        self.apply(_initialise)

    def to_bottom(self, inputs: Float[Tensor, "E Z R T"]) -> list[Tensor]:
        """Return the output of every downsampling layer, largest first."""
        maps = [inputs]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return maps[1:]

    def from_bottom(
        self,
        guide: Float[Tensor, "N D f t"],
        maps: Sequence[Float[Tensor, "E ..."]],
        film: Float[Tensor, "N W"] | None = None,
    ) -> Float[Tensor, "N out R T"]:
        """Return maps of the input's size from the guide and the skip connections.

        N is a multiple of E: the sources of one ear follow each other.
        """
        features = guide
        for k in range(len(self.up) - 1, -1, -1):
            # The guide replaces the deepest map, so the deepest layer has no skip connection.
            skip = None if k == len(self.up) - 1 else maps[k]
            features = self.up[k](features, skip, film)
        return features


class _Up(nn.Module):
    """Upsampling layer: transposed convolution, batch norm, optional FiLM, ReLU."""

    def __init__(self, num_in: int, num_out: int, *, is_last: bool, film_width: int | None) -> None:
        super().__init__()
        self.convolution = nn.ConvTranspose2d(num_in, num_out, 4, 2, 1)
        self.norm = nn.Identity() if is_last else nn.BatchNorm2d(num_out)
        self.activation = nn.Identity() if is_last else nn.ReLU()
        self.film = nn.Linear(film_width, 2 * num_out) if film_width else None

    def forward(
        self,
        below: Float[Tensor, "N D f t"],
        skip: Float[Tensor, "E d f t"] | None,
        film: Float[Tensor, "N W"] | None,
    ) -> Float[Tensor, "N out F T"]:
        """Return maps of twice the height and width."""
        # The convolution of [below, skip] is a sum of two; that of the skip is the same for all
        # sources of one ear and is computed once.
        weight, bias = self.convolution.weight, self.convolution.bias
        num_below = below.shape[1]
        with exact_if_narrow(below, 2) as narrow:
            maps = conv_transpose2d(narrow, weight[:num_below], bias, stride=2, padding=1)
            maps = maps.to(below.dtype)
        if skip is not None:
            shared = conv_transpose2d(skip, weight[num_below:], stride=2, padding=1)
            maps = maps + shared.repeat_interleave(len(below) // len(skip), dim=0)
        maps = self.norm(maps)
        if self.film is not None and film is not None:
            # FiLM (Dumoulin et al. 2018). One plus the scale: initial weights of zero change
            # nothing.
            scale, shift = self.film(film)[:, :, None, None].chunk(2, dim=1)
            maps = maps * (1 + scale) + shift
        return self.activation(maps)


def _down(num_in: int, num_out: int) -> nn.Sequential:
    convolution = Halving(num_in, num_out, bias=True)
    return nn.Sequential(convolution, nn.BatchNorm2d(num_out), nn.LeakyReLU(0.2))


def _initialise(module: nn.Module) -> None:
    """Draw initial weights as pix2pix does: N(0, 0.02), norm scales N(1, 0.02), FiLM zero."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)


# Released weights


def counted_renames(depth: int, change_deepest: Change = only) -> tuple[Rename, ...]:
    """Return the names of a U-Net of 2.5D Visual Sound's kind; its way up is counted from below.

    Args:
        depth: layers down.
        change_deepest: change of the kernel that reads the guide.
    """
    rows = []
    for k in range(depth):
        down, up = f"audio_network.down.{k}", f"audio_network.up.{depth - 1 - k}"
        released_up = rf"audionet_upconvlayer{k + 1}\."
        rows += [
            Rename(rf"audionet_convlayer{k + 1}\.([01])\.(\w+)", rf"{down}.\1.\2"),
            Rename(
                rf"{released_up}0\.weight",
                f"{up}.convolution.weight",
                change_deepest if k == 0 else only,
            ),
            Rename(rf"{released_up}0\.bias", f"{up}.convolution.bias"),
            Rename(rf"{released_up}1\.(\w+)", rf"{up}.norm.\1"),
        ]
    return tuple(rows)


def read_binaural_unet_settings(weights: Weights, depth: int) -> dict[str, object]:
    """Return the settings of the U-Net that weights under avsep's names belong to."""
    return {
        "channels": [len(weights[f"audio_network.down.{k}.0.weight"]) for k in range(depth)],
        "num_features": weights["audio_network.up.0.convolution.weight"].shape[1],
    }
