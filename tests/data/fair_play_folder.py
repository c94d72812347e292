"""Write a small FAIR-Play folder: binaural sounds, numbered videos and frames, and splits."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import soundfile
from PIL import Image

from avsep.media.video_files import write_video
from media.making import numbered

RATE_HZ = 48000
SECONDS = 3
WIDTH, HEIGHT = 64, 48
NAMES = ["000001", "000002", "000003", "000004"]


def make_fair_play(folder: Path) -> None:
    """Write four clips: 1 and 4 as videos, 2 with LAVSS's frames, 3 with 2.5D's; and split 1."""
    for number, name in enumerate(NAMES, 1):
        write_ears(folder / "binaural_audios" / f"{name}.wav", 200 * number)
        video = folder / "videos" / f"{name}.mp4"
        video.parent.mkdir(exist_ok=True)
        write_video(video, numbered(4 * SECONDS, HEIGHT, WIDTH), 4)
    write_pictures(folder / "frames" / "000002.mp4", 8 * SECONDS + 1, "jpg")
    write_pictures(folder / "frames" / "000003", 10 * SECONDS, "png")
    split = folder / "splits" / "split1"
    write_h5(split / "train.h5", ["/home/a/FAIR-Play/binaural_audios/000003.wav", "000001.wav"])
    write_h5(split / "val.h5", ["/home/a/FAIR-Play/binaural_audios/000002.wav"])
    write_h5(split / "test.h5", ["/home/a/FAIR-Play/binaural_audios/000004.wav"])


def write_ears(path: Path, pitch_hz: float, seconds: float = SECONDS) -> None:
    """Write a steady tone, softer in the right channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)
    soundfile.write(path, np.stack([0.4 * tone, 0.2 * tone], axis=1), RATE_HZ)


def write_pictures(place: Path, num_pictures: int, ending: str = "jpg") -> None:
    """Write frames 000001, ... of which number n (from 0) is n steps bright."""
    place.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(numbered(num_pictures, HEIGHT, WIDTH), 1):
        Image.fromarray(picture).save(place / f"{number:06d}.{ending}")


def write_h5(path: Path, names: Sequence[str]) -> None:
    """Write a list as 2.5D publishes its splits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["audio"] = [name.encode() for name in names]


def write_detections(folder: Path, name: str, rows: object) -> Path:
    """Write detections where LAVSS stores them."""
    path = folder / "detection_results" / f"{name}.mp4.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, np.array(rows))
    return path
