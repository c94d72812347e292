"""Prompts in the command, in Python and in objects.json: excluded, spans, points and masks."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import avsep
from avsep.checkpoint import save_checkpoint
from avsep.errors import InputError
from avsep.media.probe import probe
from avsep.records import Clip, TimedBox, TimedPoint, VisibleObject
from avsep.separation.many_files import FileOptions, ThisProcess, separate_files
from avsep.separation.output import write_result
from avsep.separation.prompt_words import (
    PromptWords,
    parse_excluded,
    parse_mask,
    parse_point,
    parse_span,
    parse_text,
    resolve_prompts,
)
from avsep.separation.prompts import resolve_labels
from avsep.separation.result import Result
from avsep.separation.separator import Separator
from avsep.separation.settings import OutputSettings, SeparatorSettings
from avsep.separation.spans import FADE_SECONDS
from media.making import noise
from media.test_masks import save_mask
from separation.brightness import LEFT, RATE_HZ, RIGHT, Brightness, two_tone, video
from tiny_models import tiny_model

LEFT_BOX = (TimedBox(time_seconds=0, box=(0, 0, 0.5, 1)),)
RIGHT_BOX = (TimedBox(time_seconds=0, box=(0.5, 0, 1, 1)),)
VIOLIN = VisibleObject(label="violin", boxes=LEFT_BOX)
HARP = VisibleObject(label="harp", boxes=RIGHT_BOX)


def separated(objects: object, **settings: object) -> Result:
    """Separate two seconds, of which the left object gets a quarter and the right one half."""
    pictures = np.stack(two_tone(0.25, 0.5))
    source = Clip(noise(1, 2 * RATE_HZ), RATE_HZ, pictures, np.arange(50) / 25, name="duet")
    separator = Separator(Brightness(), SeparatorSettings(**settings))  # type: ignore[arg-type]
    return separator.separate(source, objects)  # type: ignore[arg-type]


def assert_sums_to_mixture(result: Result) -> None:
    total = np.sum([item.stem for item in result.objects], axis=0) + result.residual
    np.testing.assert_allclose(total, result.mixture, atol=1e-6)
    total = np.sum(list(result.stems.values()), axis=0) + result.residual
    np.testing.assert_allclose(total, result.mixture, atol=1e-6)


def with_changes(visible: VisibleObject, **fields: object) -> VisibleObject:
    return VisibleObject(**{**dict(visible), **fields})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "duet.mkv", two_tone(0.25, 0.5, 25), noise(2, 22_050), 22_050, "stereo")
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet"), path, model_name="dgfnet", metadata={})
    return tmp_path


@pytest.fixture
def separate_command(run: Callable, place: Path) -> Callable:
    def separate(*words: object) -> tuple[dict, str]:
        done = run("separate", "duet.mkv", *words, "--model", "tiny.safetensors", "-o", "out")
        assert done.code == 0, done.err
        manifest = json.loads((place / "out/duet/manifest.json").read_text())
        return manifest, (place / "out/duet/report.html").read_text(encoding="utf-8")

    return separate


def entries(path: Path, *items: dict) -> Path:
    path.write_text(json.dumps(items), encoding="utf-8")
    return path


# Excluded objects


def test_an_excluded_object_stays_in_the_residual() -> None:
    plain = separated([VIOLIN, HARP])
    result = separated([VIOLIN, with_changes(HARP, is_excluded=True)])
    assert_sums_to_mixture(result)
    assert list(result.stems) == ["violin"]
    # The model knew of both: the violin is the same, and the harp is in the residual.
    assert np.array_equal(result.stems["violin"], plain.stems["violin"])
    expected = plain.residual + plain.stems["harp"]
    np.testing.assert_allclose(result.residual, expected, atol=1e-6)
    assert not result.objects[1].stem.any()
    record, plain_record = result.manifest.objects[1], plain.manifest.objects[1]
    assert record.is_excluded and record.file is None
    assert record.energy_share == pytest.approx(plain_record.energy_share)


def test_an_excluded_object_has_neither_file_nor_track(tmp_path: Path) -> None:
    result = separated([with_changes(VIOLIN, is_excluded=True), HARP])
    manifest = write_result(result, tmp_path / "out")
    assert [item.file for item in manifest.objects] == [None, "02-harp.wav"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.wav")) == [
        "02-harp.wav", "residual.wav",
    ]  # fmt: skip
    titles = [track.title for track in probe(tmp_path / "out" / "preview.mp4").audio]
    assert titles == ["mixture", "harp", "residual"]
    assert manifest.residual_energy_share == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("option", ["only", "all_but"])
def test_an_excluded_object_cannot_be_chosen(option: str, tmp_path: Path) -> None:
    result = separated([VIOLIN, with_changes(HARP, is_excluded=True)])
    with pytest.raises(InputError) as error:
        write_result(result, tmp_path / "out", OutputSettings.model_validate({option: ["harp"]}))
    assert str(error.value) == (
        "'duet': 'harp' is excluded, and has no stem to write or to leave out; leave out --not, or "
        "--only and --except"
    )
    assert not (tmp_path / "out").exists()


def test_not_on_the_command_line(separate_command: Callable, place: Path) -> None:
    # A word of an object that is given marks it; any other is one more object.
    manifest, page = separate_command("--object", LEFT, "--object", RIGHT, "--not", "Harp")
    assert [item["is_excluded"] for item in manifest["objects"]] == [False, True]
    assert manifest["objects"][1]["boxes"][0]["box"] == [0.5, 0, 1, 1]
    for words in ("02 not harp", "not: excluded", "residual.wav (no stem)"):
        assert words in page
    assert not (place / "out/duet/02-harp.wav").exists()
    manifest, _ = separate_command("--object", LEFT, "--not", "harp", "--not", "violin@0,0,1,.5")
    assert [item["is_excluded"] for item in manifest["objects"]] == [False, True, True]
    # Without a box it is the whole picture to a model that takes no text.
    assert manifest["objects"][1]["prompt_kind"] == "visual"
    assert manifest["objects"][1]["category"] == "harp"


def test_excluded_in_objects_json(tmp_path: Path) -> None:
    path = entries(
        tmp_path / "o.json", {"label": "violin", "box": [0, 0, 0.5, 1], "is_excluded": True}, {}
    )
    result = separated(path)
    assert [item.visible.is_excluded for item in result.objects] == [True, False]
    assert_sums_to_mixture(result)


def test_one_object_must_be_left() -> None:
    with pytest.raises(InputError, match="v: all objects are excluded, which leaves the whole so"):
        resolve_prompts("piano", b"", "v", (), PromptWords(excluded="piano"))
    with pytest.raises(InputError, match="--not ' @0,0,1,1' has no word; write one, such as --not"):
        parse_excluded(" @0,0,1,1")
    with pytest.raises(InputError, match="--not ' ' has no word; write one, such as --not piano"):
        resolve_prompts([VisibleObject(label="")], b"", "v", (), PromptWords(excluded=" "))
    with pytest.raises(InputError, match="--not 'a@1': '1' is not a box; write x1,y1,x2,y2 with"):
        parse_excluded("a@1")


def test_an_excluded_word_is_a_text_prompt_where_the_model_takes_those() -> None:
    prompts = [parse_excluded("fiddle"), parse_text("tuba")]
    item, _ = resolve_labels(prompts, tiny_model("davis-flow"), "m")
    assert not item.is_visible and item.is_excluded
    assert item.category == 2  # violin
    with pytest.raises(InputError, match="'m' has learned these categories only and is not zero"):
        resolve_labels([parse_excluded("dog")], tiny_model("davis-flow"), "m")
    (item,) = resolve_labels(prompts[:1], tiny_model("dgfnet"), "m")
    assert item.is_visible and item.is_excluded


# Spans


def test_a_stem_is_silent_outside_of_its_spans() -> None:
    plain = separated([VIOLIN, HARP])
    spans = [(0.5, 0.75), (1.25, 9)]
    result = separated([with_changes(VIOLIN, spans=spans), HARP])
    assert_sums_to_mixture(result)
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    stem, plain_stem = result.objects[0].stem[0], plain.objects[0].stem[0]
    outside = (times < 0.5) | ((times > 0.75) & (times < 1.25))
    assert not stem[outside].any()
    inside = ((times > 0.5 + FADE_SECONDS) & (times < 0.75 - FADE_SECONDS)) | (
        times > 1.25 + FADE_SECONDS
    )
    assert np.array_equal(stem[inside], plain_stem[inside])
    fading = (times > 0.5) & (times < 0.5 + FADE_SECONDS)
    gain = stem[fading] / plain_stem[fading]
    assert (np.diff(gain) >= -1e-4).all() and 0 <= gain[0] < 0.01 and gain[-1] > 0.99
    # Another object is not touched, and the silenced share is in the residual.
    assert np.array_equal(result.objects[1].stem, plain.objects[1].stem)
    expected = plain.residual[0] + plain_stem
    np.testing.assert_allclose(result.residual[0][outside], expected[outside], atol=1e-6)
    assert result.manifest.objects[0].spans == ((0.5, 0.75), (1.25, 9))


def test_spans_count_from_the_start_of_the_video_and_not_of_the_part() -> None:
    prompts = [with_changes(VIOLIN, spans=[(0.8, 1.2)])]
    result = separated(prompts, start_seconds=0.7, end_seconds=1.5)
    begin = round(0.1 * RATE_HZ)
    assert not result.objects[0].stem[0, : begin + 1].any()
    assert result.objects[0].stem[0, begin + 2 : round(0.5 * RATE_HZ) - 1].any()
    assert not result.objects[0].stem[0, round(0.5 * RATE_HZ) :].any()
    assert_sums_to_mixture(result)
    result = separated(prompts, end_seconds=0.5)
    assert result.warnings == (
        "object 1 is silent: none of its spans, 0.8-1.2 s, is in the sound, 0-0.5 s",
    )


def test_spans_do_not_depend_on_the_blocks() -> None:
    pictures = np.stack(two_tone(0.25, 0.5))
    source = Clip(noise(1, 2 * RATE_HZ), RATE_HZ, pictures, np.arange(50) / 25)
    prompts = [with_changes(VIOLIN, spans=[(0.3, 1.1)]), with_changes(HARP, is_excluded=True)]
    stems = []
    for sources_at_once in (2, 32):
        settings = SeparatorSettings(sources_at_once=sources_at_once, overlap=0.5)
        with Separator(Brightness(), settings).stream(source, prompts) as stream:
            blocks = list(stream.blocks())
        assert len(blocks) > 5
        for block in blocks:
            total = block.stems.sum(axis=0) + block.residual
            np.testing.assert_allclose(total, block.mixture, atol=1e-6)
        stems.append(np.concatenate([block.stems for block in blocks], axis=-1))
    assert np.array_equal(*stems)


def test_spans_on_the_command_line(separate_command: Callable) -> None:
    words = ["--span", "violin=0.2-0.5", "--span", "0.4-0.6", "--span", "2=0.9-0.95"]
    manifest, page = separate_command("--object", LEFT, "--object", RIGHT, *words)
    first, second = (item["spans"] for item in manifest["objects"])
    assert first == [[0.2, 0.6]] and second == [[0.4, 0.6], [0.9, 0.95]]
    assert "0.4-0.6 s and 0.9-0.95 s" in page and "sounds 0.2-0.6 s, silent elsewhere" in page


def test_spans_in_objects_json(tmp_path: Path) -> None:
    path = entries(
        tmp_path / "o.json", {"label": "violin", "spans": [[1.5, 2], [0.5, 1], [1, 1.2]]}
    )
    (visible,) = resolve_prompts(path, b"", "v")
    assert visible.spans == ((0.5, 1.2), (1.5, 2))


@pytest.mark.parametrize(
    "text", ["5-2", "-3-5", "3-3", "a-b", "5", "", "violin=", "nan-5", "1-inf"]
)
def test_a_wrong_span_is_one_line(text: str) -> None:
    with pytest.raises(
        InputError, match="is not a span; write START-END in seconds of the video w"
    ):
        parse_span(text)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(-1, 2)], r"VisibleObject: spans: span -1-2 must hold 0 <= start < end, in seconds"),
        ([(3, 2)], "span 3-2 must hold"),
        ([(1, float("inf"))], "span 1-inf must hold"),
        (
            [1, 2],
            r"must be \[\[start, end\], ...\] in seconds, such as \[\[12, 15.5\]\]; given: \[1",
        ),
        ("1-2", "must be"),
    ],
)
def test_wrong_spans_in_python_are_one_line(spans: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        VisibleObject(label="violin", spans=spans)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_span_of_an_object_that_there_is_not() -> None:
    words = PromptWords(spans="harp=1-2")
    with pytest.raises(InputError) as error:
        resolve_prompts(["violin", "@"], b"", "v", (), words)
    assert str(error.value) == (
        "--span 'harp=1-2': no object is called 'harp'; there are 1 violin, 2 without a label: "
        "write a label or a number, such as --span violin=12-15.5"
    )


# Points


def test_points_on_the_command_line(separate_command: Callable) -> None:
    manifest, page = separate_command(
        "--detector", "none", "--point", "harp=0.75,0.5@0.5", "--object", LEFT
    )
    first, second = manifest["objects"]
    assert first["label"] == "violin" and first["point"] is None
    assert second["point"] == {"x": 0.75, "y": 0.5, "time_seconds": 0.5}
    assert second["label"] == "harp" and len(second["boxes"]) == 1
    assert "point 0.75,0.5 at 0.5 s" in page
    assert any("point 0.75,0.5 at 0.5 s: no" in warning for warning in manifest["warnings"])


def test_points_in_python_and_in_objects_json(tmp_path: Path) -> None:
    point = TimedPoint(x=0.75, y=0.5, time_seconds=1)
    result = separated([VisibleObject(label="harp", point=point)])
    assert result.objects[0].visible.point == point and len(result.objects[0].boxes) == 1
    # Half of the sound: the square is in the right half of the picture.
    assert result.manifest.objects[0].energy_share == pytest.approx(0.25, abs=0.01)
    path = entries(
        tmp_path / "o.json", {"label": "harp", "point": {"x": 0.75, "y": 0.5, "time_seconds": 1}}
    )
    again = separated(path)
    assert np.array_equal(again.objects[0].stem, result.objects[0].stem)
    assert_sums_to_mixture(again)


@pytest.mark.parametrize("text", ["0.5", "1.5,0", "-1,0", "a,b", "0.1,0.2@", "0.1,0.2@-3", "nan,0"])
def test_a_wrong_point_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match="is not a point; write x,y from 0 to 1, origin top left"):
        parse_point(text)


# Masks


def test_masks_on_the_command_line(separate_command: Callable, place: Path) -> None:
    save_mask(place / "right.png")
    manifest, page = separate_command(
        "--mask", "harp=right.png", "--mask", str(place / "right.png")
    )
    first, second = manifest["objects"]
    assert first["label"] == "harp" and first["mask"] == second["mask"] == "right.png"
    assert first["boxes"] == [{"time_seconds": 0, "box": [0.5, 0, 1, 1]}]
    # Without a label, and the picture shows no thing.
    assert (second["label"], second["separated_as"]) == ("object", "rest")
    assert "mask right.png" in page


def test_masks_in_python_and_in_objects_json(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "right.png")
    result = separated([VisibleObject(label="harp", mask=path)])  # type: ignore[arg-type]
    assert np.array_equal(result.objects[0].stem, separated([HARP]).objects[0].stem)
    again = separated(entries(tmp_path / "o.json", {"label": "harp", "mask": "right.png"}))
    assert again.objects[0].visible.boxes == RIGHT_BOX
    assert again.manifest.objects[0].mask == "right.png"
    assert_sums_to_mixture(again)


def test_wrong_words_of_masks_are_one_line(tmp_path: Path) -> None:
    save_mask(tmp_path / "m.png")
    with pytest.raises(
        InputError, match="--mask 'violin=' names no file; write a picture or video"
    ):
        parse_mask("violin=")
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("../m.png", str(tmp_path / "m.png")):
        with pytest.raises(InputError, match=r"object 1: the mask '.*' is outside of '.*inner'"):
            separated(entries(inner / "o.json", {"mask": name}))
    with pytest.raises(InputError, match="give mask or point, not both; given"):
        separated(entries(inner / "o.json", {"mask": "m.png", "point": {"x": 0, "y": 0}}))


# All together


def test_prompts_combine_in_one_command(separate_command: Callable, place: Path) -> None:
    save_mask(place / "right.png")
    words = ["--object", LEFT, "--mask", "harp=right.png", "--point", "tuba=0.5,0.5", "--not"]
    manifest, _ = separate_command(*words, "tuba", "--span", "harp=0.2-0.4")
    assert [
        (item["label"], item["file"], item["is_excluded"], item["spans"])
        for item in manifest["objects"]
    ] == [
        ("violin", "01-violin.wav", False, []),
        ("tuba", None, True, []),
        ("harp", "03-harp.wav", False, [[0.2, 0.4]]),
    ]


def test_a_result_with_prompts_is_complete_for_resume(place: Path) -> None:
    save_mask(place / "right.png")
    words = PromptWords(
        points="harp=0.75,0.5", masks="right.png", excluded="tuba@0,0,1,1", spans="harp=0-1"
    )

    def outcomes(words: PromptWords) -> list[bool]:
        runner = ThisProcess(Separator(place / "tiny.safetensors"))
        options = FileOptions(words, resume=True)
        done = list(separate_files(["duet.mkv"], None, Path("out"), runner, options))
        assert not any(item.error for item in done), done
        return [item.was_complete for item in done]

    assert outcomes(words) == [False] and outcomes(words) == [True]
    assert outcomes(replace(words, spans="harp=0-2")) == [False]


def test_the_public_function_takes_them(place: Path) -> None:
    objects = [
        VisibleObject(label="violin", boxes=LEFT_BOX, spans=[(0.2, 0.5)]),  # type: ignore[arg-type]
        VisibleObject(label="harp", boxes=RIGHT_BOX, is_excluded=True),
    ]
    result = avsep.separate("duet.mkv", objects, model=place / "tiny.safetensors")
    assert_sums_to_mixture(result)
    assert list(result.stems) == ["violin"]
