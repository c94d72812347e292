"""Time BSS Eval of avsep, mir_eval and fast_bss_eval on the same sounds in one run."""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import fast_bss_eval
import mir_eval
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.projection import energies
from avsep.evaluation.projection.least_squares import factor_in_blocks
from avsep.recipe import load_recipe
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import ratio_mask
from avsep.sound.resampling import resample
from avsep.toyband.clip import Cast, ToybandSettings, play
from avsep.toyband.material import Material

NUM_CASTS = 32  # their stems are paired in many ways
TAPS = 512
PERFECT_DB = 100  # above it scores are rounding, and no difference is counted


@dataclass(frozen=True)
class Job:
    """Sounds that all implementations score, three estimates of each mixture."""

    name: str
    references: np.ndarray  # pairs S N
    estimates: np.ndarray  # pairs 3 S N


def make_job(name: str, num_pairs: int, num_sources: int, rate_hz: int, seconds: float) -> Job:
    """Mix windows of toyband's music; estimates are the mixture, leaky masks and ideal masks."""
    rng = np.random.default_rng(0)
    stems = make_stems(rng, rate_hz, seconds)
    casts = [rng.permutation(len(stems))[:num_sources] for _ in range(num_pairs)]
    front_end = FrontEnd(FrontEndSettings(sample_rate_hz=rate_hz, window_samples=stems.shape[1]))
    sources = torch.from_numpy(np.stack([stems[cast] for cast in casts]))  # B S N
    estimates = []
    for group in sources:
        mixture = group.sum(0, keepdim=True)
        magnitudes, _ = front_end.spectrogram(group[:, None])
        mixture_magnitude, phase = front_end.spectrogram(mixture)
        ideal = ratio_mask(magnitudes, mixture_magnitude)
        masks = torch.stack([torch.ones_like(ideal), 0.7 * ideal + 0.15, ideal])
        sounds = front_end.waveform(masks * mixture_magnitude, phase.expand_as(masks))
        estimates.append(sounds[:, :, 0].double().numpy())
    estimates = np.stack(estimates)
    references = sources.double().numpy()[..., : estimates.shape[-1]]
    return Job(name, references, estimates)


def make_stems(rng: np.random.Generator, rate_hz: int, seconds: float) -> np.ndarray:
    """Synthesise parts on the shipped notes; return their windows [stems, N] in random order."""
    material = Material.read()
    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    settings = settings.model_copy(update={"clip_seconds": seconds + 2})
    categories = list(material.categories(False, settings.categories))
    stems = []
    for _ in range(NUM_CASTS):
        pair = [categories[int(index)] for index in rng.permutation(len(categories))[:2]]
        music = play(Cast(tuple(pair), ()), settings, material, False, rng)
        stems += [stem / np.float32(32768) for stem in music.stems[:2]]  # 1 N each
    resampled = [resample(stem, 44100, rate_hz)[0] for stem in stems if stem.any()]
    # From the middle, as the protocol cuts them: the ends of a piece fade out, and nearly silent
    # references are near singular more often.
    num_samples = round(seconds * rate_hz)
    starts = [len(stem) // 2 - num_samples // 2 for stem in resampled]
    pairs = zip(resampled, starts, strict=True)
    return np.stack([stem[start : start + num_samples] for stem, start in pairs])


def score_by_avsep(job: Job) -> np.ndarray:
    """Score all estimates in one call, which shares the work on the references."""
    return bss_eval(job.references[:, None], job.estimates).table_db


def score_by_mir_eval(job: Job) -> np.ndarray:
    """Score with one call per estimate: mir_eval has no batches."""

    def score(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return np.stack(mir_eval.separation.bss_eval_sources(truth, guess, False)[:3], axis=-1)

    pairs = zip(job.references, job.estimates, strict=True)
    return np.stack([[score(truth, guess) for guess in guesses] for truth, guesses in pairs])


def score_by_fast_bss_eval(job: Job) -> np.ndarray:
    """Score with its PyTorch path and exact solver, four mixtures at a time, its best size."""
    tables = []
    for first in range(0, len(job.references), 4):
        guess = torch.from_numpy(job.estimates[first : first + 4])
        truth = torch.from_numpy(job.references[first : first + 4, None]).expand_as(guess)
        scores = fast_bss_eval.bss_eval_sources(
            truth.contiguous(), guess, filter_length=TAPS, compute_permutation=False
        )
        tables.append(torch.stack(scores[:3], dim=-1).numpy())
    return np.concatenate(tables)


def only_ffts(job: Job) -> np.ndarray:
    """Compute only the FFTs of the correlations: a lower bound for any method that uses them."""
    block, hop = 8 * TAPS, 7 * TAPS + 1
    for truth, guess in zip(job.references, job.estimates, strict=True):
        signals = torch.from_numpy(np.concatenate([truth, truth, *guess]))  # references twice
        for start in range(0, signals.shape[1], hop):
            torch.fft.rfft(signals[:, start : start + block], n=block)
    return np.empty(0)


def time_scoring(work: Callable[[Job], np.ndarray], job: Job) -> tuple[float, np.ndarray]:
    """Return the seconds that the work takes after a warm-up on two mixtures, and its scores."""
    work(Job(job.name, job.references[:2], job.estimates[:2]))
    start = time.perf_counter()
    table_db = work(job)
    return time.perf_counter() - start, table_db


def measure(job: Job, console: Console) -> None:
    """Run all implementations; print a table of ratios and the differences of the scores."""
    rows = {
        "mir_eval": score_by_mir_eval, "fast_bss_eval (torch)": score_by_fast_bss_eval,
        "avsep": score_by_avsep, "FFTs alone": only_ffts,
    }  # fmt: skip
    results = {name: time_scoring(work, job) for name, work in rows.items()}
    num_pairs, num_sources, num_samples = job.references.shape
    table = Table(title=f"{job.name}: {num_pairs} x {num_sources} x {num_samples}, 3 estimates")
    for name in ("", "milliseconds a mixture", "x mir_eval", "x fast_bss_eval"):
        table.add_column(name, justify="right" if name else "left")
    for name, (seconds, _) in results.items():
        ratios = [f"{results[peer][0] / seconds:.1f}" for peer in list(rows)[:2]]
        table.add_row(name, f"{1000 * seconds / num_pairs:.1f}", *ratios)
    console.print(table)
    expected_db = results["mir_eval"][1]
    difference_db = np.abs(results["avsep"][1] - expected_db)
    difference_db[expected_db > PERFECT_DB] = 0
    difference_db = difference_db.max((1, 2, 3))
    refined = np.array([is_refined(job, index) for index in range(num_pairs)])
    groups = {"scored by correlations": ~refined, "near singular, refined": refined}
    for name, chosen in groups.items():
        line = f"{chosen.sum()} of {num_pairs} mixtures {name}"
        if chosen.any():
            line += f", from mir_eval {difference_db[chosen].max():.0e} dB at most"
        console.print(line)


def is_refined(job: Job, index: int) -> bool:
    """Return True if correlations alone do not give this mixture's scores exactly enough."""
    calls = []
    refine = energies.refine_decomposition
    energies.refine_decomposition = lambda *arguments: calls.append(1) or refine(*arguments)
    try:
        bss_eval(job.references[index], job.estimates[index])
    finally:
        energies.refine_decomposition = refine
    return bool(calls)


def time_factors(console: Console) -> None:
    """Time the Cholesky factor of two sources' inner products, by LAPACK and by avsep."""
    columns = torch.randn(2 * TAPS, 3000, dtype=torch.float64)
    gram = columns @ columns.mT
    for name, factor in (("LAPACK", torch.linalg.cholesky), ("in blocks", factor_in_blocks)):
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            factor(gram)
            seconds.append(time.perf_counter() - start)
        # The minimum: other processes can only lengthen a run.
        console.print(f"factor of {2 * TAPS} rows, {name}: {1000 * min(seconds):.1f} ms")


def main() -> None:
    """Time all on windows of the protocol, then on 10 s of four sources at 44.1 kHz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=256, help="mixtures of two sources (256)")
    parser.add_argument("--long", type=int, default=4, help="mixtures of four, 10 s long (4)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "mir_eval.separation", FutureWarning)
    console = Console()
    console.print(f"{torch.get_num_threads()} threads")
    time_factors(console)
    measure(make_job("11,025 Hz", options.pairs, 2, 11025, 65_280 / 11025), console)
    if options.long:
        measure(make_job("44,100 Hz", options.long, 4, 44100, 10.0), console)


if __name__ == "__main__":
    main()
