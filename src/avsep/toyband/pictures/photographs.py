"""A folder of photographs of instruments: found, split into used and held-out, and read."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from avsep.errors import InputError
from avsep.toyband.categories import find_category

HELD_OUT_EVERY = 5  # every fifth photograph, the third of each five, is kept for evaluation
HELD_OUT_INDEX = 2
DISTRACTOR_FOLDER = "other"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LONGEST_SIDE_PIXELS = 1024  # larger photographs are read at a fraction of their size


@dataclass(frozen=True)
class Photographs:
    """Photographs by category.

    Attributes:
        folder: where they lie.
        by_category: files in order of name.
        distractors: photographs of other things.
    """

    folder: Path
    by_category: Mapping[str, tuple[Path, ...]]
    distractors: tuple[Path, ...] = field(default=())

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that have photographs, in alphabetical order."""
        return tuple(sorted(self.by_category))

    def categories_in_split(self, held_out: bool) -> tuple[str, ...]:
        """Those that have photographs on one side of the split."""
        return tuple(
            name for name in self.categories if _select_split(self.by_category[name], held_out)
        )

    def files(self, category: str, held_out: bool) -> tuple[Path, ...]:
        """The photographs of a category, of one side of the split; none there is an error."""
        files = _select_split(self.by_category.get(category, ()), held_out)
        if not files:
            what = "held-out photograph" if held_out else "photograph"
            least = HELD_OUT_INDEX + 1 if held_out else 1
            raise InputError(
                f"no {what} of '{category}' in {self.folder}; put {least} or more pictures into "
                f"{self.folder / category}, or choose from: {', '.join(self.categories)}"
            )
        return files

    def distractor_files(self, held_out: bool) -> tuple[Path, ...]:
        """The photographs of other things, of one side of the split; there may be none."""
        return _select_split(self.distractors, held_out)


def read_photographs(folder: Path) -> Photographs:
    """The photographs of `folder/<category>/<name>.jpg`; `folder/other/` holds distractors.

    Folders whose name means no category are left out. No photographs at all is an InputError.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; give a folder of photographs, <category>/<n>.jpg")
    found: dict[str, tuple[Path, ...]] = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        category = find_category(inner.name)
        if category is not None and (files := _pictures(inner)):
            found[category] = tuple(sorted((*found.get(category, ()), *files)))
    if not found:
        raise InputError(
            f"no photographs in {folder}; give folders named by category, such as "
            f"{folder / 'violin'}, with .jpg or .png files"
        )
    return Photographs(folder, found, _pictures(folder / DISTRACTOR_FOLDER))


def open_photograph(path: Path) -> Image.Image:
    """The photograph, upright, RGB; a broken file is an InputError that names it."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.draft("RGB", (LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS))
            upright = _on_white(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise InputError(
            f"cannot read the photograph {path}: no known format; replace or remove the file"
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"cannot read the photograph {path}: {error}; replace or remove the file"
        ) from error
    return upright


def _on_white(image: Image.Image) -> Image.Image:
    """The picture without transparency, as a page shows it."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    page = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(page, layers).convert("RGB")


def _pictures(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    )


def _select_split(files: tuple[Path, ...], held_out: bool) -> tuple[Path, ...]:
    return tuple(
        path
        for index, path in enumerate(files)
        if (index % HELD_OUT_EVERY == HELD_OUT_INDEX) == held_out
    )
