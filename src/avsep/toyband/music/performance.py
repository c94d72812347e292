"""From score to sound: parts played on notes, stems that sum to the mixture, noise behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32, Float64, Int16

from avsep.errors import InputError
from avsep.sound.resampling import resample
from avsep.toyband.music.notes import SAMPLE_RATE_HZ, Note, tell_drum_kinds
from avsep.toyband.music.registers import DRUM_KINDS, REGISTERS, drum_kind
from avsep.toyband.music.score import NoteEvent, Part

# From the loudest note to the softest, dynamic 1 to 0.
DYNAMIC_RANGE_DB = 24.0
# Among notes about as near in pitch as the nearest, the dynamic decides.
AS_NEAR_SEMITONES = 2
# A performer keeps to one timbre when that leaves this many notes to play on.
FEWEST_OF_TIMBRE = 8
ATTACK_SECONDS = 0.002
# Where the louder of mixture and stems peaks, of full scale: 1 dB below.
PEAK = 0.89
FULL_SCALE = 32767
ENVELOPE_WINDOW_SECONDS = 0.05


@dataclass(frozen=True)
class Performance:
    """A part as played: its sound, mono at 44.1 kHz, and the name of the note behind each event."""

    waveform: Float32[np.ndarray, " N"]
    played: tuple[str, ...]


def perform(
    part: Part, notes: Sequence[Note], duration_seconds: float, generator: np.random.Generator
) -> Performance:
    """The part played on these notes, which are those of its category in a bank.

    Each event takes the note nearest in pitch, then in dynamic, at random among equals, shifts it
    by resampling, and lets go after the event's duration with the instrument's fade. A note that
    was recorded shorter than the event ends where it ends.
    """
    assert notes, f"no notes to play {part.category} on"
    register = REGISTERS[part.category]
    choose = _melody_notes(notes, generator) if register.pitched else _kit(notes, generator)
    waveform = np.zeros(round(duration_seconds * SAMPLE_RATE_HZ), dtype=np.float32)
    played = []
    for event in part.events:
        note = choose(event)
        shift = 0 if note.midi is None else event.midi - note.midi
        sound = _sound_note(note, shift, event.duration_seconds, register.ring_seconds)
        start = round(event.onset_seconds * SAMPLE_RATE_HZ)
        gain = 10 ** (DYNAMIC_RANGE_DB * (event.dynamic - 1) / 20)
        stretch = waveform[start : start + len(sound)]
        stretch += np.float32(gain) * sound[: len(stretch)]
        played.append(note.name)
    return Performance(waveform, tuple(played))


def _melody_notes(
    notes: Sequence[Note], generator: np.random.Generator
) -> Callable[[NoteEvent], Note]:
    """How one performer finds the note for an event: nearest in pitch, then in dynamic."""
    timbres = sorted({note.timbre for note in notes})
    timbre = timbres[int(generator.integers(len(timbres)))]
    own = [note for note in notes if note.timbre == timbre]
    if len(own) < FEWEST_OF_TIMBRE:
        own = list(notes)
    midis = np.array([note.midi for note in own])
    dynamics = np.array([np.nan if note.dynamic is None else note.dynamic for note in own])

    def choose(event: NoteEvent) -> Note:
        far = np.abs(midis - event.midi)
        near = np.flatnonzero(far <= far.min() + AS_NEAR_SEMITONES)
        # A note of unknown dynamic is taken to fit as well as any.
        misfit = np.nan_to_num(np.abs(dynamics[near] - event.dynamic), nan=0.0)
        equal = near[misfit <= misfit.min() + 1e-9]
        return own[int(equal[int(generator.integers(len(equal)))])]

    return choose


def _kit(notes: Sequence[Note], generator: np.random.Generator) -> Callable[[NoteEvent], Note]:
    """How a drummer finds the hit for an event: a kit of one hit a piece, drawn beforehand.

    A piece that no note sounds like is replaced by its neighbour from dark to bright.
    """
    kinds = list(DRUM_KINDS)
    told = tell_drum_kinds(notes)
    present = [kind for kind in kinds if any(note.drum_kind == kind for note in told)]
    kit = {}
    for place, kind in enumerate(kinds):
        nearest = min(present, key=lambda other: abs(kinds.index(other) - place))
        hits = [note for note in told if note.drum_kind == nearest]
        kit[kind] = hits[int(generator.integers(len(hits)))]
    return lambda event: kit[drum_kind(event.midi)]


def _sound_note(
    note: Note, shift_semitones: int, duration_seconds: float, ring_seconds: float
) -> Float32[np.ndarray, " N"]:
    """The note shifted in pitch, let go after its duration and faded while it rings."""
    faster = 2 ** (shift_semitones / 12)
    held = round(duration_seconds * SAMPLE_RATE_HZ)
    wanted = held + round(ring_seconds * SAMPLE_RATE_HZ)
    stretch = note.waveform[: int(np.ceil(wanted * faster)) + 1][None]
    # A sound read at a higher rate than it is played at sounds higher, to 0.04 cents.
    sound = resample(stretch, round(SAMPLE_RATE_HZ * faster), SAMPLE_RATE_HZ)[0, :wanted].copy()
    rise = min(round(ATTACK_SECONDS * SAMPLE_RATE_HZ), len(sound))
    sound[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    ringing = len(sound) - held
    if ringing > 0:
        places = np.arange(ringing, dtype=np.float32) / (wanted - held)
        sound[held:] *= np.cos(np.pi / 2 * places) ** 2
    return sound


def envelope(
    waveform: Float32[np.ndarray, " N"], frame_rate_hz: float, num_frames: int
) -> Float32[np.ndarray, " K"]:
    """How loud the sound is at each video frame, 0 (silent) to 1 (its loudest frame).

    Frame k looks at the 50 ms around k / frame_rate_hz. The square root of the RMS, which is about
    how loudness is perceived, so that soft notes still show.
    """
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


# Stems and mixture.


def balance(
    stems: Float32[np.ndarray, "S N"], generator: np.random.Generator, spread_db: float = 6.0
) -> Float32[np.ndarray, "S N"]:
    """The stems equally loud where they sound, but for random differences of so many decibels.

    Silent stems stay silent.
    """
    gains_db = generator.uniform(-spread_db / 2, spread_db / 2, len(stems))
    levels = np.array([sounding_rms(stem) for stem in stems])
    gains = np.where(levels > 0, 0.1 * 10 ** (gains_db / 20) / np.maximum(levels, 1e-12), 0)
    return stems * gains[:, None].astype(np.float32)


def sounding_rms(waveform: Float32[np.ndarray, " N"]) -> float:
    """The RMS of the parts of a sound that are less than 40 dB below its loudest 50 ms."""
    window_samples = max(min(round(ENVELOPE_WINDOW_SECONDS * SAMPLE_RATE_HZ), len(waveform)), 1)
    whole = waveform[: len(waveform) // window_samples * window_samples].astype(np.float64)
    power: Float64[np.ndarray, " windows"] = (whole.reshape(-1, window_samples) ** 2).mean(1)
    loudest = power.max(initial=0)
    return float(np.sqrt(power[power >= 1e-4 * loudest].mean())) if loudest > 0 else 0.0


def mix_stems(
    stems: Float32[np.ndarray, "S C N"], peak: float = PEAK
) -> tuple[Int16[np.ndarray, "S C N"], Int16[np.ndarray, "C N"]]:
    """The stems and their mixture in 16 bits; the stems sum to the mixture to the sample.

    All are scaled by one factor, so that the loudest of mixture and stems peaks at `peak` of full
    scale; each stem is rounded and the mixture is the integer sum. All silent stays silent.
    """
    loudest = max(float(np.abs(stems).max(initial=0)), float(np.abs(stems.sum(0)).max(initial=0)))
    scale = peak * FULL_SCALE / loudest if loudest > 0 else 0.0
    whole = np.rint(stems.astype(np.float64) * scale).astype(np.int32)
    mixture = whole.sum(0)
    assert np.abs(mixture).max(initial=0) <= FULL_SCALE, "peak leaves no room for rounding"
    return whole.astype(np.int16), mixture.astype(np.int16)


# Sounds without an object: noise behind the band.

NOISE_RANGE_DB = (-20.0, -6.0)
CROSSFADE_SECONDS = 0.25
# How often a stretch of a file is drawn again when it is silent.
NUM_DRAWS = 8


@dataclass(frozen=True)
class NoiseBed:
    """A sound without an object, mono at 44.1 kHz, at its level below the band."""

    waveform: Float32[np.ndarray, " N"]
    path: Path
    level_db: float


def read_noise_folder(folder: Path) -> tuple[Path, ...]:
    """The sound files in a folder and below, sorted; InputError names one that is broken.

    Files that are not named as sound are passed over.
    """
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


def noise_bed(
    paths: Sequence[Path], band: Float32[np.ndarray, " N"], generator: np.random.Generator
) -> NoiseBed:
    """A stretch of a random file, as long as the band and 6 to 20 dB softer where both sound.

    Files that are shorter are looped with a crossfade. InputError names a file that is broken or
    silent.
    """
    path = paths[int(generator.integers(len(paths)))]
    level_db = float(generator.uniform(*NOISE_RANGE_DB))
    for _ in range(NUM_DRAWS):
        stretch = _read_stretch(path, len(band), generator)
        if stretch.any():
            looped = _loop(stretch, len(band), generator)
            gain = sounding_rms(band) * 10 ** (level_db / 20) / sounding_rms(looped)
            return NoiseBed(looped * np.float32(gain), path, level_db)
    raise InputError(f"the noise {path} is silent; replace or remove it")


def _read_stretch(
    path: Path, num_samples: int, generator: np.random.Generator
) -> Float32[np.ndarray, " M"]:
    """So much of a file from a random place, or all of it when it is shorter, at 44.1 kHz."""
    try:
        with soundfile.SoundFile(path) as file:
            wanted = int(np.ceil(num_samples * file.samplerate / SAMPLE_RATE_HZ))
            file.seek(int(generator.integers(max(file.frames - wanted, 0) + 1)))
            channels = file.read(wanted, dtype="float32", always_2d=True)
            sample_rate_hz = file.samplerate
    except (OSError, soundfile.SoundFileError) as error:
        raise InputError(f"cannot read the noise {path}: {error}; remove it") from error
    mono = channels.mean(axis=1)[None].astype(np.float32)
    if not np.isfinite(mono).all():
        raise InputError(f"the noise {path} holds samples that are no numbers; remove it")
    stretch = resample(mono, sample_rate_hz, SAMPLE_RATE_HZ)[0, :num_samples]
    sounding = np.flatnonzero(stretch)  # recordings may be padded with digital silence
    return stretch[sounding[0] : sounding[-1] + 1] if len(sounding) else stretch


def _loop(
    stretch: Float32[np.ndarray, " M"], num_samples: int, generator: np.random.Generator
) -> Float32[np.ndarray, " N"]:
    """The stretch over and over, each end faded into the next start at equal power."""
    if len(stretch) >= num_samples:
        return stretch[:num_samples]
    overlap = min(round(CROSSFADE_SECONDS * SAMPLE_RATE_HZ), len(stretch) // 2)
    fade = np.sin(np.linspace(0, np.pi / 2, overlap, dtype=np.float32))
    piece = stretch.copy()
    piece[:overlap] *= fade
    piece[len(piece) - overlap :] *= fade[::-1]
    every = len(stretch) - overlap
    looped = np.zeros(num_samples + 2 * every + len(stretch), dtype=np.float32)
    for start in range(0, num_samples + 2 * every, every):
        looped[start : start + len(piece)] += piece
    # Begin anywhere in the second round, where every end is already faded over.
    first = every + int(generator.integers(every))
    return looped[first : first + num_samples]
