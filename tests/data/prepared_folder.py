"""Write a small prepared folder: three solos with frames and sounds, two of them with boxes."""

import json
import shutil
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

RATE_HZ = 44100
FRAME_RATE_HZ = 4
NUM_FRAMES = 12
INDEX = """id,category,split,frame_rate_hz,num_frames,duration_seconds
a,acoustic_guitar,train,4,12,3.0
b,erhu,test,4,,
c,violin,,4,12,
"""


def make_prepared(folder: Path) -> None:
    """Three seconds each of a steady tone; frame n is grey of 20 n, its left half black."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.csv").write_text(INDEX, encoding="utf-8")
    for number, name in enumerate(["acoustic_guitar/a", "erhu/b", "violin/c"], 1):
        frames = folder / "frames" / name
        frames.mkdir(parents=True)
        for index in range(NUM_FRAMES):
            picture = np.full((24, 32, 3), 20 * index, np.uint8)
            picture[:, :16] = 0
            Image.fromarray(picture).save(frames / f"{index + 1:06d}.png")
        sound = folder / "audio" / f"{name}.wav"
        sound.parent.mkdir(parents=True)
        n = np.arange(3 * RATE_HZ)
        soundfile.write(sound, 0.3 * np.sin(2 * np.pi * 200 * number * n / RATE_HZ), RATE_HZ)
        i3d_features = folder / "features" / "motion" / f"{name}.npy"
        i3d_features.parent.mkdir(parents=True)
        np.save(i3d_features, np.arange(number * 2 * 3, dtype=np.float32).reshape(3, number * 2))
    right = {"label": "fiddle", "box": [0.5, 0, 1, 1], "confidence": 0.4}
    left = {"label": "person", "box": [0, 0, 0.5, 1], "confidence": 0.9}
    for name, objects in {"violin/c": [left, right], "erhu/b": [left]}.items():
        path = folder / "objects" / f"{name}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(objects), encoding="utf-8")


def hide(folder: Path) -> None:
    """Make the erhu an audio-only clip: no frames, and no frame rate."""
    shutil.rmtree(folder / "frames" / "erhu" / "b")
    text = INDEX.replace("erhu,test,4", "erhu,test,")
    (folder / "index.csv").write_text(text, encoding="utf-8")
