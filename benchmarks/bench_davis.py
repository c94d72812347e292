"""Measure one evaluation of DAVIS' network: rate and memory against plain float32."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
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

REQUIRED_RATE, REQUIRED_MEMORY, REQUIRED_SNR_DB = 1.8, 0.75, 40.0
RUNS, PROCESSES = 5, 3
NETWORKS = {
    "plain": "plain float32",
    "float32": "ours, float32",
    "autocast": "ours, autocast to bfloat16",
    "ours": "ours, as `sampling.reduced_precision` has it",
}


def main() -> None:
    """Print seconds, peak memory and the distance of outputs; exit 1 if less than required."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.output)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {name: _in_new_process(name, Path(folder)) for name in NETWORKS}
    console = Console()
    console.print(_table(results), _parts_table(results["ours"]["parts"]))
    plain, ours = results["plain"], results["ours"]
    rate = plain["seconds"] / ours["seconds"]
    memory = ours["own_megabytes"] / plain["own_megabytes"]
    whole = ours["megabytes"] / plain["megabytes"]
    console.print(
        f"{rate:.2f} times the rate (required {REQUIRED_RATE})\n"
        f"{memory:.2f} of the peak memory beside what imports alone hold (required at most "
        f"{REQUIRED_MEMORY}), {whole:.2f} with it\n"
        f"output {ours['snr_db']:.1f} dB from float32 (required {REQUIRED_SNR_DB:.0f})\n"
        f"{ours['precision']}"
    )
    passes = rate >= REQUIRED_RATE and memory <= REQUIRED_MEMORY
    sys.exit(0 if passes and ours["snr_db"] >= REQUIRED_SNR_DB else 1)


def _table(results: dict[str, dict]) -> Table:
    heads = ("network", "seconds", "GFLOP/s", "peak MB", "beside imports", "dB from plain float32")
    table = Table(*heads)
    for name, label in NETWORKS.items():
        result = results[name]
        rate = f"{result['gflop'] / result['seconds']:.0f}"
        distance = "-" if name == "plain" else f"{result['snr_db']:.1f}"
        memory = (f"{result['megabytes']:.0f}", f"{result['own_megabytes']:.0f}")
        table.add_row(label, f"{result['seconds']:.2f}", rate, *memory, distance)
    return table


def _parts_table(parts: dict[str, float]) -> Table:
    """Build the table of seconds of each kind of block."""
    whole = sum(parts.values())
    table = Table("part of ours", "seconds", "share")
    for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{seconds:.3f}", f"{seconds / whole:.0%}")
    return table


def _in_new_process(name: str, folder: Path) -> dict:
    """Return best time and median peak memory over new processes; outputs are passed in files."""
    path = folder / f"{name}.npy"
    arguments = [sys.executable, __file__, "--only", name, "--output", str(path)]
    done = [subprocess.run(arguments, check=True, capture_output=True) for _ in range(PROCESSES)]
    runs = sorted((json.loads(run.stdout) for run in done), key=lambda run: run["seconds"])
    memory = {m: float(np.median([run[m] for run in runs])) for m in ("megabytes", "own_megabytes")}
    expected, output = np.load(folder / "plain.npy"), np.load(path)
    error = np.square(output - expected).sum()
    snr_db = 10 * np.log10(np.square(expected).sum() / max(error, 1e-30))
    return runs[0] | memory | {"snr_db": float(snr_db)}


def measure(name: str, path: Path) -> dict:
    """Measure one network in a new process: seconds, peak memory, and its output to a file."""
    imported = _peak_megabytes()
    torch.manual_seed(0)
    network = SeparationUNet(SeparationUNetSettings(), 256, 512).eval()
    noisy, mixture = torch.randn(1, 256, 256), torch.rand(1, 256, 256) ** 4
    inputs = noisy, mixture, torch.tensor([500.0]), torch.randn(1, 512)
    reduced = name == "ours" and supports_bfloat16(noisy.device)
    if name == "plain":
        make_plain(network)
    else:
        network.to(memory_format=torch.channels_last)
        network.reduce_precision(reduced=reduced)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=name == "autocast"):
        np.save(path, network(*inputs).float().numpy())
        seconds = min(_seconds(network, inputs) for _ in range(RUNS))
        megabytes = _peak_megabytes()
        counter = FlopCounterMode(display=False)
        with counter:
            network(*inputs)
    return {
        "seconds": seconds,
        "megabytes": megabytes,
        "own_megabytes": megabytes - imported,
        "gflop": counter.get_total_flops() / 1e9,
        "precision": "most convolutions and projections in bfloat16"
        if reduced
        else "no bfloat16 here: all in float32",
        "parts": _parts(network, inputs) if name == "ours" else {},
    }


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _seconds(network: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    start = time.perf_counter()
    network(*inputs)
    return time.perf_counter() - start


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


if __name__ == "__main__":
    main()
