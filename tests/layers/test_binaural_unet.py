"""The U-Net of LAVSS: shapes, sources that share an ear, initial weights and FiLM."""

import pytest
import torch

from avsep.layers.binaural_unet import BinauralUNet, BinauralUNetSettings

SMALL = BinauralUNetSettings(channels=(4, 6, 8), num_features=2)
GUIDE_CHANNELS, FILM_WIDTH = 10, 5


def make_network(film_width: int | None = FILM_WIDTH) -> BinauralUNet:
    torch.manual_seed(0)
    network = BinauralUNet(SMALL, 2, GUIDE_CHANNELS, film_width)
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
            torch.nn.init.normal_(module.bias, std=0.3)
    return network.eval()


def inputs(num_ears: int = 2, num_sources: int = 4) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(num_ears, 2, 16, 24, generator=generator)
    guide = torch.randn(num_sources, GUIDE_CHANNELS, 2, 3, generator=generator)
    return maps, guide, torch.randn(num_sources, FILM_WIDTH, generator=generator)


def test_output_has_the_size_of_the_input() -> None:
    network, (maps, guide, film) = make_network(), inputs()
    skips = network.to_bottom(maps)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(4, 8, 12), (6, 4, 6), (8, 2, 3)]
    assert network.from_bottom(guide, skips, film).shape == (4, 2, 16, 24)


def test_sources_of_an_ear_are_computed_as_each_alone() -> None:
    network, (maps, guide, film) = make_network(), inputs()
    together = network.from_bottom(guide, network.to_bottom(maps), film)
    for source in range(4):
        ear = source // 2
        skips = network.to_bottom(maps[ear : ear + 1])
        alone = network.from_bottom(guide[source : source + 1], skips, film[source : source + 1])
        # Sums in another order: single precision, values around 1.
        torch.testing.assert_close(together[source : source + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depth", range(3))
def test_film_scales_by_one_plus_its_first_half_and_shifts_by_its_second(depth: int) -> None:
    """Each layer up by hand: norm, (1 + scale) maps + shift, activation."""
    network, (_, _, film) = make_network(), inputs()
    layer = network.up[depth]
    channels = layer.convolution.in_channels
    num_out = layer.convolution.out_channels
    below = torch.randn(4, channels, 2, 3, generator=torch.Generator().manual_seed(2))
    vector = film @ layer.film.weight.T + layer.film.bias
    scale, shift = vector[:, :num_out], vector[:, num_out:]
    assert scale.abs().min() > 1e-3 and shift.abs().min() > 1e-3
    maps = layer.norm(layer.convolution(below))
    expected = layer.activation(maps * (1 + scale)[..., None, None] + shift[..., None, None])
    torch.testing.assert_close(layer(below, None, film), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("half", ["scale", "shift"])
def test_either_half_of_film_changes_the_output(half: str) -> None:
    network, (maps, guide, film) = make_network(), inputs()
    without = make_network(None).from_bottom(guide, network.to_bottom(maps))
    for layer in network.up:
        num_out = layer.convolution.out_channels
        silenced = slice(num_out, None) if half == "scale" else slice(None, num_out)
        with torch.no_grad():
            layer.film.weight[silenced] = 0
            layer.film.bias[silenced] = 0
    output = network.from_bottom(guide, network.to_bottom(maps), film)
    assert (output - without).abs().max() > 0.1 * without.abs().max()


def test_film_changes_nothing_at_first() -> None:
    torch.manual_seed(0)
    network, (maps, guide, film) = (
        BinauralUNet(SMALL, 2, GUIDE_CHANNELS, FILM_WIDTH).eval(),
        inputs(),
    )
    skips = network.to_bottom(maps)
    with_film = network.from_bottom(guide, skips, film)
    assert torch.equal(with_film, network.from_bottom(guide, skips))


def test_maps_of_one_column_train_in_mixed_precision() -> None:
    """The bfloat16 kernels of the gradients of one column go wrong; ours are near float32's."""
    torch.manual_seed(0)
    settings = BinauralUNetSettings(channels=(32, 64, 128), num_features=2)
    network = BinauralUNet(settings, 2, 128, None)
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(16, 2, 32, 8, generator=generator)
    guide = torch.randn(16, 128, 4, 1, generator=generator, requires_grad=True)
    slopes = []
    for is_mixed in (False, True, True, True):
        torch.full((200_000,), float("nan"))  # what comes to lie in freed memory must not matter
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            output = network.from_bottom(guide, network.to_bottom(maps), None)
        error = output.float().square().mean()
        weights = [*network.parameters(), guide]
        gradients = torch.autograd.grad(error, weights, allow_unused=True)
        slopes.append(torch.cat([slope.flatten() for slope in gradients if slope is not None]))
    exact = slopes[0]
    for slope in slopes[1:]:
        assert torch.linalg.vector_norm(slope - exact) < 0.1 * torch.linalg.vector_norm(exact)
