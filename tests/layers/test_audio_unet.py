"""The audio U-Net: sizes, shapes, its two halves, and the attention after its layers."""

import pytest
import torch

from avsep.layers.audio_unet import AudioUNet, Halving, UNetSettings
from avsep.models.dgfnet import AudioAttention

SMALL = UNetSettings(channels=(8, 16, 24, 24), num_features=8, num_layers_after_middle=2)


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_size_of_the_paper() -> None:
    """REFERENCE 8.1: iQuery's U-Net, and attention on all seven layers."""
    with torch.device("meta"):
        plain = num_parameters(AudioUNet())
        assert plain == 30_274_178
        assert num_parameters(AudioUNet(make_attention=AudioAttention)) == plain + 8_908


@pytest.mark.parametrize(
    ("channels", "size"), [(512, 2656), (256, 688), (128, 184), (64, 52), (32, 16)]
)
def test_size_of_the_attention(channels: int, size: int) -> None:
    assert num_parameters(AudioAttention(channels, 32)) == size


def test_the_middle_of_the_paper_is_256_32_32() -> None:
    with torch.device("meta"):
        network = AudioUNet()
        middle, skips = network.to_middle(torch.empty(2, 1, 256, 256))
        assert middle.shape == (2, 256, 32, 32)
        assert [tuple(skip.shape[1:]) for skip in skips] == [
            (64, 128, 128), (128, 64, 64), (256, 32, 32),
        ]  # fmt: skip
        assert network.from_middle(middle, skips).shape == (2, 32, 256, 256)


def test_sources_share_what_is_computed_once() -> None:
    """Two sources computed together equal each of them alone."""
    torch.manual_seed(0)
    network = AudioUNet(SMALL).eval()
    middle, skips = network.to_middle(torch.rand(2, 1, 32, 48))
    fused = torch.rand(4, *middle.shape[1:])  # two mixtures of two sources
    together = network.from_middle(fused, skips)
    for source in range(2):
        alone = network.from_middle(fused[source::2], skips)
        # Sums in another order: single precision, values around 1.
        torch.testing.assert_close(together[source::2], alone, atol=1e-5, rtol=1e-5)


def test_a_layer_is_a_convolution_of_both_halves() -> None:
    torch.manual_seed(0)
    layer = AudioUNet(SMALL).eval().up[1]
    below, skip = torch.randn(1, 16, 8, 12), torch.randn(1, 16, 8, 12)
    both = torch.cat([skip, below], dim=1).relu()
    both = torch.nn.functional.interpolate(
        both, scale_factor=2, mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(
        layer(below, skip), layer.norm(layer.convolution(both)), atol=1e-5, rtol=1e-5
    )


def test_attention_weighs_cells_of_groups() -> None:
    torch.manual_seed(0)
    attention = AudioAttention(8, 4).eval()
    maps = torch.randn(3, 8, 6, 10)
    weight = attention(maps) / maps
    assert weight.min() > 0
    assert weight.max() < 1
    pairs = weight.reshape(3, 4, 2, 6, 10)  # channels of a group share their weight
    torch.testing.assert_close(pairs[:, :, 0], pairs[:, :, 1], atol=1e-5, rtol=1e-4)
    assert weight.std() > 1e-3


def test_attention_can_be_left_to_the_deepest_layers() -> None:
    network = AudioUNet(
        SMALL, make_attention=lambda width: AudioAttention(width, 4), num_attention_layers=2
    )
    kinds = [type(layer.attention).__name__ for layer in network.up]
    assert kinds == ["Identity", "Identity", "AudioAttention", "AudioAttention"]


def test_channels_that_cannot_be_grouped() -> None:
    with pytest.raises(ValueError, match="24 channels cannot be split into 32 groups"):
        AudioAttention(24)


@pytest.mark.parametrize("width", [2, 3, 4, 8])
def test_a_last_column_is_exact_in_mixed_precision(width: int) -> None:
    """Of bfloat16 maps; the kernels for it go wrong where one column is left."""
    halving = Halving(128, 128, bias=False)
    maps = torch.randn(16, 128, 8, width, generator=torch.Generator().manual_seed(0)).bfloat16()
    maps.requires_grad_()
    exact = halving(maps.float())
    (slope,) = torch.autograd.grad(exact.square().mean(), maps)
    # Rounded once where it is computed in float32; elsewhere the weights are rounded too.
    tolerance = 2**-8 if width < 4 else 0.03
    for _ in range(5):
        # What was in the memory that comes next must not matter.
        torch.full((200_000,), float("nan"))
        with torch.autocast("cpu", torch.bfloat16):
            mixed = halving(maps)
        assert mixed.dtype == torch.bfloat16 and mixed.shape == (16, 128, 4, width // 2)
        assert torch.allclose(mixed.float(), exact, rtol=tolerance, atol=tolerance)
        assert mixed.equal(exact.bfloat16()) == (width < 4)
        (mixed_slope,) = torch.autograd.grad(mixed.float().square().mean(), maps)
        assert torch.allclose(mixed_slope, slope, atol=0.05 * float(slope.abs().max()))
