"""Objects that are known by their words alone: what the model is told, and what is written."""

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

RIGHT = "@0.5,0,1,1"


def clip(brightness: int = 128, num_samples: int = 3000) -> Clip:
    pictures = np.full((2, 24, 48, 3), brightness, np.uint8)
    return Clip(noise(1, num_samples), 8000, pictures, np.array([0.0, 0.1]))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """It has stored words: harp, tuba, violin."""
    return tiny_model("davis-flow")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """CLIP's text network stands in for by a vector a word; the words it was asked for."""
    found: list[Sequence[str]] = []

    def embed(given: Sequence[str]) -> torch.Tensor:
        found.append(given)
        generators = [torch.Generator().manual_seed(sum(word.encode())) for word in given]
        return torch.stack([torch.randn(192, generator=one) for one in generators])

    monkeypatch.setattr(prompts, "embed_words", embed)
    prompts._embedded.cache_clear()
    return found


@pytest.fixture
def by_clip(model: nn.Module, asked: list[Sequence[str]]) -> nn.Module:
    """The same network as if it saw by CLIP, in whose language words are then told."""
    settings = model.settings.model_copy(update={"image_encoder": "clip", "categories": ()})
    seeing = model.at_quality("fast")
    seeing.settings = settings
    return seeing


def stem_of(model: nn.Module, video: Clip, *text: str) -> np.ndarray:
    return Separator(model).separate(video, text=text).objects[0].stem  # type: ignore[arg-type]


def test_the_word_alone_tells(model: nn.Module) -> None:
    expected = stem_of(model, clip(), "violin")
    # Nothing is looked at, and another name of the same category is the same word.
    assert (stem_of(model, clip(brightness=0), "violin") == expected).all()
    assert (stem_of(model, clip(), " Fiddle ") == expected).all()
    assert (stem_of(model, clip(), "tuba") != expected).any()
    assert np.abs(expected).max() > 0.01


def test_words_and_pictures_may_be_mixed(model: nn.Module, tmp_path: Path) -> None:
    result = separate(clip(), RIGHT, text=["fiddle", "tuba"], model=model)  # type: ignore[arg-type]
    assert [found.label for found in result.objects] == ["object", "fiddle", "tuba"]
    dark = separate(clip(brightness=0), RIGHT, text=["fiddle", "tuba"], model=model)  # type: ignore[arg-type]
    assert (dark.objects[0].stem != result.objects[0].stem).any()
    assert not result.warnings
    told = [(one.known_by, one.category, one.category_from) for one in result.manifest.objects]
    assert told == [
        ("picture", None, None),
        ("stored word", "violin", "label"),
        ("stored word", "tuba", "label"),
    ]
    assert [one.prompt for one in result.manifest.objects] == [None, "fiddle", "tuba"]
    write_result(result, tmp_path / "a")
    assert (tmp_path / "a" / "02-fiddle.wav").is_file()
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert page.count("by its word alone, stored word; ") == 2
    assert "violin, as told" in page and "fast: sampler euler, passes a window 2, seed 0" in page


def test_one_word_given_twice_is_remarked(model: nn.Module) -> None:
    result = Separator(model).separate(clip(), text=["fiddle", "violin"])  # type: ignore[arg-type]
    assert result.warnings == (
        "objects 1 and 2 are the same to the model, violin by its word, and cannot be told apart; "
        'give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )


def test_any_word_goes_where_pictures_are_seen_by_clip(
    by_clip: nn.Module, asked: list[Sequence[str]]
) -> None:
    video = clip()

    def run(*text: str) -> Result:
        return Separator(by_clip).separate(video, RIGHT, text=text)  # type: ignore[arg-type]

    results = [run("a singing saw"), run("rain"), run("rain")]
    # The same words are embedded once.
    assert asked == [("a singing saw",), ("rain",)]
    saw, rain, again = (result.objects[1].stem for result in results)
    assert (saw != rain).any() and (rain == again).all()
    records = results[0].manifest.objects
    assert [one.known_by for one in records] == ["picture", "text (CLIP)"]
    assert records[1].category is None and records[1].label == "a singing saw"
    assert results[0].objects[1].known_by == "text (CLIP)"


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (
            lambda: tiny_model("davis"),
            "violn",
            "unknown word 'violn'; did you mean 'violin'? known: harp, tuba, violin; model 'davis' "
            "knows stored words and is not zero-shot",
        ),
        (
            lambda: tiny_model("davis", categories=(), word_probability=0.0),
            "violin",
            "model 'davis' looks at every object and cannot go by the word 'violin' alone: show it "
            'where, --object "violin@0.1,0.2,0.5,0.9", or choose a model that knows words with '
            "--model, see `avsep models`",
        ),
        (Brightness, "violin", "model 'brightness' looks at every object and cannot go by the wor"),
    ],
    ids=["stored words", "no words", "categories"],
)
def test_a_word_that_tells_a_model_nothing_is_refused(
    make: Callable[[], object], name: str, message: str
) -> None:
    with pytest.raises(InputError) as error:
        separate(clip(), RIGHT, text=name, model=make())  # type: ignore[arg-type]
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_signs_that_no_file_can_hold_are_marked(by_clip: nn.Module) -> None:
    result = Separator(by_clip).separate(clip(), text="r\ud800ain")  # type: ignore[arg-type]
    assert result.objects[0].label == "r?ain" == result.manifest.objects[0].label
    result.manifest.model_dump_json()
    given = VisibleObject(label="rain", prompt="r\ud800ain")
    result = Separator(by_clip).separate(clip(), given)  # type: ignore[arg-type]
    assert result.manifest.objects[0].prompt == "r?ain"
