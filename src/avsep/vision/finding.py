"""Find the visible objects of a video: detect them in sampled pictures, and join them over time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from avsep.errors import InputError
from avsep.labels import normalise_label
from avsep.media.audio import Align
from avsep.media.opening import MediaSource
from avsep.media.streams import Track
from avsep.records import VisibleObject
from avsep.vision.detectors.base import Detections, Detector
from avsep.vision.object_names import choose_by_word, look_again, rename_objects
from avsep.vision.sampling import Progress, SamplePlan, detect_samples, plan_samples
from avsep.vision.tracking import (
    CONTINUING_SHARE,
    DetectedSamples,
    hold_still,
    track_objects,
)

_LONGEST_WORD = 200
# Objects that are looked at again to name them; the least sure of many are clutter.
_MOST_NAMED = 12


class FindSettings(BaseModel):
    """The detector, the pictures in which it looks, and what counts as an object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str = Field(
        default="avsep-detector", min_length=1, description="name of the detector, or its files"
    )
    sample_rate_hz: float = Field(
        default=1.0, gt=0, le=60, description="pictures a second in which objects are looked for"
    )
    most_samples: int = Field(
        default=120, ge=1, le=5000, description="pictures of a long video, evenly spread"
    )
    least_score: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="score at which an object begins, half of it continues one; none: all that the "
        "detector finds",
    )
    smallest_share: float = Field(
        default=0.002, ge=0, le=1, description="share of the picture's area that an object fills"
    )
    most_objects: int = Field(
        default=8, ge=1, le=100, description="objects of a video without words, the surest"
    )
    least_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="least confidence of an object without words, over that of the surest one",
    )
    least_confidence: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="of an object without words beside the surest one, which is always returned",
    )
    least_seconds: float = Field(
        default=1.0, ge=0, description="seconds in which an object is seen, of a video of some"
    )
    categories: tuple[str, ...] = Field(
        default=(),
        description="words that a detector without labels looks for where none are given",
    )
    frame_rate_hz: float | None = Field(
        default=None, gt=0, description="of the frames that a file of detections counts"
    )
    audio_track: Track | None = Field(
        default=None, description="audio track from whose start times count; none: the default"
    )
    align: Align = Field(
        default="picture",
        description="times count from the start of the picture, as of the stems, or of the sound",
    )
    uses_cache: bool = Field(
        default=True, description="store detections, and read those of an earlier time"
    )


@dataclass(frozen=True)
class FoundObjects:
    """The objects of a video.

    Attributes:
        objects: surest first, each with its boxes on the time line of boxes: seconds from where the
            sound starts, with the picture or by itself (`align`). The first and the last box are
            where it is first and last seen.
        warnings: words that nothing was found for, damage that was skipped.
        times_seconds: of the pictures in which objects were looked for, on this time line.
        sound_seconds: time at which the sound starts on the file's time line; 0 without one.
    """

    objects: tuple[VisibleObject, ...]
    warnings: tuple[str, ...]
    times_seconds: tuple[float, ...]
    sound_seconds: float = 0.0

    @property
    def overview_seconds(self) -> float:
        """Return the time at which most objects are seen, the one nearest to the middle."""
        middle = len(self.times_seconds) // 2
        return min(
            enumerate(self.times_seconds),
            key=lambda item: (-len(self.numbers_at(item[1])), abs(item[0] - middle)),
        )[1]

    def numbers_at(self, time_seconds: float) -> list[int]:
        """Return the places, from 0, of the objects that have been seen and will be, at a time."""
        return [
            number
            for number, item in enumerate(self.objects)
            if item.boxes[0].time_seconds - 1e-3
            <= time_seconds
            <= item.boxes[-1].time_seconds + 1e-3
        ]


def find_objects(
    video: MediaSource,
    words: Sequence[str] = (),
    *,
    settings: FindSettings | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> FoundObjects:
    """Find the visible objects of a video, with boxes over time.

    Args:
        video: path, bytes or a file object.
        words: objects to look for, one each: of a word that is given twice the two surest; none:
            all that the detector has labels for, `most_objects` at most.
        settings: of the detector and the samples; none: the defaults.
        device: where the detector computes: "auto", "cpu" or as PyTorch calls it.
        progress: called with a stage in words, its seconds done, and all of them; an exception that
            it raises cancels.
        start_seconds, end_seconds: part of the video to look in; none: to its end.

    Raises:
        InputError: no video, a part that is not in it, an unknown detector, a word that it cannot
            look for, or an empty word.
    """
    settings = settings or FindSettings()
    words = _check_words(words)
    detector = load_finder(settings, device)
    return find_objects_by(
        detector,
        video,
        words,
        settings=settings,
        progress=progress,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
    )


def load_finder(settings: FindSettings, device: str = "auto") -> Detector:
    """Load the detector of settings, with their least score where it has one.

    Raises:
        InputError: an unknown detector, a missing file, or one that cannot be loaded; a frame rate
            for a detector that counts no frames.
    """
    # Not above: objects that are found by a detector of the caller need none of these.
    from avsep.vision.detectors.registry import check_frame_rate, has_setting, load_detector
    from avsep.vision.detectors.settings import DetectorSettings

    check_frame_rate(settings.detector, settings.frame_rate_hz)
    values: dict[str, object] = {}
    if settings.least_score is not None and has_setting(settings.detector, "least_score"):
        # As low as what continues an object.
        values["least_score"] = settings.least_score * CONTINUING_SHARE
    if settings.frame_rate_hz is not None:
        values["frame_rate_hz"] = settings.frame_rate_hz
    if settings.categories:
        values["categories"] = settings.categories
    if not values:
        return load_detector(settings.detector, device)
    return load_detector(settings.detector, device, DetectorSettings.model_validate(values))


def find_objects_by(
    detector: Detector,
    video: MediaSource,
    words: Sequence[str] = (),
    *,
    settings: FindSettings | None = None,
    progress: Progress | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> FoundObjects:
    """Find objects by a detector that is loaded already; otherwise as `find_objects`."""
    settings = settings or FindSettings()
    words = _check_words(words)
    plan = plan_samples(
        video,
        settings.sample_rate_hz,
        settings.most_samples,
        start_seconds,
        end_seconds,
        track=settings.audio_track,
        align=settings.align,
    )
    search = _Search(video, detector, plan, settings, progress or _ignore)
    if not words:
        objects = search.objects(())
        if detector.names:
            named = look_again(video, objects[:_MOST_NAMED], detector, plan.sound_seconds)
            objects = rename_objects(named)
        lines = () if objects else (_nothing_found(settings.detector),)
        if objects:
            first, *others = objects
            least = max(settings.least_share * first.confidence, settings.least_confidence)
            sure = [first, *(item for item in others if item.confidence >= least)]
            objects = tuple(sure[: settings.most_objects])
    else:
        objects, lines = _find_words(search, words)
    if not detector.has_exact_boxes:
        objects = tuple(hold_still(item) for item in objects)
    return FoundObjects(objects, (*search.warnings, *lines), search.times_seconds,
                        plan.sound_seconds)  # fmt: skip


class _Search:
    """Detections in one video, joined to objects over time."""

    def __init__(
        self,
        video: MediaSource,
        detector: Detector,
        plan: SamplePlan,
        settings: FindSettings,
        progress: Progress,
    ) -> None:
        self.video, self.detector, self.plan, self.settings = video, detector, plan, settings
        self.warnings: tuple[str, ...] = ()
        self.times_seconds: tuple[float, ...] = ()
        self._progress = progress

    def objects(self, words: Sequence[str]) -> tuple[VisibleObject, ...]:
        """Return the objects of words, or of all labels of the detector, surest first."""
        settings = self.settings
        samples, self.warnings = detect_samples(
            self.video,
            self.detector,
            self.plan,
            tuple(words),
            self._progress,
            # Detectors may leave out what is below it.
            cache_key=repr(settings.least_score) if settings.uses_cache else None,
        )
        self.times_seconds = samples.times_seconds
        chosen = DetectedSamples(
            samples.times_seconds,
            tuple(_large_enough(item, settings.smallest_share) for item in samples.detections),
            samples.changes,
        )
        return track_objects(
            chosen,
            least_score=settings.least_score or 0.0,
            least_seconds=settings.least_seconds,
        )


def _find_words(
    search: _Search, words: Sequence[str]
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """Return the objects of words: those of the detector's names are chosen by name."""
    detector = search.detector
    by_name = [word for word in words if normalise_label(word) in detector.names]
    objects: list[VisibleObject] = []
    if by_name:
        every = search.objects(())[:_MOST_NAMED]
        named = look_again(search.video, every, detector, search.plan.sound_seconds)
        for word in dict.fromkeys(by_name):
            # An object is one thing: what an earlier word took is left out.
            earlier = {item.boxes for item in objects}
            free = [item for item in named if item.visible.boxes not in earlier]
            matching = choose_by_word(free, normalise_label(word))[: by_name.count(word)]
            objects += [item.model_copy(update={"label": word}) for item in matching]
    others = [word for word in dict.fromkeys(words) if word not in by_name]
    unknown: list[str] = []
    if others:
        try:
            objects += search.objects(others)
        except InputError:
            # One word that the detector does not know must not spoil the others.
            for word in others:
                try:
                    objects += search.objects([word])
                except InputError:
                    unknown.append(word)
            if len(unknown) == len(set(words)):
                raise
    chosen, lines = _choose_for_words(objects, words, search.settings.detector)
    detector_name = search.settings.detector
    unknown_lines = (
        f"detector '{detector_name}' does not know the word '{word}'" for word in unknown
    )
    return chosen, (*unknown_lines, *lines)


def _nothing_found(detector: str) -> str:
    return (
        f"detector '{detector}' finds no object: name what to look for (--find violin), lower the "
        "threshold (--threshold), or choose another detector (--detector)"
    )


def _ignore(stage: str, done_seconds: float, all_seconds: float | None) -> None:
    """Report nothing."""


def _check_words(words: Sequence[str]) -> tuple[str, ...]:
    if isinstance(words, str):
        raise InputError(f"words are a list, not the text '{words}'; give [\"{words}\"]")
    stripped = tuple(" ".join(word.split()) for word in words)
    for word in stripped:
        if not word or len(word) > _LONGEST_WORD or not word.isprintable():
            raise InputError(
                f"'{word[:40]}' is no word to look for; give one to {_LONGEST_WORD} printable "
                "characters, such as violin"
            )
    return stripped


def _large_enough(detections: Detections, smallest_share: float) -> Detections:
    """Leave out boxes that fill less of the picture."""
    boxes = detections.boxes.astype(np.float64).clip(0, 1)
    shares = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    is_chosen = (shares >= smallest_share) & (shares > 0)
    return detections.select(np.flatnonzero(is_chosen).tolist())


# Objects of words


def _choose_for_words(
    objects: Sequence[VisibleObject], words: Sequence[str], detector: str
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """Return the surest object of each word, labelled by it, surest first, and warnings."""
    keys = [normalise_label(word) for word in words]
    of_key: defaultdict[str, list[VisibleObject]] = defaultdict(list)
    strange: list[VisibleObject] = []
    for item in objects:
        key = normalise_label(item.label or "")
        (of_key[key] if key in keys else strange).append(item)
    # Detectors may return a name of theirs. Where one word alone is left, it is meant.
    missing = [key for key in dict.fromkeys(keys) if not of_key[key]]
    if len(missing) == 1:
        of_key[missing[0]] = strange
    rest = {key: list(items) for key, items in of_key.items()}
    chosen = [
        rest[key].pop(0).model_copy(update={"label": word})
        for key, word in zip(keys, words, strict=True)
        if rest[key]
    ]
    ordered = sorted(chosen, key=lambda item: -item.confidence)
    counts = [
        (word, keys.count(key), len(of_key[key]))
        for key, word in dict(zip(keys, words, strict=True)).items()
    ]
    return tuple(ordered), tuple(_warnings_of_words(counts, detector))


def _warnings_of_words(counts: Sequence[tuple[str, int, int]], detector: str) -> Iterator[str]:
    """Yield a line for each word of which there are fewer or more objects than it is given.

    Args:
        counts: each word, how often it is given, and how many objects it has.
        detector: name of the detector.
    """
    for word, number, num_objects in counts:
        if num_objects == 0:
            yield (
                f"no '{word}' found by detector '{detector}': try another word or detector, a "
                f'lower threshold, or give its box, "{word}@x1,y1,x2,y2"'
            )
        elif num_objects < number:
            yield f"only {num_objects} of {number} '{word}' found; give the boxes of the others"
        elif num_objects > number:
            yield (
                f"{num_objects} objects are '{word}', of which the {number} surest "
                f"{'is' if number == 1 else 'are'} taken; repeat the word for more"
            )
