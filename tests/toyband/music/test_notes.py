"""Test note banks: the shipped one, folders of recordings, the split, and errors."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.errors import InputError
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.music.notes import (
    SAMPLE_RATE_HZ,
    SHIPPED_BANK,
    assign_drum_kinds,
    is_held_out,
    read_note_bank,
)
from avsep.toyband.music.registers import DRUM_KINDS, REGISTERS


def write_note(path: Path, frequency_hz: float = 440.0, sample_rate_hz: int = 22_050) -> None:
    """Write a decaying tone of half a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(sample_rate_hz // 2) / sample_rate_hz
    tone = 0.9 * np.cos(2 * np.pi * frequency_hz * times) * np.exp(-4 * times)
    soundfile.write(path, tone.astype(np.float32), sample_rate_hz)


def test_the_shipped_bank_plays_every_category_to_both_kinds_of_seed() -> None:
    bank = read_note_bank()
    assert bank.playable(held_out=False) == bank.playable(held_out=True) == CATEGORIES
    assert bank.warnings() == ()
    assert all(len(notes) >= 30 for notes in bank.by_category.values())


def test_the_shipped_bank_is_small_and_documents_its_origin() -> None:
    num_bytes = sum(path.stat().st_size for path in SHIPPED_BANK.rglob("*.ogg"))
    assert num_bytes < 7_000_000  # it is part of the installed package
    origin = (SHIPPED_BANK / "README.md").read_text(encoding="utf-8")
    assert "MIT" in origin
    assert "Frank Wen" in origin
    assert "tools/render_notes.py" in origin


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_shipped_notes_start_at_once_and_are_as_loud_as_recorded_ones(category: str) -> None:
    for note in read_note_bank().by_category[category][::7]:
        peak = np.abs(note.waveform).max()
        assert 0.7 < peak < 1.1  # 0.9 but for what Vorbis changes
        early = np.abs(note.waveform[: round(0.02 * SAMPLE_RATE_HZ)]).max()
        assert early > 0.1 * peak
        assert abs(note.waveform[-1]) < 0.02  # no click at the end


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_held_out_fifth_covers_range_and_dynamics(category: str) -> None:
    bank = read_note_bank()
    held_out, train = bank.notes(category, True), bank.notes(category, False)
    assert not {note.name for note in held_out} & {note.name for note in train}
    assert len(held_out) + len(train) == len(bank.by_category[category])
    assert 0.15 < len(held_out) / (len(held_out) + len(train)) < 0.25
    assert len({note.dynamic for note in held_out}) == 3  # VELOCITIES of tools/render_notes.py
    if category == "drums":
        assert {"kick", "snare", "closed hat", "crash"} <= {note.drum_kind for note in held_out}
        return
    midis = [note.midi or 0 for note in held_out]
    # Harp and piano have every second pitch, so that five notes are ten semitones.
    assert max(np.diff(midis)) <= 10
    register = REGISTERS[category]
    reach = bank.register(category, held_out=True)
    assert reach.lowest <= register.lowest + 2
    assert reach.highest >= register.highest - 2


def test_seeds_from_a_thousand_are_held_out() -> None:
    assert [is_held_out(seed) for seed in (0, 999, 1000, 10**9)] == [False, False, True, True]


def test_a_folder_of_recordings_is_read_under_any_known_name(tmp_path: Path) -> None:
    for midi in range(60, 72):
        write_note(tmp_path / "Fiddle" / f"{midi:03d}_{midi - 60:03d}.ogg")
    write_note(tmp_path / "trumpet" / "060_000.wav")
    write_note(tmp_path / "kazoo" / "060_000.wav")
    (tmp_path / "Fiddle" / "about.txt").write_text("not a note")
    bank = read_note_bank(tmp_path)
    assert bank.playable(held_out=False) == ("trumpet", "violin")
    assert bank.playable(held_out=True) == ("violin",)
    assert [note.midi for note in bank.notes("violin", True)] == [62, 67]
    assert bank.notes("trumpet", True) == ()
    assert bank.warnings() == (
        "instruments with fewer than 10 notes, only used by seeds below 1000: trumpet (1)",
        "skipped folders that are not named as an instrument: kazoo",
    )


def test_a_note_at_another_rate_is_resampled_and_cached(tmp_path: Path) -> None:
    write_note(tmp_path / "piano" / "069_000.wav", sample_rate_hz=22_050)
    note = read_note_bank(tmp_path).notes("piano", False)[0]
    assert len(note.waveform) == 2 * (22_050 // 2)
    spectrum = np.abs(np.fft.rfft(note.waveform))  # half a second: bins of 2 Hz
    assert np.argmax(spectrum) * SAMPLE_RATE_HZ / len(note.waveform) == pytest.approx(440, abs=2)
    # Read-only, because the cache returns one array to all callers.
    assert note.waveform is note.waveform
    with pytest.raises(ValueError, match="read-only"):
        note.waveform[0] = 1


def test_sound_before_the_onset_is_cut(tmp_path: Path) -> None:
    (tmp_path / "banjo").mkdir()
    fingers = 0.05 * np.random.default_rng(0).standard_normal(8000)
    pluck = 0.9 * np.cos(np.arange(8000) * 0.1) * np.exp(-np.arange(8000) / 3000)
    sound = np.concatenate([fingers, pluck])
    soundfile.write(tmp_path / "banjo" / "060_000.wav", sound, SAMPLE_RATE_HZ, subtype="FLOAT")
    note = read_note_bank(tmp_path).notes("banjo", False)[0]
    assert len(note.waveform) == 8000 + round(0.003 * SAMPLE_RATE_HZ)
    assert np.allclose(note.waveform[-8000:], pluck, atol=1e-6)


def test_the_range_shrinks_to_what_the_notes_reach(tmp_path: Path) -> None:
    write_note(tmp_path / "piano" / "060_000.wav")
    write_note(tmp_path / "piano" / "066_000.wav")
    register = read_note_bank(tmp_path).register("piano", False)
    assert (register.lowest, register.highest) == (57, 69)


def test_drums_without_a_table_are_classified_by_brightness(tmp_path: Path) -> None:
    for index, frequency_hz in enumerate(np.geomspace(60, 9000, 9)):
        write_note(tmp_path / "drums" / f"{index:03d}.wav", float(frequency_hz), 44_100)
    notes = assign_drum_kinds(read_note_bank(tmp_path).notes("drums", False))
    assert [note.drum_kind for note in notes] == list(DRUM_KINDS)


def test_a_missing_or_foreign_folder_is_an_error_that_describes_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder of notes at .*<midi>_<n>\.ogg"):
        read_note_bank(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no notes in .*<midi>_<n>\.ogg"):
        read_note_bank(tmp_path)


def test_a_note_without_a_pitch_in_its_name_is_an_error(tmp_path: Path) -> None:
    write_note(tmp_path / "violin" / "A4.wav")
    with pytest.raises(InputError, match=r"A4\.wav does not start with a MIDI pitch"):
        read_note_bank(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a sound at all"])
def test_a_broken_note_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "violin").mkdir()
    (tmp_path / "violin" / "060_000.ogg").write_bytes(content)
    note = read_note_bank(tmp_path).notes("violin", False)[0]
    with pytest.raises(InputError, match=r"cannot read the note .*060_000\.ogg"):
        _ = note.waveform


def test_a_silent_note_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "violin").mkdir()
    soundfile.write(tmp_path / "violin" / "060_000.wav", np.zeros(1000), 44_100)
    note = read_note_bank(tmp_path).notes("violin", False)[0]
    with pytest.raises(InputError, match=r"060_000\.wav is silent"):
        _ = note.waveform


def test_too_few_notes_for_held_out_seeds_is_an_error(tmp_path: Path) -> None:
    write_note(tmp_path / "violin" / "060_000.wav")
    with pytest.raises(InputError, match="held-out seeds need; add notes or use a seed below 1000"):
        read_note_bank(tmp_path).playable(held_out=True)


@pytest.mark.parametrize(
    "table",
    [
        "name\nx\n",
        "file,dynamic\nviolin/060_000.wav,loud\n",
        "file,dynamic\nviolin/060_000.wav,nan\n",
        "file,dynamic\nviolin/060_000.wav,64\n",
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(tmp_path: Path, table: str) -> None:
    write_note(tmp_path / "violin" / "060_000.wav")
    (tmp_path / "notes.csv").write_text(table)
    with pytest.raises(InputError, match=r"notes\.csv cannot be used .* expected columns"):
        read_note_bank(tmp_path)
