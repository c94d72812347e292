"""Separation by text prompts alone: categories, CLIP embeddings, and what is written."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avsep.errors import InputError
from avsep.records import Clip, VisibleObject
from avsep.separation import prompts
from avsep.separation.output import write_result
from avsep.separation.result import Result
from avsep.separation.separator import Separator, separate
from media.making import noise
from separation.brightness import Brightness
from tiny_models import tiny_model

RIGHT = "Otto@0.5,0,1,1"  # a word that is no thing


def clip(brightness: int = 128, num_samples: int = 3000) -> Clip:
    pictures = np.full((2, 24, 48, 3), brightness, np.uint8)
    return Clip(noise(1, num_samples), 8000, pictures, np.array([0.0, 0.1]))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Make a model with learned categories: harp, tuba, violin."""
    return tiny_model("davis-flow")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Replace CLIP's text encoder by one random vector a word; return the words it embedded."""
    calls: list[Sequence[str]] = []

    def embed(words: Sequence[str]) -> torch.Tensor:
        calls.append(words)
        generators = [torch.Generator().manual_seed(sum(word.encode())) for word in words]
        return torch.stack([torch.randn(192, generator=generator) for generator in generators])

    monkeypatch.setattr(prompts, "embed_words", embed)
    prompts._embed_cached.cache_clear()
    return calls


@pytest.fixture
def clip_model(model: nn.Module, embedded: list[Sequence[str]]) -> nn.Module:
    """Make the same network with CLIP as its image encoder, so that it reads embeddings."""
    settings = model.settings.model_copy(update={"image_encoder": "clip", "categories": ()})
    with_clip = model.at_quality("fast")
    with_clip.settings = settings
    return with_clip


def stem_of(model: nn.Module, video: Clip, *text: str) -> np.ndarray:
    return Separator(model).separate(video, text=text).objects[0].stem  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_word_alone_tells(model: nn.Module) -> None:
    expected = stem_of(model, clip(), "violin")
    # No frame is read, and a synonym of the category is the same prompt.
    assert (stem_of(model, clip(brightness=0), "violin") == expected).all()
    assert (stem_of(model, clip(), " Fiddle ") == expected).all()
    assert (stem_of(model, clip(), "tuba") != expected).any()
    assert np.abs(expected).max() > 0.01


@pytest.mark.slow
def test_words_and_pictures_may_be_mixed(model: nn.Module, tmp_path: Path) -> None:
    result = separate(clip(), RIGHT, text=["fiddle", "tuba"], model=model)  # type: ignore[arg-type]
    assert [item.label for item in result.objects] == ["Otto", "fiddle", "tuba"]
    dark = separate(clip(brightness=0), RIGHT, text=["fiddle", "tuba"], model=model)  # type: ignore[arg-type]
    assert (dark.objects[0].stem != result.objects[0].stem).any()
    assert not result.warnings
    records = result.manifest.objects
    assert [(item.prompt_kind, item.category, item.category_from) for item in records] == [
        ("visual", None, None),
        ("text category", "violin", "given"),
        ("text category", "tuba", "given"),
    ]
    assert [item.prompt for item in records] == [None, "fiddle", "tuba"]
    write_result(result, tmp_path / "a")
    assert (tmp_path / "a" / "02-fiddle.wav").is_file()
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert page.count("text prompt only, as a category; ") == 2
    assert "violin (given)" in page
    assert "quality fast: sampler euler, network passes per window 2, seed 0" in page


@pytest.mark.slow
def test_one_word_given_twice_gives_a_warning(model: nn.Module) -> None:
    result = Separator(model).separate(clip(), text=["fiddle", "violin"])  # type: ignore[arg-type]
    assert result.warnings == (
        "objects 1 and 2 are the same to the model (violin, same text) and cannot be "
        'distinguished; give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )


@pytest.mark.slow
def test_any_word_goes_where_pictures_are_seen_by_clip(
    clip_model: nn.Module, embedded: list[Sequence[str]]
) -> None:
    video = clip()

    def run(*text: str) -> Result:
        return Separator(clip_model).separate(video, RIGHT, text=text)  # type: ignore[arg-type]

    results = [run("a singing saw"), run("rain"), run("rain")]
    # The same words are embedded once.
    assert embedded == [("a singing saw",), ("rain",)]
    saw, rain, again = (result.objects[1].stem for result in results)
    assert (saw != rain).any() and (rain == again).all()
    records = results[0].manifest.objects
    assert [item.prompt_kind for item in records] == ["visual", "text embedding"]
    assert records[1].category is None and records[1].label == "a singing saw"
    assert results[0].objects[1].prompt_kind == "text embedding"


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (
            lambda: tiny_model("davis"),
            "violn",
            "unknown text prompt 'violn'; did you mean 'violin'? known: harp, tuba, violin; model "
            "'davis' has learned these categories only and is not zero-shot",
        ),
        (
            lambda: tiny_model("davis", categories=(), word_probability=0.0),
            "violin",
            "model 'davis' takes no text prompts, such as 'violin': give the object with its box, "
            '--object "violin@0.1,0.2,0.5,0.9", or choose a model with text prompts with --model, '
            "see `avsep models`",
        ),
        (
            Brightness,
            "violin",
            "model 'brightness' takes no text prompts, such as 'violin': give th",
        ),
    ],
    ids=["other category", "no categories", "no text prompts"],
)
def test_a_word_that_tells_a_model_nothing_is_refused(
    make: Callable[[], object], name: str, message: str
) -> None:
    with pytest.raises(InputError) as error:
        separate(clip(), RIGHT, text=name, model=make())  # type: ignore[arg-type]
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.slow
def test_signs_that_no_file_can_hold_are_marked(clip_model: nn.Module) -> None:
    result = Separator(clip_model).separate(clip(), text="r\ud800ain")  # type: ignore[arg-type]
    assert result.objects[0].label == "r?ain" == result.manifest.objects[0].label
    result.manifest.model_dump_json()
    rain = VisibleObject(label="rain", prompt="r\ud800ain")
    result = Separator(clip_model).separate(clip(), rain)  # type: ignore[arg-type]
    assert result.manifest.objects[0].prompt == "r?ain"
