"""Parsing of object and text prompts, matching of labels, and their one-line errors."""

import json
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.records import VisibleObject
from avsep.separation.prompt_words import PromptWords, parse_object, parse_text, resolve_prompts
from avsep.separation.prompts import match_categories, resolve_labels, warn_indistinguishable
from tiny_models import tiny_model

WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "label", "box"),
    [
        ("violin@0.1,0.2,0.5,0.9", "violin", (0.1, 0.2, 0.5, 0.9)),
        (" Acoustic guitar @ 0, 0, 1, 1 ", "Acoustic guitar", WHOLE),
        ("@0.1,0.2,0.5,0.9", None, (0.1, 0.2, 0.5, 0.9)),
        ("violin", "violin", WHOLE),
        ("violin@", "violin", WHOLE),
        ("@", None, WHOLE),
        ("me@home@0,0,1e-1,.5", "me@home", (0, 0, 0.1, 0.5)),
    ],
)
def test_words_of_the_command_line(text: str, label: str | None, box: tuple) -> None:
    parsed = parse_object(text)
    assert (parsed.label, parsed.box_at(3.0)) == (label, box)


@pytest.mark.parametrize(
    "box",
    ["0.1", "0,0,1", "0,0,1,1,1", "a,b,c,d", "0.5,0,0.5,1", "0.9,0,0.1,1", "-0.1,0,1,1",
     "0,0,1,1.01", "nan,0,1,1", "0,0,inf,1", "home", "0;0;1;1"],
)  # fmt: skip
def test_a_bad_box_is_told_with_what_to_write(box: str) -> None:
    with pytest.raises(InputError) as error:
        parse_object(f"violin@{box}")
    assert str(error.value) == (
        f"--object 'violin@{box}': '{box}' is not a box; write x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 "
        'and 0 <= y1 < y2 <= 1, such as "violin@0.1,0.2,0.5,0.9"'
    )


@given(st.text(max_size=20))
def test_any_words_are_an_object_or_an_input_error(text: str) -> None:
    try:
        assert isinstance(parse_object(text), VisibleObject)
    except InputError as error:
        assert str(error).startswith("--object '")


def test_the_name_of_a_file_is_no_label() -> None:
    with pytest.raises(InputError) as error:
        resolve_prompts("my objects.JSON ", "video.mp4", "video")
    assert str(error.value) == (
        "--object 'my objects.JSON ' is read as a label; to read the file of that name write "
        "--objects my objects.JSON, in Python pathlib.Path('my objects.JSON')"
    )
    assert parse_object("objects.json@0,0,1,1").label == "objects.json"


def test_an_empty_word_names_nothing() -> None:
    with pytest.raises(InputError, match="--object ' ' has neither label nor box; write one or bo"):
        parse_object(" ")


def test_what_is_given_replaces_the_file_beside_the_video(tmp_path: Path) -> None:
    (tmp_path / "duet").mkdir()
    (tmp_path / "duet" / "objects.json").write_text('[{"label": "tuba"}, {"label": "harp"}]')
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"box": [0, 0, 0.5, 1]}]))
    video = tmp_path / "duet.mp4"

    def labels(prompts: object) -> list[str | None]:
        return [item.label for item in resolve_prompts(prompts, video, "v")]  # type: ignore[arg-type]

    assert labels(None) == ["tuba", "harp"]
    assert labels(["violin", "@", VisibleObject(label="cello")]) == ["violin", None, "cello"]
    assert labels("violin") == ["violin"] and labels(other) == [None]
    assert [item.label for item in resolve_prompts(None, str(video), "v")] == ["tuba", "harp"]
    clip_objects = (VisibleObject(label="flute"),)
    assert resolve_prompts(None, b"", "v", clip_objects) == clip_objects


@pytest.mark.parametrize("prompts", [None, [], ()])
def test_without_objects_they_are_to_be_found(prompts: object, tmp_path: Path) -> None:
    assert resolve_prompts(prompts, tmp_path / "a.mp4", "'a.mp4'") == ()  # type: ignore[arg-type]
    assert parse_object("violin").is_sought and parse_object("violin").needs_finding
    assert not parse_object("violin@").is_sought and not parse_object("@").is_sought


NO_PROMPTS = [
    {"violin": [0.1, 0.2, 0.5, 0.9]}, bytearray(b"violin"), b"violin", memoryview(b"violin"), 3,
    0.5, True, {"violin"}, frozenset({"violin"}), (word for word in ["violin"]), iter(["violin"]),
]  # fmt: skip


@pytest.mark.parametrize("prompts", NO_PROMPTS)
@pytest.mark.parametrize("what", ["objects", "text", "the objects of the clip"])
def test_other_types_are_told_with_what_to_write(prompts: object, what: str) -> None:
    with pytest.raises(InputError) as error:
        if what == "objects":
            resolve_prompts(prompts, b"", "video")
        elif what == "text":
            resolve_prompts(None, b"", "video", words=PromptWords(prompts))
        else:
            resolve_prompts(None, b"", "video", prompts)
    message = str(error.value)
    assert message.startswith(f"{what}: given is ") and "\n" not in message
    assert f", of type {type(prompts).__name__}; give a list of strings such as" in message


@pytest.mark.parametrize(
    "item", [None, 3, ["violin"], [0.1, 0.2, 0.5, 0.9], {"label": "violin"}, b"violin", {"violin"}]
)
def test_items_of_other_types_are_told_by_number(item: object) -> None:
    for prompts in (["harp", item], ("harp", item), deque(["harp", item])):
        with pytest.raises(InputError) as error:
            resolve_prompts(prompts, b"", "video")
        assert str(error.value).startswith("objects, item 2: given is ")
        assert f", of type {type(item).__name__}; give a list of strings such as" in str(
            error.value
        )


def test_a_file_without_objects_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "none.json"
    empty.write_text("[]")
    with pytest.raises(
        InputError, match=r"none.json' contains no objects; add one, or give it with"
    ):
        resolve_prompts(empty, "video.mp4", "video")
    with pytest.raises(InputError, match="cannot read objects from"):
        resolve_prompts(tmp_path / "missing.json", "video.mp4", "video")


def test_words_meet_the_models_own_list() -> None:
    objects = [parse_object(word) for word in ("Fiddle", "Acoustic_Guitar", "erhu")]
    matched, warnings = match_categories(objects, ("erhu", "guitar", "violin"))
    assert [item.category for item in matched] == [2, 1, 0] and not warnings


def test_an_object_without_a_label_keeps_its_category() -> None:
    categories = ("harp", "violin")
    objects = [VisibleObject(category=1), VisibleObject(category=1, label="harp"), VisibleObject()]
    matched, warnings = match_categories(objects, categories)
    assert [item.category for item in matched] == [1, 0, None] and not warnings
    assert match_categories(objects[:1], ())[0][0].category is None  # a model without categories
    for category in (-1, 2):
        with pytest.raises(
            InputError, match=f"category {category} of an object is none of this mo"
        ):
            match_categories([VisibleObject(category=category)], categories)


def test_a_word_that_is_not_known_gives_a_warning_and_is_predicted() -> None:
    objects = [parse_object(word) for word in ("violn", "harp", "violn", "@", "  \ud800")]
    matched, warnings = match_categories(objects, ("harp", "violin"))
    assert [item.category for item in matched] == [None, 0, None, None, None]
    assert [item.label for item in matched] == ["violn", "harp", "violn", None, "?"]
    assert warnings == (
        "'violn' is not a category of this model, so the category is predicted from the picture; "
        "did you mean 'violin'? known: harp, violin",
        "'?' is not a category of this model, so the category is predicted from the picture; "
        "known: harp, violin",
    )


def test_objects_that_are_the_same_to_the_model_give_a_warning() -> None:
    words = ["drums", "drums@0,0,0.5,1", "drums", "harp", "drums@0,0,1,1", "drums@0,0,0.4,1"]
    objects = [parse_object(word) for word in words]
    assert warn_indistinguishable(
        objects, [None if word == "harp" else "drums" for word in words]
    ) == (
        "objects 1 and 3 and 5 are the same to the model (drums, same box) and cannot be "
        'distinguished; give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )
    assert not warn_indistinguishable(
        objects[:2], ["drums", "drums"]
    ) and not warn_indistinguishable([], [])


def test_words_alone_are_the_same_where_they_mean_the_same() -> None:
    objects = [
        parse_text("Violin"),
        parse_object("violin"),
        parse_text("fiddle"),
        parse_text("tuba"),
    ]
    # Categories of the text prompts; the label of a visible object is none for this model.
    assert warn_indistinguishable(objects, ["violin", None, "violin", "tuba"]) == (
        "objects 1 and 3 are the same to the model (violin, same text) and cannot be "
        'distinguished; give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )
    # Without categories the text is embedded by CLIP: synonyms differ.
    assert not warn_indistinguishable(objects, [None] * 4)
    assert (
        len(warn_indistinguishable([parse_text("Violin"), parse_text("violin")], [None, None])) == 1
    )


def test_words_stand_behind_the_objects_and_replace_the_file(tmp_path: Path) -> None:
    (tmp_path / "duet").mkdir()
    (tmp_path / "duet" / "objects.json").write_text('[{"label": "tuba"}]')
    video, other = tmp_path / "duet.mp4", tmp_path / "other.json"
    other.write_text('[{"box": [0, 0, 0.5, 1]}]')

    def resolve(prompts: object, *words: str) -> list[tuple[str | None, bool]]:
        flute = (VisibleObject(label="flute"),)
        objects = resolve_prompts(prompts, video, "v", flute, PromptWords(words))  # type: ignore[arg-type]
        return [(item.label, item.is_visible) for item in objects]

    assert resolve(None, " harp ") == [("harp", False)]
    assert resolve("violin", "harp", "cello") == [
        ("violin", True),
        ("harp", False),
        ("cello", False),
    ]
    assert resolve(other, "harp") == [(None, True), ("harp", False)]
    assert resolve_prompts(None, video, "v", (), PromptWords("harp")) == (
        parse_text("harp"),
    )  # one word
    assert [item.label for item in resolve_prompts(None, video, "v")] == ["tuba"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("  ", "--text '  ' is empty; write a word, such as --text violin"),
        (
            "violin@0,0,1,1",
            "--text 'violin@0,0,1,1': a text prompt has no box; write --object 'violin@0,0,1,1'",
        ),
    ],
)
def test_a_text_that_is_no_word_is_told(word: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_prompts("harp", "a.mp4", "a", (), PromptWords([word]))
    assert str(error.value) == message


@pytest.mark.parametrize(("label", "named"), [("violn", "'violn'"), (None, "an object without a")])
def test_a_model_that_predicts_no_category_is_refused_other_labels(
    label: str | None, named: str
) -> None:
    model = tiny_model("iquery", predict_category=False)
    known = VisibleObject(label=model.settings.categories[0])
    assert resolve_labels([known], model, "released")[0].category == 0
    with pytest.raises(InputError) as error:
        resolve_labels([known, VisibleObject(label=label)], model, "released")
    assert named in str(error.value) and model.settings.categories[-1] in str(error.value)
