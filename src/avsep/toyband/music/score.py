"""The score of a clip: who plays what and when, composed at random, free or in common harmony."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.errors import InputError
from avsep.toyband.music.harmony import (
    Harmony,
    VoiceGrid,
    share_out,
    sounding_pitch_classes,
    take_chorale,
    write_harmony,
)
from avsep.toyband.music.melody import GridNote, Key, draw_key, write_drums, write_melody
from avsep.toyband.music.registers import Register

# Rests may leave a performer of a very short clip without a note: then all is composed again.
NUM_ATTEMPTS = 50


class NoteEvent(BaseModel):
    """One note of a part; of a drum kit, midi is a key of General MIDI's percussion map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    onset_seconds: float = Field(ge=0, description="from the start of the clip")
    duration_seconds: float = Field(gt=0, description="until it is let go; it may ring on")
    midi: int = Field(ge=0, le=127)
    dynamic: float = Field(ge=0, le=1, description="softest to loudest")


class Part(BaseModel):
    """What one performer plays, in order of onset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    tempo_bpm: float = Field(gt=0)
    tonic: int = Field(ge=0, le=11, description="0 is C, 11 is B; of drums without meaning")
    mode: str = Field(description="major or minor")
    events: tuple[NoteEvent, ...]


class Chord(BaseModel):
    """What an ensemble's harmony sounds from one beat to the next."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    onset_seconds: float
    pitch_classes: tuple[int, ...] = Field(description="0 is C, 11 is B")


class Score(BaseModel):
    """The music of one clip; `model_dump_json` and `model_validate_json` write and read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    duration_seconds: float = Field(gt=0)
    together: bool = Field(description="common tempo and harmony, or everyone on their own")
    harmony: str = Field(description="none, generated or chorale")
    chords: tuple[Chord, ...] = Field(description="one a beat; empty unless together")
    parts: tuple[Part, ...]


class ScoreSettings(BaseModel):
    """How music is composed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slowest_bpm: float = Field(default=76, ge=20, le=400, description="quarters a minute")
    fastest_bpm: float = Field(default=138, ge=20, le=400, description="quarters a minute")
    timing_spread_seconds: float = Field(
        default=0.005,
        ge=0,
        le=0.1,
        description="how far players stray from the beat; at most thrice this",
    )
    shortest_ending_seconds: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="no note starts later before the end: it would be cut to a click",
    )

    @model_validator(mode="after")
    def _from_slow_to_fast(self) -> "ScoreSettings":
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
    settings: ScoreSettings | None = None,
) -> Score:
    """A score for these instruments, one part each, in their order.

    Together, all share one tempo and the harmony of a generated progression or, when chorales are
    given (`harmony.read_chorales`), of one of those; apart, each has its own tempo, key and melody.
    The same generator state gives the same score, and everyone plays at least one note. Raises
    InputError when that cannot be had.
    """
    settings = settings or ScoreSettings()
    for _ in range(NUM_ATTEMPTS):
        if together:
            score = _compose_together(registers, duration_seconds, generator, chorales, settings)
        else:
            score = _compose_apart(registers, duration_seconds, generator, settings)
        if all(part.events for part in score.parts):
            return score
    raise InputError(
        f"no music of {duration_seconds:g} s in which everyone plays was found in {NUM_ATTEMPTS} "
        "attempts; make clips longer"
    )


def _compose_apart(
    registers: Sequence[Register],
    duration_seconds: float,
    generator: np.random.Generator,
    settings: ScoreSettings,
) -> Score:
    """A score in which each part has its own tempo, key and melody."""
    parts = []
    for register in registers:
        clock = Clock(_draw_tempo(settings, generator), duration_seconds, settings)
        num_beats = duration_seconds / clock.beat_seconds
        key = draw_key(generator)
        if register.pitched:
            notes = write_melody(register, key, num_beats, generator)
        else:
            notes = write_drums(num_beats, generator)
        parts.append(clock.part(register.category, key, notes, generator))
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
    settings: ScoreSettings,
) -> Score:
    """A score in one tempo: pitched instruments share a harmony, drums keep its beat."""
    clock = Clock(_draw_tempo(settings, generator), duration_seconds, settings)
    num_beats = math.ceil(duration_seconds * clock.tempo_bpm / 60) + 1
    harmony = (
        take_chorale(chorales, num_beats, generator)
        if chorales
        else write_harmony(num_beats, generator)
    )
    pitched = [register for register in registers if register.pitched]
    lines = iter(share_out(harmony, pitched, generator))
    parts = []
    for register in registers:
        notes = next(lines) if register.pitched else write_drums(num_beats, generator)
        parts.append(clock.part(register.category, harmony.key, notes, generator))
    return Score(
        duration_seconds=duration_seconds,
        together=True,
        harmony=harmony.origin,
        chords=clock.chords(harmony),
        parts=tuple(parts),
    )


def _draw_tempo(settings: ScoreSettings, generator: np.random.Generator) -> float:
    """A tempo in beats a minute, to a tenth."""
    return round(float(generator.uniform(settings.slowest_bpm, settings.fastest_bpm)), 1)


class Clock:
    """Turns beats into seconds of one clip at one tempo."""

    def __init__(self, tempo_bpm: float, duration_seconds: float, settings: ScoreSettings) -> None:
        self.tempo_bpm = tempo_bpm
        self.beat_seconds = 60 / tempo_bpm
        self.duration_seconds = duration_seconds
        self.settings = settings

    def part(
        self,
        category: str,
        key: Key,
        notes: Sequence[GridNote],
        generator: np.random.Generator,
    ) -> Part:
        """The part with its times in seconds, a little off the beat, cut at the end of the clip.

        Times are rounded to a tenth of a millisecond, dynamics to a thousandth.
        """
        spread = self.settings.timing_spread_seconds
        strays = np.clip(generator.normal(0, spread, len(notes)), -3 * spread, 3 * spread)
        events = []
        for note, stray in zip(notes, strays, strict=True):
            onset = round(max(note.start_beats * self.beat_seconds + float(stray), 0.0), 4)
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
        return Part(
            category=category,
            tempo_bpm=self.tempo_bpm,
            tonic=key.tonic,
            mode=key.mode,
            events=tuple(sorted(events, key=lambda event: (event.onset_seconds, event.midi))),
        )

    def chords(self, harmony: Harmony) -> tuple[Chord, ...]:
        """The chord on every beat of the clip."""
        onsets = [
            round(beat * self.beat_seconds, 4)
            for beat in range(math.ceil(self.duration_seconds / self.beat_seconds))
        ]
        sounding = sounding_pitch_classes(harmony)
        return tuple(
            Chord(onset_seconds=onset, pitch_classes=pitch_classes)
            for onset, pitch_classes in zip(onsets, sounding, strict=False)
        )
