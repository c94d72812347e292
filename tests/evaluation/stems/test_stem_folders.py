"""Test matching of stems by name, refusals, songs and their mixtures."""

import unicodedata
from pathlib import Path

import pytest

from avsep.errors import InputError
from avsep.evaluation.stems.stem_folders import Song, are_folders, match_folders


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def match(reference: str, *tools: str, mixture: str | None = None) -> list[Song]:
    return match_folders(
        [Path(reference)], [Path(tool) for tool in tools], Path(mixture) if mixture else None
    )


def pairs(song: Song) -> dict[str, str]:
    return {
        truth.name: guess.name for truth, guess in zip(song.references, song.estimates, strict=True)
    }


def refusal(reference: str, *tools: str, mixture: str | None = None) -> str:
    with pytest.raises(InputError) as stop:
        match(reference, *tools, mixture=mixture)
    assert "\n" not in str(stop.value)
    return str(stop.value)


def test_names_as_they_are_then_in_any_case_then_without_numbers() -> None:
    touch("true/violin.flac", "true/Cello.wav", "true/01-horn.wav", "true/drums.wav")
    touch("out/violin.mp3", "out/01-violin.wav", "out/cello.WAV", "out/02-horn.wav")
    touch("out/07-Drums.wav", "out/residual.wav", "out/notes.txt", "out/._violin.wav")
    (song,) = match("true", "out")
    assert pairs(song) == {
        "violin.flac": "violin.mp3",
        "Cello.wav": "cello.WAV",
        "01-horn.wav": "02-horn.wav",
        "drums.wav": "07-Drums.wav",
    }
    assert sorted(song.sources) == ["Cello", "drums", "horn", "violin"]
    assert (song.tool, song.name, song.mixture) == ("out", "", None)
    assert song.warnings == (
        "not scored, since no reference has such a name: 01-violin.wav, residual.wav",
    )


def test_two_of_one_kind_go_by_their_numbers() -> None:
    touch("true/01-violin.wav", "true/02-violin.wav", "out/01-violin.wav", "out/02-violin.wav")
    (song,) = match("true", "out")
    assert pairs(song) == {name: name for name in ("01-violin.wav", "02-violin.wav")}
    assert song.sources == ("violin", "violin-2")
    touch("one/violin.wav")
    assert refusal("one", "out") == (
        "'violin.wav' may be '01-violin.wav', '02-violin.wav' in 'out': each name must match "
        "one file only; rename them alike, or give files in order by --reference and --estimate"
    )
    touch("other/violin.wav")
    assert "'01-violin.wav', '02-violin.wav' may be 'violin.wav'" in refusal("true", "other")
    touch("one/violin.mp3")
    assert "'violin.mp3', 'violin.wav' may be 'violin.wav' in 'other'" in refusal("one", "other")


def test_accents_are_one_letter_however_written() -> None:
    touch("true/" + unicodedata.normalize("NFC", "tèorbe.wav"))
    touch("out/" + unicodedata.normalize("NFD", "Tèorbe.wav"))
    (song,) = match("true", "out")
    assert song.sources == (unicodedata.normalize("NFC", "tèorbe"),)


@pytest.mark.slow
def test_what_is_missing_is_listed() -> None:
    touch("true/bass.wav", "true/drums.wav", "true/vocals.wav")
    touch("out/bass.wav", "out/drum.wav", "out/voice.wav")
    assert refusal("true", "out") == (
        "'out' has no file for drums, vocals; matched: bass with 'bass.wav'; not matched there: "
        "'drum.wav', 'voice.wav'; name each like its reference"
    )
    touch(*(f"many/{n}.wav" for n in range(40)), "out/sub/x.wav", "empty/sub/x.wav")
    assert "'out' has no file for 0, 1, 10" in refusal("many", "out")
    assert " and 28 more; matched: none;" in refusal("many", "out")
    assert "'empty' holds no sound file; folders in it: 'sub'; give" in refusal("true", "empty")


def test_a_mixture_beside_the_references_is_no_source() -> None:
    touch("true/bass.wav", "true/Mixture.wav", "out/bass.wav", "given.wav")
    (song,) = match("true", "out")
    assert pairs(song) == {"bass.wav": "bass.wav"}
    assert song.mixture == Path("true/Mixture.wav")
    assert song.warnings == ("Mixture.wav is taken as the mixture, not as a source",)
    (song,) = match("true", "out", mixture="given.wav")
    assert song.mixture == Path("given.wav")
    touch("out/mixture.wav")
    (named,) = match_folders([Path("true/Mixture.wav")], [Path("out")])
    assert pairs(named) == {"Mixture.wav": "mixture.wav"} and named.mixture is None


def test_songs_tool_by_tool() -> None:
    for song in ("one", "two"):
        touch(f"true/{song}/bass.wav", f"a/{song}/01-bass.wav", f"b/{song.title()}/bass.mp4")
        touch(f"mixes/{song}.mp4")
    touch("b/three/bass.wav")
    result = match("true", "a", "b", "a")
    assert [(song.tool, song.name) for song in result] == [
        ("a", "one"),
        ("a", "two"),
        ("b", "one"),
        ("b", "two"),
    ]
    assert result[2].estimates == (Path("b/One/bass.mp4"),)
    assert result[2].warnings == ("not scored, since no reference has such a name: three",)
    assert [song.mixture for song in match("true", "a", mixture="mixes")] == [
        Path("mixes/one.mp4"),
        Path("mixes/two.mp4"),
    ]
    touch("true/four/bass.wav")
    assert refusal("true", "a") == (
        "'a' has no folder for four; matched: one with 'one', two with 'two'; not matched there: "
        "none; name each like its reference"
    )


def test_songs_of_toyband_and_their_mixtures() -> None:
    """Videos beside folders, stems one folder deeper, results named like the videos."""
    for name in ("000001", "000002"):
        touch(f"band/{name}.mp4", f"band/{name}/stems/01-violin.wav", f"band/{name}/objects.json")
        touch(f"out/{name}/01-violin.wav", f"out/{name}/preview.mp4")
    result = match("band", "out", mixture="band")
    assert [song.name for song in result] == ["000001", "000002"]
    assert result[1].references == (Path("band/000002/stems/01-violin.wav"),)
    assert result[1].mixture == Path("band/000002.mp4")
    (alone,) = match("band/000001", "out/000001")
    assert alone.references == (Path("band/000001/stems/01-violin.wav"),)


def test_mixtures_of_songs_that_are_not_there() -> None:
    touch("true/one/bass.wav", "a/one/bass.wav", "one.wav", "mixes/one/mix.flac", "others/x.wav")
    (song,) = match("true", "a", mixture="mixes")
    assert song.mixture == Path("mixes/one/mix.flac")
    assert "--mixture is 'one.wav', one file, and" in refusal("true", "a", mixture="one.wav")
    assert "'others' has no mixture of 'one': neither one.* nor in one/" in refusal(
        "true", "a", mixture="others"
    )


def test_files_against_a_folder() -> None:
    touch("x/bass.wav", "y/drums.wav", "out/drums.wav", "out/bass.wav")
    (song,) = match_folders([Path("x/bass.wav"), Path("y/drums.wav")], [Path("out")])
    assert pairs(song) == {"bass.wav": "bass.wav", "drums.wav": "drums.wav"}


def test_folders_or_files_and_no_mixture_of_both() -> None:
    touch("a.wav", "x.wav", "true/a.wav", "out/a.wav")
    assert are_folders([Path("true")], [Path("out")]) and are_folders(
        [Path("a.wav")], [Path("out")]
    )
    assert not are_folders([Path("a.wav")], [Path("x.wav")]) and not are_folders([], [])
    with pytest.raises(InputError, match=r"'out' is a folder, 'x.wav' is not; give"):
        are_folders([Path("true")], [Path("out"), Path("x.wav")])
    with pytest.raises(
        InputError, match="'true' is a folder of references, and 'no' is not a folder; give"
    ):
        are_folders([Path("true")], [Path("no")])
    with pytest.raises(
        InputError, match="'true' is a folder: give one folder of references and no"
    ):
        match_folders([Path("true"), Path("a.wav")], [Path("out")])
    with pytest.raises(InputError, match="'no' does not exist"):
        match_folders([Path("no")], [Path("out")])
    with pytest.raises(InputError, match="no reference to score 'out' against: give --reference"):
        match_folders([], [Path("out")])
