"""Measure presence on clips in which one of two visible instruments is silent.

    avsep toyband out/drawn --clips 100 --seed 1000
    python tools/measure_presence.py out/drawn --clips 100

Of each clip with two different instruments only one stem is heard. It prints how many silent
objects have a stem at least 30 dB below the mixture, and the mean SDR of the one that sounds, with
and without `keep_absent`.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from rich.progress import track

from avsep.data import open_dataset
from avsep.data.clips import ClipFiles
from avsep.media.audio import read_audio
from avsep.media.frames import read_frames
from avsep.records import Clip
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings

PICTURE_RATE_HZ = 10.0
LEVEL_DB = -30.0


def main() -> None:
    """Separate, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="toyband clips")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--model", default="dgfnet-mini")
    given = parser.parse_args()
    separators = [
        Separator(given.model, SeparatorSettings(rate="model", keep_absent=keep_absent))
        for keep_absent in (False, True)
    ]
    levels_db, sdr_db, states = [], [], Counter()
    clips = [item for item in open_dataset(given.folder) if differ(item)][: given.clips]
    for number, files in enumerate(track(clips, "clips")):
        sounding = number % 2
        clip = with_one_sound(files, sounding)
        results = [separator.separate(clip) for separator in separators]
        silent = [result.objects[1 - sounding].stem for result in results]
        levels_db.append([level_db(stem) - level_db(results[0].mixture) for stem in silent])
        sdr_db.append([sdr(item.objects[sounding].stem, item.mixture) for item in results])
        states[results[0].manifest.objects[1 - sounding].presence_state] += 1
    below = (np.array(levels_db) <= LEVEL_DB).mean(axis=0)
    means = np.mean(sdr_db, axis=0)
    print(f"{len(clips)} clips; the silent object is {dict(states)}")
    print(f"its stem is {-LEVEL_DB:.0f} dB below the mixture: {below[0]:.2f}, kept {below[1]:.2f}")
    print(f"SDR of the one that sounds: {means[0]:.2f} dB, kept {means[1]:.2f} dB")


def differ(files: ClipFiles) -> bool:
    """True for a clip whose first two objects are of different categories."""
    words = [source.category for source in files.sources[:2]]
    return len(set(words)) == 2


def with_one_sound(files: ClipFiles, sounding: int) -> Clip:
    """Return a clip with its first two objects, and the sound of one of them."""
    audio = read_audio(files.sources[sounding].path)
    seconds = audio.waveform.shape[1] / audio.sample_rate_hz
    times = np.arange(0, seconds, 1 / PICTURE_RATE_HZ)
    pictures = read_frames(files.video, times.tolist()).pictures
    objects = tuple(
        source.visible.model_copy(update={"label": source.category}) for source in files.sources[:2]
    )
    return Clip(audio.waveform, audio.sample_rate_hz, pictures, times, objects, files.name)


def level_db(sound: np.ndarray) -> float:
    """Return the level of a sound; -140 for silence."""
    return 10 * float(np.log10(np.mean(np.square(sound.astype(np.float64))) + 1e-14))


def sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Return the energy of the reference over that of the error, at most 60 dB."""
    error = np.sum(np.square(estimate.astype(np.float64) - reference)) + 1e-12
    return min(60.0, 10 * float(np.log10(np.sum(np.square(reference.astype(np.float64))) / error)))


if __name__ == "__main__":
    main()
