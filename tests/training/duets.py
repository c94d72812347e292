"""Make small clips to cache: duets of steady tones, each object a grey that changes with time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from avsep.cues.cache import SourceCache, SourceCacheSettings
from avsep.cues.crops import CropSettings
from avsep.data.clips import ClipFiles, SourceFile
from avsep.media.video_files import AudioTrack, write_video
from avsep.records import Cues, TimedBox, VisibleObject
from avsep.sound.front_end import FrontEndSettings

RATE_HZ = 8000
SECONDS = 4
FRAME_RATE_HZ = 5
FRONT_END = FrontEndSettings(sample_rate_hz=RATE_HZ, window_samples=2 * RATE_HZ + 1)
CROPS = CropSettings(crop_pixels=8, crop_rate_hz=2, num_crops=2, motion_rate_hz=5, motion_pixels=6)
SETTINGS = SourceCacheSettings(sample_rate_hz=RATE_HZ, crops=CROPS)
CATEGORIES = ("cello", "flute", "harp", "tuba")
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def make_duet(folder: Path, name: str, categories: Sequence[str], tone_hz: float) -> ClipFiles:
    """Make a clip whose sources are a tone and its fifth; the level of sample n is n / N."""
    n = np.arange(SECONDS * RATE_HZ)
    ramp = (n / len(n)).astype(np.float32)
    sources, sounds = [], []
    for place, category in enumerate(categories):
        sound = 0.4 * ramp * np.sin(2 * np.pi * tone_hz * (1 + place / 2) * n / RATE_HZ)
        path = folder / f"{name}-{place}.wav"
        soundfile.write(path, sound, RATE_HZ)
        box = TimedBox(time_seconds=0, box=(LEFT, RIGHT)[place])
        visible = VisibleObject(label=category, boxes=(box,))
        sources.append(SourceFile(path, category, name, visible))
        sounds.append(sound)
    pictures = []
    for index in range(SECONDS * FRAME_RATE_HZ):
        picture = np.zeros((16, 32, 3), np.uint8)
        picture[:, :16] = grey_of(0, index / FRAME_RATE_HZ)
        picture[:, 16:] = grey_of(1, index / FRAME_RATE_HZ)
        pictures.append(picture)
    mixture = np.sum(sounds, axis=0, dtype=np.float32)[None]
    video = folder / f"{name}.mp4"
    write_video(video, pictures, FRAME_RATE_HZ, [AudioTrack("all", mixture, RATE_HZ)])
    return ClipFiles(name, video, tuple(sources))


def grey_of(place: int, time_seconds: float) -> float:
    """Return an object's grey at a time: the left one grows brighter, the right one darker."""
    return 40 + 40 * time_seconds if place == 0 else 240 - 40 * time_seconds


def make_duets(folder: Path) -> list[ClipFiles]:
    """Make four clips; every category is in two of them."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [("cello", "flute"), ("harp", "tuba"), ("flute", "harp"), ("tuba", "cello")]
    return [make_duet(folder, f"{i:03d}", pair, 200 + 130 * i) for i, pair in enumerate(pairs)]


def prepared(clips: Sequence[ClipFiles], folder: Path, **changes: object) -> SourceCache:
    """Return a cache of clips, built."""
    cache = SourceCache(clips, SETTINGS.model_copy(update=changes), folder)
    precompute = small_embed if cache.settings.embedder else None
    assert len(list(cache.build(precompute, num_workers=0))) == len(clips)
    return cache


def small_embed(cues: Cues) -> Cues:
    """Replace crops by maps of the means of their quarters, as a model's encoder would."""
    assert cues.crops is not None
    maps = torch.nn.functional.avg_pool2d(cues.crops.flatten(0, 2).float() / 255, 4)
    return Cues(appearance=maps.unflatten(0, cues.crops.shape[:3]))
