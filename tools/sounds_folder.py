"""Make a prepared data set of sounds without pictures from a folder in the layout of ESC-10.

    python tools/sounds_folder.py SOUNDS DIR --train-folds 1,2,3 --test-folds 4

SOUNDS holds "001 - Dog bark/<fold>-<recording>-<take>.ogg"; the tool writes DIR/audio/dog bark/ and
DIR/index.csv. In the training folds, about a tenth of each category is for validation, chosen by
hashes of the recordings' names; all takes of a recording are in the same split.
"""

import argparse
import csv
import hashlib
import io
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from avsep.data.clips import SOUND_ENDINGS, TEST, TRAINING, VALIDATION
from avsep.data.prepared import INDEX_NAME
from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic

VALIDATION_SHARE = 0.1
# The columns of index.csv that a prepared folder of sounds needs.
HEAD = ("id", "category", "split")


def main() -> None:
    """Make the folder and print its number of categories and of sounds in each split."""
    parser = argparse.ArgumentParser(
        description="Make a prepared data set of sounds without pictures."
    )
    parser.add_argument("sounds", type=Path, help="folder with one folder of sounds per category")
    parser.add_argument("folder", type=Path, help="prepared data set to write")
    parser.add_argument(
        "--train-folds",
        type=parse_folds,
        default=(1, 2, 3),
        help="folds for training and validation, such as 1,2,3",
    )
    parser.add_argument(
        "--test-folds", type=parse_folds, default=(4,), help="folds for testing, such as 4"
    )
    arguments = parser.parse_args()
    try:
        rows = make_sounds_folder(
            arguments.sounds, arguments.folder, arguments.train_folds, arguments.test_folds
        )
    except InputError as error:
        parser.error(str(error))
    counts = {split: sum(row[2] == split for row in rows) for split in (TRAINING, VALIDATION, TEST)}
    num_categories = len({category for _, category, _ in rows})
    summary = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{arguments.folder}: {num_categories} categories, {summary}")


def make_sounds_folder(
    sounds: Path, folder: Path, train_folds: Sequence[int], test_folds: Sequence[int]
) -> list[tuple[str, str, str]]:
    """Link or copy the sounds of these folds; return the rows of index.csv: id, category, split.

    Raises:
        InputError: a fold is in both lists, or the folder has no sounds in this layout.
    """
    both = sorted(set(train_folds) & set(test_folds))
    if both:
        raise InputError(f"fold {both[0]} is for training and for testing: remove it from one list")
    rows = []
    for category, paths in list_sounds(sounds):
        train_paths = [path for path in paths if parse_fold(path) in train_folds]
        validation = validation_recordings(category, train_paths)
        for path in paths:
            if parse_fold(path) in test_folds:
                split = TEST
            elif path in train_paths:
                split = VALIDATION if parse_recording(path) in validation else TRAINING
            else:
                continue
            link_or_copy(path, folder / "audio" / category / path.name)
            rows.append((path.stem, category, split))
    if not rows:
        raise InputError(
            f"'{sounds}' holds no sounds '<number> - <category>/<fold>-<recording>-<take>.ogg' of "
            "these folds: give the folder of the categories' folders"
        )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
    write_atomic(folder / INDEX_NAME, text.getvalue())
    return rows


def list_sounds(sounds: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each category and its sounds, sorted by name."""
    for folder in sorted(path for path in sounds.glob("*") if path.is_dir()):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUND_ENDINGS)
        yield parse_category(folder.name), [path for path in paths if parse_fold(path) is not None]


def parse_category(name: str) -> str:
    """Return the category of a folder name: in lower case, without a leading number.

    >>> parse_category("001 - Dog bark"), parse_category("rain")
    ('dog bark', 'rain')
    """
    return " ".join(re.sub(r"^\d+\s*-\s*", "", name).replace("_", " ").lower().split())


def parse_fold(path: Path) -> int | None:
    """Return the fold at the beginning of a file name, or None.

    >>> parse_fold(Path("3-100032-A.ogg")), parse_fold(Path("notes.ogg"))
    (3, None)
    """
    head, dash, _ = path.stem.partition("-")
    return int(head) if dash and head.isdecimal() else None


def parse_recording(path: Path) -> str:
    """Return fold and number of a recording, the part of the name that all its takes share.

    >>> parse_recording(Path("3-100032-A.ogg")), parse_recording(Path("3-100032.ogg"))
    ('3-100032', '3-100032')
    """
    return "-".join(path.stem.split("-")[:2])


def validation_recordings(category: str, paths: Sequence[Path]) -> set[str]:
    """Return the recordings for validation: at least a tenth of the sounds, never all of them."""
    takes: dict[str, int] = defaultdict(int)
    for path in paths:
        takes[parse_recording(path)] += 1
    # By hash, so that the choice depends neither on the order of the files nor on a seed.
    order = sorted(
        takes, key=lambda name: hashlib.sha256(f"{category}/{name}".encode()).hexdigest()
    )
    chosen: set[str] = set()
    # The last one is never taken: a category of one recording is only for training.
    for name in order[:-1]:
        if sum(takes[recording] for recording in chosen) >= VALIDATION_SHARE * len(paths):
            break
        chosen.add(name)
    return chosen


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy across file systems; replace an existing target."""
    make_folder(target.parent)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def parse_folds(text: str) -> tuple[int, ...]:
    """Parse numbers separated by commas.

    >>> parse_folds("1,2, 3")
    (1, 2, 3)
    """
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    main()
