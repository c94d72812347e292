"""The 1000 ImageNet classes: their names, and the classes of a word."""

import re
from functools import cache
from pathlib import Path

from avsep.errors import unknown_name

_NAMES = Path(__file__).with_name("imagenet_classes.txt")

# Words that are no name in the list -> classes: other names that ImageNet has for a class, names
# of a group of its classes, and names of things that it counts among a class.
_CLASSES_OF_WORD: dict[str, tuple[str, ...]] = {
    # Instruments
    "bass drum": ("drum",),
    "bass guitar": ("electric guitar",),
    "bongo": ("drum",),
    "conga": ("drum",),
    "drum kit": ("drum",),
    "electric bass": ("electric guitar",),
    "fiddle": ("violin",),
    "horn": ("French horn", "cornet"),
    "keyboard instrument": ("grand piano", "upright", "organ"),
    "mouth organ": ("harmonica",),
    "piano": ("grand piano", "upright"),
    "saxophone": ("sax",),
    "snare drum": ("drum",),
    "steelpan": ("steel drum",),
    "trumpet": ("cornet",),
    "violoncello": ("cello",),
    "xylophone": ("marimba",),
    # Vehicles
    "airplane": ("airliner", "warplane"),
    "aircraft": ("airliner", "warplane"),
    "bus": ("minibus", "school bus", "trolleybus"),
    "car": ("beach wagon", "cab", "convertible", "jeep", "limousine", "minivan", "Model T",
            "racer", "sports car"),
    "locomotive": ("electric locomotive", "steam locomotive"),
    "motorcycle": ("moped", "motor scooter"),
    "race car": ("racer", "sports car"),
    "siren": ("ambulance", "fire engine", "police van"),
    "train": ("bullet train", "electric locomotive", "steam locomotive"),
    "train horn": ("bullet train", "electric locomotive", "steam locomotive"),
    "truck": ("fire engine", "garbage truck", "moving van", "pickup", "tow truck",
              "trailer truck"),
    # Animals
    "boar": ("wild boar",),
    "cow": ("ox",),
    "elephant": ("tusker", "Indian elephant", "African elephant"),
    "frog": ("bullfrog", "tree frog", "tailed frog"),
    "horse": ("sorrel",),
    "pig": ("hog", "wild boar"),
    "rodent": ("hamster", "porcupine", "fox squirrel", "marmot", "beaver", "guinea pig"),
    "rooster": ("cock",),
    "sheep": ("ram", "bighorn"),
    # Things
    "chainsaw": ("chain saw",),
    "church bell": ("bell cote",),
    "clock": ("analog clock", "digital clock", "wall clock"),
    "clock alarm": ("analog clock", "digital clock"),
    "frying": ("frying pan",),
    "hair dryer": ("hand blower",),
    "keyboard typing": ("computer keyboard", "typewriter keyboard"),
    "mobile phone": ("cellular telephone",),
    "toilet": ("toilet seat",),
    "toilet flush": ("toilet seat",),
    "vacuum cleaner": ("vacuum",),
    "washing machine": ("washer",),
}  # fmt: skip
# Groups whose classes are neighbours in the list: first and last name of each run.
_RUNS_OF_WORD: dict[str, tuple[tuple[str, str], ...]] = {
    "bark": (("Chihuahua", "Mexican hairless"),),
    "bird": (
        ("cock", "great grey owl"),
        ("black grouse", "black swan"),
        ("white stork", "albatross"),
    ),
    "cat": (("tabby", "Egyptian cat"),),
    "dog": (("Chihuahua", "Mexican hairless"),),
}


@cache
def class_names() -> tuple[str, ...]:
    """Return the names of the 1000 classes, in the order of the logits."""
    return tuple(_NAMES.read_text(encoding="utf-8").splitlines())


def find_classes(word: str) -> tuple[int, ...]:
    """Return the classes that a word names, in order; none for a thing that ImageNet lacks.

    A class with exactly this name comes first; then the word's other names and groups; then all
    classes that end in the word. Case, underscores, hyphens and a plural s are ignored. Of a
    category with several names, such as "violin, fiddle", each counts.

    >>> find_classes("Violin"), find_classes("drums"), find_classes("guitar"), find_classes("tuba")
    ((889,), (541,), (402, 546), ())
    """
    names = re.sub(r"\(.*\)", "", word).split(",")
    return tuple(sorted({index for name in names for index in _classes_of(_normalised(name))}))


def require_classes(word: str) -> tuple[int, ...]:
    """Return the classes that a word names, at least one.

    Raises:
        InputError: there is none; the message suggests the nearest name.
    """
    classes = find_classes(word)
    if not classes:
        words = {*class_names(), *_CLASSES_OF_WORD, *_RUNS_OF_WORD}
        raise unknown_name("ImageNet class", word, words)
    return classes


def _classes_of(word: str) -> tuple[int, ...]:
    """Return the classes of a normalised word, or of its singular."""
    indices = _indices_by_name()
    for form in dict.fromkeys((word, word.removesuffix("s"))):
        if form in indices:
            return indices[form]
        if form in _CLASSES_OF_WORD:
            return tuple(i for name in _CLASSES_OF_WORD[form] for i in indices[_normalised(name)])
        if form in _RUNS_OF_WORD:
            names = class_names()
            ends = [(names.index(first), names.index(last)) for first, last in _RUNS_OF_WORD[form]]
            return tuple(index for first, last in ends for index in range(first, last + 1))
        longer = [name for name in indices if form and name.endswith(f" {form}")]
        if longer:
            return tuple(index for name in longer for index in indices[name])
    return ()


@cache
def _indices_by_name() -> dict[str, tuple[int, ...]]:
    """Return the classes of every normalised name: "cardigan" is a dog and a garment."""
    indices: dict[str, tuple[int, ...]] = {}
    for index, name in enumerate(class_names()):
        indices[_normalised(name)] = (*indices.get(_normalised(name), ()), index)
    return indices


def _normalised(name: str) -> str:
    return " ".join(re.sub("[_-]", " ", name.casefold()).split())
