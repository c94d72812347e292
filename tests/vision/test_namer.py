"""Test the namer: drawn instruments, words that count, things of other kinds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avsep.cues.naming import Naming, name_objects
from avsep.errors import InputError
from avsep.sound.activity import SoundActivity
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import ToybandSettings, draw_cast, play, set_stage
from avsep.toyband.material import Material
from avsep.vision.namer import CLASS_WORDS, OTHER, load_namer


def name_object(crop: torch.Tensor, categories: Sequence[str]) -> Naming | None:
    """Name an object by its picture: nothing is heard."""
    silence = SoundActivity(np.zeros((0, 1), np.float32), 1.0, ("violin",))
    return name_objects([crop], [None], categories, silence)[0]


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
    names = [name_object(crop, CATEGORIES) for _, crop in pairs]
    right = [
        name is not None and name.category is not None and CATEGORIES[name.category] == label
        for (label, _), name in zip(pairs, names, strict=True)
    ]
    assert np.mean(right) >= 0.8 and np.mean([name and name.is_sure for name in names]) >= 0.7


def test_what_is_none_of_the_categories_is_something_else() -> None:
    (label, crop), *_ = drawn(0)
    name = name_object(crop, [word for word in CATEGORIES if word != label])
    assert name is not None and name.category is None and name.word == label
    # A category that the namer does not have may be what it is.
    assert name_object(crop, ["erhu", "violin"]) is None


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
