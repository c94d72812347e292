"""Make a small prepared folder of solos: band-limited noise, two grey pictures a second."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

RATE_HZ = 11025
FRAME_RATE_HZ = 2
# "category/id" and the split.
SOLOS = (
    ("violin/a", "test"),
    ("violin/b", "test"),
    ("cello/c", "test"),
    ("flute/d", "test"),
    ("acoustic_guitar/-e.x", "test"),
    ("cello/f", "train"),
)


def make_solos(
    folder: Path, solos: Sequence[tuple[str, str]] = SOLOS, seconds: float = 2.0
) -> None:
    """Write them; a solo's pictures get brighter, its sound is loud in the middle third."""
    lines = ["id,category,split,frame_rate_hz"]
    for number, (name, split) in enumerate(solos):
        category, clip_id = name.split("/")
        lines.append(f"{clip_id},{category},{split},{FRAME_RATE_HZ}")
        frames = folder / "frames" / name
        frames.mkdir(parents=True)
        for index in range(int(seconds * FRAME_RATE_HZ)):
            grey = np.full((16, 16, 3), (20 + 10 * number + 3 * index) % 256, np.uint8)
            Image.fromarray(grey).save(frames / f"{index + 1:06d}.png")
        sound = folder / "audio" / f"{name}.wav"
        sound.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(sound, solo_sound(number, seconds), RATE_HZ, subtype="FLOAT")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def hide_solos(folder: Path, *names: str) -> None:
    """Leave only the sounds of these: no pictures, and no rate of any in the index."""
    lines = (folder / "index.csv").read_text(encoding="utf-8").splitlines()
    for name in names:
        shutil.rmtree(folder / "frames" / name)
        category, clip_id = name.split("/")
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{clip_id},{category}"))
        lines[place] = lines[place].removesuffix(str(FRAME_RATE_HZ))
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def solo_sound(number: int, seconds: float) -> np.ndarray:
    """Noise around a frequency of its own."""
    num_samples = int(seconds * RATE_HZ)
    generator = np.random.default_rng(number)
    spectrum = np.fft.rfft(generator.standard_normal(num_samples))
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / RATE_HZ)
    spectrum[np.abs(frequency_hz - 400 * (number + 1)) > 300] *= 0.1
    sound = np.fft.irfft(spectrum, num_samples)
    sound[num_samples // 3 : 2 * num_samples // 3] *= 2
    return (0.2 * sound / np.abs(sound).max()).astype(np.float32)
