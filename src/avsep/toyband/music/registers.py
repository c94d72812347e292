"""The playable range and release time of each instrument, and the pieces of a drum kit."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

# Recorded notes are pitch-shifted by at most this much beyond the lowest and the highest of them:
# resampling a note further changes its timbre and length audibly.
REACH_SEMITONES = 3
# A narrower range (less than a fifth) cannot hold a melody.
NARROWEST_SEMITONES = 7


class Register(BaseModel):
    """The range and abilities of one instrument; pitches are MIDI numbers, middle C is 60."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    lowest: int = Field(ge=0, le=127, description="lowest pitch that a part contains")
    highest: int = Field(ge=0, le=127, description="highest pitch that a part contains")
    ring_seconds: float = Field(gt=0, description="fade of a note after its release")
    chords: bool = Field(default=False, description="True if it can play several notes at once")
    pitched: bool = Field(default=True, description="False: parts contain keys of DRUM_KINDS")

    @property
    def centre(self) -> float:
        """The middle of the range, by which voices are assigned to instruments."""
        return (self.lowest + self.highest) / 2


# Ranges of ordinary parts, a little narrower than the notes of the shipped bank
# (`tools/render_notes.py`), so that no note has to be shifted at the ends. After the release, bowed
# and blown notes stop at once; plucked and struck ones are damped more slowly.
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

# The pieces of a kit, from the darkest sound to the brightest, with their keys in General MIDI's
# percussion map; parts use the first key of each piece. The order is used to classify recordings
# by brightness (`notes.assign_drum_kinds`) and to find a substitute for a missing piece.
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


def narrow_register(category: str, midis: Iterable[int | None]) -> Register:
    """Return the instrument's register, narrowed to the pitches that the given notes can reach.

    If the notes reach too little of the usual range, their own range is used: recordings may be
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
    """Return the piece of the kit of a General MIDI percussion key; "snare" for other keys."""
    return next((kind for kind, keys in DRUM_KINDS.items() if key in keys), "snare")
