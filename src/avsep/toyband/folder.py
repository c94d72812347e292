"""A toyband folder on disk: `000001.mp4` and beside it `000001/` with boxes, stems and the score.

    DIR/toyband.toml            the recipe and seed that made it, to the letter
    DIR/000001.mp4              what is seen and heard; the sound is lossless
    DIR/000001/objects.json     label and boxes of each visible performer
    DIR/000001/score.json       who played what and when, with which notes; distractors
    DIR/000001/stems/01-violin.wav      one a performer, in the order of objects.json
    DIR/000001/stems/03-offscreen-rain.wav     what is heard and not seen comes last

All stems add up to the sound of the video, to the sample; for two ears, in each channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from avsep.errors import InputError
from avsep.records import Box
from avsep.toyband.music.score import Score

RECIPE_NAME = "toyband.toml"
OFFSCREEN = "offscreen"


class PerformerRecord(BaseModel):
    """One performer in score.json; `part` indexes the score's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    part: int
    stem: str = Field(description="path below the clip's folder")
    notes: tuple[str, ...] = Field(description="files of the note bank it played, each once")


class OffscreenRecord(BaseModel):
    """A sound without an object: a player off screen (with its part), or a noise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    part: int | None
    stem: str
    notes: tuple[str, ...] = ()


class DistractorRecord(BaseModel):
    """A thing on the stage that makes no sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    box: Box


class DirectionRecord(BaseModel):
    """Where a stem sounds from, seen from the middle of the head; to the right and up positive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    azimuth_degrees: float
    elevation_degrees: float
    distance_metres: float


class EarsRecord(BaseModel):
    """By which head a clip of two channels was heard, and each stem from where, in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: str
    directions: tuple[DirectionRecord, ...]


class ClipRecord(BaseModel):
    """The whole of score.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    clip: int
    held_out: bool = Field(description="played with notes that training seeds never play")
    score: Score
    performers: tuple[PerformerRecord, ...]
    offscreen: tuple[OffscreenRecord, ...]
    distractors: tuple[DistractorRecord, ...]
    ears: EarsRecord | None = Field(default=None, description="of a clip for two ears")


@dataclass(frozen=True)
class ClipPaths:
    """Where the files of one clip lie."""

    folder: Path
    name: str

    @property
    def video(self) -> Path:
        """The video; it is written last, so a clip that has one is whole."""
        return self.folder / f"{self.name}.mp4"

    @property
    def beside(self) -> Path:
        """The folder of the same name."""
        return self.folder / self.name

    @property
    def objects(self) -> Path:
        """Labels and boxes."""
        return self.beside / "objects.json"

    @property
    def score(self) -> Path:
        """The clip's record."""
        return self.beside / "score.json"

    @property
    def stems(self) -> Path:
        """The folder of stems."""
        return self.beside / "stems"


def stem_names(categories: Sequence[str], offscreen: Sequence[str]) -> list[str]:
    """File names of a clip's stems: performers first, numbered from 01.

    >>> stem_names(["violin", "violin"], ["rain"])
    ['01-violin.wav', '02-violin.wav', '03-offscreen-rain.wav']
    """
    labels = [*categories, *(f"{OFFSCREEN}-{label}" for label in offscreen)]
    return [f"{index:02d}-{label}.wav" for index, label in enumerate(labels, 1)]


def read_record(path: Path) -> ClipRecord:
    """The score.json of a clip."""
    try:
        return ClipRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read '{path}' as a clip's score: {error}") from error
