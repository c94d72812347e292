"""Choose how each object is separated: by the model, by what the others leave, or not at all.

A model knows some kinds of things. What it has no category for must not be taken for one of them:
a dog beside a violin gets the sound that the violin leaves, not that of a trombone. What is in the
picture and not heard at all gets silence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import UInt8
from torch import Tensor

from avsep.cues.naming import Naming, name_objects
from avsep.labels import normalise_label
from avsep.models.base import SeparationModel
from avsep.records import VisibleObject
from avsep.separation.presence import (
    NOT_JUDGED,
    ObjectPresence,
    SeparatedAs,
    judge_presence,
)
from avsep.separation.prompts import match_categories
from avsep.sound.activity import SoundActivity, makes_sounds_of, sounds_of
from avsep.vision.namer import OTHER, load_namer

CropsOf = Callable[[Sequence[int]], Sequence[UInt8[Tensor, "K 3 H W"]]]

# Instruments -> categories of models that they sound like, the most alike first.
NEAREST: dict[str, tuple[str, ...]] = {
    "alphorn": ("trombone", "tuba"),
    "bass clarinet": ("clarinet", "saxophone"),
    "bass guitar": ("guitar", "acoustic guitar"),
    "bassoon": ("saxophone", "clarinet"),
    "bongo": ("drums", "congas"),
    "bugle": ("trumpet",),
    "cabasa": ("drums",),
    "castanets": ("drums",),
    "clavichord": ("piano",),
    "concertina": ("accordion",),
    "conga": ("drums", "congas"),
    "cornet": ("trumpet",),
    "cymbal": ("drums",),
    "double bass": ("cello",),
    "dulcimer": ("harp", "guzheng"),
    "electric guitar": ("guitar", "acoustic guitar"),
    "euphonium": ("tuba", "trombone"),
    "french horn": ("trombone", "tuba"),
    "guiro": ("drums",),
    "harmonica": ("accordion",),
    "harpsichord": ("piano",),
    "keyboard": ("piano",),
    "lute": ("guitar", "pipa"),
    "maracas": ("drums",),
    "marimba": ("xylophone",),
    "melodica": ("accordion",),
    "oboe": ("clarinet",),
    "ocarina": ("flute",),
    "organ": ("accordion",),
    "piccolo": ("flute",),
    "recorder": ("flute",),
    "sitar": ("guitar", "pipa"),
    "steel drum": ("xylophone",),
    "tambourine": ("drums",),
    "timpani": ("drums",),
    "ukulele": ("guitar", "acoustic guitar"),
    "vibraphone": ("xylophone",),
    "viola": ("violin",),
    "zither": ("harp", "guzheng"),
}


_UNNAMED = (
    "an object without a label is not surely named from its picture, and what it might be is not "
    "heard: its stem is the sound that the other objects leave; give it a label"
)


@dataclass(frozen=True)
class Treatment:
    """The way in which one object is separated.

    Attributes:
        kind: by the model; by an equal share of the sound that the model's objects leave (rest);
            silence for an object that is not heard.
        presence: whether it is heard.
        label: word for the object: given, or named here; none: the model's category.
        category: index in the model's list, where one is chosen here; else the model's business.
        is_by_sound: the label is another than that of the picture, which is not heard.
        warning: line for the user.
    """

    kind: SeparatedAs
    presence: ObjectPresence = NOT_JUDGED
    label: str | None = None
    category: int | None = None
    is_by_sound: bool = False
    warning: str | None = None


def choose_treatments(
    objects: Sequence[VisibleObject],
    model: SeparationModel,
    activity: SoundActivity,
    crops_of: CropsOf,
    *,
    keep_absent: bool,
) -> tuple[Treatment, ...]:
    """Choose the treatment of each object.

    Args:
        objects: with the model's category of each label that is one.
        model: separates them.
        activity: sounds that are heard in the mixture.
        crops_of: returns crops of the objects at some indices; called for those without a label,
            and those with that of a detector.
        keep_absent: separate objects by the model that are not heard, too.
    """
    treatments = [Treatment("model", label=item.label) for item in objects]
    if _reads_words(model):
        namings = _name_objects(objects, model, activity, crops_of)
        treatments = [
            _treat(item, model, activity, naming)
            for item, naming in zip(objects, namings, strict=True)
        ]
        if "category" not in model.required_cues:
            # It reads the pictures themselves: the words only tell what it does not know.
            treatments = [replace(treatment, category=None) for treatment in treatments]
    words = [
        _word(item, model, treatment) for item, treatment in zip(objects, treatments, strict=True)
    ]
    judged = judge_presence(words, activity)
    return tuple(
        _with_presence(treatment, presence, word, number, keep_absent=keep_absent)
        for number, (treatment, presence, word) in enumerate(
            zip(treatments, judged, words, strict=True), 1
        )
    )


def _reads_words(model: SeparationModel) -> bool:
    """True for a model that knows some kinds of things, and no others."""
    reads_category = "category" in model.required_cues or model.text_prompts == "category"
    return reads_category and bool(model.settings.categories)


def _name_objects(
    objects: Sequence[VisibleObject],
    model: SeparationModel,
    activity: SoundActivity,
    crops_of: CropsOf,
) -> tuple[Naming | None, ...]:
    """Name the objects without a label of the user by picture and sound."""
    unnamed = [
        index
        for index, item in enumerate(objects)
        if item.is_visible
        and (item.is_named_by_detector or (item.category is None and item.label is None))
    ]
    if not unnamed:
        return (None,) * len(objects)
    crops = dict(zip(unnamed, crops_of(unnamed), strict=True))
    return name_objects(
        [crops.get(index) for index in range(len(objects))],
        [item.label for item in objects],
        model.settings.categories,
        activity,
    )


def _treat(
    item: VisibleObject,
    model: SeparationModel,
    activity: SoundActivity,
    naming: Naming | None,
) -> Treatment:
    """Choose between the model and the rest for one object."""
    if naming is not None and naming.word != naming.picture_word:
        treatment = _treat_named(naming, model, activity)
        line = (
            f"an object looks like {_thing(naming.picture_word)}, and is named '{naming.word}', "
            "which is heard; give it a label if that is wrong"
        )
        lines = [line, *([treatment.warning] if treatment.warning else [])]
        return replace(treatment, is_by_sound=True, warning="; ".join(lines))
    if item.category is not None or not item.is_visible:
        return Treatment("model", label=item.label)
    if item.label is not None:
        return _treat_word(item.label, model, activity)
    if naming is None:
        return Treatment("model")
    return _treat_named(naming, model, activity)


def _treat_named(naming: Naming, model: SeparationModel, activity: SoundActivity) -> Treatment:
    """Choose the treatment of an object by the name that picture and sound gave it."""
    if not naming.is_sure and "category" in model.required_cues:
        return Treatment("rest", warning=_UNNAMED)
    if naming.category is None:
        label = None if naming.word == OTHER else naming.word
        return replace(_treat_word(naming.word, model, activity), label=label)
    return Treatment("model", label=naming.word, category=naming.category)


def _treat_word(word: str, model: SeparationModel, activity: SoundActivity) -> Treatment:
    """Choose the treatment of a thing by a word that is none of the model's categories."""
    places = {normalise_label(item): index for index, item in enumerate(model.settings.categories)}
    name = _known_part(normalise_label(word), places)
    if name in places:
        return Treatment("model", label=word, category=places[name])
    sounds = [sound for sound in sounds_of(name) if sound in places]
    if sounds:
        sound = activity.loudest(sounds)
        return Treatment("model", label=word, category=places[sound])
    for near in NEAREST.get(name, ()):
        if near in places:
            warning = f"the model has no category for '{word}': it is separated as '{near}'"
            return Treatment("model", label=word, category=places[near], warning=warning)
    if name in load_namer().words or makes_sounds_of(name):
        return Treatment(
            "rest",
            label=word,
            warning=f"the model has no category for {_thing(word)}: its stem is the sound that the "
            "other objects leave, shared among all such objects",
        )
    # A word that nobody knows here, such as a name: the picture decides.
    warning = None
    if "category" in model.required_cues:
        unmatched = VisibleObject(label=word)
        _, (warning,) = match_categories([unmatched], model.settings.categories)
    return Treatment("model", label=word, warning=warning)


def _thing(word: str) -> str:
    return "something else" if word == OTHER else f"'{word}'"


def _known_part(name: str, places: Mapping[str, int]) -> str:
    """Return the longest part of a label that is a word for a thing: "person" of "person singing".

    The label itself where no part of it is.
    """
    words = name.split()
    for length in range(len(words), 0, -1):
        for first in range(len(words) - length + 1):
            part = normalise_label(" ".join(words[first : first + length]))
            is_thing = part in load_namer().words or makes_sounds_of(part)
            if part in places or part in NEAREST or is_thing:
                return part
    return name


def _word(item: VisibleObject, model: SeparationModel, treatment: Treatment) -> str | None:
    """Return the word by which an object's sound is listened for."""
    if treatment.label or item.label:
        return treatment.label or item.label
    index = treatment.category if treatment.category is not None else item.category
    return None if index is None else model.settings.categories[index]


def _with_presence(
    treatment: Treatment,
    presence: ObjectPresence,
    word: str | None,
    number: int,
    *,
    keep_absent: bool,
) -> Treatment:
    """Add the presence; an object that is not heard gets silence."""
    if treatment.kind == "rest" and presence.state == "absent":
        # It would get what the others leave: there may be a sound of another kind.
        presence = replace(presence, state="uncertain")
    treatment = replace(treatment, presence=presence)
    if presence.state != "absent" or keep_absent:
        return treatment
    warning = (
        f"object {number} ({word}) is not heard, so that its stem is silent; separate it all the "
        "same with --keep-absent"
    )
    return replace(treatment, kind="silence", warning=warning)
