"""Recorded notes and everyday sounds by word, split into training and held-out ones.

Used by the tools that make or train on mixtures of them. Folders: NOTES/<instrument>/<note>.ogg,
SOUNDS/<sound>/<fold>-<recording>.ogg, in any of the endings that the package reads.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from avsep.data.clips import SOUND_ENDINGS
from avsep.labels import normalise_label
from avsep.sound.resampling import resample
from avsep.toyband.categories import CATEGORIES, find_category
from avsep.toyband.music.notes import read_note_bank

# Names of folders that are no word for the sound.
WORDS = {"speech female": "speech", "speech male": "speech", "fire crackling": "crackling fire",
         "dog bark": "dog", "person sneeze": "sneezing"}  # fmt: skip
HELD_OUT_EVERY, HELD_OUT_INDEX = 5, 2

Waveform = np.ndarray
# Files of one word, and whether they are single notes.
WordFiles = Mapping[str, list[tuple[Path, bool]]]


def find_files(notes: Sequence[Path], sounds: Sequence[Path], *, held_out: bool) -> WordFiles:
    """Return the files of each word in one part of the split; shipped notes are among them.

    Notes of a toyband instrument are split as toyband splits them, so that what a model or a
    classifier is trained on is in none of its test clips.
    """
    files: dict[str, list[tuple[Path, bool]]] = {}
    for roots, are_notes in ((notes, True), (sounds, False)):
        for folder in sorted(path for root in roots for path in root.iterdir() if path.is_dir()):
            if are_notes and find_category(folder.name) is not None:
                continue
            word = normalise_label(re.sub(r"^\d+ - ", "", folder.name))
            files.setdefault(WORDS.get(word, word), []).extend(
                (path, are_notes)
                for path in sorted(folder.iterdir())
                if path.suffix in SOUND_ENDINGS and is_held_out(path) == held_out
            )
    for bank in (read_note_bank(folder) for folder in (None, *notes) if _is_bank(folder)):
        for word in CATEGORIES:
            files.setdefault(word, []).extend(
                (note.path, True) for note in bank.notes(word, held_out)
            )
    return {word: paths for word, paths in files.items() if paths}


def _is_bank(folder: Path | None) -> bool:
    """True for a folder with notes of toyband instruments; None is the shipped one."""
    return folder is None or any(find_category(inner.name) for inner in folder.iterdir())


def is_held_out(path: Path) -> bool:
    """Split by recording: pieces of one, A B C or 1 2 3 at the end, are on one side."""
    return recording_hash(path) % HELD_OUT_EVERY == HELD_OUT_INDEX


def recording_hash(path: Path) -> int:
    """Return a number that all pieces of one recording share, and all utterances of a speaker.

    Names of utterances are speaker-chapter-utterance, those of others end in the piece.
    """
    utterance = re.fullmatch(r"(\d+)-\d+-\d{4}", path.stem)
    recording = utterance[1] if utterance else re.sub(r"[-_](?:[A-Z]|\d{1,2})$", "", path.stem)
    return zlib.crc32(f"{path.parent.name}/{recording}".encode())


def read(path: Path, rate_hz: int) -> Waveform:
    """Read a sound as one channel at a rate."""
    waveform, from_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(waveform.mean(1)[None], from_hz, rate_hz)[0].astype(np.float32)


def make_phrase(
    notes: Sequence[Waveform], length: int, rate_hz: int, generator: np.random.Generator
) -> Waveform:
    """String notes to a phrase of `length` samples, now and then two at once."""
    sound = np.zeros(length, np.float32)
    # The first note may have begun before.
    time = -float(generator.uniform(0, 0.5)) * rate_hz
    while time < length:
        note = notes[int(generator.integers(len(notes)))]
        num_kept = round(float(generator.uniform(0.12, 0.9)) * rate_hz)
        fade = (num_kept - np.arange(len(note)).clip(num_kept)) / (0.05 * rate_hz)
        note = note * np.exp(fade).astype(np.float32) * np.float32(generator.uniform(0.5, 1.0))
        start = round(time)
        first, last = max(0, -start), min(len(note), length - start)
        if last > first:
            sound[start + first : start + last] += note[first:last]
        is_chord = generator.random() < 0.2
        time += 0 if is_chord else num_kept * float(generator.choice([1.0, 1.0, 1.6]))
    return sound


def cut(waveform: Waveform, length: int, generator: np.random.Generator) -> Waveform:
    """Cut a piece with some energy, or place a short sound within silence."""
    if len(waveform) <= length:
        start = int(generator.integers(length - len(waveform) + 1))
        return np.pad(waveform, (start, length - len(waveform) - start))
    least = 0.2 * np.mean(np.square(waveform))
    piece = waveform[:length]
    for _ in range(6):
        start = int(generator.integers(len(waveform) - length + 1))
        piece = waveform[start : start + length]
        if np.mean(np.square(piece)) >= least:
            break
    return piece
