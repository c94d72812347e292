"""Choose the mixtures of an evaluation, and mix the middle windows of their clips."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field

from avsep.data.categories import find_in
from avsep.data.clips import TEST, ClipFiles, SourceFile, missing_boxes, read_sound
from avsep.data.list_files import ListedClip, read_pair_file
from avsep.data.mixing import MixingSettings, MixtureItem, Waveform, crop, cut_windows, mix
from avsep.data.mixture_sampler import MAXIMUM_DRAWS, MixtureSampler
from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings

# The default number of sampled mixtures, as in the test of Sound of Pixels.
DEFAULT_NUM_MIXTURES = 256
# The most missing videos that a warning names; the rest are counted.
_MAX_NAMED_VIDEOS = 3


@dataclass(frozen=True)
class MixturePart:
    """One source of a mixture.

    Attributes:
        clip: the clip that holds the source.
        place: index of the source in that clip.
    """

    clip: ClipFiles
    place: int = 0

    @property
    def source(self) -> SourceFile:
        """The audio file, category and object of the source."""
        return self.clip.sources[self.place]


@dataclass(frozen=True)
class Mixture:
    """One mixture of an evaluation.

    Attributes:
        name: of the clip, or of all clips.
        parts: the sources, in the order in which they are scored.
        rule: how the sounds of several clips are added (`MixingSettings.rule`); none: the parts
            are of one clip, whose sum is the mixture, off-screen sounds included.
    """

    name: str
    parts: tuple[MixturePart, ...]
    rule: str | None = None

    @property
    def categories(self) -> tuple[str, ...]:
        """The category of each source."""
        return tuple(part.source.category for part in self.parts)

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the mixture's clips, each once."""
        return tuple(dict.fromkeys(part.clip.name for part in self.parts))


def clip_mixture(clip: ClipFiles) -> Mixture:
    """Return the mixture of a clip's own sources."""
    return Mixture(clip.name, tuple(MixturePart(clip, place) for place in range(len(clip.sources))))


def as_mixtures(items: Sequence[ClipFiles | Mixture]) -> tuple[Mixture, ...]:
    """Return mixtures; each clip among the items becomes the mixture of its own sources."""
    return tuple(item if isinstance(item, Mixture) else clip_mixture(item) for item in items)


# Middle windows of clips, and their sum


@dataclass(frozen=True)
class ClipWindow:
    """The middle window of a clip's sounds.

    Attributes:
        sounds: the sources, then the off-screen sounds.
        start_seconds: of the window, in the clip; negative if the clip is shorter than the window.
        repeated_seconds: length of a clip that is repeated to fill the window, or none.
    """

    sounds: Float32[np.ndarray, "sounds C N"]
    start_seconds: float
    repeated_seconds: float | None = None


def read_middle_window(clip: ClipFiles, front_end: FrontEndSettings, *, repeat: bool) -> ClipWindow:
    """Read the middle window of a clip.

    A shorter clip is padded with zeros on both sides or, with `repeat`, is repeated, as all
    released codes of the field do with the solos they mix.

    Raises:
        InputError: the clip's stems differ in length.
    """
    rate_hz, num_samples = front_end.sample_rate_hz, front_end.window_samples
    paths = (*(source.path for source in clip.sources), *clip.offscreen)
    sounds = [Waveform(read_sound(path, rate_hz, front_end.num_channels)) for path in paths]
    lengths = {sound.num_samples for sound in sounds}
    if len(lengths) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    length = lengths.pop()
    is_repeated = repeat and length < num_samples
    # The centre of the least number of repetitions that fill the window (-(-a // b) rounds up).
    centre = (length * -(-num_samples // length) if is_repeated else length) // 2
    if is_repeated:
        windows = cut_windows(sounds, [centre] * len(sounds), num_samples)
    else:
        windows = np.stack([crop(sound, centre, num_samples) for sound in sounds])
    start_seconds = (centre - num_samples // 2) / rate_hz
    return ClipWindow(windows, start_seconds, length / rate_hz if is_repeated else None)


def mix_windows(mixture: Mixture, windows: Sequence[ClipWindow]) -> MixtureItem:
    """Return the waveform of a mixture and its true sources.

    Args:
        mixture: its parts and the rule of their sum.
        windows: of each part's clip, in the order of the parts.
    """
    if mixture.rule is None:
        # Off-screen sounds are in the mixture and are no source.
        stems = windows[0].sounds
        sources = stems[[part.place for part in mixture.parts]]
        return MixtureItem(stems.sum(axis=0), sources, mixture.videos, mixture.categories)
    sounds = np.stack(
        [window.sounds[part.place] for part, window in zip(mixture.parts, windows, strict=True)]
    )
    mixed, sources = mix(sounds, mixture.rule)
    names = tuple(part.clip.name for part in mixture.parts)
    return MixtureItem(mixed, sources, names, mixture.categories)


# Choice of the mixtures


class PairSettings(BaseModel):
    """Settings for mixtures of several clips."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_sources: int = Field(default=2, ge=2, le=4, description="sources in a sampled mixture")
    same_category_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of sampled mixtures with two sources of one category; in the others "
        "all categories differ",
    )
    rule: Literal["mean", "sum"] = Field(
        default="mean",
        description="mean: each source is divided by their number (Sound of Pixels, iQuery on "
        "MUSIC); sum: it is not (iQuery on AVE)",
    )


@dataclass(frozen=True)
class MixtureList:
    """The mixtures of an evaluation.

    Attributes:
        unit: the word for them in messages: clips or mixtures.
        warnings: lines about the list for the reader of the scores.
    """

    mixtures: tuple[Mixture, ...]
    unit: str
    warnings: tuple[str, ...] = ()


def choose_mixtures(
    clips: Sequence[ClipFiles],
    *,
    pairs: Path | None = None,
    limit: int | None = None,
    settings: PairSettings | None = None,
    seed: int = 0,
) -> MixtureList:
    """Choose the mixtures of a data set.

    They are those of a pair file, else the clips' own mixtures, else sampled mixtures of solos.

    Args:
        clips: without a pair file only the clips of the test split are used, if there are any.
        pairs: a published pair file.
        limit: number of mixtures, from the start of the list; of solos the number to sample (256).
        settings: of mixtures of several clips.
        seed: of the sampling.

    Raises:
        InputError: a setting without effect here; no mixture can be made.
    """
    settings = settings or PairSettings()
    if pairs is not None:
        sampling_only = set(PairSettings.model_fields) - {"rule"}
        _check_used(settings, sampling_only, "a pair file lists the sources of each mixture")
        mixture_list = _read_mixtures(clips, pairs, settings)
        return replace(mixture_list, mixtures=mixture_list.mixtures[:limit])
    test_clips, warnings = _select_test_clips(clips)
    warnings += missing_boxes(test_clips)
    if any(len(clip.sources) > 1 for clip in test_clips):
        reason = "each clip is a mixture of its own sources; only solos and --pairs are mixed"
        _check_used(settings, set(PairSettings.model_fields), reason)
        return MixtureList(as_mixtures(test_clips[:limit]), "clips", warnings)
    mixtures, more = _sample_mixtures(test_clips, limit or DEFAULT_NUM_MIXTURES, settings, seed)
    return MixtureList(mixtures, "mixtures", (*warnings, *more))


def _check_used(settings: PairSettings, unused: set[str], reason: str) -> None:
    """Raise an InputError for a setting that was given and has no effect."""
    without_effect = sorted(settings.model_fields_set & unused)
    if without_effect:
        raise InputError(
            f"--set {without_effect[0]} has no effect here: {reason}; leave the setting out"
        )


def _select_test_clips(
    clips: Sequence[ClipFiles],
) -> tuple[tuple[ClipFiles, ...], tuple[str, ...]]:
    """Return the clips of the test split, or all if there are none, and warnings."""
    test_clips = tuple(clip for clip in clips if clip.split == TEST)
    if test_clips:
        num_others = len(clips) - len(test_clips)
        warning = f"{num_others} clips of other splits than '{TEST}' are not used"
        return test_clips, (warning,) if num_others else ()
    if any(clip.split for clip in clips):
        warning = f"no clip is of the split '{TEST}': all are used, those for training among them"
        return tuple(clips), (warning,)
    return tuple(clips), ()


def _make_mixture(parts: Sequence[MixturePart], rule: str) -> Mixture:
    names = [
        part.clip.name if len(part.clip.sources) == 1 else f"{part.clip.name}#{part.place + 1}"
        for part in parts
    ]
    return Mixture(" + ".join(names), tuple(parts), rule)


def _sample_mixtures(
    clips: Sequence[ClipFiles], num_mixtures: int, settings: PairSettings, seed: int
) -> tuple[tuple[Mixture, ...], tuple[str, ...]]:
    """Return different mixtures of different clips, and warnings.

    Each source is the first of a mixture about equally often.
    """
    parts = [MixturePart(clip, place) for clip in clips for place in range(len(clip.sources))]
    mixing = MixingSettings(
        num_sources=settings.num_sources,
        same_category_probability=settings.same_category_probability,
    )
    names, categories = [part.clip.name for part in parts], [p.source.category for p in parts]
    # Two cases in which the sampler could not meet distinct categories: both sources are asked to
    # be of one, or the data have a single one, as FAIR-Play, which does not name its instruments.
    only_same = settings.same_category_probability == 1 and settings.num_sources == 2
    is_one_category = len(set(categories)) == 1
    if only_same or is_one_category:
        mixing = mixing.model_copy(update={"distinct_categories": False})
    warnings = []
    if is_one_category and not only_same:
        warnings.append(f"any sources are mixed: all of them are called '{categories[0]}'")
    sampler = MixtureSampler(names, categories, mixing)
    order = np.random.default_rng(seed).permutation(len(parts))
    # Keyed by the set of sources: the same sources in another order are the same mixture.
    sampled: dict[frozenset[int], tuple[int, ...]] = {}
    index = num_repeats = 0
    # Ends with a row of repeats long enough for MAXIMUM_DRAWS failures of every first source.
    while len(sampled) < num_mixtures and num_repeats < MAXIMUM_DRAWS * len(parts):
        # A generator for each index: a longer list begins with the shorter one.
        generator = np.random.default_rng([seed, index])
        targets = sampler.sample(int(order[index % len(parts)]), generator).targets
        num_repeats = num_repeats + 1 if frozenset(targets) in sampled else 0
        sampled.setdefault(frozenset(targets), targets)
        index += 1
    mixtures = [
        _make_mixture([parts[place] for place in targets], settings.rule)
        for targets in sampled.values()
    ]
    if len(mixtures) < num_mixtures:
        warnings.append(
            f"only {len(mixtures)} different mixtures could be sampled, not {num_mixtures}"
        )
    return tuple(mixtures), tuple(warnings)


# Mixtures of a pair file


def _read_mixtures(clips: Sequence[ClipFiles], path: Path, settings: PairSettings) -> MixtureList:
    """Return the mixtures of a pair file whose videos are in the data, and a warning of the rest.

    Raises:
        InputError: no mixture is left, or a line names a clip of several sources.
    """
    mixtures, missing, num_left_out = [], Counter[str](), 0
    rows = read_pair_file(path)
    by_id: dict[str, list[ClipFiles]] = defaultdict(list)
    for clip in clips:
        by_id[clip.name.rpartition("/")[2]].append(clip)
    for row in rows:
        row_clips = [_find_clip(entry, by_id) for entry in row]
        # A set: a video that a line names twice is missing once in that line.
        missing_names = {
            _entry_name(entry) for entry, clip in zip(row, row_clips, strict=True) if clip is None
        }
        missing.update(missing_names)
        num_left_out += bool(missing_names)
        if not missing_names:
            parts = [MixturePart(clip) for clip in row_clips if clip is not None]
            mixtures.append(_make_mixture(parts, settings.rule))
    if not missing:
        return MixtureList(tuple(mixtures), "mixtures")
    named = [f"{name} ({count})" for name, count in missing.most_common(_MAX_NAMED_VIDEOS)]
    rest = f" and {len(missing) - len(named)} more" if len(missing) > len(named) else ""
    warning = (
        f"{num_left_out} of {len(rows)} mixtures of '{path.name}' are left out: {len(missing)} of "
        f"their videos are not in the data: {', '.join(named)}{rest}"
    )
    if not mixtures:
        raise InputError(f"{warning}; give the folder that holds them to --data")
    return MixtureList(tuple(mixtures), "mixtures", (warning,))


def _find_clip(entry: ListedClip, by_id: dict[str, list[ClipFiles]]) -> ClipFiles | None:
    """Return the clip with an entry's id, and with its category if the file states one."""
    for clip in by_id.get(entry.id, []):
        if len(clip.sources) != 1:
            raise InputError(
                f"line {entry.line} of the pair file names '{clip.name}', which holds "
                f"{len(clip.sources)} sources: name clips with one source"
            )
        if entry.category is None or find_in([clip.sources[0].category], entry.category) == 0:
            return clip
    return None


def _entry_name(entry: ListedClip) -> str:
    return f"{entry.category}/{entry.id}" if entry.category else entry.id
