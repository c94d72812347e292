"""I3D: both published layouts load and equal a network written from their names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avsep.errors import InputError
from avsep.vision.i3d import I3D, I3DSettings, load_i3d, motion_features
from vision.i3d_weights import (
    BLOCKS,
    BRANCHES,
    EPSILON,
    LAYOUTS,
    NORM,
    State,
    first_letter,
    published,
    with_heads,
)

TRUNK, FAME = 12_287_264, 13_468_064


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    return {layout: published(layout) for layout in LAYOUTS}


@pytest.fixture(scope="module")
def files(states: dict[str, State], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write each layout to a file as its authors publish it."""
    folder = tmp_path_factory.mktemp("i3d")
    torch.save(with_heads("pytorch-i3d", states["pytorch-i3d"]), folder / "rgb_imagenet.pt")
    query = with_heads("fame", states["fame"])
    saved = {f"module.encoder_q.{name}": weight for name, weight in query.items()}
    saved |= {f"module.encoder_k.{name}": weight for name, weight in query.items()}
    saved |= {"module.queue": torch.zeros(128, 4), "module.queue_ptr": torch.zeros(1).long()}
    content = {"epoch": 200, "arch": "I3D", "state_dict": saved, "optimizer": {"state": {}}}
    torch.save(content, folder / "I3D_pretrained.pth.tar")
    return {
        "pytorch-i3d": folder / "rgb_imagenet.pt",
        "fame": folder / "I3D_pretrained.pth.tar",
    }


def zeros_around(layout: str, num_cells: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after along one axis."""
    if layout == "fame":
        total = max(kernel - stride, 0)
    else:  # as many as TensorFlow's SAME adds
        total = max((-(-num_cells // stride) - 1) * stride + kernel - num_cells, 0)
    return total // 2, total - total // 2


def padded(layout: str, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    axes = zip(x.shape[2:], kernel, stride, strict=True)
    before_behind = [zeros_around(layout, *axis) for axis in axes]
    return functional.pad(x, [n for pair in reversed(before_behind) for n in pair])


def by_names(layout: str, state: State, x: Tensor) -> Tensor:
    """Compute the network step by step from published names, as a reference."""

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv3d.weight"]
        x = padded(layout, x, tuple(weight.shape[2:]), (stride,) * 3)
        x = functional.conv3d(x, weight, stride=stride)
        mean, var, scale, shift = (
            state[f"{name}.{NORM[layout]}.{part}"]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = functional.batch_norm(x, mean, var, scale, shift, eps=EPSILON[layout])
        return functional.relu(x)

    def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        x = padded(layout, x, kernel, stride)
        return functional.max_pool3d(x, kernel, stride, ceil_mode=True)

    x = unit(x, first_letter(layout, "conv3d_1a_7x7"), stride=2)
    x = pool(x, (1, 3, 3), (1, 2, 2))
    x = unit(x, first_letter(layout, "conv3d_2b_1x1"))
    x = unit(x, first_letter(layout, "conv3d_2c_3x3"))
    x = pool(x, (1, 3, 3), (1, 2, 2))
    for block in BLOCKS:
        if block == "4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if block == "5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        name = first_letter(layout, f"mixed_{block}")
        b0, b1a, b1b, b2a, b2b, b3 = (f"{name}.{branch}" for branch in BRANCHES[layout])
        outputs = [
            unit(x, b0),
            unit(unit(x, b1a), b1b),
            unit(unit(x, b2a), b2b),
            unit(pool(x, (3, 3, 3), (1, 1, 1)), b3),
        ]
        x = torch.cat(outputs, dim=1)
    return x


def frames(num: int = 9, height: int = 40, width: int = 55) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, height, width, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_weights_equal_a_network_from_their_names(
    layout: str, states: dict[str, State], files: dict[str, Path]
) -> None:
    model = load_i3d(files[layout])
    assert not model.training
    x = torch.randn(1, 3, 9, 33, 50, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        result, expected = model(x), by_names(layout, states[layout], x)
    assert result.shape == expected.shape
    assert expected.std() > 0.1  # the signal is alive, so that a wrong layer shows
    # The same operations; only memory layouts may differ.
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_numbers_of_the_reference(states: dict[str, State]) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in I3D().parameters()) == TRUNK
    whole = with_heads("fame", states["fame"])
    learned = (w for name, w in whole.items() if "running" not in name and "num_b" not in name)
    assert sum(w.numel() for w in learned) == FAME


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_frames", "fixed", "same"), [(2, 1, 1), (8, 1, 1), (9, 1, 2), (16, 2, 2), (20, 3, 3)]
)
def test_shapes_of_maps(num_frames: int, fixed: int, same: int) -> None:
    with torch.device("meta"):  # shapes alone: nothing is computed
        x = torch.empty(1, 3, num_frames, 64, 96)
        for padding, num_maps in (("fixed", fixed), ("same", same)):
            model = I3D(I3DSettings(padding=padding)).eval()
            assert model(x).shape == (1, 1024, num_maps, 2, 3)


@pytest.mark.slow
def test_motion_features_are_max_pooled_over_space(files: dict[str, Path]) -> None:
    model = load_i3d(files["fame"])
    pictures = frames(18, 24, 36)
    result = motion_features(pictures, model)
    scaled = torch.from_numpy(pictures).permute(3, 0, 1, 2)[None] / 255
    mean, std = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    scaled = (scaled - torch.tensor(mean).view(3, 1, 1, 1)) / torch.tensor(std).view(3, 1, 1, 1)
    with torch.no_grad():
        expected = model(scaled)[0].amax((2, 3))
    torch.testing.assert_close(result, expected)
    assert result.shape == (1024, 3) and not result.requires_grad
    assert torch.equal(motion_features(pictures, model), result)  # nothing was learned meanwhile
    cut = motion_features(pictures, model, max_frames=8)
    assert torch.equal(cut, motion_features(pictures[:8], model))


@pytest.mark.slow
def test_pixels_are_scaled_as_the_weights_were_trained(files: dict[str, Path]) -> None:
    model = load_i3d(files["pytorch-i3d"])
    assert model.settings.pixels == "signed"
    grey = np.full((8, 32, 32, 3), 51, np.uint8)  # 0.2 of white: -0.6 when signed
    scaled = torch.full((1, 3, 8, 32, 32), -0.6)
    with torch.no_grad():
        expected = model(scaled)[0].amax((2, 3))
    # 2 x 0.2 - 1 is -0.6 to the last bit or one beside it.
    torch.testing.assert_close(motion_features(grey, model), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(motion_features(grey, model, pixels="unit"), expected, atol=0.01)


@pytest.mark.slow
def test_a_single_small_picture_has_features(files: dict[str, Path]) -> None:
    model = load_i3d(files["fame"])
    assert motion_features(frames(1, 2, 3), model).shape == (1024, 1)
    with pytest.raises(AssertionError, match=r"call model\.eval"):
        motion_features(frames(4), model.train())


def renamed(state: State) -> State:
    return {name.replace("conv3d_1a", "stem"): weight for name, weight in state.items()}


def short_of_one(state: State) -> State:
    return {n: w for n, w in state.items() if n != "mixed_4d.branch_2.1.conv3d.weight"}


def of_flow(state: State) -> State:
    name = "conv3d_1a_7x7.conv3d.weight"
    return state | {name: state[name][:, :2]}


def with_unknown_name(state: State) -> State:
    return state | {"mixed_6a.weight": torch.ones(1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed, r"none of its names is 'conv3d_1a_7x7\.conv3d\.weight' \(layout of FAME\) or "),
        (short_of_one, r"missing: layers\.mixed_4d\.branches\.2\.1\.conv\.weight$"),
        (of_flow, r"of another shape: layers\.conv_1a\.conv\.weight \(64 x 2 x .* 64 x 3 x"),
        (with_unknown_name, r"unknown: mixed_6a\.weight"),
    ],
)
def test_other_files_are_one_clear_line(
    tmp_path: Path, states: dict[str, State], change: Callable[[State], State], message: str
) -> None:
    torch.save({"state_dict": change(states["fame"])}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=message) as caught:
        load_i3d(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_files_of_pytorch_0_3_lack_counters(tmp_path: Path, states: dict[str, State]) -> None:
    state = {n: w for n, w in states["pytorch-i3d"].items() if "num_batches" not in n}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    weight = load_i3d(tmp_path / "a.pt").state_dict()["layers.mixed_3b.branches.3.1.conv.weight"]
    assert torch.equal(weight, states["pytorch-i3d"]["Mixed_3b.b3b.conv3d.weight"])
