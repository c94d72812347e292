"""How long BSS Eval takes: avsep beside mir_eval and fast_bss_eval, same sounds, same run."""

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

from avsep.data.mixing import Waveform, crop
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.projection import energies
from avsep.evaluation.projection.least_squares import factor_in_blocks
from avsep.recipe import load_recipe
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import ratio_mask
from avsep.sound.resampling import resample
from avsep.toyband.clip import Cast, ToybandSettings, play
from avsep.toyband.material import Material

NUM_CASTS = 32  # stems of these are paired in many ways
TAPS = 512
PERFECT_DB = 100


@dataclass(frozen=True)
class Job:
    """What all three score: references [pairs, S, N], estimates [pairs, 3, S, N]."""

    name: str
    references: np.ndarray
    estimates: np.ndarray


def make_job(name: str, num_pairs: int, num_sources: int, rate_hz: int, seconds: float) -> Job:
    """Windows of toyband's music; mixture, a model that leaks and the ideal mask as estimates."""
    rng = np.random.default_rng(0)
    stems = make_stems(rng, rate_hz, seconds)
    casts = [rng.permutation(len(stems))[:num_sources] for _ in range(num_pairs)]
    front_end = FrontEnd(FrontEndSettings(sample_rate_hz=rate_hz, window_samples=stems.shape[1]))
    sources = torch.from_numpy(np.stack([stems[cast] for cast in casts]))  # B S N
    estimates = []
    for one in sources:
        mixture = one.sum(0, keepdim=True)
        magnitudes, _ = front_end.spectrogram(one[:, None])
        whole, phase = front_end.spectrogram(mixture)
        ideal = ratio_mask(magnitudes, whole)
        masks = torch.stack([torch.ones_like(ideal), 0.7 * ideal + 0.15, ideal])
        sounds = front_end.waveform(masks * whole, phase.expand_as(masks))
        estimates.append(sounds[:, :, 0].double().numpy())
    estimates = np.stack(estimates)
    references = sources.double().numpy()[..., : estimates.shape[-1]]
    return Job(name, references, estimates)


def make_stems(rng: np.random.Generator, rate_hz: int, seconds: float) -> np.ndarray:
    """Parts played on the shipped notes, each by itself."""
    material = Material.read()
    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    settings = settings.model_copy(update={"clip_seconds": seconds + 2})
    categories = list(material.categories(False, settings.categories))
    stems = []
    for _ in range(NUM_CASTS):
        pair = [categories[int(index)] for index in rng.permutation(len(categories))[:2]]
        music = play(Cast(tuple(pair), ()), settings, material, False, rng)
        stems += [stem / np.float32(32768) for stem in music.stems[:2]]
    resampled = [resample(stem[None], 44100, rate_hz)[0] for stem in stems if stem.any()]
    # As the field cuts them, from the middle: whole pieces that fade out have darker references.
    num_samples = round(seconds * rate_hz)
    windows = [crop(Waveform(stem[None]), len(stem) // 2, num_samples) for stem in resampled]
    return np.concatenate(windows)


def by_avsep(job: Job) -> np.ndarray:
    """All answers to a mixture in one call."""
    return bss_eval(job.references[:, None], job.estimates).table_db


def by_mir_eval(job: Job) -> np.ndarray:
    """One call an answer, as it takes them."""

    def score(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return np.stack(mir_eval.separation.bss_eval_sources(truth, guess, False)[:3], axis=-1)

    pairs = zip(job.references, job.estimates, strict=True)
    return np.stack([[score(truth, guess) for guess in answers] for truth, answers in pairs])


def by_fast_bss_eval(job: Job) -> np.ndarray:
    """Its PyTorch path with the exact solver, a few mixtures at a time, which suits it best."""
    tables = []
    for first in range(0, len(job.references), 4):
        guess = torch.from_numpy(job.estimates[first : first + 4])
        truth = torch.from_numpy(job.references[first : first + 4, None]).expand_as(guess)
        found = fast_bss_eval.bss_eval_sources(
            truth.contiguous(), guess, filter_length=TAPS, compute_permutation=False
        )
        tables.append(torch.stack(found[:3], dim=-1).numpy())
    return np.concatenate(tables)


def only_ffts(job: Job) -> np.ndarray:
    """The transforms without which no correlation comes about: the floor of any such method."""
    block, hop = 8 * TAPS, 7 * TAPS + 1
    for truth, guess in zip(job.references, job.estimates, strict=True):
        signals = torch.from_numpy(np.concatenate([truth, truth, *guess]))  # references twice
        for start in range(0, signals.shape[1], hop):
            torch.fft.rfft(signals[:, start : start + block], n=block)
    return np.empty(0)


def seconds_of(work: Callable[[Job], np.ndarray], job: Job) -> tuple[float, np.ndarray]:
    """How long the work takes, once it has run on a few, and its scores."""
    work(Job(job.name, job.references[:2], job.estimates[:2]))
    start = time.perf_counter()
    table_db = work(job)
    return time.perf_counter() - start, table_db


def measure(job: Job, console: Console) -> None:
    """Run all, print a table of ratios, and how far the scores are apart."""
    rows = {
        "mir_eval": by_mir_eval, "fast_bss_eval (torch)": by_fast_bss_eval, "avsep": by_avsep,
        "FFTs alone": only_ffts,
    }  # fmt: skip
    found = {name: seconds_of(work, job) for name, work in rows.items()}
    num_pairs, num_sources, num_samples = job.references.shape
    table = Table(title=f"{job.name}: {num_pairs} x {num_sources} x {num_samples}, 3 estimates")
    for name in ("", "milliseconds a mixture", "x mir_eval", "x fast_bss_eval"):
        table.add_column(name, justify="right" if name else "left")
    for name, (seconds, _) in found.items():
        ratios = [f"{found[peer][0] / seconds:.1f}" for peer in list(rows)[:2]]
        table.add_row(name, f"{1000 * seconds / num_pairs:.1f}", *ratios)
    console.print(table)
    expected_db = found["mir_eval"][1]
    off_db = np.abs(found["avsep"][1] - expected_db)
    off_db[expected_db > PERFECT_DB] = 0
    off_db = off_db.max((1, 2, 3))
    hard = np.array([needs_care(job, index) for index in range(num_pairs)])
    words = {"told by correlations": ~hard, "near singular, done with care": hard}
    for name, chosen in words.items():
        greatest = f", from mir_eval {off_db[chosen].max():.0e} dB at most" if chosen.any() else ""
        console.print(f"{chosen.sum()} of {num_pairs} mixtures {name}{greatest}")


def needs_care(job: Job, index: int) -> bool:
    """Whether correlations alone do not tell this mixture's scores."""
    calls = []
    usual = energies.refine_decomposition
    energies.refine_decomposition = lambda *given: calls.append(1) or usual(*given)
    try:
        bss_eval(job.references[index], job.estimates[index])
    finally:
        energies.refine_decomposition = usual
    return bool(calls)


def time_factors(console: Console) -> None:
    """A dense factor of two sources' inner products, as LAPACK makes it and as avsep does."""
    columns = torch.randn(2 * TAPS, 3000, dtype=torch.float64)
    gram = columns @ columns.mT
    for name, factor in (("LAPACK", torch.linalg.cholesky), ("in blocks", factor_in_blocks)):
        spent = []
        for _ in range(10):
            start = time.perf_counter()
            factor(gram)
            spent.append(time.perf_counter() - start)
        console.print(f"factor of {2 * TAPS} rows, {name}: {1000 * min(spent):.1f} ms")


def main() -> None:
    """Time all three on the field's windows, then on long ones of four sources at 44.1 kHz."""
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
