"""Generate one clip: draw the cast, render its music and pictures, and write the files."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float32, Int16
from pydantic import BaseModel, ConfigDict, Field, field_validator

from avsep.errors import InputError
from avsep.media.atomic import write_atomic
from avsep.media.audio_writing import write_audio
from avsep.media.objects_file import format_objects
from avsep.media.video_files import AudioTrack, VideoSettings, write_video
from avsep.records import VisibleObject
from avsep.toyband.binaural import (
    BinauralSceneSettings,
    draw_directions,
    draw_head,
    spatialise_stems,
)
from avsep.toyband.categories import category_index, find_category
from avsep.toyband.folder import (
    BinauralRecord,
    ClipPaths,
    ClipRecord,
    DirectionRecord,
    DistractorRecord,
    OffscreenRecord,
    PerformerRecord,
    stem_names,
)
from avsep.toyband.material import Material
from avsep.toyband.music.notes import SAMPLE_RATE_HZ, is_held_out
from avsep.toyband.music.performance import (
    Performance,
    balance,
    draw_noise_bed,
    envelope,
    mix_stems,
    perform,
)
from avsep.toyband.music.score import CompositionSettings, Score, compose
from avsep.toyband.pictures.performers import PictureSettings, StageSettings
from avsep.toyband.pictures.stage import Role, Stage, make_stage

# Samples are divided by 2^15, as audio readers do: stems and mixture then have the same scale when
# read as floating point, and their sum stays exact.
FULL_SCALE = 2**15
# Performers stand side by side: five would be too narrow in a picture of the default width.
MOST_PERFORMERS = 4
# Clips are made in parallel, one per core: each encoder takes one thread, and the quickest preset.
ENCODING = VideoSettings(preset="ultrafast", quality_crf=23, num_threads=1)


class ToybandSettings(BaseModel):
    """The settings of a toyband folder; the rest is drawn from the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip_seconds: float = Field(default=10.0, ge=1, le=600, description="duration of a clip")
    num_performers: tuple[int, ...] = Field(
        default=(1, 2, 2, 2, 3, 4),
        min_length=1,
        description="visible performers, 1 to 4; each clip draws one of these numbers",
    )
    categories: tuple[str, ...] = Field(default=(), description="instruments; empty means all")
    same_category_probability: float = Field(
        default=0.15, ge=0, le=1, description="that two performers play the same instrument"
    )
    together_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="that all parts share tempo and harmony, the hard case",
    )
    offscreen_player_probability: float = Field(
        default=0.1, ge=0, le=1, description="that one more player is audible but not visible"
    )
    noise_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="of a noise without a visible object, if --noise is given",
    )
    level_spread_db: float = Field(
        default=6.0,
        ge=0,
        le=60,
        description="largest level difference between two performers",
    )
    score: CompositionSettings = CompositionSettings()
    pictures: PictureSettings = PictureSettings()
    binaural: BinauralSceneSettings | None = Field(
        default=None, description="two-channel sound, as with --binaural; none: one channel"
    )

    @field_validator("num_performers")
    @classmethod
    def _check_num_performers(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= count <= MOST_PERFORMERS for count in counts):
            raise ValueError(f"each must be 1 to {MOST_PERFORMERS}")
        return counts

    @field_validator("categories")
    @classmethod
    def _to_category_names(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            category_index(label)  # raises for an unknown label and lists the known ones
        return tuple(name for label in labels if (name := find_category(label)))

    def with_binaural(self, binaural: bool, head: Path | None) -> Self:
        """Return the settings with default binaural settings added if `binaural` is True.

        Raises:
            InputError: a measured head is given, but the sound has one channel.
        """
        if binaural and self.binaural is None:
            return self.model_copy(update={"binaural": BinauralSceneSettings()})
        if head is not None and self.binaural is None:
            raise InputError(f"--head '{head}' is only used for two-channel sound: add --binaural")
        return self


def make_clip(
    paths: ClipPaths,
    seed: int,
    index: int,
    settings: ToybandSettings,
    material: Material,
) -> None:
    """Write one clip: first the stems and JSON files, then the video, atomically.

    The pair (seed, index) determines every random draw, so a clip does not depend on the number of
    clips in its folder or on the order in which they are made.
    """
    generator = np.random.default_rng([seed, index])
    held_out = is_held_out(seed)
    cast = draw_cast(settings, material.categories(held_out, settings.categories), generator)
    music = play(cast, settings, material, held_out, generator)
    stage = set_stage(cast, music, settings, material, held_out, generator)
    objects = stage.objects()
    # After all other draws: a seed has the same cast and music with one channel as with two.
    music, binaural = render_binaural(music, objects, settings, material, generator)
    record = _make_record(seed, index, held_out, cast, music, stage)
    record = record.model_copy(update={"ears": binaural})
    if binaural is not None:
        azimuths = [direction.azimuth_degrees for direction in binaural.directions]
        # Not strict: the directions of offscreen sounds follow those of the visible performers.
        objects = [
            visible.model_copy(update={"azimuth_degrees": round(azimuth, 2)})
            for visible, azimuth in zip(objects, azimuths, strict=False)
        ]

    shutil.rmtree(paths.clip_folder, ignore_errors=True)  # left by a run that was stopped
    paths.stems.mkdir(parents=True)
    for name, stem in zip(music.stem_names(cast), music.stems, strict=True):
        write_audio(paths.stems / name, _as_float(stem), SAMPLE_RATE_HZ, "pcm16")
    write_atomic(paths.objects, format_objects(objects))
    write_atomic(paths.score, record.model_dump_json(indent=1) + "\n")
    track = AudioTrack("mixture", _as_float(music.mixture), SAMPLE_RATE_HZ)
    rate_hz = settings.pictures.frame_rate_hz
    # Written inside the clip's folder, so that the next run's rmtree removes an unfinished video.
    unfinished = paths.clip_folder / paths.video.name
    write_video(unfinished, stage.frames(), rate_hz, [track], ENCODING)
    unfinished.replace(paths.video)


@dataclass(frozen=True)
class Cast:
    """The instruments of a clip: those of the visible performers, then those off screen."""

    visible: tuple[str, ...]
    offscreen: tuple[str, ...]


@dataclass(frozen=True)
class Music:
    """The score, one performance per part, and 16-bit stems in the order of the cast.

    Stems and mixture have one channel, or two: the left and the right ear. The stems of noises
    follow those of the cast.
    """

    score: Score
    performances: tuple[Performance, ...]
    noise_labels: tuple[str, ...]
    stems: Int16[np.ndarray, "S C N"]
    mixture: Int16[np.ndarray, "C N"]

    def stem_names(self, cast: Cast) -> list[str]:
        """Return the file names of the stems."""
        return stem_names(cast.visible, [*cast.offscreen, *self.noise_labels])


def check_cast(settings: ToybandSettings, categories: Sequence[str]) -> None:
    """Raise InputError if a clip may need more different instruments than there are."""
    # Two performers of one instrument save one, but only if every clip has such a pair.
    always_twins = settings.same_category_probability == 1
    most_visible = max(count - (always_twins and count > 1) for count in settings.num_performers)
    num_distinct = most_visible + (settings.offscreen_player_probability > 0)
    if num_distinct > len(categories):
        raise InputError(
            f"{num_distinct} different instruments are needed and there are {len(categories)}: "
            f"{', '.join(categories)}; add categories, or lower num_performers and set "
            "offscreen_player_probability to 0"
        )


def draw_cast(
    settings: ToybandSettings, categories: Sequence[str], generator: np.random.Generator
) -> Cast:
    """Draw the instruments of a clip, visible and offscreen; `check_cast` must have passed."""
    num_visible = int(generator.choice(settings.num_performers))
    twins = num_visible > 1 and generator.random() < settings.same_category_probability
    with_offscreen = generator.random() < settings.offscreen_player_probability
    num_distinct = num_visible - twins + with_offscreen
    assert num_distinct <= len(categories), "check_cast comes first"
    order = generator.permutation(len(categories))[:num_distinct].tolist()
    chosen: list[str] = [categories[int(index)] for index in order]
    # Never an instrument of the stage: no visible performer may match the offscreen sound.
    offscreen = (chosen.pop(),) if with_offscreen else ()
    visible = [*chosen, chosen[0]] if twins else chosen
    # Shuffled, because otherwise the second of two equal instruments would always be the last.
    order = generator.permutation(num_visible).tolist()
    return Cast(tuple(visible[index] for index in order), offscreen)


def play(
    cast: Cast,
    settings: ToybandSettings,
    material: Material,
    held_out: bool,
    generator: np.random.Generator,
) -> Music:
    """Compose a score for the cast, render every part, add noise, and quantise to 16 bits."""
    players = [*cast.visible, *cast.offscreen]
    score = compose(
        [material.bank.register(category, held_out) for category in players],
        settings.clip_seconds,
        generator,
        together=len(players) > 1 and generator.random() < settings.together_probability,
        chorales=material.chorales,
        settings=settings.score,
    )
    performances = tuple(
        perform(
            part, material.bank.notes(part.category, held_out), settings.clip_seconds, generator
        )
        for part in score.parts
    )
    stems = np.stack([performance.waveform for performance in performances])  # S N
    stems = balance(stems, generator, settings.level_spread_db)
    labels: tuple[str, ...] = ()
    if material.noises and generator.random() < settings.noise_probability:
        # After balancing: the noise has its own level range below the sum of the players.
        bed = draw_noise_bed(material.noises, stems.sum(0), generator)
        stems = np.concatenate([stems, bed.waveform[None]])
        labels = (noise_label(bed.path),)
    quantised, mixture = mix_stems(stems[:, None])  # S 1 N
    return Music(score, performances, labels, quantised, mixture)


def render_binaural(
    music: Music,
    objects: Sequence[VisibleObject],
    settings: ToybandSettings,
    material: Material,
    generator: np.random.Generator,
) -> tuple[Music, BinauralRecord | None]:
    """Render the stems for two ears; return the two-channel music and its directions.

    One-channel settings return the music unchanged and None.
    """
    if settings.binaural is None:
        return music, None
    head = settings.binaural.place_head(material.head or draw_head(settings.binaural, generator))
    width, height = settings.pictures.picture_size
    boxes = [visible.box_at(0.0) for visible in objects]
    num_offscreen = len(music.stems) - len(boxes)
    directions = draw_directions(boxes, num_offscreen, height / width, settings.binaural, generator)
    # From the 16-bit stems, which the pictures follow too. They are quantised a second time.
    stems, mixture = mix_stems(
        spatialise_stems(_as_float(music.stems[:, 0]), directions, head, SAMPLE_RATE_HZ)
    )
    record = BinauralRecord(
        head=repr(head),
        directions=tuple(DirectionRecord(**asdict(direction)) for direction in directions),
    )
    return replace(music, stems=stems, mixture=mixture), record


def set_stage(
    cast: Cast,
    music: Music,
    settings: ToybandSettings,
    material: Material,
    held_out: bool,
    generator: np.random.Generator,
) -> Stage:
    """Make the stage of a cast; each performer moves with the notes and loudness of its stem."""
    stage = StageSettings(
        **settings.pictures.model_dump(),
        duration_seconds=settings.clip_seconds,
        held_out_photographs=held_out,
        centres=settings.binaural and settings.binaural.draw_centres(len(cast.visible), generator),
    )
    # Not strict: parts and stems of offscreen players and noises follow the visible ones.
    roles = [
        Role(category, part.events, _loudness(stem[0], stage))
        for category, part, stem in zip(cast.visible, music.score.parts, music.stems, strict=False)
    ]
    return make_stage(roles, stage, generator, material.photographs)


def _loudness(stem: Int16[np.ndarray, " N"], stage: StageSettings) -> Float32[np.ndarray, " K"]:
    """Compute the loudness of a stem at each frame of the stage, 0..1."""
    return envelope(_as_float(stem), stage.frame_rate_hz, stage.num_frames)


def _make_record(
    seed: int, index: int, held_out: bool, cast: Cast, music: Music, stage: Stage
) -> ClipRecord:
    """Return the content of score.json; parts and stems have the same order and index."""
    stems = [f"stems/{name}" for name in music.stem_names(cast)]
    notes = [tuple(sorted(set(performance.note_names))) for performance in music.performances]
    num_visible, num_players = len(cast.visible), len(music.performances)
    performers = [
        PerformerRecord(category=category, part=part, stem=stems[part], notes=notes[part])
        for part, category in enumerate(cast.visible)
    ]
    players = [
        OffscreenRecord(label=label, part=part, stem=stems[part], notes=notes[part])
        for part, label in enumerate(cast.offscreen, num_visible)
    ]
    noises = [
        OffscreenRecord(label=label, part=None, stem=stem)
        for label, stem in zip(music.noise_labels, stems[num_players:], strict=True)
    ]
    distractors = [DistractorRecord(label=label, box=box) for label, box in stage.distractors]
    return ClipRecord(
        seed=seed,
        clip=index,
        held_out=held_out,
        score=music.score,
        performers=tuple(performers),
        offscreen=(*players, *noises),
        distractors=tuple(distractors),
    )


def noise_label(path: Path) -> str:
    """Return the label of a noise file for stem names: its folder's name, letters a to z only.

    Digits and blanks of prepared folders ("002 - Rain") would make stem names ambiguous.

    >>> noise_label(Path("002 - Rain/1-2.ogg"))
    'rain'
    """
    return re.sub(r"[^a-z]+", "-", path.parent.name.lower()).strip("-") or "noise"


def _as_float(samples: Int16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """Convert 16-bit samples to -1..1; exact, since float32 has 24 bits of mantissa."""
    return (samples / np.float32(FULL_SCALE)).astype(np.float32)
