"""Measure what finding costs the separation: found boxes and names against the true ones.

    avsep toyband out/drawn --clips 100 --seed 1000
    python tools/measure_found.py out/drawn --limit 20

Each clip is separated twice: with its own boxes and labels, and with nothing given. An object that
sounds is compared with the found one whose boxes overlap most with its own (IoU of 0.5 or more);
where there is none, with the mixture. It prints the mean SDR (`bss_eval`) of both, and how many
objects are found and have the right category.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy.optimize import linear_sum_assignment

from avsep.data import open_dataset
from avsep.data.clips import ClipFiles
from avsep.evaluation.bss_eval import bss_eval
from avsep.media.audio import read_audio
from avsep.records import VisibleObject
from avsep.separation.result import Result
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from avsep.sound.resampling import resample
from measure_objects import LEAST_OVERLAP, TIMES, mean_overlap


def main() -> None:
    """Separate, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="toyband clips")
    parser.add_argument("--limit", type=int, help="clips")
    parser.add_argument("--model", default="dgfnet-mini")
    given = parser.parse_args()
    separator = Separator(given.model, SeparatorSettings(rate="model"))
    scores_db, num_objects, num_found, num_named = [], 0, 0, 0
    for files in track(open_dataset(given.folder)[: given.limit], "clips"):
        objects = [
            source.visible.model_copy(update={"label": source.category}) for source in files.sources
        ]
        true = separator.separate(files.video, objects)
        # No file of objects is beside bytes.
        found = separator.separate(files.video.read_bytes())
        seconds = true.manifest.input.duration_seconds
        places = match(objects, [item.visible for item in found.objects], seconds)
        references = read_references(files, true)
        is_sounding = references.any(axis=1)
        estimates = [stems(true, range(len(objects))), stems(found, places)]
        scores = bss_eval(references[is_sounding], np.stack(estimates)[:, is_sounding])
        scores_db.extend(scores.sdr_db.T)
        num_objects += len(objects)
        num_found += sum(place is not None for place in places)
        num_named += sum(
            place is not None and found.objects[place].label == item.label
            for place, item in zip(places, objects, strict=True)
        )
    true_db, found_db = np.mean(scores_db, axis=0).tolist()
    print(f"{num_found} of {num_objects} objects are found, {num_named} with the right name")
    print(f"mean SDR of the {len(scores_db)} that sound: {true_db:.2f} dB with true boxes and "
          f"labels, {found_db:.2f} dB with found ones, by {given.model}")  # fmt: skip


def match(
    true: Sequence[VisibleObject], found: Sequence[VisibleObject], seconds: float
) -> list[int | None]:
    """Return the found object of each true one, none where none overlaps enough; each is of one."""
    times = np.linspace(0, seconds, TIMES + 2)[1:-1].tolist()
    overlaps = np.array([[mean_overlap(a, b, times) for b in found] for a in true])
    places: list[int | None] = [None] * len(true)
    for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
        if overlaps[row, column] >= LEAST_OVERLAP:
            places[row] = int(column)
    return places


def stems(result: Result, places: Iterable[int | None]) -> np.ndarray:
    """Return the stems [S, N] at some places.

    A missing or silent one is the mixture: silence has no score, and who misses a stem hears it.
    """
    chosen = (None if place is None else result.objects[place].stem for place in places)
    mixture = result.mixture
    return np.stack([mixture[0] if item is None or not item.any() else item[0] for item in chosen])


def read_references(files: ClipFiles, result: Result) -> np.ndarray:
    """Read the true sounds [S, N] at the rate and length of a result."""
    sounds = []
    for source in files.sources:
        audio = read_audio(source.path)
        mono = audio.waveform.mean(axis=0)[None]
        sound = resample(mono, audio.sample_rate_hz, result.sample_rate_hz)[0]
        num_samples = result.mixture.shape[1]
        sounds.append(np.pad(sound, (0, max(0, num_samples - len(sound))))[:num_samples])
    return np.stack(sounds)


if __name__ == "__main__":
    main()
