"""Many clips into one folder: in parallel, repeatable, and going on where a run was stopped."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from avsep.data.toyband.clip import ToybandSettings, make_clip
from avsep.data.toyband.folder import RECIPE_NAME, ClipPaths
from avsep.data.toyband.material import Material
from avsep.errors import InputError
from avsep.media.whole_file import whole_file
from avsep.recipe import write_recipe


def make_toyband(
    folder: Path,
    num_clips: int,
    seed: int,
    settings: ToybandSettings,
    material: Material,
    *,
    num_workers: int = 0,
) -> Iterator[str]:
    """Write clips into a folder and yield the name of each as it is done; 0 workers: one a core.

    Clips that are there already stay, so a stopped run goes on and a folder can grow. A folder of
    another seed or recipe is an InputError.
    """
    _begin(folder, seed, settings, material)
    names = [f"{index:06d}" for index in range(1, num_clips + 1)]
    missing = [name for name in names if not ClipPaths(folder, name).video.exists()]
    yield from (name for name in names if name not in missing)
    make = partial(_make_numbered_clip, folder, seed, settings, material)
    num_workers = min(num_workers or os.cpu_count() or 1, max(1, len(missing)))
    if num_workers == 1:
        yield from map(make, missing)
        return
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(make, missing)
        finally:
            pool.shutdown(cancel_futures=True)


def _make_numbered_clip(
    folder: Path, seed: int, settings: ToybandSettings, material: Material, name: str
) -> str:
    make_clip(ClipPaths(folder, name), seed, int(name), settings, material)
    return name


def _begin(folder: Path, seed: int, settings: ToybandSettings, material: Material) -> None:
    """Write the recipe into the folder, or see that the one there is the same."""
    recipe = write_recipe(settings, "toyband")
    text = f"# Made with --seed {seed} from {material.origin}.\n{recipe}"
    path = folder / RECIPE_NAME
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise InputError(
                f"'{folder}' holds clips of another seed, recipe or material (see {path}): give a "
                "new folder"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder '{folder}': {error.strerror}") from error
    if any(folder.iterdir()):
        raise InputError(f"'{folder}' is not empty and holds no {RECIPE_NAME}: give a new folder")
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
