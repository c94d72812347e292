"""Banks of single notes, shipped or a folder of recordings, split for training and held out."""

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
from avsep.toyband.music.registers import DRUM_KINDS, REGISTERS, Register, register_of

SAMPLE_RATE_HZ = 44_100
SHIPPED_BANK = Path(__file__).parents[1] / "bank"
SUFFIXES = (".flac", ".ogg", ".wav")
# Seeds from here upward play the held-out notes only, lower seeds the others only.
HELD_OUT_SEEDS_FROM = 1000
# Of a category's notes in order, the third of every five is held out.
HELD_OUT_EVERY, HELD_OUT_PLACE = 5, 2
# A note begins just before it first reaches this share of its peak. Recordings often hold a finger
# on the string or the start of a breath before it, 0.2 s and more, which would put the sound behind
# the picture.
ONSET_SHARE_OF_PEAK = 0.25
BEFORE_ONSET_SECONDS = 0.003
# With fewer notes a category is not split: held-out seeds do without it.
FEWEST_TO_SPLIT = 10

LAYOUT = (
    "DIR/<instrument>/<midi>_<n>.ogg (or .wav, .flac; midi 60 is the middle C), "
    "DIR/drums/<n>.ogg, with instruments such as violin or piano"
)


def is_held_out(seed: int) -> bool:
    """Whether a seed plays held-out notes (1000 and upward) or the notes for training (below).

    >>> is_held_out(999), is_held_out(1000)
    (False, True)
    """
    return seed >= HELD_OUT_SEEDS_FROM


@dataclass(frozen=True)
class Note:
    """One note of a bank.

    Attributes:
        name: its path within the bank, `violin/060_003.ogg`.
        midi: its pitch, none for drums.
        dynamic: how hard it was struck, 0..1, or none: recordings do not tell.
        timbre: notes that go together (one make of guitar), empty when not told.
        drum_kind: the piece of the kit, one of DRUM_KINDS, or none when not told.
    """

    path: Path
    name: str
    midi: int | None
    dynamic: float | None = None
    timbre: str = ""
    drum_kind: str | None = None

    @property
    def waveform(self) -> Float32[np.ndarray, " N"]:
        """Its sound at 44.1 kHz from its onset, read-only; decoded once, then kept for a while."""
        return _decode(self.path)


@dataclass(frozen=True)
class NoteBank:
    """The notes of every category, in order of pitch; what was left out and why."""

    folder: Path
    by_category: dict[str, tuple[Note, ...]]
    skipped_folders: tuple[str, ...] = ()

    def notes(self, category: str, held_out: bool) -> tuple[Note, ...]:
        """The notes that held-out seeds, or the others, may play; the two never share one.

        Of the notes in order of pitch, every fifth is held out. A category of fewer than ten notes
        is not split: all its notes are for training and none is held out.
        """
        notes = self.by_category.get(category, ())
        if len(notes) < FEWEST_TO_SPLIT:
            return () if held_out else notes
        return tuple(
            note
            for place, note in enumerate(notes)
            if (place % HELD_OUT_EVERY == HELD_OUT_PLACE) == held_out
        )

    def playable(self, held_out: bool) -> tuple[str, ...]:
        """The categories that can be played, in the order of CATEGORIES; an InputError if none."""
        found = tuple(name for name in REGISTERS if self.notes(name, held_out))
        if not found:
            raise InputError(
                f"no instrument of {self.folder} has the {FEWEST_TO_SPLIT} notes that held-out "
                f"seeds need; add notes or use a seed below {HELD_OUT_SEEDS_FROM}"
            )
        return found

    def register(self, category: str, held_out: bool) -> Register:
        """The range of an instrument as far as these notes reach."""
        return register_of(category, (note.midi for note in self.notes(category, held_out)))

    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the folder: one sentence each, none when all is well."""
        small = [
            f"{name} ({len(notes)})"
            for name, notes in self.by_category.items()
            if len(notes) < FEWEST_TO_SPLIT
        ]
        warnings = []
        if small:
            warnings.append(
                f"too few notes to hold any out, so only seeds below {HELD_OUT_SEEDS_FROM} "
                f"play them: {', '.join(small)}"
            )
        if self.skipped_folders:
            names = ", ".join(self.skipped_folders)
            warnings.append(f"{len(self.skipped_folders)} folders skipped, no known names: {names}")
        return tuple(warnings)


def read_note_bank(folder: Path | None = None) -> NoteBank:
    """The bank in a folder, or the shipped one; files are listed now and decoded when played.

    A table `notes.csv` in the folder (file, dynamic, timbre, drum_key) may tell more of each note.
    Raises InputError when the folder holds no notes in the layout, or a name that is not of it.
    """
    folder = SHIPPED_BANK if folder is None else folder
    if not folder.is_dir():
        raise InputError(f"no folder of notes at {folder}; expected: {LAYOUT}")
    facts = _read_facts(folder)
    found: dict[str, list[Note]] = defaultdict(list)
    skipped = []
    for instrument in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(path for path in instrument.iterdir() if path.suffix.lower() in SUFFIXES)
        category = find_category(instrument.name)
        if category is None:
            skipped.append(instrument.name)
        elif paths:
            found[category] += [_list_note(path, category, facts) for path in paths]
    if not found:
        raise InputError(f"no notes in {folder}; expected: {LAYOUT}")
    ordered = {
        category: tuple(sorted(found[category], key=lambda note: (note.midi or 0, note.name)))
        for category in REGISTERS
        if category in found
    }
    return NoteBank(folder, ordered, tuple(skipped))


def tell_drum_kinds(notes: Sequence[Note]) -> tuple[Note, ...]:
    """The same notes, each with a piece of the kit; where none is told, brightness decides.

    Hits are ranked by the centroid of their spectra and shared out over DRUM_KINDS, dark to bright.
    """
    unknown = sorted(
        (note for note in notes if note.drum_kind is None),
        key=lambda note: (_brightness_hz(note.path), note.name),
    )
    kinds = list(DRUM_KINDS)
    guessed = {
        note.name: kinds[place * len(kinds) // len(unknown)] for place, note in enumerate(unknown)
    }
    return tuple(replace(note, drum_kind=guessed.get(note.name, note.drum_kind)) for note in notes)


def _list_note(path: Path, category: str, facts: dict[str, dict[str, str]]) -> Note:
    """What the name of a file, and notes.csv if there is one, tell of a note."""
    name = f"{path.parent.name}/{path.name}"
    row = facts.get(name, {})
    drum_key = row.get("drum_key")
    midi = None
    if REGISTERS[category].pitched:
        match = re.fullmatch(r"(\d{1,3})_.*", path.stem)
        if match is None or int(match[1]) > 127:
            raise InputError(f"the name of {path} does not start with a MIDI pitch; {LAYOUT}")
        midi = int(match[1])
    return Note(
        path=path,
        name=name,
        midi=midi,
        dynamic=float(row["dynamic"]) if row.get("dynamic") else None,
        timbre=row.get("timbre") or "",
        drum_kind=_KIND_OF_KEY.get(int(drum_key)) if drum_key else None,
    )


_KIND_OF_KEY = {key: kind for kind, keys in DRUM_KINDS.items() for key in keys}


def _read_facts(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of notes.csv by file; empty without one."""
    table = folder / "notes.csv"
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
        for row in rows.values():
            dynamic, _ = float(row.get("dynamic") or 0), int(row.get("drum_key") or 0)
            if not 0 <= dynamic <= 1:
                raise ValueError(f"dynamic {row['dynamic']}")
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(
            f"{table} cannot be used ({error}); expected columns: file, dynamic (0..1), timbre, "
            "drum_key (number)"
        ) from error
    return rows


@lru_cache(maxsize=768)
def _decode(path: Path) -> Float32[np.ndarray, " N"]:
    """The sound of a file at 44.1 kHz from its onset, channels averaged.

    InputError names a broken file.
    """
    try:
        channels, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot read the note {path}: {error}; replace or remove it") from error
    mono = channels.mean(axis=1)[None].astype(np.float32)  # [1, N]
    if not np.isfinite(mono).all() or not np.abs(mono).max(initial=0) > 0:
        raise InputError(f"the note {path} is silent or not finite; replace or remove it")
    sound = resample(mono, sample_rate_hz, SAMPLE_RATE_HZ)[0]
    reached = int(np.argmax(np.abs(sound) >= ONSET_SHARE_OF_PEAK * np.abs(sound).max()))
    waveform = sound[max(reached - round(BEFORE_ONSET_SECONDS * SAMPLE_RATE_HZ), 0) :]
    waveform.setflags(write=False)
    return waveform


@lru_cache(maxsize=1024)
def _brightness_hz(path: Path) -> float:
    """The centroid of a note's power spectrum."""
    waveform = _decode(path)
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((power * np.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE_HZ)).sum() / power.sum())
