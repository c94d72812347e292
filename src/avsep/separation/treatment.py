"""Choose how each object is separated: by the model, by what the others leave, or not at all.

A model knows some kinds of things. What it has no category for must not be taken for one of them:
a dog beside a violin gets the sound that the violin leaves, not that of a trombone. What is in the
picture and not heard at all gets silence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from jaxtyping import UInt8
from torch import Tensor

from avsep.cues.naming import Naming, best_heard, categories_of_word, name_objects
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
from avsep.sound.activity import SoundActivity, makes_sounds_of
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
        label: word for the object: given, or named from its picture; none: the model's category.
        category: index in the model's list, where one is chosen here; else the model's business.
        warning: line for the user.
    """

    kind: SeparatedAs
    presence: ObjectPresence = NOT_JUDGED
    label: str | None = None
    category: int | None = None
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
        crops_of: returns crops of the objects at some indices; called for those without a label.
        keep_absent: separate objects by the model that are not heard, too.
    """
    treatments = [Treatment("model", label=item.label) for item in objects]
    if _reads_words(model):
        unnamed = [
            index
            for index, item in enumerate(objects)
            if item.category is None and item.label is None and item.is_visible
        ]
        crops = crops_of(unnamed) if unnamed else ()
        namings = name_objects(crops, model.settings.categories, activity)
        named = dict(zip(unnamed, namings, strict=True)) if namings else {}
        treatments = [
            _treat(item, model, activity, named.get(index)) for index, item in enumerate(objects)
        ]
        if "category" not in model.required_cues:
            # It reads the pictures themselves: the words only tell what it does not know.
            treatments = [replace(treatment, category=None) for treatment in treatments]
    words = [
        _word(item, model, treatment) for item, treatment in zip(objects, treatments, strict=True)
    ]
    judged = judge_presence(words, activity)
    return tuple(
        _with_presence(treatment, presence, item.label or word, number, keep_absent=keep_absent)
        for number, (treatment, presence, item, word) in enumerate(
            zip(treatments, judged, objects, words, strict=True), 1
        )
    )


def _reads_words(model: SeparationModel) -> bool:
    """True for a model that knows some kinds of things, and no others."""
    reads_category = "category" in model.required_cues or model.text_prompts == "category"
    return reads_category and bool(model.settings.categories)


def _treat(
    item: VisibleObject, model: SeparationModel, activity: SoundActivity, naming: Naming | None
) -> Treatment:
    """Choose between the model and the rest for one object."""
    if item.category is not None or not item.is_visible:
        return Treatment("model", label=item.label)
    if item.label is not None:
        return _treat_word(item.label, model, activity)
    # A thing that the namer has no word for may be a category that it has no word for either.
    if naming is None or (naming.word == OTHER and not _names_all(model)):
        return Treatment("model")
    warning = None
    if naming.word != naming.picture_word:
        warning = (
            f"an object looks like '{naming.picture_word}', which is not heard: it is taken for "
            f"'{naming.word}', which is; give it a label if that is wrong"
        )
    if naming.is_other:
        label = None if naming.word == OTHER else naming.word
        treatment = replace(_treat_word(naming.word, model, activity), label=label)
        return replace(treatment, warning=warning or treatment.warning)
    if naming.is_sure or "category" not in model.required_cues:
        return Treatment("model", category=naming.index, warning=warning)
    word = model.settings.categories[naming.index]
    if judge_presence([word], activity)[0].state == "present":
        return Treatment("model", category=naming.index, warning=warning)
    return Treatment("rest", warning=_UNNAMED)


def _names_all(model: SeparationModel) -> bool:
    """True if each of the model's categories is a word of the namer."""
    words = set(load_namer().words)
    return all(normalise_label(item) in words for item in model.settings.categories)


def _treat_word(word: str, model: SeparationModel, activity: SoundActivity) -> Treatment:
    """Choose the treatment of a thing by a word that is none of the model's categories."""
    places = {normalise_label(item): index for index, item in enumerate(model.settings.categories)}
    name = _known_part(normalise_label(word), places)
    if name in places:
        return Treatment("model", label=word, category=places[name])
    # A person speaks, laughs or claps: the sound that is heard best.
    if sounds := categories_of_word(name, model.settings.categories):
        heard_best = best_heard(sounds, model.settings.categories, activity)
        return Treatment("model", label=word, category=heard_best)
    for near in NEAREST.get(name, ()):
        if near in places:
            warning = f"the model has no category for '{word}': it is separated as '{near}'"
            return Treatment("model", label=word, category=places[near], warning=warning)
    if name in load_namer().words or makes_sounds_of(name):
        thing = "this thing" if name == OTHER else f"'{word}'"
        return Treatment(
            "rest",
            label=word,
            warning=f"the model has no category for {thing}: its stem is the sound that the other "
            "objects leave, shared among all such objects",
        )
    # A word that nobody knows here, such as a name: the picture decides.
    warning = None
    if "category" in model.required_cues:
        unmatched = VisibleObject(label=word)
        _, (warning,) = match_categories([unmatched], model.settings.categories)
    return Treatment("model", label=word, warning=warning)


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
    if item.label or treatment.label:
        return item.label or treatment.label
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
