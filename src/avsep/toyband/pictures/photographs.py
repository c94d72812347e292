"""Read a folder of photographs of instruments and split it into training and held-out files."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from avsep.errors import InputError
from avsep.toyband.categories import find_category

# One photograph in five is held out: the third, so that a category with three photographs has one
# for evaluation and two for training. The split depends on the order of names alone, not on a seed.
HELD_OUT_EVERY = 5
HELD_OUT_INDEX = 2
DISTRACTOR_FOLDER = "other"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
# JPEG files are decoded at 1/2, 1/4 or 1/8 of their size as long as the result is at least this
# large, which is far cheaper than decoding every pixel of a camera.
LONGEST_SIDE_PIXELS = 1024


@dataclass(frozen=True)
class Photographs:
    """Files of photographs by category.

    Attributes:
        folder: root folder of all files.
        by_category: files of each category in order of name.
        distractors: files of photographs of other objects.
    """

    folder: Path
    by_category: Mapping[str, tuple[Path, ...]]
    distractors: tuple[Path, ...] = field(default=())

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that have photographs, in alphabetical order."""
        return tuple(sorted(self.by_category))

    def categories_in_split(self, held_out: bool) -> tuple[str, ...]:
        """Return the categories that have photographs in one part of the split."""
        return tuple(
            name for name in self.categories if _select_split(self.by_category[name], held_out)
        )

    def files(self, category: str, held_out: bool) -> tuple[Path, ...]:
        """Return the photographs of a category in one part of the split.

        Raises:
            InputError: if there is none.
        """
        files = _select_split(self.by_category.get(category, ()), held_out)
        if not files:
            kind = "held-out photograph" if held_out else "photograph"
            num_needed = HELD_OUT_INDEX + 1 if held_out else 1
            raise InputError(
                f"no {kind} of '{category}' in {self.folder}; put {num_needed} or more pictures "
                f"into {self.folder / category}, or choose from: {', '.join(self.categories)}"
            )
        return files

    def distractor_files(self, held_out: bool) -> tuple[Path, ...]:
        """Return the photographs of other objects in one part of the split, which may be empty."""
        return _select_split(self.distractors, held_out)


def read_photographs(folder: Path) -> Photographs:
    """Read the paths `folder/<category>/<name>.jpg`, and those of distractors in `folder/other/`.

    Folders with a name that is no category are skipped.

    Raises:
        InputError: if the folder does not exist or contains no photographs.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; give a folder of photographs, <category>/<n>.jpg")
    by_category: dict[str, tuple[Path, ...]] = {}
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        category = find_category(subfolder.name)
        if category is not None and (files := _pictures(subfolder)):
            # Several folder names may be synonyms of one category.
            by_category[category] = tuple(sorted((*by_category.get(category, ()), *files)))
    if not by_category:
        raise InputError(
            f"no photographs in {folder}; give folders named by category, such as "
            f"{folder / 'violin'}, with .jpg or .png files"
        )
    return Photographs(folder, by_category, _pictures(folder / DISTRACTOR_FOLDER))


def open_photograph(path: Path) -> Image.Image:
    """Read a photograph as RGB, rotated upright by its EXIF orientation.

    Raises:
        InputError: if the file cannot be read; the message names it.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.draft("RGB", (LONGEST_SIDE_PIXELS, LONGEST_SIDE_PIXELS))
            upright = _on_white(ImageOps.exif_transpose(image))
    # First and without its text: for bytes in memory, Pillow prints the address of the buffer.
    except UnidentifiedImageError as error:
        raise InputError(
            f"cannot read the photograph {path}: no known format; replace or remove the file"
        ) from error
    # SyntaxError and ValueError: some of Pillow's decoders raise them for broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"cannot read the photograph {path}: {error}; replace or remove the file"
        ) from error
    return upright


def _on_white(image: Image.Image) -> Image.Image:
    """Return the picture on white, as a browser shows transparent files."""
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
