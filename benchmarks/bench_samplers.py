"""Compare samplers and steps of DAVIS and DAVIS-Flow: SDR, SIR, SAR and seconds."""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from avsep.checkpoint import load_model
from avsep.data.toyband import read_toyband
from avsep.diffusion.sampling import SamplingSettings
from avsep.evaluation.baselines import waveforms
from avsep.evaluation.batches import ClipReader, CueSettings
from avsep.evaluation.bss_eval import bss_eval
from avsep.media.atomic import write_atomic
from avsep.models.davis.model import DAVIS
from avsep.recipe import load_recipe
from avsep.records import Batch
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.material import Material

# New clips with training notes: samplers are not chosen on the clips of the reported scores.
SEED = 900
STEPS = (1, 2, 4, 8, 15, 25, 50)
# Process -> samplers, each with its eta.
SAMPLERS = {
    "diffusion": (("ddpm", 1.0), ("ddim", 0.0), ("dpm-solver++", 0.0), ("heun", 0.0)),
    "flow": (("euler", 0.0), ("midpoint", 0.0), ("heun", 0.0), ("dpm-solver++", 0.0)),
}
QUALITIES_DB = {"fast": 0.3, "balanced": 0.1, "best": 0.0}


@dataclass(frozen=True)
class Row:
    """Mean scores of one sampling setting, and seconds per mixture."""

    model: str
    sampler: str
    num_steps: int
    evaluations: int
    sdr_db: float
    sir_db: float
    sar_db: float
    seconds: float


def main() -> None:
    """Write samplers.json, samplers.md and samplers.svg, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["davis-mini", "davis-flow-mini"])
    parser.add_argument("--mixtures", type=int, default=40, help="toyband duets (default 40)")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument(
        "--reduced-precision", action="store_true", help="as `sampling.reduced_precision` has it"
    )
    parser.add_argument("--out", type=Path, default=Path("out/bench_samplers"))
    arguments = parser.parse_args()
    clips = _clips(arguments.out / "clips", arguments.mixtures)
    rows: list[Row] = []
    for name in arguments.models:
        model = load_model(name)
        batches = _batches(clips, model)
        precision = {"reduced_precision": arguments.reduced_precision}
        samplings = [s.model_copy(update=precision) for s in _samplings(model, arguments.steps)]
        for sampling in track(samplings, f"{name}: samplers and steps"):
            rows.append(_measure(Path(name).stem, model, sampling, batches))
            _write(arguments.out, rows, arguments.mixtures)
    Console().print(_table(rows))
    Console().print("\n".join(chosen(rows)))


def _clips(folder: Path, num_clips: int) -> Sequence[Any]:
    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    making = make_toyband(folder, num_clips, SEED, settings, Material.read())
    for _ in track(making, "duets", total=num_clips):
        pass
    return read_toyband(folder)[:num_clips]


def _batches(clips: Sequence[Any], model: DAVIS) -> list[Batch]:
    """Build a batch of the middle window of each clip, with image embeddings computed once."""
    settings = model.settings
    cue_settings = CueSettings(settings.crops, settings.categories)
    reader = ClipReader(clips)
    batches = []
    for index in range(len(clips)):
        _, batch = reader.batch(index, settings.front_end, cue_settings)
        item, _ = reader.batch(index, settings.front_end)
        sources = torch.from_numpy(np.asarray(item.sources))[None, :, None]
        batches.append(Batch(batch.mixture, sources, model.precompute(batch.cues)))
    return batches


def _samplings(model: DAVIS, steps: Sequence[int]) -> Iterator[SamplingSettings]:
    for sampler, eta in SAMPLERS[model.settings.process]:
        for num_steps in steps:
            yield model.settings.sampling.model_copy(
                update={"sampler": sampler, "eta": eta, "num_steps": num_steps}
            )


def _measure(name: str, model: DAVIS, sampling: SamplingSettings, batches: list[Batch]) -> Row:
    sampled, scores, seconds = model.with_sampling(sampling.model_dump()), [], 0.0
    for index, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(index)
        start = time.perf_counter()
        with torch.inference_mode():
            separation = sampled.separate(batch, generator=generator)
        seconds += time.perf_counter() - start
        estimates = waveforms(separation, model.front_end)[0, :, 0].numpy()
        assert batch.sources is not None, "the batch has references"
        references = batch.sources[0, :, 0, : estimates.shape[-1]].numpy()
        scores.append(bss_eval(references, estimates).table_db.mean(0))
    sdr_db, sir_db, sar_db = np.mean(scores, axis=0).tolist()
    return Row(
        model=name,
        sampler=sampling.sampler,
        num_steps=sampling.num_steps,
        evaluations=sampling.evaluations,
        sdr_db=sdr_db,
        sir_db=sir_db,
        sar_db=sar_db,
        seconds=seconds / len(batches),
    )


def chosen(rows: Sequence[Row]) -> list[str]:
    """Return a line for each model and quality: the cheapest sampling within its SDR tolerance."""
    lines = []
    for name in dict.fromkeys(row.model for row in rows):
        model_rows = [row for row in rows if row.model == name]
        best_db = max(row.sdr_db for row in model_rows)
        for quality, distance_db in QUALITIES_DB.items():
            enough = [row for row in model_rows if row.sdr_db >= best_db - distance_db]
            row = min(enough, key=lambda row: (row.evaluations, -row.sdr_db))
            lines.append(
                f"{name} {quality}: {row.sampler}, {row.num_steps} steps, {row.evaluations} "
                f"evaluations, {row.sdr_db:.2f} dB, {row.seconds:.2f} s a mixture"
            )
    return lines


def _write(folder: Path, rows: Sequence[Row], num_mixtures: int) -> None:
    record = {"seed": SEED, "mixtures": num_mixtures, "rows": [asdict(row) for row in rows]}
    write_atomic(folder / "samplers.json", json.dumps(record, indent=1) + "\n")
    lines = ["| model | sampler | steps | evaluations | SDR | SIR | SAR | seconds |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|")
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    write_atomic(folder / "samplers.md", "\n".join(lines) + "\n")
    _plot(rows).savefig(folder / "samplers.svg")


def _cells(row: Row) -> list[str]:
    values = (row.sdr_db, row.sir_db, row.sar_db, row.seconds)
    counts = (str(row.num_steps), str(row.evaluations))
    return [row.model, row.sampler, *counts, *(f"{value:.2f}" for value in values)]


def _table(rows: Sequence[Row]) -> Table:
    heads = ("model", "sampler", "steps", "evaluations", "SDR", "SIR", "SAR", "seconds a mixture")
    table = Table(*heads, title="Samplers and steps, dB")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _plot(rows: Sequence[Row]) -> Figure:
    """Plot SDR against network evaluations: a panel per model, a line per sampler."""
    names = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(5.5 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        model_rows = [row for row in rows if row.model == name]
        for sampler in dict.fromkeys(row.sampler for row in model_rows):
            line = [row for row in model_rows if row.sampler == sampler]
            counts = [row.evaluations for row in line]
            axes.plot(counts, [row.sdr_db for row in line], marker="o", label=sampler)
        axes.set(title=name, xlabel="network evaluations", ylabel="SDR (dB)", xscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


if __name__ == "__main__":
    main()
