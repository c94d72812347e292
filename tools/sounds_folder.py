"""Make a prepared folder of sounds alone from a folder laid out as ESC-10: folds in the names.

    python tools/sounds_folder.py SOUNDS DIR --train-folds 1,2,3 --test-folds 4

SOUNDS holds "001 - Dog bark/<fold>-<recording>-<take>.ogg"; DIR/audio/dog bark/ is made of it, with
DIR/index.csv. Of the folds to train on, about a tenth of each category's recordings are to validate
with; their names' digests choose them, and all takes of a recording go together.
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
HEAD = ("id", "category", "split")


def main() -> None:
    """Make the folder and say what it holds."""
    parser = argparse.ArgumentParser(description="Make a prepared folder of sounds alone.")
    parser.add_argument("sounds", type=Path, help="folder of folders of sounds")
    parser.add_argument("folder", type=Path, help="prepared folder to make")
    parser.add_argument("--train-folds", type=folds, default=(1, 2, 3), help="such as 1,2,3")
    parser.add_argument("--test-folds", type=folds, default=(4,), help="such as 4")
    given = parser.parse_args()
    try:
        rows = make_sounds_folder(given.sounds, given.folder, given.train_folds, given.test_folds)
    except InputError as error:
        parser.error(str(error))
    counts = {split: sum(row[2] == split for row in rows) for split in (TRAINING, VALIDATION, TEST)}
    num_categories = len({category for _, category, _ in rows})
    told = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{given.folder}: {num_categories} categories, {told}")


def make_sounds_folder(
    sounds: Path, folder: Path, train_folds: Sequence[int], test_folds: Sequence[int]
) -> list[tuple[str, str, str]]:
    """Link or copy the sounds of these folds, and list them: id, category and split of each.

    Raises InputError for a fold that is in both lists, and a place without such sounds.
    """
    both = sorted(set(train_folds) & set(test_folds))
    if both:
        raise InputError(f"fold {both[0]} is to train on and to test with: leave it out of one")
    rows = []
    for category, paths in found_sounds(sounds):
        to_train = [path for path in paths if fold_of(path) in train_folds]
        held_out = recordings_held_out(category, to_train)
        for path in paths:
            if fold_of(path) in test_folds:
                split = TEST
            elif path in to_train:
                split = VALIDATION if recording_of(path) in held_out else TRAINING
            else:
                continue
            place(path, folder / "audio" / category / path.name)
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


def found_sounds(sounds: Path) -> Iterator[tuple[str, list[Path]]]:
    """Each category in words, and its sounds by name."""
    for folder in sorted(path for path in sounds.glob("*") if path.is_dir()):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUND_ENDINGS)
        yield category_of(folder.name), [path for path in paths if fold_of(path) is not None]


def category_of(name: str) -> str:
    """The words of a folder's name.

    >>> category_of("001 - Dog bark"), category_of("rain")
    ('dog bark', 'rain')
    """
    return " ".join(re.sub(r"^\d+\s*-\s*", "", name).replace("_", " ").lower().split())


def fold_of(path: Path) -> int | None:
    """The fold that a file's name begins with; none where it begins otherwise.

    >>> fold_of(Path("3-100032-A.ogg")), fold_of(Path("notes.ogg"))
    (3, None)
    """
    head, dash, _ = path.stem.partition("-")
    return int(head) if dash and head.isdecimal() else None


def recording_of(path: Path) -> str:
    """What all takes of a recording have in common.

    >>> recording_of(Path("3-100032-A.ogg")), recording_of(Path("3-100032.ogg"))
    ('3-100032', '3-100032')
    """
    return "-".join(path.stem.split("-")[:2])


def recordings_held_out(category: str, paths: Sequence[Path]) -> set[str]:
    """Recordings to validate with: a tenth of the sounds or a few more, never all of them."""
    takes: dict[str, int] = defaultdict(int)
    for path in paths:
        takes[recording_of(path)] += 1
    order = sorted(
        takes, key=lambda name: hashlib.sha256(f"{category}/{name}".encode()).hexdigest()
    )
    held_out: set[str] = set()
    for name in order[:-1]:
        if sum(takes[one] for one in held_out) >= VALIDATION_SHARE * len(paths):
            break
        held_out.add(name)
    return held_out


def place(source: Path, target: Path) -> None:
    """Link a file there, or copy it where links cannot be; what lies there is replaced."""
    make_folder(target.parent)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def folds(text: str) -> tuple[int, ...]:
    """Numbers with commas between them.

    >>> folds("1,2, 3")
    (1, 2, 3)
    """
    return tuple(int(number) for number in text.split(","))


if __name__ == "__main__":
    main()
