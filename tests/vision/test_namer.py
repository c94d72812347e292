"""Test the namer: drawn instruments, words that count, things of other kinds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avsep.cues.naming import categories_of_word, name_objects, weigh_by_sound
from avsep.errors import InputError
from avsep.sound.activity import SoundActivity
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import ToybandSettings, draw_cast, play, set_stage
from avsep.toyband.material import Material
from avsep.vision.namer import CLASS_WORDS, OTHER, load_namer


def drawn(seed: int) -> list[tuple[str, torch.Tensor]]:
    """Return label and crop of each musician of a stage."""
    settings, material = ToybandSettings(clip_seconds=1), Material.read()
    generator = np.random.default_rng([4003, seed])
    cast = draw_cast(settings, material.categories(True, ()), generator)
    music = play(cast, settings, material, True, generator)
    stage = set_stage(cast, music, settings, material, True, generator)
    picture = Image.fromarray(stage.frame(0.5))
    size = np.tile(picture.size, 2)
    crops = []
    for item in stage.objects():
        box = tuple((np.array(item.box_at(0)) * size).round().astype(int).tolist())
        square = np.asarray(picture.crop(box).resize((224, 224), Image.Resampling.BILINEAR))
        crops.append((item.label or "", torch.from_numpy(square.copy()).permute(2, 0, 1)[None]))
    return crops


def test_drawn_instruments_are_named() -> None:
    pairs = [pair for seed in range(5) for pair in drawn(seed)]
    names = name_objects([crop for _, crop in pairs], CATEGORIES)
    assert names is not None
    right = [CATEGORIES[name.index] == label for (label, _), name in zip(pairs, names, strict=True)]
    assert np.mean(right) >= 0.8 and np.mean([name.is_sure for name in names]) >= 0.7
    assert all(name.word == name.picture_word for name in names)


def test_what_is_none_of_the_categories_is_something_else() -> None:
    (label, crop), *_ = drawn(0)
    (name,) = name_objects([crop], [word for word in CATEGORIES if word != label]) or ()
    assert name.is_other and name.word == label and not name.is_sure
    # A category that neither the namer nor the classifier has may be what it is.
    assert name_objects([crop], ["erhu", "violin"]) is None
    assert name_objects([crop], ["wind", "violin"]) is not None


def heard(**probabilities: float) -> SoundActivity:
    """Return sounds that are heard with these probabilities in three windows."""
    labels = tuple(probabilities)
    rows = np.tile(np.array(list(probabilities.values()), np.float32), (3, 1))
    return SoundActivity(rows, 1.0, labels)


def test_a_thing_that_is_heard_comes_before_one_that_is_not() -> None:
    shares = {"tambourine": 0.7, "drums": 0.2, "kazoo": 0.1}
    sounds = heard(percussion=0.001, drums=0.9)
    weighed = weigh_by_sound(shares, sounds, set())
    # 0.7 / 20 of the first, 0.2 x 20 of the second, and the third, which has no sound, as it is.
    total = 0.7 / 20 + 0.2 * 20 + 0.1
    assert weighed == pytest.approx(
        {"tambourine": 0.7 / 20 / total, "drums": 4 / total, "kazoo": 0.1 / total}, rel=1e-5
    )
    # Another object is the drums: their sound does not speak for this one.
    explained = weigh_by_sound(shares, sounds, {"drums"})
    assert explained["drums"] == pytest.approx(0.2 / (0.7 / 20 + 0.2 + 0.1), rel=1e-5)
    # As often as in what the classifier was trained on: no evidence.
    assert weigh_by_sound(shares, heard(drums=0.025), set()) == pytest.approx(shares)


def test_one_of_two_alike_is_named_by_the_sound() -> None:
    """The same crop is another instrument where only that is heard."""
    label, crop = next(pair for pair in drawn(0) if pair[0] in CATEGORIES)
    other = "harp" if label != "harp" else "tuba"
    (alone,) = name_objects([crop], CATEGORIES, heard(**{label: 0.9, other: 0.001})) or ()
    assert CATEGORIES[alone.index] == label and alone.is_sure


def test_words_are_categories_or_make_their_sounds() -> None:
    categories = ("Dog", "speech", "laughter", "drums")
    assert categories_of_word("dog", categories) == (0,)
    assert categories_of_word("person", categories) == (1, 2)
    assert categories_of_word("drums", categories) == (3,)
    assert categories_of_word("violin", categories) == ()


def test_probabilities_sum_to_one_over_all_words() -> None:
    namer = load_namer()
    noise = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    from avsep.vision.efficientnet_lite import load_efficientnet_lite

    shares = namer.probabilities(noise, load_efficientnet_lite())
    assert sum(shares.values()) == pytest.approx(1) and set(shares) == set(namer.words)
    assert set(CLASS_WORDS) <= set(shares) and namer.words[-1] == OTHER


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "namer.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read '.*' as a namer: .* give a file that"):
        load_namer(path)
