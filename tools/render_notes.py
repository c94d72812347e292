"""Render the note bank that toyband ships, from the FluidR3 General MIDI soundfont.

Run once by the authors; users need neither fluidsynth nor the soundfont:

    apt-get install fluidsynth fluid-soundfont-gm
    python tools/render_notes.py

writes src/avsep/toyband/bank/<category>/<midi>_<n>.ogg (drums: <n>.ogg), mono 44.1 kHz,
leading silence removed, tail faded, peak 0.9, and bank/notes.csv, which tells of each file the
dynamic it was struck with (velocity / 127), its timbre (soundfont preset) and, for drums, its key
in General MIDI's percussion map. Neighbouring pitches take turns in dynamic and timbre, so that
every fifth note, which held-out seeds play, meets all of them. General MIDI has no mandolin; the
soundfont has one in bank 16.
"""

import argparse
import csv
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 44_100
SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
BANK = Path(__file__).parents[1] / "src/avsep/toyband/bank"
# Where soundfonts keep drum kits.
DRUM_BANK = 128
TICKS_PER_SECOND = 960  # 480 a quarter at MIDI's default of 120 quarters a minute
SLOT_SECONDS = 5
VELOCITIES = (48, 84, 118)
PEAK = 0.9
TUNING_TOLERANCE_CENTS = 4
# Vorbis quality = 1 - level; see bank/README.md for what it costs in fidelity.
COMPRESSION_LEVEL = 0.9


@dataclass(frozen=True)
class Plan:
    """What to render of one category: presets (bank, program), pitches, how long a key is held."""

    presets: tuple[tuple[int, int], ...]
    pitches: range
    held_seconds: float


@dataclass(frozen=True)
class Strike:
    """One key pressed: what is written to the MIDI file and, later, to notes.csv."""

    preset: tuple[int, int]
    key: int
    velocity: int


PLANS = {
    "accordion": Plan(((0, 21), (8, 21)), range(53, 90), 1.4),
    "banjo": Plan(((0, 105),), range(48, 87), 2.0),
    "cello": Plan(((0, 42),), range(36, 77), 1.4),
    "clarinet": Plan(((0, 71),), range(50, 92), 1.4),
    "flute": Plan(((0, 73),), range(60, 97), 1.4),
    "guitar": Plan(((0, 24), (0, 25)), range(40, 84), 2.0),
    "harp": Plan(((0, 46),), range(28, 101, 2), 2.0),
    "mandolin": Plan(((16, 25),), range(55, 89), 2.0),
    "piano": Plan(((0, 0),), range(28, 102, 2), 2.0),
    "saxophone": Plan(((0, 66), (0, 64)), range(49, 83), 1.4),
    "trombone": Plan(((0, 57),), range(40, 73), 1.4),
    "trumpet": Plan(((0, 56),), range(54, 85), 1.4),
    "tuba": Plan(((0, 58),), range(28, 59), 1.4),
    "violin": Plan(((0, 40),), range(55, 93), 1.4),
    "xylophone": Plan(((0, 13),), range(65, 102), 2.0),
}
# Kicks, snares, toms low to high, closed hats, open hats, crashes, rides: key -> kits. Most kits
# of the soundfont share their recordings; these are the ones that differ (correlation below 0.95).
DRUM_KITS: dict[int, tuple[int, ...]] = {
    36: (0, 8, 16, 32),
    35: (0, 16),
    38: (0, 16, 32, 40),
    40: (0, 16, 40),
    37: (0,),
    **dict.fromkeys((41, 43, 45, 47, 48, 50, 42), (0, 16)),
    44: (0,),
    46: (0, 16),
    49: (0, 8),
    **dict.fromkeys((57, 52, 55, 51, 53, 59), (0,)),
}
DRUM_HELD_SECONDS = 1.8


def main() -> None:
    """Render every category and write the table of notes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT)
    parser.add_argument("--out", type=Path, default=BANK)
    arguments = parser.parse_args()
    rows = []
    for category, plan in PLANS.items():
        strikes = [
            Strike(plan.presets[n % len(plan.presets)], key, VELOCITIES[n % len(VELOCITIES)])
            for n, key in enumerate(plan.pitches)
        ]
        notes = render(strikes, plan.held_seconds, arguments.soundfont, channel=0)
        notes = [tune(note, strike.key) for note, strike in zip(notes, strikes, strict=True)]
        names = [f"{category}/{strike.key:03d}_{n:03d}.ogg" for n, strike in enumerate(strikes)]
        rows += write_notes(arguments.out, names, strikes, notes)
    hits = [(key, kit) for key, kits in DRUM_KITS.items() for kit in kits]
    strikes = [
        Strike((DRUM_BANK, kit), key, VELOCITIES[n % len(VELOCITIES)])
        for n, (key, kit) in enumerate(hits)
    ]
    notes = render(strikes, DRUM_HELD_SECONDS, arguments.soundfont, channel=9)
    names = [f"drums/{n:03d}.ogg" for n in range(len(strikes))]
    rows += write_notes(arguments.out, names, strikes, notes)
    with (arguments.out / "notes.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "dynamic", "timbre", "drum_key"])
        table.writerows(sorted(rows))
    num_bytes = sum(path.stat().st_size for path in arguments.out.rglob("*.ogg"))
    print(f"{len(rows)} notes, {num_bytes / 1e6:.2f} MB in {arguments.out}")


def render(
    strikes: list[Strike], held_seconds: float, soundfont: Path, channel: int
) -> list[np.ndarray]:
    """One trimmed mono note a strike, played dry (no reverb, no chorus), a slot of seconds each."""
    with tempfile.TemporaryDirectory() as folder:
        midi, sound = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        midi.write_bytes(midi_file(strikes, held_seconds, channel))
        command = ["fluidsynth", "-n", "-i", "-q", "-g", "0.5", "-R", "0", "-C", "0"]
        command += ["-r", str(SAMPLE_RATE_HZ), "-O", "float", "-T", "wav", "-F", str(sound)]
        subprocess.run([*command, str(soundfont), str(midi)], check=True, capture_output=True)
        stereo, _ = soundfile.read(sound, dtype="float32", always_2d=True)  # [N, 2]
    slot_samples = SLOT_SECONDS * SAMPLE_RATE_HZ
    slots = [stereo[n * slot_samples : (n + 1) * slot_samples] for n in range(len(strikes))]
    # One side, not the mean: the two sides of a stereo recording cancel when added.
    return [trim(slot[:, np.argmax((slot**2).sum(0))], held_seconds) for slot in slots]


def trim(slot: np.ndarray, held_seconds: float) -> np.ndarray:
    """The note without what comes before its attack, faded at the end."""
    assert np.abs(slot).max() > 0, "the soundfont has no sound for a key of this preset"
    loud = np.abs(slot) / np.abs(slot).max()
    # Bowed notes swell for 0.2 s: begin where they are heard, so that onsets are on time.
    start = max(int(np.argmax(loud > 0.15)) - int(0.003 * SAMPLE_RATE_HZ), 0)
    audible = start + int(np.flatnonzero(loud[start:] > 0.002)[-1]) + 1
    stop = min(audible, start + int((held_seconds + 0.1) * SAMPLE_RATE_HZ))
    note = slot[start:stop].copy()
    rise, fall = int(0.004 * SAMPLE_RATE_HZ), min(int(0.1 * SAMPLE_RATE_HZ), len(note) // 2)
    note[:rise] *= np.linspace(0, 1, rise)
    note[-fall:] *= np.cos(np.linspace(0, np.pi / 2, fall)) ** 2
    return note


def tune(note: np.ndarray, key: int) -> np.ndarray:
    """The note at the pitch of its key: some of the soundfont's are up to 35 cents off."""
    stretch = note[int(0.1 * SAMPLE_RATE_HZ) :][: int(0.8 * SAMPLE_RATE_HZ)]
    spectrum = np.abs(np.fft.rfft(stretch * np.hanning(len(stretch)), 1 << 19))
    cents = np.arange(-60, 61)
    pitches_hz = 440 * 2 ** ((key - 69) / 12 + cents / 1200)
    harmonics_hz = np.arange(1, 7)[:, None] * pitches_hz  # [harmonic, candidate]
    bins = harmonics_hz * (1 << 19) / SAMPLE_RATE_HZ
    found = np.interp(bins, np.arange(len(spectrum)), spectrum, right=0).sum(0)
    sharp_cents = cents[np.argmax(found)]
    if abs(sharp_cents) <= TUNING_TOLERANCE_CENTS:
        return note
    return soxr.resample(note, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * 2 ** (sharp_cents / 1200))


def write_notes(
    folder: Path, names: list[str], strikes: list[Strike], notes: list[np.ndarray]
) -> list[tuple[str, str, str, str]]:
    """Write one file a note; returns their rows of notes.csv."""
    rows = []
    for name, strike, note in zip(names, strikes, notes, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            folder / name,
            note * (PEAK / np.abs(note).max()),
            SAMPLE_RATE_HZ,
            format="OGG",
            subtype="VORBIS",
            compression_level=COMPRESSION_LEVEL,
        )
        bank, program = strike.preset
        drum_key = str(strike.key) if bank == DRUM_BANK else ""
        rows.append((name, f"{strike.velocity / 127:.2f}", f"{bank}-{program}", drum_key))
    return rows


def midi_file(strikes: list[Strike], held_seconds: float, channel: int) -> bytes:
    """A standard MIDI file, format 0; each slot sets the preset, presses, lets go, falls silent."""
    held = int(held_seconds * TICKS_PER_SECOND)
    rest = SLOT_SECONDS * TICKS_PER_SECOND - held
    track = b""
    for strike in strikes:
        bank, program = strike.preset
        if bank != DRUM_BANK:
            track += b"\x00" + bytes([0xB0 | channel, 0, bank])
        track += b"\x00" + bytes([0xC0 | channel, program])
        track += b"\x00" + bytes([0x90 | channel, strike.key, strike.velocity])
        track += variable_length(held) + bytes([0x80 | channel, strike.key, 0])
        track += variable_length(rest) + bytes([0xB0 | channel, 120, 0])
    track += b"\x00\xff\x2f\x00"
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_SECOND // 2)
    return head + struct.pack(">4sI", b"MTrk", len(track)) + track


def variable_length(ticks: int) -> bytes:
    """A number as MIDI writes times: seven bits a byte, the highest bit set on all but the last."""
    digits = [ticks & 0x7F]
    while ticks := ticks >> 7:
        digits.insert(0, ticks & 0x7F | 0x80)
    return bytes(digits)


if __name__ == "__main__":
    main()
