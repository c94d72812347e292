"""Test the choice of mixtures: sampling without repeats, pair files with missing videos."""

from dataclasses import replace
from pathlib import Path

import pytest

from avsep.data.clips import ClipFiles
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.evaluation.mixtures import PairSettings, choose_mixtures
from avsep.evaluation.run import EvaluationSettings
from avsep.recipe import read_overrides
from evaluation.solos import make_solos

Clips = tuple[ClipFiles, ...]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    folder = tmp_path_factory.mktemp("solos")
    make_solos(folder, seconds=1.0)
    return read_prepared(folder)


def names(clips: Clips, **options: object) -> list[str]:
    return [item.name for item in choose_mixtures(clips, **options).mixtures]


def test_solos_are_drawn_in_pairs_of_other_videos_and_categories(clips: Clips) -> None:
    result = choose_mixtures(clips, limit=6, seed=3)
    assert len(result.mixtures) == 6 and result.unit == "mixtures"
    for mixture in result.mixtures:
        assert len(set(mixture.videos)) == 2 == len(set(mixture.categories))
        assert mixture.rule == "mean" and "cello/f" not in mixture.videos
    assert len({frozenset(item.videos) for item in result.mixtures}) == 6
    # Five solos for testing: each begins a mixture before one does so again.
    assert len({item.videos[0] for item in result.mixtures[:5]}) == 5
    assert result.warnings == ("1 clips of other splits than 'test' are not used",)
    assert names(clips, limit=6, seed=3) == names(clips, limit=6, seed=3)
    assert names(clips, limit=6, seed=4) != names(clips, limit=6, seed=3)
    assert names(clips, limit=3, seed=3) == names(clips, limit=6, seed=3)[:3]


def test_no_more_than_there_are(clips: Clips) -> None:
    """Five solos in four categories: nine pairs of different ones, and none twice."""
    result = choose_mixtures(clips)
    assert len(result.mixtures) == 9
    assert result.warnings[-1] == "only 9 different mixtures could be sampled, not 256"


@pytest.mark.slow
def test_settings_decide_how_many_and_of_which_kind(clips: Clips) -> None:
    trios = choose_mixtures(clips, limit=3, settings=PairSettings(num_sources=3, rule="sum"))
    assert all(len(set(item.categories)) == 3 and item.rule == "sum" for item in trios.mixtures)
    twins = choose_mixtures(clips, settings=PairSettings(same_category_probability=1))
    assert [set(item.categories) for item in twins.mixtures if len(set(item.categories)) == 1]
    violins = tuple(clip for clip in clips if clip.name.startswith("violin"))
    alike = choose_mixtures(violins, settings=PairSettings(same_category_probability=1))
    assert [set(item.categories) for item in alike.mixtures] == [{"violin"}]


def test_sources_of_one_name_are_mixed_without_being_asked(clips: Clips) -> None:
    """As in FAIR-Play, which does not say what is played."""
    violins = tuple(clip for clip in clips if clip.name.startswith("violin"))
    result = choose_mixtures(violins, limit=1)
    assert names(violins, limit=1, settings=PairSettings(same_category_probability=1)) == [
        item.name for item in result.mixtures
    ]
    assert result.warnings[-1] == "any sources are mixed: all of them are called 'violin'"


def test_a_pair_file_is_followed_line_by_line(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "testsep.csv"
    path.write_text("/violin/a.wav, /cello/f.wav\n/cello/c.wav, /acoustic guitar/-e.x.wav\n" * 2)
    result = choose_mixtures(clips, pairs=path)
    # What is for training is mixed where a list says so, and a line given twice counts twice.
    assert [item.videos for item in result.mixtures] == 2 * [
        ("violin/a", "cello/f"),
        ("cello/c", "acoustic_guitar/-e.x"),
    ]
    assert result.warnings == ()


def test_what_is_missing_is_told(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "testsep.csv"
    path.write_text(
        "/violin/a.wav, /tuba/gone.wav\n/violin/a.wav, /cello/c.wav\n/tuba/gone.wav, /erhu/x.wav\n"
        "/cello/a.wav, /violin/b.wav\n"
    )
    result = choose_mixtures(clips, pairs=path)
    assert [item.name for item in result.mixtures] == ["violin/a + cello/c"]
    (warning,) = result.warnings
    # violin/a is no cello/a, though the id is the same.
    assert warning == (
        "3 of 4 mixtures of 'testsep.csv' are left out: 3 of their videos are not in the data: "
        "tuba/gone (2), erhu/x (1), cello/a (1)"
    )
    path.write_text("/tuba/gone.wav, /erhu/x.wav\n")
    with pytest.raises(InputError, match=r"1 of 1 mixtures.*give the folder that holds them to --"):
        choose_mixtures(clips, pairs=path)


def test_ids_alone_are_enough(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("a.wav,-e.x.wav\n")
    assert names(clips, pairs=path) == ["violin/a + acoustic_guitar/-e.x"]


def test_clips_of_several_sources_are_their_own_mixtures(clips: Clips, tmp_path: Path) -> None:
    first, second = clips[:2]
    duet = replace(first, name="duet", sources=(first.sources[0], second.sources[0]))
    result = choose_mixtures([duet, first])
    assert [item.name for item in result.mixtures] == [
        "duet",
        first.name,
    ] and result.unit == "clips"
    (only,) = choose_mixtures([duet, first], limit=1).mixtures
    assert only.name == "duet" and only.rule is None
    (drawn,) = choose_mixtures([first, second], limit=1, seed=1).mixtures
    assert drawn.rule == "mean" and len(set(drawn.videos)) == 2
    path = tmp_path / "pairs.csv"
    path.write_text(f"duet.wav,{first.name.rpartition('/')[2]}.wav\n")
    with pytest.raises(InputError, match=r"line 1 .* names 'duet', which holds 2 sources: name"):
        choose_mixtures([duet, first], pairs=path)


def test_no_test_split_is_told(clips: Clips) -> None:
    training = tuple(clip for clip in clips if clip.split == "train")
    both = (*training, ClipFiles("x", clips[0].video, clips[0].sources))
    assert "no clip is of the split 'test': all are used" in choose_mixtures(both).warnings[0]


def test_what_cannot_be_drawn_is_an_error(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixtures of 2 sources need as many clips"):
        choose_mixtures(clips[:1])
    path = tmp_path / "pairs.csv"
    path.write_text("/violin/a.wav, /cello/c.wav\n" * 3)
    assert len(choose_mixtures(clips, pairs=path, limit=2).mixtures) == 2


def test_settings_by_name() -> None:
    result = read_overrides(["num_sources=3", "rule=sum"], PairSettings)
    assert result == PairSettings(num_sources=3, rule="sum")
    words = read_overrides(["metrics=si-sdr, sdri,si-sdr", "workers=2"], EvaluationSettings)
    assert words == EvaluationSettings(metrics=("si-sdr", "sdri"), workers=2)
    with pytest.raises(InputError, match="--set: unknown setting 'num_source'; did you mean 'num_"):
        read_overrides(["num_source=3"], PairSettings)
    with pytest.raises(
        InputError, match=r"--set: num_sources: .*less than or equal to 4; given: 9"
    ):
        read_overrides(["num_sources=9"], PairSettings)


def test_a_setting_that_changes_nothing_is_told(clips: Clips, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("/violin/a.wav, /cello/c.wav\n")
    three = read_overrides(["num_sources=3"], PairSettings)
    with pytest.raises(InputError, match="--set num_sources has no effect here: a pair file"):
        choose_mixtures(clips, pairs=pairs, settings=three)
    added = read_overrides(["rule=sum"], PairSettings)
    assert choose_mixtures(clips, pairs=pairs, settings=added).mixtures[0].rule == "sum"
    duet = replace(clips[0], sources=(*clips[0].sources, *clips[1].sources))
    with pytest.raises(InputError, match=r"--set rule has no effect here: .* of its own"):
        choose_mixtures((duet, *clips), settings=added)
    assert choose_mixtures(clips, limit=1, settings=added).mixtures[0].rule == "sum"
