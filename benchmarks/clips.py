"""Make the duets that commands are measured on."""

from pathlib import Path

from avsep.recipe import load_recipe
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import PictureSettings, ToybandSettings
from avsep.toyband.folder import ClipPaths
from avsep.toyband.material import Material

SEED = 1000  # notes that no shipped model was trained on


def make_duets(
    folder: Path, num_clips: int, tiny: bool, recordings: Path | None = None, seed: int = SEED
) -> list[Path]:
    """Return the videos of duets of ten seconds in a folder, making those that are missing.

    Args:
        folder: the folder of the clips.
        num_clips: their number.
        tiny: make them of two seconds, with small pictures.
        recordings: a folder of notes by instrument; None means the notes of avsep.
        seed: the seed; from 1000 upward notes are held out.
    """
    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    if tiny:
        pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
        settings = settings.model_copy(update={"clip_seconds": 2.0, "pictures": pictures})
    making = make_toyband(
        folder, num_clips, seed, settings, Material.read(recordings), num_workers=int(tiny)
    )
    return [ClipPaths(folder, name).video for name in making]
