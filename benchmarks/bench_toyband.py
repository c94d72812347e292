"""Time the synthesis of toyband clips, in total and by part."""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from avsep.media.video_files import VideoSettings, write_video
from avsep.toyband import clip as clips
from avsep.toyband.build import make_toyband
from avsep.toyband.material import Material


def main() -> None:
    """Print seconds per clip by part, and the time for 100 clips on all cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12, help="clips of ten seconds (default 12)")
    num_clips = parser.parse_args().clips
    settings, material = clips.ToybandSettings(), Material.read()
    parts = [_time_parts(index, settings, material) for index in range(1, num_clips + 1)]
    table = Table(title=f"Seconds a ten-second clip on one core, mean of {num_clips}")
    for name in ("music", "stage", "drawing", "encoding"):
        table.add_column(name, justify="right")
    table.add_row(*(f"{np.mean([part[name] for part in parts]):.2f}" for name in parts[0]))
    console = Console()
    console.print(table)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        list(make_toyband(Path(folder) / "band", num_clips, 0, settings, material))
        seconds = time.perf_counter() - start
    console.print(
        f"{num_clips} clips on {os.cpu_count()} cores: {seconds:.1f} s, starting included; "
        f"at this rate 100 take {100 * seconds / num_clips:.0f} s"
    )


def _time_parts(
    index: int, settings: clips.ToybandSettings, material: Material
) -> dict[str, float]:
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
    return dict(zip(("music", "stage", "drawing", "encoding"), np.diff(marks), strict=True))


if __name__ == "__main__":
    main()
