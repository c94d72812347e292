"""Write a toyband folder of many clips: in parallel, reproducible, and resumable."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import soundfile

from avsep.devices import available_cores
from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.parallel import parallel_map
from avsep.recipe import write_recipe
from avsep.toyband.clip import ToybandSettings, check_cast, make_clip
from avsep.toyband.folder import RECIPE_NAME, ClipPaths
from avsep.toyband.material import Material
from avsep.toyband.music.notes import is_held_out


def make_toyband(
    folder: Path,
    num_clips: int,
    seed: int,
    settings: ToybandSettings,
    material: Material,
    *,
    num_workers: int = 0,
) -> Iterator[str]:
    """Write clips into a folder and yield the name of each finished clip.

    Existing clips are kept, so a stopped run can be resumed and a folder can grow. With
    `num_workers` 0 there is one worker process per core.

    Raises:
        InputError: the folder was made with another seed, recipe or material, or the material has
            too few instruments for the settings.
    """
    check_cast(settings, material.categories(is_held_out(seed), settings.categories))
    _write_folder_recipe(folder, seed, settings, material)
    names = [f"{index:06d}" for index in range(1, num_clips + 1)]
    # The video is written last (see `make_clip`), so its presence means that the clip is complete.
    missing = [name for name in names if not ClipPaths(folder, name).video.is_file()]
    yield from (name for name in names if name not in missing)
    make = partial(_make_numbered_clip, folder, seed, settings, material)
    num_workers = min(num_workers or available_cores(), max(1, len(missing)))
    # A single worker runs in this process: starting another one costs seconds of imports.
    if num_workers == 1:
        yield from map(make, missing)
        return
    yield from parallel_map(make, missing, num_workers)


def _make_numbered_clip(
    folder: Path, seed: int, settings: ToybandSettings, material: Material, name: str
) -> str:
    """Write the clip of this name and return the name; a write error becomes an InputError."""
    try:
        make_clip(ClipPaths(folder, name), seed, int(name), settings, material)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot write clip {name} into '{folder}': {error}") from error
    return name


def _write_folder_recipe(
    folder: Path, seed: int, settings: ToybandSettings, material: Material
) -> None:
    """Write the recipe into the folder, or check that the existing one is identical.

    The recipe of a folder without clips is overwritten.
    """
    recipe = write_recipe(settings, "toyband")
    text = f"# Made with --seed {seed} from {material.origin}.\n{recipe}"
    path = folder / RECIPE_NAME
    make_folder(folder)
    try:
        # Bytes, because a damaged recipe may not be valid UTF-8.
        existing = path.read_bytes() if path.exists() else None
        has_foreign_files = existing is None and any(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder '{folder}': {error.strerror}") from error
    if existing == text.encode():
        return
    if has_foreign_files:
        raise InputError(f"'{folder}' is not empty and holds no {RECIPE_NAME}: give a new folder")
    if any(folder.glob("*.mp4")):
        raise InputError(
            f"'{folder}' holds clips of another seed, recipe or material (see {path}): give a "
            "new folder"
        )
    write_atomic(path, text)
