"""Measure finding on data sets of clips, as in the card of the shipped detector.

    avsep toyband out/drawn --clips 100 --seed 1000
    python tools/measure_objects.py out/drawn

Of a folder with labels.json, `[{"file", "label", "box"}]`, the objects of each video are printed
beside its label, with the overlap of the label's box and theirs in the middle of the video.

Objects found in each clip are matched with those of the clip by the mean overlap (IoU) of their
boxes over time. It prints recall and precision at an overlap of 0.5, how many of the matched ones
have the right name, by category too, and the time for each second of video.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torchvision.ops import box_iou

from avsep.data import open_dataset
from avsep.data.clips import ClipFiles
from avsep.media.probe import probe
from avsep.records import VisibleObject
from avsep.vision.finding import FindSettings, find_objects

LABELS = "labels.json"
LEAST_OVERLAP = 0.5
TIMES = 5  # at which boxes are compared


@dataclass
class Counts:
    """Objects of all clips: found, missed, and those that are none of the clip's."""

    matched: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: float = 0.0
    video_seconds: float = 0.0

    def add(self, clip: ClipFiles, found: Sequence[VisibleObject], duration_seconds: float) -> None:
        """Match the objects found in a clip with its own, the surest first."""
        times = np.linspace(0, duration_seconds, TIMES + 2)[1:-1].tolist()
        left = dict(enumerate(clip.sources))
        for item in found:
            overlaps = {
                index: mean_overlap(item, source.visible, times) for index, source in left.items()
            }
            best = max(overlaps, key=lambda index: overlaps[index], default=None)
            if best is None or overlaps[best] < LEAST_OVERLAP:
                self.wrong[item.label or ""] += 1
                continue
            word = left.pop(best).category
            self.matched[word] += 1
            self.named[word] += item.label == word
            if item.label != word:
                self.confused[word, item.label or ""] += 1
        self.missed.update(source.category for source in left.values())

    def lines(self) -> list[str]:
        """Return the figures as text."""
        matched, named = self.matched.total(), self.named.total()
        recall = matched / max(1, matched + self.missed.total())
        precision = matched / max(1, matched + self.wrong.total())
        lines = [
            f"recall {recall:.3f}, precision {precision:.3f} at IoU {LEAST_OVERLAP}; named right "
            f"{named / max(1, matched):.3f} of {matched}; "
            f"{self.seconds / max(self.video_seconds, 1e-9):.3f} s for a second of video"
        ]
        for word in sorted({*self.matched, *self.missed}):
            number = self.matched[word] + self.missed[word]
            lines.append(f"  {word}: {self.matched[word]} of {number}, named {self.named[word]}")
        lines.append(f"  not in the clip: {dict(self.wrong.most_common(8))}")
        lines.append(f"  other names: {dict(self.confused.most_common(12))}")
        return lines


def mean_overlap(first: VisibleObject, second: VisibleObject, times: Sequence[float]) -> float:
    """Return the mean overlap of two objects' boxes at some times."""
    boxes = [torch.tensor([item.box_at(time) for time in times]) for item in (first, second)]
    return float(box_iou(*boxes).diagonal().mean())


def print_labelled(folder: Path, settings: FindSettings) -> None:
    """Find the objects of each video that labels.json names, and print both."""
    for entry in json.loads((folder / LABELS).read_text(encoding="utf-8")):
        result = find_objects(folder / entry["file"], settings=settings)
        middle = result.times_seconds[len(result.times_seconds) // 2]
        box = torch.tensor([entry["box"]], dtype=torch.float32)
        words = [
            f"{item.label} {item.confidence:.2f} "
            f"(IoU {float(box_iou(box, torch.tensor([item.box_at(middle)]))):.2f})"
            for item in result.objects
        ]
        print(f"{entry['file']}: {entry['label']}; found: {', '.join(words) or 'nothing'}")


def main() -> None:
    """Find the objects of all clips of each folder, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="data sets of clips")
    parser.add_argument("--detector", default=FindSettings().detector)
    parser.add_argument("--limit", type=int, help="clips of each folder")
    given = parser.parse_args()
    settings = FindSettings(detector=given.detector)
    for folder in given.folders:
        if (folder / LABELS).exists():
            print_labelled(folder, settings)
            continue
        counts = Counts()
        for clip in track(open_dataset(folder)[: given.limit], folder.name):
            duration_seconds = probe(clip.video).duration_seconds or 0.0
            start = time.perf_counter()
            found = find_objects(clip.video, settings=settings)
            counts.seconds += time.perf_counter() - start
            counts.video_seconds += duration_seconds
            counts.add(clip, found.objects, duration_seconds)
        print(folder, *counts.lines(), sep="\n")


if __name__ == "__main__":
    main()
