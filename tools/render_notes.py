"""Render the note bank that toyband ships from the FluidR3 General MIDI soundfont.

The rendered bank is part of the package: users need neither fluidsynth nor the soundfont.

    apt-get install fluidsynth fluid-soundfont-gm
    python tools/render_notes.py

writes src/avsep/toyband/bank/<category>/<midi>_<n>.ogg (drums: <n>.ogg), mono 44.1 kHz,
leading silence removed, tail faded, peak 0.9, and bank/notes.csv with the dynamic of each file
(velocity / 127), its timbre (soundfont preset) and, for drums, its key in General MIDI's percussion
map. Dynamic and timbre alternate between neighbouring pitches, so that every fifth note, which
held-out seeds play, covers all of them. General MIDI has no mandolin; the soundfont has one in
bank 16.
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
# The bank number of drum kits in soundfonts.
DRUM_BANK = 128
TICKS_PER_SECOND = 960  # 480 a quarter at MIDI's default of 120 quarters a minute
# Each note has a slot of the rendered file, longer than any note with its release.
SLOT_SECONDS = 5
# Soft, medium and loud. Held-out seeds play every fifth note and so all three: 5 and 3 are coprime.
VELOCITIES = (48, 84, 118)
PEAK = 0.9
# Smaller deviations are inaudible, and near the resolution of `tune` for notes with vibrato.
TUNING_TOLERANCE_CENTS = 4
# Vorbis quality = 1 - level; see bank/README.md for what it costs in fidelity.
COMPRESSION_LEVEL = 0.9


@dataclass(frozen=True)
class RenderPlan:
    """The notes to render of one category: presets (bank, program), pitches, key duration."""

    presets: tuple[tuple[int, int], ...]
    pitches: range
    hold_seconds: float


@dataclass(frozen=True)
class KeyPress:
    """One key press: the content of its MIDI events and of its row in notes.csv."""

    preset: tuple[int, int]
    key: int
    velocity: int


PLANS = {
    "accordion": RenderPlan(((0, 21), (8, 21)), range(53, 90), 1.4),
    "banjo": RenderPlan(((0, 105),), range(48, 87), 2.0),
    "cello": RenderPlan(((0, 42),), range(36, 77), 1.4),
    "clarinet": RenderPlan(((0, 71),), range(50, 92), 1.4),
    "flute": RenderPlan(((0, 73),), range(60, 97), 1.4),
    "guitar": RenderPlan(((0, 24), (0, 25)), range(40, 84), 2.0),
    "harp": RenderPlan(((0, 46),), range(28, 101, 2), 2.0),
    "mandolin": RenderPlan(((16, 25),), range(55, 89), 2.0),
    "piano": RenderPlan(((0, 0),), range(28, 102, 2), 2.0),
    "saxophone": RenderPlan(((0, 66), (0, 64)), range(49, 83), 1.4),
    "trombone": RenderPlan(((0, 57),), range(40, 73), 1.4),
    "trumpet": RenderPlan(((0, 56),), range(54, 85), 1.4),
    "tuba": RenderPlan(((0, 58),), range(28, 59), 1.4),
    "violin": RenderPlan(((0, 40),), range(55, 93), 1.4),
    "xylophone": RenderPlan(((0, 13),), range(65, 102), 2.0),
}
# Percussion key -> kits, for kicks, snares, toms, hats, crashes and rides. Most kits of the
# soundfont share their recordings; listed are those that differ (correlation below 0.95).
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
DRUM_HOLD_SECONDS = 1.8


def main() -> None:
    """Render every category and write the note table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT)
    parser.add_argument("--out", type=Path, default=BANK)
    arguments = parser.parse_args()
    rows = []
    for category, plan in PLANS.items():
        presses = [
            KeyPress(plan.presets[n % len(plan.presets)], key, VELOCITIES[n % len(VELOCITIES)])
            for n, key in enumerate(plan.pitches)
        ]
        notes = render(presses, plan.hold_seconds, arguments.soundfont, channel=0)
        notes = [tune(note, press.key) for note, press in zip(notes, presses, strict=True)]
        names = [f"{category}/{press.key:03d}_{n:03d}.ogg" for n, press in enumerate(presses)]
        rows += write_notes(arguments.out, names, presses, notes)
    hits = [(key, kit) for key, kits in DRUM_KITS.items() for kit in kits]
    presses = [
        KeyPress((DRUM_BANK, kit), key, VELOCITIES[n % len(VELOCITIES)])
        for n, (key, kit) in enumerate(hits)
    ]
    # Channel 10 (here 9, from zero) is the percussion channel of General MIDI.
    notes = render(presses, DRUM_HOLD_SECONDS, arguments.soundfont, channel=9)
    names = [f"drums/{n:03d}.ogg" for n in range(len(presses))]
    rows += write_notes(arguments.out, names, presses, notes)
    with (arguments.out / "notes.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "dynamic", "timbre", "drum_key"])
        table.writerows(sorted(rows))
    num_bytes = sum(path.stat().st_size for path in arguments.out.rglob("*.ogg"))
    print(f"{len(rows)} notes, {num_bytes / 1e6:.2f} MB in {arguments.out}")


def render(
    presses: list[KeyPress], hold_seconds: float, soundfont: Path, channel: int
) -> list[np.ndarray]:
    """Render one trimmed mono note per key press with fluidsynth, without reverb and chorus."""
    with tempfile.TemporaryDirectory() as folder:
        midi, sound = Path(folder, "notes.mid"), Path(folder, "notes.wav")
        midi.write_bytes(midi_file(presses, hold_seconds, channel))
        command = ["fluidsynth", "-n", "-i", "-q", "-g", "0.5", "-R", "0", "-C", "0"]
        command += ["-r", str(SAMPLE_RATE_HZ), "-O", "float", "-T", "wav", "-F", str(sound)]
        subprocess.run([*command, str(soundfont), str(midi)], check=True, capture_output=True)
        stereo, _ = soundfile.read(sound, dtype="float32", always_2d=True)  # [N, 2]
    slot_samples = SLOT_SECONDS * SAMPLE_RATE_HZ
    slots = [stereo[n * slot_samples : (n + 1) * slot_samples] for n in range(len(presses))]
    # The louder channel, not the mean: the channels of a stereo recording partly cancel when added.
    return [trim(slot[:, np.argmax((slot**2).sum(0))], hold_seconds) for slot in slots]


def trim(slot: np.ndarray, hold_seconds: float) -> np.ndarray:
    """Cut the sound before the attack and fade the end."""
    assert np.abs(slot).max() > 0, "the soundfont has no sound for a key of this preset"
    loud = np.abs(slot) / np.abs(slot).max()
    # Bowed notes swell for 0.2 s: the note begins where it is audible, so that onsets are on time.
    start = max(int(np.argmax(loud > 0.15)) - int(0.003 * SAMPLE_RATE_HZ), 0)
    audible = start + int(np.flatnonzero(loud[start:] > 0.002)[-1]) + 1
    stop = min(audible, start + int((hold_seconds + 0.1) * SAMPLE_RATE_HZ))
    note = slot[start:stop].copy()
    rise, fall = int(0.004 * SAMPLE_RATE_HZ), min(int(0.1 * SAMPLE_RATE_HZ), len(note) // 2)
    note[:rise] *= np.linspace(0, 1, rise)
    note[-fall:] *= np.cos(np.linspace(0, np.pi / 2, fall)) ** 2
    return note


def tune(note: np.ndarray, key: int) -> np.ndarray:
    """Resample a note to the pitch of its key; some of the soundfont are up to 35 cents off."""
    # Without the attack, whose pitch is unsteady; zero-padded to bins of 0.08 Hz.
    steady = note[int(0.1 * SAMPLE_RATE_HZ) :][: int(0.8 * SAMPLE_RATE_HZ)]
    spectrum = np.abs(np.fft.rfft(steady * np.hanning(len(steady)), 1 << 19))
    cents = np.arange(-60, 61)
    pitches_hz = 440 * 2 ** ((key - 69) / 12 + cents / 1200)
    harmonics_hz = np.arange(1, 7)[:, None] * pitches_hz  # [harmonic, candidate]
    bins = harmonics_hz * (1 << 19) / SAMPLE_RATE_HZ
    # Six harmonics together give the pitch even where the fundamental is weak, as in low notes.
    magnitudes = np.interp(bins, np.arange(len(spectrum)), spectrum, right=0).sum(0)
    sharp_cents = cents[np.argmax(magnitudes)]
    if abs(sharp_cents) <= TUNING_TOLERANCE_CENTS:
        return note
    return soxr.resample(note, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * 2 ** (sharp_cents / 1200))


def write_notes(
    folder: Path, names: list[str], presses: list[KeyPress], notes: list[np.ndarray]
) -> list[tuple[str, str, str, str]]:
    """Write one file per note and return their rows of notes.csv."""
    rows = []
    for name, press, note in zip(names, presses, notes, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            folder / name,
            note * (PEAK / np.abs(note).max()),
            SAMPLE_RATE_HZ,
            format="OGG",
            subtype="VORBIS",
            compression_level=COMPRESSION_LEVEL,
        )
        bank, program = press.preset
        drum_key = str(press.key) if bank == DRUM_BANK else ""
        rows.append((name, f"{press.velocity / 127:.2f}", f"{bank}-{program}", drum_key))
    return rows


def midi_file(presses: list[KeyPress], hold_seconds: float, channel: int) -> bytes:
    """Return a standard MIDI file of format 0 with one slot per key press.

    Each slot has a program change, note on, note off, and all sound off at its end.
    """
    hold_ticks = int(hold_seconds * TICKS_PER_SECOND)
    rest_ticks = SLOT_SECONDS * TICKS_PER_SECOND - hold_ticks
    track = b""
    for press in presses:
        bank, program = press.preset
        # Channel 10 always plays drum kits; other channels select the bank by controller 0.
        if bank != DRUM_BANK:
            track += b"\x00" + bytes([0xB0 | channel, 0, bank])
        track += b"\x00" + bytes([0xC0 | channel, program])
        track += b"\x00" + bytes([0x90 | channel, press.key, press.velocity])
        track += variable_length(hold_ticks) + bytes([0x80 | channel, press.key, 0])
        track += variable_length(rest_ticks) + bytes([0xB0 | channel, 120, 0])
    track += b"\x00\xff\x2f\x00"
    head = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, TICKS_PER_SECOND // 2)
    return head + struct.pack(">4sI", b"MTrk", len(track)) + track


def variable_length(ticks: int) -> bytes:
    """Encode a MIDI delta time: seven bits per byte, the highest bit set on all but the last."""
    digits = [ticks & 0x7F]
    while ticks := ticks >> 7:
        digits.insert(0, ticks & 0x7F | 0x80)
    return bytes(digits)


if __name__ == "__main__":
    main()
