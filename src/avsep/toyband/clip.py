"""One clip: a cast is drawn, plays, is heard and seen, and is written to disk."""

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
from avsep.media.audio import write_audio
from avsep.media.objects_file import format_objects
from avsep.media.video_files import AudioTrack, VideoSettings, write_video
from avsep.records import VisibleObject
from avsep.toyband.categories import category_index, find_category
from avsep.toyband.ears import EarSettings, directions_of, draw_head, hear
from avsep.toyband.folder import (
    ClipPaths,
    ClipRecord,
    DirectionRecord,
    DistractorRecord,
    EarsRecord,
    OffscreenRecord,
    PerformerRecord,
    stem_names,
)
from avsep.toyband.material import Material
from avsep.toyband.music.notes import SAMPLE_RATE_HZ, is_held_out
from avsep.toyband.music.performance import (
    Performance,
    balance,
    envelope,
    mix_stems,
    noise_bed,
    perform,
)
from avsep.toyband.music.score import Score, ScoreSettings, compose
from avsep.toyband.pictures.performers import PictureSettings, StageSettings
from avsep.toyband.pictures.stage import Role, Stage, make_stage

FULL_SCALE = 2**15
MOST_PERFORMERS = 4
# Clips are made in parallel, so each encoder takes one core and the quickest way.
ENCODING = VideoSettings(preset="ultrafast", quality_crf=23, num_threads=1)


class ToybandSettings(BaseModel):
    """What clips are like; whatever is left open is drawn from the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip_seconds: float = Field(default=10.0, ge=1, le=600, description="length of a clip")
    num_performers: tuple[int, ...] = Field(
        default=(1, 2, 2, 2, 3, 4), min_length=1, description="drawn from these; 1 to 4 on a stage"
    )
    categories: tuple[str, ...] = Field(default=(), description="instruments; none means all")
    same_category_probability: float = Field(
        default=0.15, ge=0, le=1, description="that two performers play the same instrument"
    )
    together_probability: float = Field(
        default=0.5, ge=0, le=1, description="of common tempo and harmony, the hard case"
    )
    offscreen_player_probability: float = Field(
        default=0.1, ge=0, le=1, description="that somebody plays whom the picture does not show"
    )
    noise_probability: float = Field(
        default=0.5, ge=0, le=1, description="of a sound without an object, where --noise gives any"
    )
    level_spread_db: float = Field(
        default=6.0,
        ge=0,
        le=60,
        description="between the loudest and the softest performer at most",
    )
    score: ScoreSettings = ScoreSettings()
    pictures: PictureSettings = PictureSettings()
    binaural: EarSettings | None = Field(
        default=None, description="heard by two ears, as --binaural makes it; none: one channel"
    )

    @field_validator("num_performers")
    @classmethod
    def _fits_the_stage(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= count <= MOST_PERFORMERS for count in counts):
            raise ValueError(f"each must be 1 to {MOST_PERFORMERS}")
        return counts

    @field_validator("categories")
    @classmethod
    def _known(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            category_index(label)
        return tuple(name for label in labels if (name := find_category(label)))

    def for_ears(self, binaural: bool, head: Path | None) -> Self:
        """The same heard by two ears where that is asked for; a head needs them."""
        if binaural and self.binaural is None:
            return self.model_copy(update={"binaural": EarSettings()})
        if head is not None and self.binaural is None:
            raise InputError(f"a head, '{head}', hears with two ears: add --binaural")
        return self


def make_clip(
    paths: ClipPaths,
    seed: int,
    index: int,
    settings: ToybandSettings,
    material: Material,
) -> None:
    """Write one clip: the folder beside the video first, the video whole and last."""
    generator = np.random.default_rng([seed, index])
    held_out = is_held_out(seed)
    cast = draw_cast(settings, material.categories(held_out, settings.categories), generator)
    music = play(cast, settings, material, held_out, generator)
    stage = set_stage(cast, music, settings, material, held_out, generator)
    objects = stage.objects()
    music, ears = by_two_ears(music, objects, settings, material, generator)
    record = _record(seed, index, held_out, cast, music, stage).model_copy(update={"ears": ears})
    if ears is not None:
        azimuths = [direction.azimuth_degrees for direction in ears.directions]
        objects = [
            one.model_copy(update={"azimuth_degrees": round(azimuth, 2)})
            for one, azimuth in zip(objects, azimuths, strict=False)
        ]

    shutil.rmtree(paths.beside, ignore_errors=True)  # left by a run that was stopped
    paths.stems.mkdir(parents=True)
    for name, stem in zip(music.stem_names(cast), music.stems, strict=True):
        write_audio(paths.stems / name, _as_float(stem), SAMPLE_RATE_HZ, "pcm16")
    write_atomic(paths.objects, format_objects(objects))
    write_atomic(paths.score, record.model_dump_json(indent=1) + "\n")
    track = AudioTrack("mixture", _as_float(music.mixture), SAMPLE_RATE_HZ)
    rate_hz = settings.pictures.frame_rate_hz
    done = paths.beside / paths.video.name  # here, so that the next run sweeps what a stop leaves
    write_video(done, stage.frames(), rate_hz, [track], ENCODING)
    done.replace(paths.video)


@dataclass(frozen=True)
class Cast:
    """Who plays: performers on the stage, then whoever is not seen."""

    seen: tuple[str, ...]
    offscreen: tuple[str, ...]


@dataclass(frozen=True)
class Music:
    """What is heard: the score, a performance a part, and 16-bit stems in the order of the cast.

    Stems and mixture have one channel, or two: the left and the right ear.
    """

    score: Score
    performances: tuple[Performance, ...]
    noise_labels: tuple[str, ...]
    stems: Int16[np.ndarray, "S C N"]
    mixture: Int16[np.ndarray, "C N"]

    def stem_names(self, cast: Cast) -> list[str]:
        """File names of the stems."""
        return stem_names(cast.seen, [*cast.offscreen, *self.noise_labels])


def check_cast(settings: ToybandSettings, categories: Sequence[str]) -> None:
    """Raise InputError when a clip may need more different instruments than there are."""
    always_twins = settings.same_category_probability == 1
    most_seen = max(count - (always_twins and count > 1) for count in settings.num_performers)
    num_distinct = most_seen + (settings.offscreen_player_probability > 0)
    if num_distinct > len(categories):
        raise InputError(
            f"{num_distinct} different instruments are needed and there are {len(categories)}: "
            f"{', '.join(categories)}; add categories, or lower num_performers and set "
            "unseen_player_probability to 0"
        )


def draw_cast(
    settings: ToybandSettings, categories: Sequence[str], generator: np.random.Generator
) -> Cast:
    """Who plays, seen and unseen, of categories that `check_cast` has found to be enough."""
    num_seen = int(generator.choice(settings.num_performers))
    twins = num_seen > 1 and generator.random() < settings.same_category_probability
    with_unseen = generator.random() < settings.offscreen_player_probability
    num_distinct = num_seen - twins + with_unseen
    assert num_distinct <= len(categories), "check_cast comes first"
    order = generator.permutation(len(categories))[:num_distinct].tolist()
    chosen: list[str] = [categories[int(place)] for place in order]
    offscreen = (chosen.pop(),) if with_unseen else ()
    seen = [*chosen, chosen[0]] if twins else chosen
    return Cast(tuple(seen[place] for place in generator.permutation(num_seen).tolist()), offscreen)


def play(
    cast: Cast,
    settings: ToybandSettings,
    material: Material,
    held_out: bool,
    generator: np.random.Generator,
) -> Music:
    """Compose for the cast, play every part, add noise, and bring all to 16 bits."""
    players = [*cast.seen, *cast.offscreen]
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
        bed = noise_bed(material.noises, stems.sum(0), generator)
        stems = np.concatenate([stems, bed.waveform[None]])
        labels = (noise_label(bed.path),)
    whole, mixture = mix_stems(stems[:, None])  # S 1 N
    return Music(score, performances, labels, whole, mixture)


def by_two_ears(
    music: Music,
    objects: Sequence[VisibleObject],
    settings: ToybandSettings,
    material: Material,
    generator: np.random.Generator,
) -> tuple[Music, EarsRecord | None]:
    """The music as it reaches two ears from where its performers stand, and from where that is.

    As it was, and nothing, for a band in one channel.
    """
    if settings.binaural is None:
        return music, None
    head = settings.binaural.in_room(material.head or draw_head(settings.binaural, generator))
    width, height = settings.pictures.picture_size
    boxes = [one.box_at(0.0) for one in objects]
    num_unseen = len(music.stems) - len(boxes)
    directions = directions_of(boxes, num_unseen, height / width, settings.binaural, generator)
    stems, mixture = mix_stems(hear(_as_float(music.stems[:, 0]), directions, head, SAMPLE_RATE_HZ))
    ears = EarsRecord(
        head=repr(head),
        directions=tuple(DirectionRecord(**asdict(direction)) for direction in directions),
    )
    return replace(music, stems=stems, mixture=mixture), ears


def set_stage(
    cast: Cast,
    music: Music,
    settings: ToybandSettings,
    material: Material,
    held_out: bool,
    generator: np.random.Generator,
) -> Stage:
    """The performers on a stage, each with the notes and the loudness of its own stem."""
    stage = StageSettings(
        **settings.pictures.model_dump(),
        duration_seconds=settings.clip_seconds,
        held_out_photographs=held_out,
        centres=settings.binaural and settings.binaural.centres(len(cast.seen), generator),
    )
    roles = [
        Role(category, part.events, _loudness(stem[0], stage))
        for category, part, stem in zip(cast.seen, music.score.parts, music.stems, strict=False)
    ]
    return make_stage(roles, stage, generator, material.photographs)


def _loudness(stem: Int16[np.ndarray, " N"], stage: StageSettings) -> Float32[np.ndarray, " K"]:
    """How loud a stem is at each frame of the stage, 0..1."""
    return envelope(_as_float(stem), stage.frame_rate_hz, stage.num_frames)


def _record(
    seed: int, index: int, held_out: bool, cast: Cast, music: Music, stage: Stage
) -> ClipRecord:
    stems = [f"stems/{name}" for name in music.stem_names(cast)]
    notes = [tuple(sorted(set(performance.played))) for performance in music.performances]
    num_seen, num_players = len(cast.seen), len(music.performances)
    performers = [
        PerformerRecord(category=category, part=part, stem=stems[part], notes=notes[part])
        for part, category in enumerate(cast.seen)
    ]
    players = [
        OffscreenRecord(label=label, part=part, stem=stems[part], notes=notes[part])
        for part, label in enumerate(cast.offscreen, num_seen)
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
    """What a noise is called in file names: its folder's words, only letters a to z.

    >>> noise_label(Path("002 - Rain/1-2.ogg"))
    'rain'
    """
    return re.sub(r"[^a-z]+", "-", path.parent.name.lower()).strip("-") or "noise"


def _as_float(samples: Int16[np.ndarray, "*axes"]) -> Float32[np.ndarray, "*axes"]:
    """16-bit samples as -1..1, exactly."""
    return (samples / np.float32(FULL_SCALE)).astype(np.float32)
