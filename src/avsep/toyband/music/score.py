"""Compose the score of a clip: one part per player, independent or in a common harmony."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.errors import InputError
from avsep.toyband.music.harmony import (
    Harmony,
    VoiceGrid,
    assign_voices,
    beat_pitch_classes,
    compose_harmony,
    draw_chorale_excerpt,
)
from avsep.toyband.music.melody import GridNote, Key, compose_drums, compose_melody, draw_key
from avsep.toyband.music.registers import Register

# Rests may leave a player of a very short clip without a note; the whole score is then composed
# again.
NUM_ATTEMPTS = 50


class NoteEvent(BaseModel):
    """One note of a part; of a drum kit, midi is a key of General MIDI's percussion map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    onset_seconds: float = Field(ge=0, description="from the start of the clip")
    duration_seconds: float = Field(gt=0, description="until the release; the note may ring on")
    midi: int = Field(ge=0, le=127)
    dynamic: float = Field(ge=0, le=1, description="softest to loudest")


class ScorePart(BaseModel):
    """The notes of one player, in order of onset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    tempo_bpm: float = Field(gt=0)
    tonic: int = Field(ge=0, le=11, description="0 is C, 11 is B; without meaning for drums")
    mode: str = Field(description="major or minor")
    events: tuple[NoteEvent, ...]


class Chord(BaseModel):
    """The pitch classes of the common harmony from one beat to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    onset_seconds: float
    pitch_classes: tuple[int, ...] = Field(description="0 is C, 11 is B")


class Score(BaseModel):
    """The music of one clip; `model_dump_json` and `model_validate_json` write and read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    duration_seconds: float = Field(gt=0)
    together: bool = Field(description="True if all parts share tempo and harmony")
    harmony: str = Field(description="none, generated or chorale")
    chords: tuple[Chord, ...] = Field(description="one per beat; empty unless together")
    parts: tuple[ScorePart, ...]


class CompositionSettings(BaseModel):
    """The tempo and timing of composed music."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slowest_bpm: float = Field(default=76, ge=20, le=400, description="quarter notes per minute")
    fastest_bpm: float = Field(default=138, ge=20, le=400, description="quarter notes per minute")
    timing_spread_seconds: float = Field(
        default=0.005,
        ge=0,
        le=0.1,
        description="standard deviation of onsets from the beat, cut at three of them",
    )
    shortest_ending_seconds: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="no onset is nearer to the end: the note would be cut to a click",
    )

    @model_validator(mode="after")
    def _check_tempo_range(self) -> "CompositionSettings":
        if self.slowest_bpm > self.fastest_bpm:
            raise ValueError(
                f"slowest_bpm {self.slowest_bpm:g} is above fastest_bpm {self.fastest_bpm:g}"
            )
        return self


def compose(
    registers: Sequence[Register],
    duration_seconds: float,
    generator: np.random.Generator,
    *,
    together: bool,
    chorales: tuple[VoiceGrid, ...] = (),
    settings: CompositionSettings | None = None,
) -> Score:
    """Compose a score with one part per instrument, in the order of the registers.

    Together, all parts share one tempo and the harmony of a generated progression or, with chorales
    (`harmony.read_chorales`), of an excerpt from one of them. Otherwise each part has its own
    tempo, key and melody. Every part has at least one note, and the same generator state gives the
    same score.

    Raises:
        InputError: the clip is too short for every part to have a note.
    """
    settings = settings or CompositionSettings()
    for _ in range(NUM_ATTEMPTS):
        if together:
            score = _compose_together(registers, duration_seconds, generator, chorales, settings)
        else:
            score = _compose_independent(registers, duration_seconds, generator, settings)
        if all(part.events for part in score.parts):
            return score
    raise InputError(
        f"in {NUM_ATTEMPTS} attempts no score of {duration_seconds:g} s had a note for every "
        "player; make clips longer"
    )


def _compose_independent(
    registers: Sequence[Register],
    duration_seconds: float,
    generator: np.random.Generator,
    settings: CompositionSettings,
) -> Score:
    """Compose a score in which each part has its own tempo, key and melody."""
    parts = []
    for register in registers:
        tempo_map = TempoMap(_draw_tempo(settings, generator), duration_seconds, settings)
        num_beats = duration_seconds / tempo_map.beat_seconds
        # Drawn for drums too, which have no key: the part's record has the field.
        key = draw_key(generator)
        if register.pitched:
            notes = compose_melody(register, key, num_beats, generator)
        else:
            notes = compose_drums(num_beats, generator)
        parts.append(tempo_map.to_part(register.category, key, notes, generator))
    return Score(
        duration_seconds=duration_seconds,
        together=False,
        harmony="none",
        chords=(),
        parts=tuple(parts),
    )


def _compose_together(
    registers: Sequence[Register],
    duration_seconds: float,
    generator: np.random.Generator,
    chorales: tuple[VoiceGrid, ...],
    settings: CompositionSettings,
) -> Score:
    """Compose a score in one tempo: pitched instruments share a harmony, drums keep its beat."""
    tempo_map = TempoMap(_draw_tempo(settings, generator), duration_seconds, settings)
    # One beat more than the clip has, so that the harmony covers it whatever the rounding.
    num_beats = math.ceil(duration_seconds * tempo_map.tempo_bpm / 60) + 1
    harmony = (
        draw_chorale_excerpt(chorales, num_beats, generator)
        if chorales
        else compose_harmony(num_beats, generator)
    )
    pitched = [register for register in registers if register.pitched]
    lines = iter(assign_voices(harmony, pitched, generator))
    parts = []
    for register in registers:
        notes = next(lines) if register.pitched else compose_drums(num_beats, generator)
        parts.append(tempo_map.to_part(register.category, harmony.key, notes, generator))
    return Score(
        duration_seconds=duration_seconds,
        together=True,
        harmony=harmony.origin,
        chords=tempo_map.to_chords(harmony),
        parts=tuple(parts),
    )


def _draw_tempo(settings: CompositionSettings, generator: np.random.Generator) -> float:
    """Draw a tempo in beats per minute, rounded to a tenth."""
    return round(float(generator.uniform(settings.slowest_bpm, settings.fastest_bpm)), 1)


class TempoMap:
    """The conversion of beats to seconds at one tempo, for a clip of one duration."""

    def __init__(
        self, tempo_bpm: float, duration_seconds: float, settings: CompositionSettings
    ) -> None:
        self.tempo_bpm = tempo_bpm
        self.beat_seconds = 60 / tempo_bpm
        self.duration_seconds = duration_seconds
        self.settings = settings

    def to_part(
        self,
        category: str,
        key: Key,
        notes: Sequence[GridNote],
        generator: np.random.Generator,
    ) -> ScorePart:
        """Convert notes in beats to a part in seconds, with timing jitter, cut at the clip's end.

        Times are rounded to a tenth of a millisecond, dynamics to a thousandth.
        """
        # Clipped: an outlier of the normal distribution would sound like a wrong rhythm.
        spread = self.settings.timing_spread_seconds
        jitter = np.clip(generator.normal(0, spread, len(notes)), -3 * spread, 3 * spread)
        events = []
        for note, offset in zip(notes, jitter, strict=True):
            onset = round(max(note.start_beats * self.beat_seconds + float(offset), 0.0), 4)
            left_seconds = self.duration_seconds - onset
            if left_seconds < self.settings.shortest_ending_seconds:
                continue
            events.append(
                NoteEvent(
                    onset_seconds=onset,
                    duration_seconds=round(
                        min(note.length_beats * self.beat_seconds, left_seconds), 4
                    ),
                    midi=note.midi,
                    dynamic=round(note.dynamic, 3),
                )
            )
        return ScorePart(
            category=category,
            tempo_bpm=self.tempo_bpm,
            tonic=key.tonic,
            mode=key.mode,
            # Sorted again, because jitter may exchange neighbours.
            events=tuple(sorted(events, key=lambda event: (event.onset_seconds, event.midi))),
        )

    def to_chords(self, harmony: Harmony) -> tuple[Chord, ...]:
        """Convert the harmony to one chord for each beat of the clip."""
        onsets = [
            round(beat * self.beat_seconds, 4)
            for beat in range(math.ceil(self.duration_seconds / self.beat_seconds))
        ]
        # Not strict: the harmony is a beat longer than the clip.
        return tuple(
            Chord(onset_seconds=onset, pitch_classes=pitch_classes)
            for onset, pitch_classes in zip(onsets, beat_pitch_classes(harmony), strict=False)
        )
