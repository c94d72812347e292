"""Measure a model on pairs of real videos side by side, whose own sounds are the truth.

    python tools/measure_wild_pairs.py WILD --limit 10

WILD holds videos and labels.json, `[{"file", "label", "box"}]`. Each two of different labels are
one video: their pictures side by side, their sounds added at equal level for as long as the shorter
one. It prints the mean SDR (`bss_eval`) of the model with labels and boxes given and with boxes
alone, and, for reference, of the mixture and of an ideal binary mask; then how the objects were
separated.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from avsep.evaluation.baselines import IdealMask, waveforms
from avsep.evaluation.bss_eval import bss_eval
from avsep.media.audio import read_audio
from avsep.media.frames import FrameSettings, read_frames
from avsep.records import Batch, Box, Clip, TimedBox, VisibleObject
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from avsep.sound.front_end import FrontEnd
from avsep.sound.resampling import resample

PICTURE_RATE_HZ = 10.0
SIDE_PIXELS = 240  # height and width of each half
RMS = 0.1


@dataclass(frozen=True)
class WildVideo:
    """A real video: square pictures [K, P, P, 3], sound at the model's rate, and its object."""

    label: str
    pictures: np.ndarray
    sound: np.ndarray
    box: Box


def read_wild(folder: Path, rate_hz: int) -> list[WildVideo]:
    """Read the videos of labels.json, their sounds at one level."""
    videos = []
    for entry in json.loads((folder / "labels.json").read_text(encoding="utf-8")):
        audio = read_audio(folder / entry["file"], on_damage="skip", align="picture")
        sound = resample(audio.waveform.mean(axis=0)[None], audio.sample_rate_hz, rate_hz)[0]
        times = np.arange(0, len(sound) / rate_hz, 1 / PICTURE_RATE_HZ).tolist()
        settings = FrameSettings(longest_side_pixels=2 * SIDE_PIXELS, on_damage="skip")
        pictures = np.stack(
            [
                np.asarray(Image.fromarray(picture).resize((SIDE_PIXELS, SIDE_PIXELS)))
                for picture in read_frames(folder / entry["file"], times, settings).pictures
            ]
        )
        sound = (sound * (RMS / np.sqrt(np.mean(np.square(sound))))).astype(np.float32)
        videos.append(WildVideo(entry["label"], pictures, sound, tuple(entry["box"])))
    return videos


def pairs(videos: Sequence[WildVideo]) -> Iterator[tuple[WildVideo, WildVideo]]:
    """Yield each two videos of different labels, as often one on the left as on the right."""
    different = (pair for pair in combinations(videos, 2) if pair[0].label != pair[1].label)
    for number, (first, second) in enumerate(different):
        yield (first, second) if number % 2 else (second, first)


def side_by_side(
    pair: Sequence[WildVideo], rate_hz: int, *, with_labels: bool
) -> tuple[Clip, np.ndarray]:
    """Return two videos as one clip with two objects, and their sounds [2, N]."""
    num_pictures = min(len(video.pictures) for video in pair)
    num_samples = min(len(video.sound) for video in pair)
    pictures = np.concatenate([video.pictures[:num_pictures] for video in pair], axis=2)
    objects = []
    for side, video in enumerate(pair):
        x1, y1, x2, y2 = video.box
        box = TimedBox(time_seconds=0, box=((side + x1) / 2, y1, (side + x2) / 2, y2))
        objects.append(VisibleObject(label=video.label if with_labels else None, boxes=(box,)))
    sounds = np.stack([video.sound[:num_samples] for video in pair])
    times = np.arange(num_pictures) / PICTURE_RATE_HZ
    name = " and ".join(video.label for video in pair)
    return Clip(sounds.sum(axis=0)[None], rate_hz, pictures, times, tuple(objects), name), sounds


def ideal_binary(sounds: np.ndarray, front_end: FrontEnd) -> np.ndarray:
    """Return the sounds [2, N] that an ideal binary mask makes of their sum."""
    sources = torch.from_numpy(sounds)[None, :, None]
    separation = IdealMask(front_end, "binary").separate(Batch(sources.sum(1), sources))
    return waveforms(separation, front_end, sounds.shape[1])[0, :, 0].numpy()


def main() -> None:
    """Separate all pairs, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="real videos and labels.json")
    parser.add_argument("--model", default="dgfnet-mini")
    parser.add_argument("--limit", type=int, help="pairs, evenly spread over all")
    given = parser.parse_args()
    separator = Separator(given.model, SeparatorSettings(rate="model", detector="none"))
    front_end = separator.model.front_end
    rate_hz = front_end.settings.sample_rate_hz
    chosen = list(pairs(read_wild(given.folder, rate_hz)))
    if given.limit:
        places = np.linspace(0, len(chosen) - 1, min(given.limit, len(chosen)))
        chosen = [chosen[round(place)] for place in places.tolist()]
    scores_db: dict[str, list[float]] = {}
    kinds: Counter[str] = Counter()
    for pair in track(chosen, "pairs"):
        for name, with_labels in (("labels given", True), ("boxes alone", False)):
            clip, sounds = side_by_side(pair, rate_hz, with_labels=with_labels)
            result = separator.separate(clip)
            estimates = np.stack([item.stem[0] for item in result.objects])
            scores_db.setdefault(name, []).append(mean_sdr_db(sounds, estimates, clip))
            kinds.update(f"{name}: {item.separated_as}" for item in result.manifest.objects)
        ideal = ideal_binary(sounds, front_end)
        scores_db.setdefault("mixture", []).append(mean_sdr_db(sounds, clip.waveform[[0, 0]], clip))
        scores_db.setdefault("ideal binary mask", []).append(mean_sdr_db(sounds, ideal, clip))
    print(f"{len(chosen)} pairs, {given.model}, mean SDR in dB")
    for name, values in scores_db.items():
        print(f"  {name}: {np.mean(values):.2f}")
    print(f"objects separated as: {dict(sorted(kinds.items()))}")


def mean_sdr_db(sounds: np.ndarray, estimates: np.ndarray, clip: Clip) -> float:
    """Return the mean SDR of two estimates; a silent one is scored as the mixture."""
    is_silent = ~estimates.any(axis=1, keepdims=True)
    # Silence has no score; who hears it hears the mixture instead.
    return float(bss_eval(sounds, np.where(is_silent, clip.waveform, estimates)).sdr_db.mean())


if __name__ == "__main__":
    main()
