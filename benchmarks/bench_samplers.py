"""Samplers and steps of DAVIS and DAVIS-Flow: scores, and seconds a mixture."""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.progress import track

from avsep.checkpoint import load_model
from avsep.data.toyband import read_toyband
from avsep.diffusion.sampling import SamplingSettings
from avsep.evaluation.baselines import waveforms
from avsep.evaluation.batches import ClipReader, CueSettings
from avsep.evaluation.bss_eval import bss_eval
from avsep.media.atomic import make_folder
from avsep.models.davis.model import DAVIS
from avsep.records import Batch
from clips import make_duets
from common import ResultTable, run_benchmark

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


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Score each sampler and number of steps on new duets, and draw the plot beside the record."""
    num_mixtures, steps = (1, (1, 2)) if options.tiny else (options.mixtures, options.steps)
    make_folder(options.records)
    with tempfile.TemporaryDirectory() as folder:
        make_duets(Path(folder), num_mixtures, options.tiny, seed=SEED)
        clips = read_toyband(Path(folder))
        rows: list[Row] = []
        for name in options.models:
            model = load_model(name)
            batches = _batches(clips, model)
            precision = {"reduced_precision": options.reduced_precision}
            samplings = [s.model_copy(update=precision) for s in _samplings(model, steps)]
            for sampling in track(samplings, f"{name}: samplers and steps"):
                rows.append(_measure(Path(name).stem, model, sampling, batches))
    _plot(rows).savefig(options.records / "samplers.svg")
    heads = ("model", "sampler", "steps", "evaluations", "SDR", "SIR", "SAR", "seconds a mixture")
    title = f"{num_mixtures} duets of training notes, scores in dB"
    return [ResultTable(title, heads, tuple(map(astuple, rows)), tuple(chosen(rows)))]


def _batches(clips: Sequence[Any], model: DAVIS) -> list[Batch]:
    """Build a batch of the middle window of each clip, with image embeddings computed once."""
    settings = model.settings
    cue_settings = CueSettings(settings.crops, settings.categories)
    reader = ClipReader(clips)
    batches = []
    for index in range(len(clips)):
        _, batch = reader.batch(index, settings.front_end, cue_settings)
        item, _ = reader.batch(index, settings.front_end)
        sources = torch.from_numpy(np.asarray(item.sources))[None]  # B S C N
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


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add models, mixtures, steps and precision."""
    parser.add_argument("models", nargs="*", default=["davis-mini", "davis-flow-mini"])
    parser.add_argument("--mixtures", type=int, default=40, help="toyband duets (40)")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument(
        "--reduced-precision", action="store_true", help="as `sampling.reduced_precision` has it"
    )


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
