"""The Separation U-Net: sizes as released, every switch, shapes, one graph for the compiler."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from avsep.models.davis.convolution_attention import Convolution, ConvolutionAttentionSettings
from avsep.models.davis.separation_unet import (
    SeparationUNet,
    SeparationUNetSettings,
    fold,
    unfold,
)

# Scales and shifts by the timestep that the released interaction module has and never uses.
NEVER_USED = 3 * (256 * 1024 + 1024)
SMALL = SeparationUNetSettings(
    channels=(8, 16, 16),
    attention=ConvolutionAttentionSettings(num_heads=2, head_width=4, column_width=32),
)
NUM_ROWS, VISUAL_CHANNELS = 16, 6


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def small(**changes: object) -> SeparationUNet:
    torch.manual_seed(0)
    return SeparationUNet(SMALL.model_copy(update=changes), NUM_ROWS, VISUAL_CHANNELS)


def inputs(num_frames: int = 16, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    noisy, mixture = torch.randn(2, batch, NUM_ROWS, num_frames)
    return noisy, mixture, torch.tensor([3.0, 500.0][:batch]), torch.randn(batch, VISUAL_CHANNELS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blocks", "released"),
    [
        (("R", "TF", "T"), 36_549_603),
        (("R", "R", "TF"), 44_846_721),
        (("R", "R", "T"), 45_787_939),
        (("R", "R", "R"), 54_085_057),
    ],
)
def test_sizes_of_table_2(blocks: tuple, released: int) -> None:
    """REFERENCE 8.3: as released without unused weights; the differences are Table 2's."""
    with torch.device("meta"):
        network = SeparationUNet(SeparationUNetSettings(blocks=blocks), 256, 512)
    assert num_parameters(network) == released - NEVER_USED


def test_sizes_line_by_line() -> None:
    """REFERENCE 8.1: the parts of the released network."""
    with torch.device("meta"):
        network = SeparationUNet(SeparationUNetSettings(), 256, 512)
    first, attention, second = network.interaction.layers
    assert num_parameters(network.enter) == 192
    assert num_parameters(network.time) == 82_432
    assert num_parameters(network.down) + num_parameters(network.shrink) == 6_653_425
    assert num_parameters(network.up) + num_parameters(network.grow) == 16_281_265
    assert num_parameters(first) == 7_868_928 - NEVER_USED // 3
    assert num_parameters(attention) == 526_336 - NEVER_USED // 3
    assert num_parameters(second) == 4_984_832 - NEVER_USED // 3
    assert num_parameters(network.last) == 152_128
    assert num_parameters(network.leave) == 65


@pytest.mark.slow
def test_the_middle_is_a_sixteenth() -> None:
    """REFERENCE 8.2: 512 x 16 x 16 between encoder and decoder, at the paper's size."""
    with torch.device("meta"):
        network = SeparationUNet(SeparationUNetSettings(), 256, 512)
        shapes = []
        network.interaction.register_forward_hook(
            lambda module, arguments, output: shapes.append(output.shape)
        )
        maps = torch.zeros(1, 256, 256)
        estimate = network(maps, maps, torch.zeros(1), torch.zeros(1, 512))
    assert shapes == [(1, 512, 16, 16)]
    assert estimate.shape == (1, 256, 256)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        *({"blocks": blocks} for blocks in (("R", "R", "R"), ("R", "R", "T"), ("R", "R", "TF"))),
        *({"fusion": name} for name in ("concat", "point-wise", "local", "global")),
        {"fold": (2, 2)},
        {},
    ],
)
def test_every_switch(changes: dict) -> None:
    """The output depends on every input and on every parameter."""
    network, values = small(**changes), list(inputs())
    output = network(*values)
    assert output.shape == values[0].shape
    output.square().sum().backward()
    unused = [name for name, value in network.named_parameters() if not value.grad.any()]  # type: ignore[union-attr]
    assert not unused
    for index, value in enumerate(values):
        other = [*values[:index], value + 1, *values[index + 1 :]]
        assert not torch.allclose(network(*other), output, atol=1e-6), index


@pytest.mark.parametrize("num_frames", [4, 12, 40])
def test_any_number_of_frames(num_frames: int) -> None:
    assert small()(*inputs(num_frames)).shape == (2, NUM_ROWS, num_frames)


def test_rows_that_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="18 rows are no multiple of 4"):
        SeparationUNet(SMALL, 18, VISUAL_CHANNELS)
    with pytest.raises(ValidationError, match="first block must be R"):
        SeparationUNetSettings(blocks=("TF", "R", "T"))


@pytest.mark.slow
def test_items_of_a_batch_do_not_depend_on_each_other() -> None:
    network, values = small().eval(), inputs()
    alone = network(*(value[1:] for value in values))
    torch.testing.assert_close(network(*values)[1:], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", [(1, 1), (2, 4), (4, 1)])
def test_fold_and_unfold(cell: tuple[int, int]) -> None:
    maps = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    folded = fold(maps, cell)
    assert folded.shape == (2, 3 * cell[0] * cell[1], 8 // cell[0], 8 // cell[1])
    assert torch.equal(unfold(folded, cell), maps)
    assert set(folded[0, :, 0, 0].tolist()) == set(
        maps[0, :, : cell[0], : cell[1]].flatten().tolist()
    )


COMPILED = """
import torch
from avsep.models.davis.separation_unet import SeparationUNet, SeparationUNetSettings
from avsep.models.davis.convolution_attention import ConvolutionAttentionSettings, Convolution
torch.manual_seed(0)
small = ConvolutionAttentionSettings(num_heads=2, head_width=4, column_width=32)
network = SeparationUNet(SeparationUNetSettings(channels=(8, 16), attention=small), 8, 6).eval()
values = torch.randn(2, 8, 8), torch.randn(2, 8, 8), torch.tensor([3.0, 500.0]), torch.randn(2, 6)
explained = torch._dynamo.explain(network)(*values)
whole = torch.compile(network, backend="eager", fullgraph=True)
torch.testing.assert_close(whole(*values), network(*values))
print(explained.graph_count, explained.graph_break_count)
"""


@pytest.mark.slow
def test_it_compiles_as_one_graph() -> None:
    """In a subprocess: in tests every call is wrapped to check shapes, which breaks graphs."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "0"]


# Reduced precision


def snr_db(expected: Tensor, output: Tensor) -> float:
    error = (output - expected).square().sum()
    return float(10 * torch.log10(expected.square().sum() / error))


@pytest.mark.slow
def test_reduced_precision_is_more_than_40_db_from_float32() -> None:
    network, values = small().eval(), inputs()
    with torch.inference_mode():
        exact = network(*values)
        network.reduce_precision(reduced=True)
        reduced = network(*values)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = network(*values)
        network.reduce_precision(reduced=False)
        again = network(*values)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact) and torch.equal(again, exact)
    assert snr_db(exact, reduced) > max(40.0, snr_db(exact, autocast.float()))


def test_the_last_convolutions_stay_exact() -> None:
    network = small()
    network.reduce_precision(reduced=True)
    flags = {
        name: module.in_bfloat16
        for name, module in network.named_modules()
        if isinstance(module, Convolution)
    }
    exact = {name for name, in_bfloat16 in flags.items() if not in_bfloat16}
    assert exact == {"last.first", "last.second", f"grow.{len(network.grow) - 1}"}
    assert len(flags) > 2 * len(exact)
