"""ResNet-18: torchvision's network and weights at twice the resolution, frozen."""

import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import ResNet, ResNet18_Weights, resnet18

from avsep.errors import InputError
from avsep.vision.resnet18 import IMAGENET_MEAN, IMAGENET_STD, ResNet18Dilated


@pytest.fixture(scope="module")
def published() -> ResNet:
    """Make a network of torchvision with random weights and statistics."""
    torch.manual_seed(0)
    network = resnet18(weights=None)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def weights_file(published: ResNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resnet") / "resnet18.pth"
    torch.save(published.state_dict(), path)
    return path


def crops(num: int = 2, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (num, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.slow
def test_numbers_of_the_reference() -> None:
    encoder = ResNet18Dilated()
    assert sum(p.numel() for p in encoder.parameters()) == 11_176_512
    assert encoder(crops(1, 224)).shape == (1, encoder.num_channels, 14, 14)
    assert encoder.num_channels == 512


@pytest.mark.slow
def test_every_second_cell_is_what_torchvision_computes(
    published: ResNet, weights_file: Path
) -> None:
    encoder = ResNet18Dilated().load_imagenet(weights_file)
    pictures = crops()
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    maps = (pictures / 255 - mean) / std
    with torch.no_grad():
        maps = published.maxpool(published.relu(published.bn1(published.conv1(maps))))
        for stage in (published.layer1, published.layer2, published.layer3, published.layer4):
            maps = stage(maps)
    result = encoder(pictures)
    assert result.shape[2:] == (4, 4) and maps.shape[2:] == (2, 2)
    # The same sums in another order: float32 over thousands of terms.
    torch.testing.assert_close(result[..., ::2, ::2], maps, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_stays_frozen_in_training() -> None:
    encoder = ResNet18Dilated()
    model = torch.nn.Sequential(encoder).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert not any(layer.training for layer in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not model(crops()).requires_grad
    assert all(torch.equal(before[name], v) for name, v in encoder.state_dict().items())


@pytest.mark.slow
def test_a_file_that_does_not_fit(tmp_path: Path, published: ResNet) -> None:
    weights = {name: w for name, w in published.state_dict().items() if "layer4.1" not in name}
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth' does not fit ResNet; missing: layer4\.1\.conv1"):
        ResNet18Dilated().load_imagenet(tmp_path / "a.pth")


def test_without_file_and_network_the_error_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"cannot be downloaded .*fetch 'resnet18-\w+\.pth'") as e:
        ResNet18Dilated().load_imagenet()
    assert str(tmp_path) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.slow
def test_weights_fetched_before_are_found_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_file: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / ResNet18_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]).symlink_to(weights_file)
    cached, expected = ResNet18Dilated().load_imagenet(), ResNet18Dilated()
    expected.load_imagenet(weights_file)
    assert torch.equal(cached(crops()), expected(crops()))
