"""DAVIS: one evaluation of its network, rate and memory beside plain float32."""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.utils.flop_counter import FlopCounterMode

from avsep.devices import supports_bfloat16
from avsep.models.davis.convolution_attention import (
    ResNetBlock,
    TimeAttention,
    TimeFrequencyAttention,
)
from avsep.models.davis.separation_unet import MapAttention, SeparationUNet, SeparationUNetSettings
from common import Cell, ResultTable, ratio, run_benchmark
from measuring import Cost, in_new_process, measure_work, peak_megabytes

REQUIRED_RATE, REQUIRED_MEMORY, REQUIRED_SNR_DB = 1.8, 0.75, 40.0
PROCESSES = 3
NETWORKS = {
    "plain": "plain float32",
    "float32": "ours, float32",
    "autocast": "ours, autocast to bfloat16",
    "ours": "ours, `sampling.reduced_precision`",
}


@dataclass(frozen=True)
class Size:
    """The network and its input: of the paper, or a small one."""

    settings: SeparationUNetSettings = field(default_factory=SeparationUNetSettings)
    num_rows: int = 256
    num_frames: int = 256
    enough_seconds: float = 10.0


@dataclass(frozen=True)
class Evaluated:
    """The cost of a network, its operations, its output, and seconds of its parts."""

    cost: Cost
    gflop: float
    output: Float[np.ndarray, "B F T"]
    precision: str
    parts: dict[str, float]


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure each network in new processes; the best counts of those of one network."""
    size, num_processes = Size(), PROCESSES
    if options.tiny:
        settings = SeparationUNetSettings(channels=(32, 32, 32))
        size, num_processes = Size(settings, 32, 32, 0.0), 1
    results = {}
    for name in NETWORKS:
        runs = [in_new_process(evaluate, name, size) for _ in range(num_processes)]
        own_megabytes = float(np.median([run.cost.own_megabytes for run in runs]))
        fastest = min(runs, key=lambda run: run.cost.seconds)
        results[name] = replace(fastest, cost=replace(fastest.cost, own_megabytes=own_megabytes))
    return [network_table(results, size), parts_table(results["ours"].parts)]


def network_table(results: dict[str, Evaluated], size: Size) -> ResultTable:
    """Return time, memory and distance of each network, with the requirements."""
    plain, ours = results["plain"], results["ours"]
    rows: list[tuple[Cell, ...]] = []
    for name, label in NETWORKS.items():
        cost = results[name].cost
        rows.append((
            label, cost.seconds, ratio(plain.cost.seconds, cost.seconds),
            results[name].gflop / cost.seconds, cost.megabytes, cost.own_megabytes,
            None if name == "plain" else snr_db(plain.output, results[name].output),
        ))  # fmt: skip
    rate = plain.cost.seconds / ours.cost.seconds
    memory = (ours.cost.own_megabytes or 0) / (plain.cost.own_megabytes or 1)
    distance_db = snr_db(plain.output, ours.output)
    requirements = {
        f"{rate:.2f} times the rate, required {REQUIRED_RATE}": rate >= REQUIRED_RATE,
        f"{memory:.2f} of the own memory, required at most {REQUIRED_MEMORY}": memory
        <= REQUIRED_MEMORY,
        f"{distance_db:.1f} dB from float32, required {REQUIRED_SNR_DB:.0f}": distance_db
        >= REQUIRED_SNR_DB,
    }
    head = (
        "network", "seconds", "x plain", "GFLOP/s", "peak MB", "own MB", "dB from plain float32",
    )  # fmt: skip
    notes = (ours.precision, "own MB: of the peak, what is above imports.")
    notes += tuple(f"{line}." for line, met in requirements.items() if met)
    missed = tuple(f"{line}." for line, met in requirements.items() if not met)
    title = f"{size.num_rows} x {size.num_frames} cells, one mixture"
    return ResultTable(title, head, tuple(rows), notes, missed)


def snr_db(expected: np.ndarray, output: np.ndarray) -> float:
    """Return the level of an output against that of its error."""
    error = np.square(output - expected).sum()
    return float(10 * np.log10(np.square(expected).sum() / max(error, 1e-30)))


def parts_table(parts: dict[str, float]) -> ResultTable:
    """Return the seconds of each kind of block."""
    whole = sum(parts.values())
    rows = [
        (name, seconds, f"{seconds / whole:.0%}")
        for name, seconds in sorted(parts.items(), key=lambda item: -item[1])
    ]
    head = ("part", "seconds", "share")
    return ResultTable("Parts of ours, reduced precision", head, tuple(rows))


def evaluate(name: str, size: Size) -> Evaluated:
    """Measure one network in this process, which must be a new one."""
    imported = peak_megabytes()
    torch.manual_seed(0)
    network = SeparationUNet(size.settings, size.num_rows, 512).eval()
    cells = (1, size.num_rows, size.num_frames)
    inputs = torch.randn(cells), torch.rand(cells) ** 4, torch.tensor([500.0]), torch.randn(1, 512)
    reduced = name == "ours" and supports_bfloat16(inputs[0].device)
    if name == "plain":
        make_plain(network)
    else:
        network.to(memory_format=torch.channels_last)
        network.reduce_precision(reduced=reduced)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=name == "autocast"):
        output = network(*inputs).float().numpy()
        cost = measure_work(
            lambda: network(*inputs),
            before_megabytes=imported,
            enough_seconds=size.enough_seconds,
        )
        counter = FlopCounterMode(display=False)
        with counter:
            network(*inputs)
    precision = "No bfloat16 on this machine: all in float32."
    if reduced:
        precision = "Most convolutions and projections of ours are in bfloat16."
    parts = _parts(network, inputs) if name == "ours" else {}
    return Evaluated(cost, counter.get_total_flops() / 1e9, output, precision, parts)


def _parts(network: SeparationUNet, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """Measure the seconds of each kind of block by hooks."""
    spent: Counter[str] = Counter()
    begun: dict[int, float] = {}

    def before(module: nn.Module, _: object) -> None:
        begun[id(module)] = time.perf_counter()

    def after(module: nn.Module, _: object, __: object) -> None:
        spent[names[module]] += time.perf_counter() - begun[id(module)]

    names = _names(network)
    hooks = [module.register_forward_pre_hook(before) for module in names]
    hooks += [module.register_forward_hook(after) for module in names]
    with torch.inference_mode():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return dict(spent)


def _names(network: SeparationUNet) -> dict[nn.Module, str]:
    """Return the timed blocks with their names; none contains another."""
    blocks = [block for level in (*network.down, *network.up) for block in _blocks(level)]
    between = [network.enter, *network.shrink, *network.grow, network.leave]
    return (
        {block: type(block).__name__ for block in blocks}
        | dict.fromkeys(between, "between levels")
        | {network.interaction: "feature interaction", network.last: "last ResNetBlock"}
    )


def _blocks(level: nn.Module) -> list[nn.Module]:
    return [block for group in level.children() for block in group.children()]


# The reference: a plain implementation with channels-first maps, separate heads, explicit softmax,
# and intermediates that are kept until they go out of scope.


def make_plain(network: SeparationUNet) -> None:
    """Replace the forward passes by plain ones, with the same weights."""
    network.to(memory_format=torch.contiguous_format)
    plain: dict[type, Callable] = {
        ResNetBlock: _plain_resnet,
        TimeFrequencyAttention: _plain_time_frequency,
        TimeAttention: _plain_time,
        MapAttention: _plain_map,
    }
    for module in network.modules():
        if type(module) in plain:
            module.forward = plain[type(module)].__get__(module)


def _condition(block: nn.Module, maps: Tensor, time: Tensor) -> Float[Tensor, "B D f t"]:
    scale, shift = block.condition.linear(silu(time))[:, :, None, None].chunk(2, dim=1)  # type: ignore[union-attr,operator]
    return maps * (scale + 1) + shift


def _norm(maps: Tensor, gain: Tensor) -> Float[Tensor, "B D f t"]:
    centred = maps - maps.mean(1, keepdim=True)
    noise_scale = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return centred / noise_scale * gain[:, None, None]


def _heads(block: nn.Module, maps: Tensor) -> tuple[Tensor, ...]:
    weight = block.to_heads.weight[:, :, None, None]  # type: ignore[union-attr,index]
    projected = torch.conv2d(maps, weight).flatten(2)  # type: ignore[arg-type]
    return tuple(part.unflatten(1, (4, -1)) for part in projected.chunk(3, dim=1))


def _joined(block: nn.Module, heads: Tensor, maps: Tensor) -> Float[Tensor, "B D f t"]:
    weight, bias = block.from_heads.weight[:, :, None, None], block.from_heads.bias  # type: ignore[union-attr,index]
    cells = heads.flatten(1, 2).unflatten(2, maps.shape[2:])
    return torch.conv2d(cells, weight, bias)  # type: ignore[arg-type]


def _plain_resnet(self: ResNetBlock, maps: Tensor, time: Tensor) -> Float[Tensor, "B D f t"]:
    hidden = self.first_norm(_plain_convolution(self.first, maps))
    if self.condition is not None:
        hidden = _condition(self, hidden, time)
    hidden = self.second_norm(_plain_convolution(self.second, silu(hidden)))
    return silu(hidden) + self.shortcut(maps)


def _plain_convolution(layer: nn.Conv2d, maps: Tensor) -> Float[Tensor, "B D f t"]:
    mean = layer.weight.mean((1, 2, 3), keepdim=True)
    variance = layer.weight.var((1, 2, 3), keepdim=True, correction=0)
    kernel = (layer.weight - mean) * (variance + 1e-5).rsqrt()
    return torch.conv2d(maps, kernel, layer.bias, padding=1)


def _plain_time_frequency(
    self: TimeFrequencyAttention, maps: Tensor, time: Tensor
) -> Float[Tensor, "B D f t"]:
    conditioned = _condition(self, _norm(maps, self.norm.gain), time)
    queries, keys, values = _heads(self, conditioned)
    # The released code divides by the number of cells.
    context = torch.einsum("bhdn,bhen->bhde", keys.softmax(3), values / values.shape[3])
    output = torch.einsum("bhde,bhdn->bhen", context, queries.softmax(2) * 32**-0.5)
    return maps + _norm(_joined(self, output, maps), self.last_norm.gain)


def _plain_map(self: MapAttention, maps: Tensor) -> Float[Tensor, "B D f t"]:
    queries, keys, values = _heads(self, _norm(maps, self.norm.gain))
    weights = torch.einsum("bhdi,bhdj->bhij", queries * 32**-0.5, keys).softmax(-1)
    return maps + _joined(self, torch.einsum("bhij,bhdj->bhdi", weights, values), maps)


def _plain_time(self: TimeAttention, maps: Tensor, time: Tensor) -> Float[Tensor, "B D f t"]:
    conditioned = _condition(self, maps, time)
    outputs = []
    for head in range(4):
        queries, keys, values = (
            _column(part, conditioned, head) for part in (self.queries, self.keys, self.values)
        )
        query, key = (part.permute(0, 3, 1, 2).flatten(2) for part in (queries, keys))
        weights = (query @ key.mT / query.shape[2] ** 0.5).softmax(-1)
        output = weights @ values.permute(0, 3, 1, 2).flatten(2)
        outputs.append(output.unflatten(2, values.shape[1:3]).permute(0, 2, 3, 1))
    return maps + _column(self.join, torch.cat(outputs, dim=1), 0)


def _column(part: nn.Module, maps: Tensor, head: int) -> Float[Tensor, "B width f t"]:
    """Project to one head: convolution, PReLU, norm over channels and rows."""
    width = part.gain.shape[3]  # type: ignore[union-attr,index]
    rows = slice(head * width, (head + 1) * width)
    weight, bias = part.linear.weight[rows], part.linear.bias[rows]  # type: ignore[union-attr,index]
    hidden = torch.conv2d(maps, weight[:, :, None, None], bias)  # type: ignore[index,arg-type]
    hidden = torch.where(hidden > 0, hidden, hidden * part.slopes[head])  # type: ignore[index]
    centred = hidden - hidden.mean((1, 2), keepdim=True)
    noise_scale = (centred.square().mean((1, 2), keepdim=True) + 1e-5).sqrt()
    gain, bias = (value[head, 0].T[..., None] for value in (part.gain, part.bias))  # type: ignore[index,union-attr]
    return centred / noise_scale * gain + bias


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure)


if __name__ == "__main__":
    main()
