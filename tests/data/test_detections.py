"""Test the boxes of detectors: which row of a frame is cropped, and which clips have none."""

from pathlib import Path

import numpy as np
import pytest

from avsep.data.categories import AVE, MUSIC, MUSIC_21
from avsep.data.checks.check import open_check
from avsep.data.clips import missing_boxes
from avsep.data.detections import class_numbers, object_by_frame
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.media.detection_rows import read_detections
from data.prepared_folder import make_prepared

SIZE = (32, 24)
# Frame, class, confidence, x1, y1, x2, y2: two objects in the first frame and in the third.
ROWS = [
    [3, 2, 0.5, 0, 0, 16, 24],
    [1, 2, 0.6, 16, 0, 32, 24],
    [1, 4, 0.9, 0, 0, 16, 24],
    [3, 4, 0.9, 16, 0, 32, 24],
    [3, 2, 0.8, 16, 12, 32, 24],
]
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def write(folder: Path, name: str, rows: object, ending: str = ".mp4.npy") -> Path:
    path = folder / "detection_results" / f"{name}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.array(rows, np.float32))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_prepared(tmp_path / "solos")
    return tmp_path / "solos"


def test_without_a_class_the_most_confident_row_of_each_frame_is_cropped(tmp_path: Path) -> None:
    """As iQuery and CCoL on MUSIC."""
    visible = object_by_frame(write(tmp_path, "a", ROWS), "flute", SIZE, 1.0)
    assert [(box.time_seconds, box.box) for box in visible.boxes] == [(0, LEFT), (2, RIGHT)]
    assert visible.label == "flute" and visible.confidence == pytest.approx(0.9)


def test_the_first_row_of_the_class_comes_before_more_confident_ones(tmp_path: Path) -> None:
    """As iQuery on MUSIC-21 and AVE: not the most confident row of the class, but the first."""
    path = write(tmp_path, "a", ROWS)
    boxes = object_by_frame(path, "flute", SIZE, 1.0, 2).boxes
    assert [box.box for box in boxes] == [RIGHT, LEFT]
    # A class that is nowhere: the most confident of all.
    other = object_by_frame(path, "flute", SIZE, 1.0, 9)
    assert other == object_by_frame(path, "flute", SIZE, 1.0)


def test_of_equal_rows_the_first_is_cropped(tmp_path: Path) -> None:
    rows = [[1, 2, 0.5, 0, 0, 16, 24], [1, 2, 0.5, 16, 0, 32, 24]]
    for number in (None, 2):
        (box,) = object_by_frame(write(tmp_path, "a", rows), "x", SIZE, 1.0, number).boxes
        assert box.box == LEFT


def test_between_frames_with_boxes_there_is_a_box_too(tmp_path: Path) -> None:
    visible = object_by_frame(write(tmp_path, "a", ROWS), "flute", SIZE, 2.0)
    assert visible.box_at(0.5) == (0.25, 0.0, 0.75, 1.0)


@pytest.mark.parametrize("rows", [[], np.zeros((0, 7)), np.zeros((2, 7))])
def test_a_file_of_nothing_or_of_zeros_has_no_rows(tmp_path: Path, rows: object) -> None:
    path = write(tmp_path, "a", rows)
    assert read_detections(path).shape == (0, 7)
    assert object_by_frame(path, "flute", SIZE, 1.0).boxes == ()


def test_class_numbers_are_those_of_iquerys_lists() -> None:
    assert class_numbers(MUSIC) == {}
    assert class_numbers(["erhu", "violin"]) == {}
    music21 = class_numbers(MUSIC_21)
    assert (music21["accordion"], music21["bagpipe"], music21["ukulele"]) == (1, 12, 21)
    ave = class_numbers(["Accordion", "Bark", "Violin"])
    assert ave == {"Accordion": 0, "Bark": 4, "Violin": 27}
    assert len(class_numbers(AVE)) == 28
    # Accordion, banjo and flute are in both lists under other numbers, a kazoo is in none.
    assert class_numbers(["accordion", "banjo", "flute"]) == {} == class_numbers(["kazoo"])


def test_a_prepared_folder_reads_its_detections(folder: Path) -> None:
    """The guitar has no boxes of its own; the violin's come before its detections."""
    write(folder, "acoustic_guitar/a", ROWS)
    write(folder, "violin/c", ROWS, ".npy")
    guitar, _, violin = (clip.sources[0].visible for clip in read_prepared(folder))
    assert [(box.time_seconds, box.box) for box in guitar.boxes] == [(0, LEFT), (0.5, RIGHT)]
    assert guitar.label == "acoustic guitar"
    assert violin.box_at(0) == RIGHT and violin.confidence == 0.4


def test_of_music_21_the_box_of_the_category_is_read(folder: Path) -> None:
    index = (folder / "index.csv").read_text().replace("c,violin,", "c,piano,")
    (folder / "index.csv").write_text(index)
    for part in ("audio", "frames", "features/motion"):
        (folder / part / "violin").rename(folder / part / "piano")
    # The piano is number 19 of MUSIC-21, from 1; a person with more confidence is not cropped.
    rows = [[1, 22, 0.9, 0, 0, 16, 24], [1, 19, 0.3, 16, 0, 32, 24]]
    write(folder, "piano/c", rows)
    piano = next(clip for clip in read_prepared(folder) if clip.name == "piano/c")
    assert piano.sources[0].visible.box_at(0) == RIGHT
    assert read_prepared(folder, "test")[0].name == "erhu/b"


def test_frames_may_be_named_like_the_video(folder: Path) -> None:
    frames = folder / "frames" / "acoustic_guitar" / "a"
    frames.rename(frames.with_name("a.mp4"))
    write(folder, "acoustic_guitar/a", ROWS)
    guitar = read_prepared(folder)[0]
    assert guitar.video.name == "a.mp4" and guitar.sources[0].visible.box_at(0) == LEFT


def test_a_warning_names_the_videos_without_boxes(folder: Path) -> None:
    assert missing_boxes(read_prepared(folder)) == ()
    write(folder, "violin/other", ROWS)
    assert missing_boxes(read_prepared(folder)) == (
        "1 of 3 videos have no boxes, their whole frames are used: acoustic_guitar/a",
    )
    write(folder, "acoustic_guitar/a", [])
    (line,) = missing_boxes(read_prepared(folder) * 7)
    assert line.startswith("7 of 21 videos have no boxes") and line.endswith(" and 2 more")


def test_boxes_outside_the_frames_are_an_error_and_a_fault(folder: Path) -> None:
    path = write(folder, "acoustic_guitar/a", [[1, 2, 0.5, 0, 0, 64, 24]])
    with pytest.raises(InputError, match="has a box outside the frames, which are 32x24"):
        read_prepared(folder)
    faults = [
        item.why
        for finding in open_check(folder).report().findings
        for item in finding.items
        if item.name == path.relative_to(folder).as_posix()
    ]
    assert len(faults) == 1 and "outside the frames" in faults[0]


def test_detections_are_read_without_pickles(folder: Path) -> None:
    path = write(folder, "acoustic_guitar/a", ROWS)
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.mp4\.npy' is no array of numbers"):
        read_prepared(folder)


@pytest.mark.parametrize(("id_cell", "category"), [("..", "violin"), ("c", "..")])
def test_a_line_leads_out_of_no_folder(folder: Path, id_cell: str, category: str) -> None:
    (folder / "index.csv").write_text(f"id,category,frame_rate_hz\n{id_cell},{category},4\n")
    with pytest.raises(InputError, match=r"'\.\.' is a folder, not a name of files"):
        read_prepared(folder)
