"""Long videos: memory, disk and speed of `avsep separate` as the length grows."""

import argparse
import json
import shutil
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from common import Cell, ResultTable, run_benchmark
from measuring import Cost, add_before_option, measure_program, source_trees

REQUIRED_GROWTH_MEGABYTES = 150.0
REQUIRED_FACTOR = 0.15
STAGES = ("decoding", "vision", "network", "masks", "writing", "presentation")
SAMPLE_RATE_HZ = 48_000
FRAME_RATE_HZ = 25
# What a video repeats: copying its packets makes hours of it in seconds. Whole pictures and whole
# packets of sound, so that loops follow each other without a gap.
LOOP_SECONDS, SOUND_PACKET = 32, 1024
POLL_SECONDS = 0.5


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Separate videos of several lengths, of another commit too if one is named."""
    minutes = [0.05, 0.1] if options.tiny else options.minutes
    rows: list[tuple[Cell, ...]] = []
    stage_rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with source_trees(options.before) as trees:
            for length in minutes:
                video = folder / f"{length:g}.mp4"
                all_seconds = make_video(video, length, options.tiny)
                for tree, source in trees.items():
                    out = folder / f"out-{tree}"
                    cost, first_seconds = watched(command(video, out, options), source, out)
                    run = read_run(out / video.stem / "manifest.json")
                    shutil.rmtree(out)
                    label = f"{length:g} min, {tree}"
                    factor = cost.seconds / all_seconds
                    rows.append((label, cost.megabytes, first_seconds, cost.seconds, factor))
                    stages = run.get("seconds", {})
                    shares = [stages.get(stage, 0.0) / all_seconds for stage in STAGES]
                    if run:
                        stage_rows.append((label, *shares))
                video.unlink()
    title = f"{options.objects} objects, {options.model}, 640x360, 48 kHz stereo"
    head = ("", "peak MB", "s to the first MB of stems", "s", "x real time")
    notes, missed = judge([row for row in rows if str(row[0]).endswith("now")], options)
    stage_note = (
        "Seconds for each second of sound, by the manifest. Decoding and vision run beside "
        "network, masks and writing; the report is of ten minutes at most.",
    )
    return [
        ResultTable(title, head, tuple(rows), notes, missed),
        ResultTable(f"{title}: by stage", ("", *STAGES), tuple(stage_rows), stage_note),
    ]


def judge(
    rows: list[tuple[Cell, ...]], options: argparse.Namespace
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare growth and speed with what is required; return notes, and what is missed."""
    growth = float(rows[-1][1] or 0) - float(rows[0][1] or 0)
    factor = float(rows[-1][4] or 0)
    lines = {
        f"Peak of the longest above the shortest: {growth:.0f} MB, required within "
        f"{REQUIRED_GROWTH_MEGABYTES:.0f} MB.": growth <= REQUIRED_GROWTH_MEGABYTES
    }
    if options.objects == 2:
        line = f"{factor:.3f} x real time, required at most {REQUIRED_FACTOR}."
        lines[line] = factor <= REQUIRED_FACTOR
    met = tuple(line for line, is_met in lines.items() if is_met)
    return met, tuple(line for line, is_met in lines.items() if not is_met)


def command(video: Path, out: Path, options: argparse.Namespace) -> list[str]:
    """Return the words of the command that separates a video."""
    words = ["-m", "avsep", "separate", str(video), "-o", str(out), "--model", options.model]
    labels = ("violin", "guitar", "flute", "tuba", "harp", "piano", "cello", "trumpet")
    for number in range(options.objects):
        left = number / options.objects
        box = f"{left:.3f},0.1,{left + 1 / options.objects:.3f},0.9"
        words += ["--object", f"{labels[number]}@{box}"]
    return words


def watched(words: list[str], source: Path, out: Path) -> tuple[Cost, float | None]:
    """Measure a command; return its cost, and when its stems had their first megabyte."""
    first: list[float] = []
    is_over = threading.Event()
    begin = time.perf_counter()

    def watch() -> None:
        while not is_over.wait(POLL_SECONDS) and not first:
            # In the hidden folder that is renamed when all stems are complete.
            sizes = [path.stat().st_size for path in out.glob(".*.part/*") if path.is_file()]
            if sum(sizes) > 2**20:
                first.append(time.perf_counter() - begin)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cost = measure_program(words, source)
    finally:
        is_over.set()
        watcher.join()
    return cost, first[0] if first else None


def read_run(manifest: Path) -> dict:
    """Return the record of times in a manifest; empty in one of earlier commits."""
    return json.loads(manifest.read_text(encoding="utf-8")).get("run", {})


def make_video(path: Path, minutes: float, tiny: bool) -> float:
    """Make a video by repeating one loop, whose packets are copied; return its length (s)."""
    import av

    seconds = min(LOOP_SECONDS, 60 * minutes)
    loop = path.with_name("loop.mp4")
    make_loop(loop, seconds, 1 if tiny else 4)
    num_loops = max(1, round(60 * minutes / seconds))
    with av.open(str(loop)) as first, av.open(str(path), "w") as output:
        copies = {s.index: output.add_stream_from_template(s, opaque=True) for s in first.streams}
        for number in range(num_loops):
            with av.open(str(loop)) as source:
                for packet in source.demux():
                    if packet.pts is None or packet.dts is None or packet.time_base is None:
                        continue
                    # The encoder's first frame of silence takes the place of the last loop's end.
                    is_sound = packet.stream.type == "audio"
                    end = seconds / packet.time_base - (SOUND_PACKET if is_sound else 0)
                    if packet.dts >= end and number + 1 < num_loops:
                        continue
                    shift = round(number * seconds / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = copies[packet.stream.index]
                    output.mux(packet)
    loop.unlink()
    return num_loops * seconds


def make_loop(path: Path, seconds: float, scale: int) -> None:
    """Encode moving boxes and a chord that comes and goes, in stereo."""
    import av

    height, width = 90 * scale, 160 * scale
    rows, columns = np.mgrid[:height, :width]
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FRAME_RATE_HZ, options={"preset": "veryfast"})
        video.height, video.width, video.pix_fmt = height, width, "yuv420p"
        sound = output.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="stereo")
        for index in range(round(seconds * FRAME_RATE_HZ)):
            phase = 2 * np.pi * index / FRAME_RATE_HZ
            grey = 128 + 60 * np.sin(columns / 30 + phase) + 40 * np.sin(rows / 20 - 2 * phase)
            picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE_HZ)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        notes = [0.1 * np.sin(2 * np.pi * hertz * times) for hertz in (220, 330, 550, 880)]
        swell = 0.6 + 0.4 * np.sin(2 * np.pi * times)
        waveform = np.stack([sum(notes[:3]) * swell, sum(notes[1:]) * swell]).astype(np.float32)
        for begin in range(0, waveform.shape[1], SOUND_PACKET):
            piece = np.ascontiguousarray(waveform[:, begin : begin + SOUND_PACKET])
            block = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            block.sample_rate, block.pts = SAMPLE_RATE_HZ, begin
            block.time_base = Fraction(1, SAMPLE_RATE_HZ)
            output.mux(sound.encode(block))
        output.mux(sound.encode(None))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add lengths, objects, model, folder and the commit to compare with."""
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[2.0, 10.0], help="lengths (2 10)"
    )
    parser.add_argument("--objects", type=int, default=4, help="number of objects, up to 8 (4)")
    parser.add_argument("--model", default="dgfnet-mini", help="name or checkpoint (dgfnet-mini)")
    parser.add_argument(
        "--folder", type=Path, help="folder for videos and stems, 1.4 GB an hour and object"
    )
    add_before_option(parser)


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
