"""What people write down for an object is understood, or answered in one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.records import VisibleObject
from avsep.separation.prompts import (
    alike,
    find_objects,
    parse_object,
    parse_text,
    with_categories,
)

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
    found = parse_object(text)
    assert (found.label, found.box_at(3.0)) == (label, box)


@pytest.mark.parametrize(
    "box",
    ["0.1", "0,0,1", "0,0,1,1,1", "a,b,c,d", "0.5,0,0.5,1", "0.9,0,0.1,1", "-0.1,0,1,1",
     "0,0,1,1.01", "nan,0,1,1", "0,0,inf,1", "home", "0;0;1;1"],
)  # fmt: skip
def test_a_bad_box_is_told_with_what_to_write(box: str) -> None:
    with pytest.raises(InputError) as error:
        parse_object(f"violin@{box}")
    assert str(error.value) == (
        f"--object 'violin@{box}': '{box}' is no box; write x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 "
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
        find_objects("my objects.JSON ", "video.mp4", "video")
    assert str(error.value) == (
        "--object 'my objects.JSON ' would be a label; for the file of that name write --objects "
        "my objects.JSON, in Python pathlib.Path('my objects.JSON')"
    )
    assert parse_object("objects.json@0,0,1,1").label == "objects.json"


def test_an_empty_word_names_nothing() -> None:
    with pytest.raises(InputError, match="--object ' ' names nothing; write a label, a box or bo"):
        parse_object(" ")


def test_what_is_given_replaces_the_file_beside_the_video(tmp_path: Path) -> None:
    (tmp_path / "duet").mkdir()
    (tmp_path / "duet" / "objects.json").write_text('[{"label": "tuba"}, {"label": "harp"}]')
    other = tmp_path / "other.json"
    other.write_text(json.dumps([{"box": [0, 0, 0.5, 1]}]))
    video = tmp_path / "duet.mp4"

    def labels(given: object) -> list[str | None]:
        return [one.label for one in find_objects(given, video, "v")]  # type: ignore[arg-type]

    assert labels(None) == ["tuba", "harp"]
    assert labels(["violin", "@", VisibleObject(label="cello")]) == ["violin", None, "cello"]
    assert labels("violin") == ["violin"] and labels(other) == [None]
    assert [one.label for one in find_objects(None, str(video), "v")] == ["tuba", "harp"]
    known = (VisibleObject(label="flute"),)
    assert find_objects(None, b"", "v", known) == known


@pytest.mark.parametrize("given_objects", [None, [], ()])
def test_without_objects_one_line_says_what_to_type(given_objects: object, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        find_objects(given_objects, tmp_path / "a.mp4", "'a.mp4'")  # type: ignore[arg-type]
    assert str(error.value) == (
        "'a.mp4': which objects? name each one with its box, x1,y1,x2,y2 from 0 to 1: "
        '--object "violin@0.1,0.2,0.5,0.9" (--object violin: the whole picture), '
        "or give --objects FILE.json"
    )


def test_a_file_without_objects_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "none.json"
    empty.write_text("[]")
    with pytest.raises(InputError, match=r"none.json' holds no objects; add one, or name it"):
        find_objects(empty, "video.mp4", "video")
    with pytest.raises(InputError, match="cannot read objects from"):
        find_objects(tmp_path / "missing.json", "video.mp4", "video")


def test_words_meet_the_models_own_list() -> None:
    given_objects = [parse_object(word) for word in ("Fiddle", "Acoustic_Guitar", "erhu")]
    found, warnings = with_categories(given_objects, ("erhu", "guitar", "violin"))
    assert [one.category for one in found] == [2, 1, 0] and not warnings


def test_a_word_that_is_not_known_is_remarked_and_left_to_the_picture() -> None:
    objects = [parse_object(word) for word in ("violn", "harp", "violn", "@", "  \ud800")]
    found, warnings = with_categories(objects, ("harp", "violin"))
    assert [one.category for one in found] == [None, 0, None, None, None]
    assert [one.label for one in found] == ["violn", "harp", "violn", None, "?"]
    assert warnings == (
        "'violn' is no category of this model, so the picture decides; did you mean 'violin'? "
        "known: harp, violin",
        "'?' is no category of this model, so the picture decides; known: harp, violin",
    )


def test_objects_that_are_the_same_to_the_model_are_remarked() -> None:
    words = ["drums", "drums@0,0,0.5,1", "drums", "harp", "drums@0,0,1,1", "drums@0,0,0.4,1"]
    objects = [parse_object(word) for word in words]
    assert alike(objects, [None if word == "harp" else "drums" for word in words]) == (
        "objects 1 and 3 and 5 are the same to the model, drums in one place, and cannot be told "
        'apart; give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )
    assert not alike(objects[:2], ["drums", "drums"]) and not alike([], [])


def test_words_alone_are_the_same_where_they_mean_the_same() -> None:
    objects = [
        parse_text("Violin"),
        parse_object("violin"),
        parse_text("fiddle"),
        parse_text("tuba"),
    ]
    # What stands for each among the stored words; a word that is seen means nothing to the model.
    assert alike(objects, ["violin", None, "violin", "tuba"]) == (
        "objects 1 and 3 are the same to the model, violin by its word, and cannot be told apart; "
        'give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )
    # In the language of CLIP other words are others.
    assert not alike(objects, [None] * 4)
    assert len(alike([parse_text("Violin"), parse_text("violin")], [None, None])) == 1


def test_words_stand_behind_the_objects_and_replace_the_file(tmp_path: Path) -> None:
    (tmp_path / "duet").mkdir()
    (tmp_path / "duet" / "objects.json").write_text('[{"label": "tuba"}]')
    video, other = tmp_path / "duet.mp4", tmp_path / "other.json"
    other.write_text('[{"box": [0, 0, 0.5, 1]}]')

    def found(given: object, *words: str) -> list[tuple[str | None, bool]]:
        objects = find_objects(given, video, "v", (VisibleObject(label="flute"),), words)  # type: ignore[arg-type]
        return [(one.label, one.is_visible) for one in objects]

    assert found(None, " harp ") == [("harp", False)]
    assert found("violin", "harp", "cello") == [("violin", True), ("harp", False), ("cello", False)]
    assert found(other, "harp") == [(None, True), ("harp", False)]
    assert find_objects(None, video, "v", (), "harp") == (parse_text("harp"),)  # one word
    assert [one.label for one in find_objects(None, video, "v")] == ["tuba"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("  ", "--text '  ' holds no word; write one, such as --text violin"),
        (
            "violin@0,0,1,1",
            "--text 'violin@0,0,1,1': words alone have no box; write --object 'violin@0,0,1,1'",
        ),
    ],
)
def test_a_text_that_is_no_word_is_told(word: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        find_objects("harp", "a.mp4", "a", (), [word])
    assert str(error.value) == message
