"""The layout of a toyband folder: file names of each clip and the schema of score.json.

    DIR/toyband.toml            the recipe and seed of the folder
    DIR/000001.mp4              the video; its audio track is the mixture, lossless
    DIR/000001/objects.json     label and boxes of each visible performer
    DIR/000001/score.json       the parts, the notes of each event, distractors
    DIR/000001/stems/01-violin.wav      one per performer, in the order of objects.json
    DIR/000001/stems/03-offscreen-rain.wav     sounds without a visible object come last

The stems sum to the audio track of the video, exact to the sample, in every channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from avsep.errors import InputError
from avsep.records import Box
from avsep.toyband.music.score import Score

RECIPE_NAME = "toyband.toml"
# Part of the file names of stems, by which offscreen sounds and performers are distinguished.
OFFSCREEN = "offscreen"


class PerformerRecord(BaseModel):
    """One visible performer in score.json; `part` is an index into the score's parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    part: int
    stem: str = Field(description="path relative to the clip's folder")
    notes: tuple[str, ...] = Field(description="note bank files that were played, without repeats")


class OffscreenRecord(BaseModel):
    """A sound without a visible object: a player off screen (with its part), or a noise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    part: int | None
    stem: str
    notes: tuple[str, ...] = ()


class DistractorRecord(BaseModel):
    """A visible object that makes no sound."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    box: Box


class DirectionRecord(BaseModel):
    """The direction of a stem relative to the centre of the head; right and up are positive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    azimuth_degrees: float
    elevation_degrees: float
    distance_metres: float


class BinauralRecord(BaseModel):
    """The head of a binaural clip, and the direction of each stem in the order of the stems."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    head: str
    directions: tuple[DirectionRecord, ...]


class ClipRecord(BaseModel):
    """The content of score.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    clip: int
    held_out: bool = Field(description="True if played with notes that training seeds never use")
    score: Score
    performers: tuple[PerformerRecord, ...]
    offscreen: tuple[OffscreenRecord, ...]
    distractors: tuple[DistractorRecord, ...]
    ears: BinauralRecord | None = Field(default=None, description="set for a binaural clip")


@dataclass(frozen=True)
class ClipPaths:
    """The paths of the files of one clip."""

    folder: Path
    name: str

    @property
    def video(self) -> Path:
        """The video; it is written last, so a clip with a video is complete."""
        return self.folder / f"{self.name}.mp4"

    @property
    def clip_folder(self) -> Path:
        """The folder with the clip's name, beside the video."""
        return self.folder / self.name

    @property
    def objects(self) -> Path:
        """The labels and boxes of the visible performers."""
        return self.clip_folder / "objects.json"

    @property
    def score(self) -> Path:
        """The clip's record, a `ClipRecord` as JSON."""
        return self.clip_folder / "score.json"

    @property
    def stems(self) -> Path:
        """The folder of stems."""
        return self.clip_folder / "stems"


def stem_names(categories: Sequence[str], offscreen: Sequence[str]) -> list[str]:
    """Return the file names of a clip's stems: performers first, numbered from 01.

    >>> stem_names(["violin", "violin"], ["rain"])
    ['01-violin.wav', '02-violin.wav', '03-offscreen-rain.wav']
    """
    labels = [*categories, *(f"{OFFSCREEN}-{label}" for label in offscreen)]
    return [f"{index:02d}-{label}.wav" for index, label in enumerate(labels, 1)]


def read_record(path: Path) -> ClipRecord:
    """Read a clip's score.json.

    Raises:
        InputError: the file cannot be read or does not have this schema.
    """
    try:
        return ClipRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read '{path}' as a clip's score: {error}") from error
