"""Toyband: seconds a clip on one core, by part, and the rate on all cores."""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from avsep.media.video_files import VideoSettings, write_video
from avsep.toyband import clip as clips
from avsep.toyband.build import make_toyband
from avsep.toyband.material import Material
from common import ResultTable, run_benchmark
from measuring import Cost, in_new_process, measure_work, peak_megabytes

PARTS = ("music", "stage", "drawing", "encoding")


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure the parts of each clip, then a whole folder."""
    num_clips, seconds = (1, 1.0) if options.tiny else (options.clips, 10.0)
    settings = clips.ToybandSettings(clip_seconds=seconds)
    material = Material.read()
    parts = [time_parts(index, settings, material) for index in range(1, num_clips + 1)]
    means = [float(np.mean([part[name] for part in parts])) for name in PARTS]
    title = f"One clip of {seconds:g} seconds on one core, mean of {num_clips}, seconds"
    by_part = ResultTable(title, ("", *PARTS, "all"), (("seconds", *means, sum(means)),))
    num_workers = 1 if options.tiny else os.cpu_count() or 1
    cost = in_new_process(make_folder_of_clips, num_clips, num_workers, settings)
    head = ("", "seconds", "clips a second", "peak MB of the main process")
    row = ("whole folder", cost.seconds, num_clips / cost.seconds, cost.megabytes)
    note = "Starting the workers is included."
    title = f"{num_clips} clips, {num_workers} processes"
    return [by_part, ResultTable(title, head, (row,), (note,))]


def make_folder_of_clips(num_clips: int, num_workers: int, settings: clips.ToybandSettings) -> Cost:
    """Measure the making of a folder."""
    material = Material.read()
    with tempfile.TemporaryDirectory() as folder:
        making = make_toyband(
            Path(folder) / "band", num_clips, 0, settings, material, num_workers=num_workers
        )
        return measure_work(
            lambda: list(making), before_megabytes=peak_megabytes(), enough_seconds=0
        )


def time_parts(index: int, settings: clips.ToybandSettings, material: Material) -> dict[str, float]:
    """Measure the steps of `make_clip`."""
    marks = [time.perf_counter()]
    generator = np.random.default_rng([0, index])
    categories = material.categories(False, settings.categories)
    cast = clips.draw_cast(settings, categories, generator)
    music = clips.play(cast, settings, material, False, generator)
    marks.append(time.perf_counter())
    stage = clips.set_stage(cast, music, settings, material, False, generator)
    marks.append(time.perf_counter())
    frames = list(stage.frames())
    marks.append(time.perf_counter())
    with tempfile.TemporaryDirectory() as folder:
        encoder = VideoSettings(preset="ultrafast", num_threads=1)
        write_video(Path(folder) / "clip.mp4", frames, 20, settings=encoder)
    marks.append(time.perf_counter())
    return dict(zip(PARTS, np.diff(marks).tolist(), strict=True))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the number of clips."""
    parser.add_argument("--clips", type=int, default=12, help="clips of ten seconds (12)")


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
