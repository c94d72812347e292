"""Make a prepared data set of solos: notes strung to phrases, everyday sounds, photographs.

    python tools/make_solos.py DIR --notes NOTES NOTES2 --sounds SOUNDS SOUNDS2 \
        --photos PHOTOS PHOTOS2 --rooms RIRS --ambience AMBIENCE
    python tools/make_solos.py TEST --held-out ... (the same folders)

Each solo is eight seconds of one thing: an instrument's phrase, or its recordings one after another
with rests; a third of speech is of several voices. A third is put into a room. Of those to train
with, a quarter has been through a codec, and one in sixteen clips. The picture is a part of one
photograph of the thing, or of a thing that sounds so (a car for an engine); sounds without any are
audio-only clips. Words are those of the shipped sound classifier, and "ambience", whose solos are
quieter and are no targets (`mixing.unseen_categories`).

A fifth of the recordings and photographs is held out: only `--held-out` uses them, and marks all
clips "test". Of the others one in twelve is for validation. The same command makes the same files.
"""

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageOps
from rich.progress import track

from avsep.data.clips import TEST, TRAINING, VALIDATION
from avsep.data.prepared import INDEX_NAME
from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.sound.activity import SOUNDS_OF_WORD
from detector_scenes import photograph_files
from recorded_material import (
    WordFiles,
    cut,
    find_files,
    is_held_out,
    make_phrase,
    read,
    recording_hash,
)

RATE_HZ = 22_050
SECONDS = 8.0
# Notes of one phrase: as many as an instrument's range in a piece, few enough to read quickly.
NOTES_OF_PHRASE = 12
# RMS of what sounds, before each solo's own gain.
LEVEL, LEVEL_SPREAD_DB = 0.08, 4.0
ROOM_SHARE = 1 / 3
HELD_OUT_EVERY, HELD_OUT_INDEX = 5, 2
VALIDATION_EVERY = 12
# What happens to solos to train with.
VOICES_SHARE, MOST_VOICES = 1 / 3, 3
CODEC_SHARE, CLIPPED_SHARE = 1 / 4, 1 / 16
# Of MP3 and Vorbis by libsndfile, 0 the best; from about 100 down to 30 kbit/s.
COMPRESSION = (0.3, 0.95)
CLIPPED_GAIN = (1.5, 4.0)
AMBIENCE = "ambience"
AMBIENCE_TIMES, AMBIENCE_DB = 5, (-20.0, 0.0)
# Least part of the side of a photograph that a picture shows.
SMALLEST_PART = 0.7
HEAD = ("id", "category", "split", "frame_rate_hz", "num_frames", "duration_seconds")


def main() -> None:
    """Make the solos and print their number in each split."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="prepared data set to write")
    for name in ("notes", "sounds", "photos"):
        parser.add_argument(f"--{name}", type=Path, nargs="+", default=[])
    parser.add_argument("--rooms", type=Path, help="folder of room impulse responses")
    parser.add_argument("--ambience", type=Path, help="folder of background recordings")
    parser.add_argument("--solos", type=int, default=40, help="of each word")
    parser.add_argument("--held-out", action="store_true", help="of what is held out, to test with")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    files = dict(find_files(given.notes, given.sounds, held_out=given.held_out))
    if given.ambience:
        paths = sorted(given.ambience.iterdir())
        files[AMBIENCE] = [(p, False) for p in paths if is_held_out(p) == given.held_out]
    material = Material(
        files,
        find_pictures(given.photos, held_out=given.held_out),
        read_rooms(given.rooms) if given.rooms else (),
    )
    if (given.folder / INDEX_NAME).exists():
        parser.error(f"'{given.folder}' holds solos already; give another folder")
    try:
        rows = make_solos(
            given.folder, material, given.solos, held_out=given.held_out, seed=given.seed
        )
    except InputError as error:
        parser.error(str(error))
    splits = [row[2] for row in rows]
    counts = ", ".join(f"{splits.count(split)} {split}" for split in sorted(set(splits)))
    print(f"{given.folder}: {len(material.sounds)} words, {counts}")


@dataclass(frozen=True)
class Material:
    """Files of sounds and of photographs by word, and rooms at the rate of the solos."""

    sounds: WordFiles
    pictures: dict[str, tuple[Path, ...]]
    rooms: Sequence[np.ndarray] = ()


def find_pictures(folders: Sequence[Path], *, held_out: bool) -> dict[str, tuple[Path, ...]]:
    """Return the photographs that show what makes a sound, of one part of the split."""
    pictures: dict[str, tuple[Path, ...]] = {}
    for word, paths in photograph_files(folders).items():
        part = tuple(
            path
            for index, path in enumerate(paths)
            if (index % HELD_OUT_EVERY == HELD_OUT_INDEX) == held_out
        )
        for sound in SOUNDS_OF_WORD.get(word, (word,)):
            pictures[sound] = pictures.get(sound, ()) + part
    return pictures


def read_rooms(folder: Path) -> tuple[np.ndarray, ...]:
    """Return room impulse responses, their first channels, each of energy one."""
    rooms = []
    for path in sorted(folder.iterdir()):
        room = read(path, RATE_HZ)[:RATE_HZ]
        rooms.append(room / np.sqrt(np.sum(np.square(room))))
    return tuple(rooms)


def make_solos(
    folder: Path, material: Material, number: int, *, held_out: bool, seed: int
) -> list[tuple[str, str, str, str, str, str]]:
    """Write `number` solos of each word; return the rows of index.csv."""
    rows = []
    jobs = list(_draw(material, number, held_out=held_out, seed=seed))
    for word, name, split, files, generator in track(jobs, "making solos"):
        place = Path(word.replace(" ", "_")) / name
        sound = folder / "audio" / place.with_suffix(".flac")
        make_folder(sound.parent)
        waveform = make_solo(files, material.rooms, generator)
        if not held_out:
            waveform = vary(waveform, word, files, generator)
        soundfile.write(sound, waveform, RATE_HZ)
        pictures = material.pictures.get(word, ())
        facts = ("", "", "")
        if pictures:
            frame = folder / "frames" / place / "000001.jpg"
            make_folder(frame.parent)
            view(pictures[int(generator.integers(len(pictures)))], generator).save(
                frame, quality=90
            )
            facts = (str(1 / SECONDS), "1", str(SECONDS))
        rows.append((name, word.replace(" ", "_"), split, *facts))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
    write_atomic(folder / INDEX_NAME, text.getvalue())
    return rows


def _draw(
    material: Material, number: int, *, held_out: bool, seed: int
) -> Iterator[tuple[str, str, str, list[tuple[Path, bool]], np.random.Generator]]:
    """Yield word, name, split and files of each solo, and the generator of what is in it."""
    for index, (word, files) in enumerate(sorted(material.sounds.items())):
        parts = {TEST: files} if held_out else _split(files)
        for solo in range(number * (AMBIENCE_TIMES if word == AMBIENCE else 1)):
            generator = np.random.default_rng([seed, held_out, index, solo])
            is_first = solo % VALIDATION_EVERY == 0
            split = VALIDATION if is_first and VALIDATION in parts else next(iter(parts))
            yield word, f"{solo:04d}", split, parts[split], generator


def _split(files: list[tuple[Path, bool]]) -> dict[str, list[tuple[Path, bool]]]:
    """Return the files to train on and those to validate with; the second only if there are two."""
    is_validation = [
        recording_hash(path) // HELD_OUT_EVERY % VALIDATION_EVERY == 0 for path, _ in files
    ]
    parts = {
        TRAINING: [file for file, is_val in zip(files, is_validation, strict=True) if not is_val],
        VALIDATION: [file for file, is_val in zip(files, is_validation, strict=True) if is_val],
    }
    return parts if all(parts.values()) else {TRAINING: files}


def make_solo(
    files: Sequence[tuple[Path, bool]],
    rooms: Sequence[np.ndarray],
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the sound of one solo: a phrase of notes, or recordings one after another."""
    length = round(SECONDS * RATE_HZ)
    path, is_note = files[int(generator.integers(len(files)))]
    if is_note:
        # Of one folder, as an instrument of a bank keeps its sound.
        near = [other for other, _ in files if other.parent == path.parent]
        chosen = generator.permutation(len(near))[:NOTES_OF_PHRASE]
        notes = [read(near[int(index)], RATE_HZ) for index in chosen]
        sound = make_phrase(notes, length, RATE_HZ, generator)
    else:
        sound = repeat(read(path, RATE_HZ), length, generator)
    if rooms and generator.random() < ROOM_SHARE:
        room = rooms[int(generator.integers(len(rooms)))]
        sound = reverberate(sound, room)
    active = np.abs(sound) > 0.05 * np.abs(sound).max()
    rms = np.sqrt(np.mean(np.square(sound[active]))) if active.any() else 1.0
    level = LEVEL * 10 ** (generator.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB) / 20)
    sound = sound * (level / rms)
    return (sound / max(1.0, np.abs(sound).max() / 0.95)).astype(np.float32)


def vary(
    solo: np.ndarray,
    word: str,
    files: Sequence[tuple[Path, bool]],
    generator: np.random.Generator,
) -> np.ndarray:
    """Return a solo as it may be in a real video: with more voices, quieter, clipped, coded."""
    if word == "speech" and generator.random() < VOICES_SHARE:
        for _ in range(int(generator.integers(1, MOST_VOICES))):
            path, _ = files[int(generator.integers(len(files)))]
            voice = repeat(read(path, RATE_HZ), len(solo), generator)
            solo = solo + voice * (LEVEL / max(1e-6, np.sqrt(np.mean(np.square(voice)))))
    if word == AMBIENCE:
        solo = solo * 10 ** (generator.uniform(*AMBIENCE_DB) / 20)
    elif generator.random() < CLIPPED_SHARE:
        solo = np.clip(solo * generator.uniform(*CLIPPED_GAIN), -0.95, 0.95)
    if generator.random() < CODEC_SHARE:
        solo = through_codec(solo, generator)
    return (solo / max(1.0, np.abs(solo).max() / 0.95)).astype(np.float32)


def through_codec(sound: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a sound as MP3 or Vorbis leave it, as long as it was."""
    kind = ("MP3", "OGG")[int(generator.integers(2))]
    level = float(generator.uniform(*COMPRESSION))
    file = io.BytesIO()
    soundfile.write(file, sound, RATE_HZ, format=kind, compression_level=level)
    file.seek(0)
    coded, _ = soundfile.read(file, dtype="float32")
    return np.pad(coded, (0, max(0, len(sound) - len(coded))))[: len(sound)]


def repeat(sound: np.ndarray, length: int, generator: np.random.Generator) -> np.ndarray:
    """Cut a recording, or place it with rests between, to `length` samples."""
    if len(sound) >= length:
        return cut(sound, length, generator)
    repeated = np.zeros(length, np.float32)
    time = -int(generator.uniform(0, 0.5) * len(sound))
    while time < length:
        first, last = max(0, -time), min(len(sound), length - time)
        if last > first:
            repeated[time + first : time + last] += sound[first:last]
        time += len(sound) + int(generator.exponential(0.5) * RATE_HZ)
    return repeated


def reverberate(sound: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return a sound in a room, as long as it was."""
    size = len(sound) + len(room) - 1
    spectrum = np.fft.rfft(sound, size) * np.fft.rfft(room, size)
    return np.fft.irfft(spectrum, size)[: len(sound)].astype(np.float32)


def view(path: Path, generator: np.random.Generator) -> Image.Image:
    """Return a part of a photograph, some mirrored."""
    with Image.open(path) as picture:
        pixels = picture.convert("RGB")
    width, height = (
        max(1, round(side * generator.uniform(SMALLEST_PART, 1))) for side in pixels.size
    )
    left = int(generator.integers(pixels.width - width + 1))
    top = int(generator.integers(pixels.height - height + 1))
    pixels = pixels.crop((left, top, left + width, top + height))
    return ImageOps.mirror(pixels) if generator.random() < 0.5 else pixels


if __name__ == "__main__":
    main()
