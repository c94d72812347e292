"""Read a bank of single notes, shipped or recorded, split into training and held-out notes."""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.sound.resampling import resample
from avsep.toyband.categories import find_category
from avsep.toyband.music.registers import DRUM_KINDS, REGISTERS, Register, narrow_register

SAMPLE_RATE_HZ = 44_100
SHIPPED_BANK = Path(__file__).parents[1] / "bank"
SUFFIXES = (".flac", ".ogg", ".wav")
# Lower seeds play only training notes, seeds from here upward only held-out notes.
HELD_OUT_SEEDS_FROM = 1000
# The third of every five notes in order of pitch is held out, not a random fifth: evenly spaced
# notes cover the whole range, and between them a chromatic bank shifts no pitch by over three
# semitones.
HELD_OUT_EVERY, HELD_OUT_INDEX = 5, 2
# A note begins just before it first reaches this share of its peak. Recordings often have a finger
# on the string or an intake of breath before it, 0.2 s and longer, which would delay the sound
# against the picture.
ONSET_SHARE_OF_PEAK = 0.25
BEFORE_ONSET_SECONDS = 0.003
# A category with fewer notes is not split and only available to training seeds: one or two held-out
# notes would have to be shifted over the whole range.
MIN_NOTES_TO_SPLIT = 10

LAYOUT = (
    "DIR/<instrument>/<midi>_<n>.ogg (or .wav, .flac; midi 60 is the middle C), "
    "DIR/drums/<n>.ogg, with instruments such as violin or piano"
)


def is_held_out(seed: int) -> bool:
    """Return True for a seed that plays held-out notes: 1000 and upward.

    >>> is_held_out(999), is_held_out(1000)
    (False, True)
    """
    return seed >= HELD_OUT_SEEDS_FROM


@dataclass(frozen=True)
class Note:
    """One note of a bank.

    Attributes:
        path: the sound file.
        name: the path relative to the bank, `violin/060_003.ogg`.
        midi: the pitch, None for drums.
        dynamic: the strength of the attack, 0..1 (MIDI velocity / 127), or None if unknown.
        timbre: a name shared by notes of one instrument model, empty if unknown.
        drum_kind: the piece of the kit, one of DRUM_KINDS, or None if unknown.
    """

    path: Path
    name: str
    midi: int | None
    dynamic: float | None = None
    timbre: str = ""
    drum_kind: str | None = None

    @property
    def waveform(self) -> Float32[np.ndarray, " N"]:
        """The sound at 44.1 kHz from its onset, read-only; decoded files are cached."""
        return _decode(self.path)


@dataclass(frozen=True)
class NoteBank:
    """The notes of every category.

    Attributes:
        folder: the folder of the bank.
        by_category: notes in order of pitch; categories without notes are absent.
        skipped_folders: names of folders that are no known instrument.
    """

    folder: Path
    by_category: dict[str, tuple[Note, ...]]
    skipped_folders: tuple[str, ...] = ()

    def notes(self, category: str, held_out: bool) -> tuple[Note, ...]:
        """Return the held-out notes or the training notes of a category; the two are disjoint.

        Every fifth note in order of pitch is held out. A category of fewer than ten notes is not
        split: all its notes are for training and none is held out.
        """
        notes = self.by_category.get(category, ())
        if len(notes) < MIN_NOTES_TO_SPLIT:
            return () if held_out else notes
        return tuple(
            note
            for index, note in enumerate(notes)
            if (index % HELD_OUT_EVERY == HELD_OUT_INDEX) == held_out
        )

    def playable(self, held_out: bool) -> tuple[str, ...]:
        """Return the categories that have notes, in the order of CATEGORIES.

        Raises:
            InputError: no category has notes for this side of the split.
        """
        categories = tuple(name for name in REGISTERS if self.notes(name, held_out))
        if not categories:
            raise InputError(
                f"no instrument of {self.folder} has the {MIN_NOTES_TO_SPLIT} notes that held-out "
                f"seeds need; add notes or use a seed below {HELD_OUT_SEEDS_FROM}"
            )
        return categories

    def register(self, category: str, held_out: bool) -> Register:
        """Return the range of an instrument, narrowed to the pitches that these notes reach."""
        return narrow_register(category, (note.midi for note in self.notes(category, held_out)))

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence per problem: categories without held-out notes, skipped folders."""
        unsplit = [
            f"{name} ({len(notes)})"
            for name, notes in self.by_category.items()
            if len(notes) < MIN_NOTES_TO_SPLIT
        ]
        warnings = []
        if unsplit:
            warnings.append(
                f"instruments with fewer than {MIN_NOTES_TO_SPLIT} notes, only used by seeds below "
                f"{HELD_OUT_SEEDS_FROM}: {', '.join(unsplit)}"
            )
        if self.skipped_folders:
            names = ", ".join(self.skipped_folders)
            warnings.append(f"skipped folders that are not named as an instrument: {names}")
        return tuple(warnings)


def read_note_bank(folder: Path | None = None) -> NoteBank:
    """Read the list of notes in a folder, or of the shipped bank; sounds are decoded when played.

    An optional table `notes.csv` in the folder has the columns file, dynamic, timbre, drum_key.

    Raises:
        InputError: the folder has no notes in the expected layout, or a malformed file name or
            table.
    """
    folder = SHIPPED_BANK if folder is None else folder
    if not folder.is_dir():
        raise InputError(f"no folder of notes at {folder}; expected: {LAYOUT}")
    table = _read_note_table(folder)
    # Lists, because two folders may be one category: violin and fiddle.
    notes: dict[str, list[Note]] = defaultdict(list)
    skipped = []
    for instrument in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(path for path in instrument.iterdir() if path.suffix.lower() in SUFFIXES)
        category = find_category(instrument.name)
        if category is None:
            skipped.append(instrument.name)
        elif paths:
            notes[category] += [_make_note(path, category, table) for path in paths]
    if not notes:
        raise InputError(f"no notes in {folder}; expected: {LAYOUT}")
    ordered = {
        category: tuple(sorted(notes[category], key=lambda note: (note.midi or 0, note.name)))
        for category in REGISTERS
        if category in notes
    }
    return NoteBank(folder, ordered, tuple(skipped))


def assign_drum_kinds(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Return the notes with every drum kind set; unknown ones are assigned by brightness.

    Notes of unknown kind are ranked by spectral centroid and divided evenly over DRUM_KINDS, which
    are in order from dark to bright.
    """
    # Sorted by name as well, so that equal centroids do not make the order depend on the folder.
    unknown = sorted(
        (note for note in notes if note.drum_kind is None),
        key=lambda note: (_brightness_hz(note.path), note.name),
    )
    kinds = list(DRUM_KINDS)
    assigned = {
        note.name: kinds[rank * len(kinds) // len(unknown)] for rank, note in enumerate(unknown)
    }
    return tuple(replace(note, drum_kind=assigned.get(note.name, note.drum_kind)) for note in notes)


_KIND_OF_KEY = {key: kind for kind, keys in DRUM_KINDS.items() for key in keys}


def _make_note(path: Path, category: str, table: dict[str, dict[str, str]]) -> Note:
    """Return the note of a file: pitch from the file name, the rest from its row of notes.csv.

    Raises:
        InputError: the name of a pitched note does not start with a MIDI number.
    """
    name = f"{path.parent.name}/{path.name}"
    row = table.get(name, {})
    drum_key = row.get("drum_key")
    midi = None
    if REGISTERS[category].pitched:
        match = re.fullmatch(r"(\d{1,3})_.*", path.stem)
        if match is None or int(match[1]) > 127:
            raise InputError(
                f"the name of {path} does not start with a MIDI pitch; expected: {LAYOUT}"
            )
        midi = int(match[1])
    return Note(
        path=path,
        name=name,
        midi=midi,
        dynamic=float(row["dynamic"]) if row.get("dynamic") else None,
        timbre=row.get("timbre") or "",
        drum_kind=_KIND_OF_KEY.get(int(drum_key)) if drum_key else None,
    )


def _read_note_table(folder: Path) -> dict[str, dict[str, str]]:
    """Read the rows of notes.csv by file name; empty if the folder has no table.

    Raises:
        InputError: a column is missing or a value is out of range.
    """
    path = folder / "notes.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
        for row in rows.values():
            # Converted here for the check only, so that the error names the table.
            dynamic, _ = float(row.get("dynamic") or 0), int(row.get("drum_key") or 0)
            if not 0 <= dynamic <= 1:
                raise ValueError(f"dynamic {row['dynamic']}")
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be used ({error}); expected columns: file, dynamic (0..1), timbre, "
            "drum_key (number)"
        ) from error
    return rows


# Holds every note of the shipped bank: 591 notes, 155 MB when decoded.
@lru_cache(maxsize=768)
def _decode(path: Path) -> Float32[np.ndarray, " N"]:
    """Decode a file to 44.1 kHz from its onset, channels averaged.

    Raises:
        InputError: the file is broken, silent or not finite; the message names it.
    """
    try:
        channels, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot read the note {path}: {error}; replace or remove it") from error
    mono = channels.mean(axis=1)[None].astype(np.float32)  # [1, N]
    if not np.isfinite(mono).all() or not np.abs(mono).max(initial=0) > 0:
        raise InputError(f"the note {path} is silent or not finite; replace or remove it")
    sound = resample(mono, sample_rate_hz, SAMPLE_RATE_HZ)[0]
    onset = int(np.argmax(np.abs(sound) >= ONSET_SHARE_OF_PEAK * np.abs(sound).max()))
    waveform = sound[max(onset - round(BEFORE_ONSET_SECONDS * SAMPLE_RATE_HZ), 0) :]
    # The cache returns the same array to every caller.
    waveform.setflags(write=False)
    return waveform


@lru_cache(maxsize=1024)
def _brightness_hz(path: Path) -> float:
    """Compute the centroid of a note's power spectrum."""
    waveform = _decode(path)
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((power * np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE_HZ)).sum() / power.sum())
