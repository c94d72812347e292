"""Render parts with recorded notes, mix stems to the sample, and add background noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Float64, Int16

from avsep.errors import InputError
from avsep.sound.resampling import resample
from avsep.toyband.music.notes import SAMPLE_RATE_HZ, Note, assign_drum_kinds
from avsep.toyband.music.registers import DRUM_KINDS, REGISTERS, drum_kind
from avsep.toyband.music.score import NoteEvent, ScorePart

# Level difference between dynamics 1 and 0, the loudest and the softest note.
DYNAMIC_RANGE_DB = 24.0
# Notes that are at most this much further from the event's pitch than the nearest one are
# candidates; the nearest dynamic among them is taken. Neighbours in the shipped bank differ in
# dynamic, so the nearest pitch alone would leave the dynamic to chance.
PITCH_TOLERANCE_SEMITONES = 2
# A performer keeps to one timbre if it has at least this many notes.
MIN_NOTES_OF_TIMBRE = 8
# Fade-in of every note, against a click where the recording does not begin at zero.
ATTACK_SECONDS = 0.002
# Peak of the louder of mixture and stems, relative to full scale: 1 dB below it.
PEAK = 0.89
FULL_SCALE = 32767
# Two periods of the lowest note (MIDI 29, 44 Hz), so that the RMS does not follow its wave.
ENVELOPE_WINDOW_SECONDS = 0.05


@dataclass(frozen=True)
class Performance:
    """A rendered part: mono sound at 44.1 kHz, and the bank note used for each event."""

    waveform: Float32[np.ndarray, " N"]
    note_names: tuple[str, ...]


def perform(
    part: ScorePart, notes: Sequence[Note], duration_seconds: float, generator: np.random.Generator
) -> Performance:
    """Render a part with the notes of its category in a bank.

    Each event uses the note nearest in pitch, then in dynamic, at random among equals. The note is
    pitch-shifted by resampling and fades after the event's duration, over the instrument's
    `ring_seconds`. A recording shorter than the event is not extended.
    """
    assert notes, f"no notes of {part.category} to play"
    register = REGISTERS[part.category]
    choose = _note_chooser(notes, generator) if register.pitched else _draw_kit(notes, generator)
    waveform = np.zeros(round(duration_seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    names = []
    for event in part.events:
        note = choose(event)
        shift = 0 if note.midi is None else event.midi - note.midi
        sound = _render_note(note, shift, event.duration_seconds, register.ring_seconds)
        start = round(event.onset_seconds * SAMPLE_RATE_HZ)
        gain = 10 ** (DYNAMIC_RANGE_DB * (event.dynamic - 1) / 20)
        target = waveform[start : start + len(sound)]  # shorter than the sound at the clip's end
        target += np.float32(gain) * sound[: len(target)]
        names.append(note.name)
    return Performance(waveform, tuple(names))


def _note_chooser(
    notes: Sequence[Note], generator: np.random.Generator
) -> Callable[[NoteEvent], Note]:
    """Draw a timbre, and return a function from an event to its nearest note of that timbre."""
    timbres = sorted({note.timbre for note in notes})
    timbre = timbres[int(generator.integers(len(timbres)))]
    candidates = [note for note in notes if note.timbre == timbre]
    if len(candidates) < MIN_NOTES_OF_TIMBRE:
        candidates = list(notes)
    midis = np.array([note.midi for note in candidates])
    dynamics = np.array([np.nan if note.dynamic is None else note.dynamic for note in candidates])

    def choose(event: NoteEvent) -> Note:
        distances = np.abs(midis - event.midi)
        near = np.flatnonzero(distances <= distances.min() + PITCH_TOLERANCE_SEMITONES)
        # Recordings have no known dynamic (NaN): all of them are then equally good.
        differences = np.nan_to_num(np.abs(dynamics[near] - event.dynamic), nan=0.0)
        equal = near[differences <= differences.min() + 1e-9]
        return candidates[int(equal[int(generator.integers(len(equal)))])]

    return choose


def _draw_kit(notes: Sequence[Note], generator: np.random.Generator) -> Callable[[NoteEvent], Note]:
    """Draw a kit, one note for each piece, and return a function from an event to its note.

    A piece without notes is replaced by the nearest piece in brightness.
    """
    # Drawn once per part: a drum that changed its sound at every stroke would not sound like one.
    kinds = list(DRUM_KINDS)
    notes = assign_drum_kinds(notes)
    present = [kind for kind in kinds if any(note.drum_kind == kind for note in notes)]
    kit = {}
    for index, kind in enumerate(kinds):
        nearest = min(present, key=lambda other: abs(kinds.index(other) - index))
        hits = [note for note in notes if note.drum_kind == nearest]
        kit[kind] = hits[int(generator.integers(len(hits)))]
    return lambda event: kit[drum_kind(event.midi)]


def _render_note(
    note: Note, shift_semitones: int, duration_seconds: float, ring_seconds: float
) -> Float32[np.ndarray, " N"]:
    """Render a note: pitch-shifted, with a fade-in, and a fade-out after its duration."""
    ratio = 2 ** (shift_semitones / 12)
    release = round(duration_seconds * SAMPLE_RATE_HZ)
    num_samples = release + round(ring_seconds * SAMPLE_RATE_HZ)
    source = note.waveform[: int(np.ceil(num_samples * ratio)) + 1][None]
    # Resampling from a higher rate than the true one raises the pitch. The rate is a whole number
    # of hertz, which is exact to 0.04 cents.
    sound = resample(source, round(SAMPLE_RATE_HZ * ratio), SAMPLE_RATE_HZ)[0, :num_samples].copy()
    attack = min(round(ATTACK_SECONDS * SAMPLE_RATE_HZ), len(sound))
    sound[:attack] *= np.linspace(0, 1, attack, dtype=np.float32)
    num_ringing = len(sound) - release
    if num_ringing > 0:
        # Relative to the whole fade, since the recording may end within it.
        phase = np.arange(num_ringing, dtype=np.float32) / (num_samples - release)
        sound[release:] *= np.cos(np.pi / 2 * phase) ** 2
    return sound


def envelope(
    waveform: Float32[np.ndarray, " N"], frame_rate_hz: float, num_frames: int
) -> Float32[np.ndarray, " K"]:
    """Compute the loudness at each video frame, from 0 (silent) to 1 (the loudest frame).

    Frame k covers the 50 ms around k / frame_rate_hz. The value is the square root of the RMS,
    which is close to perceived loudness (a power law with exponent about 0.6 of the pressure), so
    that soft notes are visible too.
    """
    # A running sum makes the cost independent of the window length.
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    centres = np.arange(num_frames) / frame_rate_hz * SAMPLE_RATE_HZ
    half = ENVELOPE_WINDOW_SECONDS / 2 * SAMPLE_RATE_HZ
    start = np.clip(np.rint(centres - half), 0, len(waveform)).astype(int)
    stop = np.clip(np.rint(centres + half), 0, len(waveform)).astype(int)
    # Differences of a running sum can fall below zero by rounding.
    rms = np.sqrt(np.maximum(energy[stop] - energy[start], 0) / (2 * half))
    loudest = rms.max(initial=0)
    if loudest < 1e-7:
        return np.zeros(num_frames, dtype=np.float32)
    return np.sqrt(rms / loudest).astype(np.float32)


# Stems and mixture


def balance(
    stems: Float32[np.ndarray, "S N"], generator: np.random.Generator, spread_db: float = 6.0
) -> Float32[np.ndarray, "S N"]:
    """Scale the stems to equal active level, with random differences of at most `spread_db`.

    Silent stems stay silent.
    """
    # 0.1 is arbitrary: `mix_stems` scales all stems by one factor.
    gains_db = generator.uniform(-spread_db / 2, spread_db / 2, len(stems))
    levels = np.array([active_rms(stem) for stem in stems])
    gains = np.where(levels > 0, 0.1 * 10 ** (gains_db / 20) / np.maximum(levels, 1e-12), 0)
    return stems * gains[:, None].astype(np.float32)


def active_rms(waveform: Float32[np.ndarray, " N"]) -> float:
    """Compute the RMS over the 50 ms windows that are less than 40 dB below the loudest one.

    Rests do not count, so that a sparse part is not made louder than a dense one.
    """
    window_samples = max(min(round(ENVELOPE_WINDOW_SECONDS * SAMPLE_RATE_HZ), len(waveform)), 1)
    windowed = waveform[: len(waveform) // window_samples * window_samples].astype(np.float64)
    power: Float64[np.ndarray, " windows"] = (windowed.reshape(-1, window_samples) ** 2).mean(1)
    loudest = power.max(initial=0)
    return float(np.sqrt(power[power >= 1e-4 * loudest].mean())) if loudest > 0 else 0.0


def mix_stems(
    stems: Float32[np.ndarray, "S C N"], peak: float = PEAK
) -> tuple[Int16[np.ndarray, "S C N"], Int16[np.ndarray, "C N"]]:
    """Quantise stems and mixture to 16 bits; the stems sum to the mixture, exact to the sample.

    One factor scales all of them so that the loudest of mixture and stems peaks at `peak` of full
    scale. Silent stems give a silent mixture.
    """
    # A stem can peak above the mixture where stems cancel.
    loudest = max(float(np.abs(stems).max(initial=0)), float(np.abs(stems.sum(0)).max(initial=0)))
    scale = peak * FULL_SCALE / loudest if loudest > 0 else 0.0
    quantised = np.rint(stems.astype(np.float64) * scale).astype(np.int32)
    # The sum of the rounded stems, not the rounded sum: only this one is exact.
    mixture = quantised.sum(0)
    assert np.abs(mixture).max(initial=0) <= FULL_SCALE, "peak leaves no room for rounding"
    return quantised.astype(np.int16), mixture.astype(np.int16)


# Background noise

# Level below the sum of the players: audible, but never the loudest sound.
NOISE_RANGE_DB = (-20.0, -6.0)
CROSSFADE_SECONDS = 0.25
# Attempts to draw an excerpt that is not silent: recordings of single events are mostly silence.
NUM_DRAWS = 8


@dataclass(frozen=True)
class NoiseBed:
    """A noise without a visible object: mono sound at 44.1 kHz, its file, its level in dB."""

    waveform: Float32[np.ndarray, " N"]
    path: Path
    level_db: float


def read_noise_folder(folder: Path) -> tuple[Path, ...]:
    """List the sound files in a folder and its subfolders, sorted.

    Files without the suffix of a sound format are ignored.

    Raises:
        InputError: the folder has no sound files, or one is broken; the message names it.
    """
    # Names of formats are their usual suffixes, except for these three.
    suffixes = {f".{name.lower()}" for name in soundfile.available_formats()}
    suffixes |= {".aif", ".oga", ".opus"}
    if not folder.is_dir():
        raise InputError(f"no folder of noise at {folder}; give a folder of sound files")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise InputError(f"no sound files in {folder} or below; allowed: wav, flac, ogg, mp3")
    for path in paths:
        try:
            soundfile.info(path)
        except (OSError, soundfile.SoundFileError) as error:
            raise InputError(f"cannot read the noise {path}: {error}; remove it") from error
    return tuple(paths)


def draw_noise_bed(
    paths: Sequence[Path], band: Float32[np.ndarray, " N"], generator: np.random.Generator
) -> NoiseBed:
    """Draw an excerpt of a random file, as long as the band and 6 to 20 dB below its active level.

    Shorter files are looped with a crossfade.

    Raises:
        InputError: the file is broken or silent; the message names it.
    """
    path = paths[int(generator.integers(len(paths)))]
    level_db = float(generator.uniform(*NOISE_RANGE_DB))
    for _ in range(NUM_DRAWS):
        excerpt = _read_excerpt(path, len(band), generator)
        if excerpt.any():
            looped = _loop(excerpt, len(band), generator)
            gain = active_rms(band) * 10 ** (level_db / 20) / active_rms(looped)
            return NoiseBed(looped * np.float32(gain), path, level_db)
    raise InputError(f"the noise {path} is silent; replace or remove it")


def _read_excerpt(
    path: Path, num_samples: int, generator: np.random.Generator
) -> Float32[np.ndarray, " M"]:
    """Read an excerpt from a random position, or the whole of a shorter file, at 44.1 kHz."""
    try:
        with soundfile.SoundFile(path) as file:
            num_frames = int(np.ceil(num_samples * file.samplerate / SAMPLE_RATE_HZ))
            file.seek(int(generator.integers(max(file.frames - num_frames, 0) + 1)))
            channels = file.read(num_frames, dtype="float32", always_2d=True)
            sample_rate_hz = file.samplerate
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot read the noise {path}: {error}; remove it") from error
    mono = channels.mean(axis=1)[None].astype(np.float32)
    if not np.isfinite(mono).all():
        raise InputError(f"the noise {path} has NaN or infinite samples; remove it")
    excerpt = resample(mono, sample_rate_hz, SAMPLE_RATE_HZ)[0, :num_samples]
    # Digital silence at both ends is padding, which looping would repeat as gaps.
    nonzero = np.flatnonzero(excerpt)
    return excerpt[nonzero[0] : nonzero[-1] + 1] if len(nonzero) else excerpt


def _loop(
    excerpt: Float32[np.ndarray, " M"], num_samples: int, generator: np.random.Generator
) -> Float32[np.ndarray, " N"]:
    """Loop an excerpt to a length, with equal-power crossfades, from a random position."""
    if len(excerpt) >= num_samples:
        return excerpt[:num_samples]
    overlap = min(round(CROSSFADE_SECONDS * SAMPLE_RATE_HZ), len(excerpt) // 2)
    # sin^2 + cos^2 = 1: noise keeps its power through the crossfade.
    fade = np.sin(np.linspace(0, np.pi / 2, overlap, dtype=np.float32))
    faded = excerpt.copy()
    faded[:overlap] *= fade
    faded[len(faded) - overlap :] *= fade[::-1]
    period = len(excerpt) - overlap
    looped = np.zeros(num_samples + 2 * period + len(excerpt), dtype=np.float32)
    for start in range(0, num_samples + 2 * period, period):
        looped[start : start + len(faded)] += faded
    # From the second repetition on: the first one begins with a fade-in from silence.
    first = period + int(generator.integers(period))
    return looped[first : first + num_samples]
