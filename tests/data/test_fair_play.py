"""Test FAIR-Play's layout: the clips that are read, their pictures, and errors."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.data import open_dataset
from avsep.data.checks.check import open_check
from avsep.data.checks.reports import CheckReport, Item
from avsep.data.clips import load_clip, split_clips
from avsep.data.fair_play import read_fair_play
from avsep.errors import InputError
from data.fair_play_folder import (
    HEIGHT,
    NAMES,
    RATE_HZ,
    SECONDS,
    WIDTH,
    make_fair_play,
    write_detections,
    write_ears,
    write_h5,
    write_pictures,
)
from media.making import number_of

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1920044\n"
LAVSS = "./data/binaural_audios/{0}.wav,./data/frames/{0}.mp4,82\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fair") / "FAIR-Play"
    make_fair_play(folder)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "FAIR-Play"))


def splits_of(folder: Path) -> dict[str, str | None]:
    return {clip.name: clip.split for clip in read_fair_play(folder)}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def put(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: write(folder / name, text)


def remove(*names: str) -> Callable[[Path], None]:
    def away(folder: Path) -> None:
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return away


@pytest.mark.slow
def test_a_clip_is_one_sound_of_two_ears(folder: Path) -> None:
    clips = read_fair_play(folder)
    assert open_dataset(folder) == clips
    assert [clip.name for clip in clips] == NAMES
    for clip in clips:
        (source,) = clip.sources
        assert source.path == clip.sound == folder / "binaural_audios" / f"{clip.name}.wav"
        assert source.category == source.visible.label == "instrument"
        assert source.visible.boxes == () and source.visible.is_visible
    assert load_clip(clips[0], [0.0]).waveform.shape == (2, SECONDS * RATE_HZ)


def test_splits_of_its_authors(folder: Path) -> None:
    assert list(splits_of(folder).values()) == ["train", "val", "train", "test"]
    training, validation = split_clips(read_fair_play(folder))
    assert [clip.name for clip in training] == ["000001", "000003"]
    assert [clip.name for clip in validation] == ["000002"]


def test_names_of_pseudo_binaural(folder: Path) -> None:
    shutil.rmtree(folder / "splits")
    write(folder / "splits/split1/train.txt", "000004.mp3\n000001.mp3")  # no line end, as theirs
    write(folder / "splits/split1/test.txt", "000002.mp3\n")
    write(folder / "splits/split2/train.txt", "000003.mp3\n")  # another split
    expected = {"000001": "train", "000002": "test", "000004": "train"}
    assert splits_of(folder) == expected


def test_lists_of_lavss_lie_in_the_folder_itself(folder: Path) -> None:
    write(folder / "splits/solo_train.csv", LAVSS.format("000001") + LAVSS.format("000003"))
    write(folder / "splits/solo_val.csv", LAVSS.format("000004"))
    write(folder / "splits/test_pairs.csv", "000002.wav,000001.wav")  # mixtures, of other use
    write(folder / "splits/README.txt", "what these are")
    assert splits_of(folder) == {"000001": "train", "000003": "train", "000004": "val"}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["split2", "lavss", "pseudobinaural/split1"])
def test_another_split_is_given_as_its_folder(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = folder / "splits" / place
    write_h5(split / "train.h5", ["000002.wav"])
    assert splits_of(split) == {"000002": "train"}
    report = open_check(split).report()
    assert report.is_well and (report.kind, report.num_clips) == ("fair-play", 1)
    assert [facts.name for facts in report.lists] == ["train.h5"]
    monkeypatch.chdir(split)
    (clip,) = open_dataset(Path())
    assert clip.video == folder / "frames/000002.mp4"


def test_lists_that_are_nowhere_near_the_sounds_are_lists(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "splits", tmp_path / "alone/splits")
    assert open_check(tmp_path / "alone/splits/split1").kind == "lists"
    assert open_check(folder / "splits").kind == "lists"
    with pytest.raises(InputError, match="holds no clips"):
        open_dataset(tmp_path / "alone/splits/split1")


def test_without_lists_every_sound_is_read(folder: Path) -> None:
    shutil.rmtree(folder / "splits")
    (folder / "binaural_audios/._000001.wav").write_bytes(b"of a Mac")
    assert splits_of(folder) == dict.fromkeys(NAMES)


@pytest.mark.parametrize(
    "lines",
    [
        "./data/audio/tenor_sax/000001.wav,./data/frames/tenor_sax/000001.mp4,82",
        "./data/binaural_audios/000001.wav,./data/frames/000001.mp4,82,tenor sax",
    ],
)
def test_a_list_may_say_what_is_played(folder: Path, lines: str) -> None:
    write(folder / "splits/train.csv", lines)
    (clip,) = read_fair_play(folder)
    assert clip.sources[0].category == clip.sources[0].visible.label == "tenor sax"


@pytest.mark.slow
def test_pictures_come_before_the_video_at_their_rate(folder: Path) -> None:
    first, second, third, _ = read_fair_play(folder)
    assert [clip.frame_rate_hz for clip in (first, second, third)] == [None, 8, 10]
    assert second.video == folder / "frames/000002.mp4" and third.video == folder / "frames/000003"
    for clip, numbers in ((first, [0, 4, 10]), (second, [0, 8, 20]), (third, [0, 10, 25])):
        output = load_clip(clip, [0.0, 1.0, 2.5]).frames
        assert [number_of(picture) for picture in output] == numbers
    shutil.rmtree(folder / "frames/000002.mp4")
    (folder / "frames/000002.mp4").mkdir()  # begun and left
    assert read_fair_play(folder)[1].video == folder / "videos/000002.mp4"


def test_the_surest_object_over_time(folder: Path) -> None:
    rows = [
        [17, 3, 0.7, 0, 0, 16, 24, 5],  # frames in any order, more columns than are read
        [1, 3, 0.6, 16, 12, 48, 36, 5],
        [1, 3, 0.2, 0, 0, 8, 8, 5],  # the same class, less sure
        [1, 9, 0.8, 0, 0, 64, 48, 5],  # another class
        [9, 3, 0.9, -1, 24, 32, 49, 5],  # a pixel beyond
    ]
    write_detections(folder, "000002", rows)
    (source,) = read_fair_play(folder)[1].sources
    assert source.visible.confidence == 0.9 and source.visible.label == "instrument"
    boxes = {timed.time_seconds: timed.box for timed in source.visible.boxes}
    assert list(boxes) == [0.0, 1.0, 2.0]
    assert list(boxes.values()) == [(0.25, 0.25, 0.75, 0.75), (0, 0.5, 0.5, 1), (0, 0, 0.25, 0.5)]


@pytest.mark.parametrize("shape", [(0, 7), (0,)])
def test_no_detections_are_the_whole_picture(folder: Path, shape: tuple[int, ...]) -> None:
    write_detections(folder, "000002", np.zeros(shape))
    assert read_fair_play(folder)[1].sources[0].visible.boxes == ()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([1, 3, 0.6, 0, 0, 8], "[n, 7] is expected, this is float64 [1, 6]"),
        ([1, 3, 0.6, 0, 0, 8, np.nan], "it holds values that are no numbers"),
        ([0, 3, 0.6, 0, 0, 8, 8], "row 1 is [0.0, 3.0, 0.6, 0.0, 0.0, 8.0, 8.0]: a row is"),
        ([1, 3, 1.6, 0, 0, 8, 8], "confidence 0..1"),
        ([1, 3, 0.6, 8, 0, 8, 8], "with x1 < x2 and y1 < y2"),
        ([1, 3, 0.6, 65, 0, 66, 8], "with x1 < x2 and y1 < y2"),
        ([1, 3, 0.6, 0, 0, 80, 8], f"row 1 has a box outside the frames, which are {WIDTH}x"),
        ([1, 3, 0.6, 0, -9, 8, 8], f"{WIDTH}x{HEIGHT}: boxes are in pixels of these frames"),
    ],
)
def test_detections_that_cannot_be_used(folder: Path, row: list[float], why: str) -> None:
    path = write_detections(folder, "000002", [row])
    with pytest.raises(InputError, match=re.escape(str(path)) + ".*" + re.escape(why)):
        read_fair_play(folder)


def test_detections_are_never_trusted_as_programs(folder: Path) -> None:
    write_detections(folder, "000002", np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="is no array of numbers"):
        read_fair_play(folder)


ALIKE = "./000001.wav\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (remove("binaural_audios/000002.wav"), r"no sound '.*000002\.wav': add what is missing"),
        (remove("videos/000001.mp4"), "neither videos/000001.mp4 nor frames/000001.mp4/000001.jpg"),
        (put("binaural_audios/000002.wav", POINTER), "not the sound itself: fetch .*git lfs pull"),
        (put("videos/000001.mp4", POINTER), "not the video itself: fetch it with `git lfs pull`"),
        (put("splits/split1/val.h5", POINTER), "not the list itself: fetch it with `git lfs pull`"),
        (put("splits/split1/val.h5", "no"), "cannot read .*val.h5' as HDF5"),
        (put("splits/split1/train.txt", ALIKE), "are both lists for 'train': leave one of them"),
        (
            lambda folder: write_h5(folder / "splits/split1/val.h5", ["000001.wav"]),
            r"val\.h5', line 1: '000001' is in '.*train\.h5' too: remove it from one",
        ),
        (remove("splits/split1"), "holds no lists, and neither does split1 in it: put train.h5"),
        (
            lambda folder: (remove("splits")(folder), put("splits", ALIKE)(folder)),
            "holds no lists, and neither does split1 in it",
        ),
        (
            lambda folder: write_ears(folder / "binaural_audios/000002.wav", 200, 60),
            "holds 25 frames for a sound of 60 s, less than one per second: extract them",
        ),
        (
            lambda folder: write_detections(folder, "000001", [[1, 3, 0.6, 0, 0, 8, 8]]),
            r"000001\.mp4\.npy' counts frames of '.*frames/000001\.mp4', which do not exist",
        ),
    ],
)
def test_what_is_said_of_folders_amiss(
    folder: Path, spoil: Callable[[Path], object], why: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=why) as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)
    assert not open_check(folder).report().is_well


def check(folder: Path) -> CheckReport:
    return open_check(folder).report()


@pytest.mark.slow
def test_a_whole_folder_is_well(folder: Path) -> None:
    write_detections(folder, "000002", [[1, 3, 0.6, 0, 0, 8, 8]])
    # Trained on in the other split, and in one of another kind: nobody uses both.
    write_h5(folder / "splits/split2/test.h5", ["000003.wav"])
    write_h5(folder / "splits/lavss/solo_test.h5", ["000003.wav"])
    write_h5(folder / "splits/leak_free/split1/train.h5", ["000003.wav"])
    write(folder / "splits/README.txt", "what these are")
    report = check(folder)
    assert report.is_well and report.kind == "fair-play" and report.num_clips == len(NAMES)
    assert report.durations_seconds == (SECONDS,) * len(NAMES)
    roles = [facts.role for facts in report.lists if facts.role]
    assert roles == ["test", "train", "test", "train", "val", "test"]


def test_every_fault_is_listed_at_once(folder: Path) -> None:
    remove("binaural_audios/000001.wav", "videos/000001.mp4", "frames/000002.mp4/000005.jpg")(
        folder
    )
    (folder / "binaural_audios/000003.wav").write_bytes(b"no sound")
    (folder / "videos/000004.mp4").write_bytes(b"no video")
    write_detections(folder, "000002", np.zeros((0, 7)))
    write_detections(folder, "000003", np.zeros((2, 5)))
    items = {
        finding.what: [item.name for item in finding.items]
        for finding in check(folder).findings
        if finding.is_wrong
    }
    assert items == {
        "missing files": ["binaural_audios/000001.wav", "videos/000001.mp4"],
        "files that cannot be read": [
            "binaural_audios/000003.wav",
            "detection_results/000003.mp4.npy",
            "videos/000004.mp4",
        ],
        "empty detections": ["detection_results/000002.mp4.npy"],
        "pictures missing in between": ["frames/000002.mp4"],
    }


@pytest.mark.parametrize(
    ("gains", "why"),
    [
        ([0.3], "number of channels 1: two are needed, left first"),
        ([0.3, 0.3], "both channels are equal, which is no direction: take the binaural original"),
        ([0.3, 0.0], "channel 2 of 2 is silent: remove the channel or the file"),
        ([0.3, 0.2, 0.1], "number of channels 3: two are needed, left first"),
        ([0.3, 0.29], None),
        ([0.3, -0.3], None),
    ],
)
def test_sounds_need_two_different_ears(folder: Path, gains: list[float], why: str | None) -> None:
    tone = np.sin(2 * np.pi * 123 * np.arange(SECONDS * RATE_HZ) / RATE_HZ)
    path = folder / "binaural_audios/000001.wav"
    soundfile.write(path, np.stack([gain * tone for gain in gains], axis=1), RATE_HZ)
    found = [finding for finding in check(folder).findings if "two different ears" in finding.what]
    assert [item for finding in found for item in finding.items] == (
        [Item("binaural_audios/000001.wav", why)] if why else []
    )
    assert all(finding.is_wrong for finding in found)


def test_pictures_without_their_list_of_sounds(tmp_path: Path) -> None:
    write_pictures(tmp_path / "frames/000001.mp4", 2)
    (tmp_path / "binaural_audios").mkdir()
    for read in (read_fair_play, open_dataset, open_check):
        with pytest.raises(
            InputError, match=r"holds no binaural_audios/000001\.wav, \.\.\. as FAIR"
        ):
            read(tmp_path)
