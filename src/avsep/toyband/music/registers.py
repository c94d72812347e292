"""What each instrument can play: its range, how long its notes ring, the pieces of a drum kit."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

# Recorded notes are shifted by at most this much beyond the lowest and the highest of them.
REACH_SEMITONES = 3
# A range narrower than this cannot take a melody.
NARROWEST_SEMITONES = 7


class Register(BaseModel):
    """One instrument's means; pitches are MIDI numbers, the middle C being 60."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    lowest: int = Field(ge=0, le=127, description="lowest pitch a part asks for")
    highest: int = Field(ge=0, le=127, description="highest pitch a part asks for")
    ring_seconds: float = Field(gt=0, description="fade of a note after it is let go")
    chords: bool = Field(default=False, description="can sound several notes at once")
    pitched: bool = Field(default=True, description="false: parts hold keys of DRUM_KINDS")

    @property
    def centre(self) -> float:
        """The middle of the range, by which parts are handed out."""
        return (self.lowest + self.highest) / 2


REGISTERS = {
    register.category: register
    for register in (
        Register(category="accordion", lowest=53, highest=88, ring_seconds=0.06, chords=True),
        Register(category="banjo", lowest=50, highest=84, ring_seconds=0.25, chords=True),
        Register(category="cello", lowest=36, highest=74, ring_seconds=0.10),
        Register(category="clarinet", lowest=50, highest=89, ring_seconds=0.06),
        Register(
            category="drums", lowest=35, highest=59, ring_seconds=0.30, chords=True, pitched=False
        ),
        Register(category="flute", lowest=60, highest=94, ring_seconds=0.06),
        Register(category="guitar", lowest=40, highest=80, ring_seconds=0.25, chords=True),
        Register(category="harp", lowest=36, highest=96, ring_seconds=0.50, chords=True),
        Register(category="mandolin", lowest=55, highest=86, ring_seconds=0.25, chords=True),
        Register(category="piano", lowest=36, highest=96, ring_seconds=0.15, chords=True),
        Register(category="saxophone", lowest=49, highest=81, ring_seconds=0.06),
        Register(category="trombone", lowest=41, highest=70, ring_seconds=0.07),
        Register(category="trumpet", lowest=55, highest=82, ring_seconds=0.06),
        Register(category="tuba", lowest=29, highest=55, ring_seconds=0.08),
        Register(category="violin", lowest=55, highest=91, ring_seconds=0.08),
        Register(category="xylophone", lowest=65, highest=99, ring_seconds=0.40),
    )
}

# The pieces of a kit, from the darkest sound to the brightest: keys of General MIDI's percussion
# map; the first of each is the one that parts ask for.
DRUM_KINDS = {
    "kick": (36, 35),
    "low tom": (41, 43),
    "middle tom": (45, 47),
    "high tom": (48, 50),
    "snare": (38, 40, 37, 39),
    "ride": (51, 53, 59),
    "open hat": (46,),
    "crash": (49, 57, 52, 55),
    "closed hat": (42, 44),
}


def register_of(category: str, midis: Iterable[int | None]) -> Register:
    """The instrument's register, narrowed to what the notes at these pitches reach.

    Notes that lie outside the instrument's usual range altogether decide alone: recordings may be
    labelled in another octave.
    """
    register = REGISTERS[category]
    pitches = sorted(midi for midi in midis if midi is not None)
    if not register.pitched or not pitches:
        return register
    reach = pitches[0] - REACH_SEMITONES, pitches[-1] + REACH_SEMITONES
    lowest, highest = max(register.lowest, reach[0]), min(register.highest, reach[1])
    if highest - lowest < NARROWEST_SEMITONES:
        lowest, highest = max(reach[0], 0), min(reach[1], 127)
    return register.model_copy(update={"lowest": lowest, "highest": highest})


def drum_kind(key: int) -> str:
    """The piece of the kit that a percussion key means; keys that no piece has mean the snare."""
    return next((kind for kind, keys in DRUM_KINDS.items() if key in keys), "snare")
