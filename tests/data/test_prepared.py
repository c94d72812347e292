"""Test prepared folders: the files of each line of the index, and errors."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from avsep.data import open_dataset
from avsep.data.clips import load_clip, read_i3d_features
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from data.prepared_folder import INDEX, RATE_HZ, hide, make_prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_prepared(tmp_path / "solos")
    return tmp_path / "solos"


def test_a_line_is_a_clip_of_one_source(folder: Path) -> None:
    clips = read_prepared(folder)
    assert [clip.name for clip in clips] == ["acoustic_guitar/a", "erhu/b", "violin/c"]
    assert [clip.split for clip in clips] == ["train", "test", None]
    for clip in clips:
        (source,) = clip.sources
        assert source.path == clip.sound == folder / "audio" / f"{clip.name}.wav"
        assert clip.frame_rate_hz == 4 and clip.i3d_features is not None
    assert clips[0].sources[0].category == "acoustic guitar"
    assert open_dataset(folder) == clips


def test_the_object_that_sounds_is_the_one_of_the_category(folder: Path) -> None:
    guitar, erhu, violin = (clip.sources[0].visible for clip in read_prepared(folder))
    assert guitar.boxes == ()  # the whole picture
    assert violin.box_at(0) == (0.5, 0, 1, 1) and violin.label == "violin"  # "fiddle", not "person"
    assert erhu.box_at(0) == (0, 0, 0.5, 1) and erhu.label == "erhu"  # the only one there is


def test_splits_are_lists_of_their_own(folder: Path) -> None:
    assert [clip.name for clip in read_prepared(folder, "test")] == ["erhu/b"]
    with pytest.raises(InputError, match="lists nothing for the split 'val': add lines to it"):
        read_prepared(folder, "val")
    with pytest.raises(InputError, match="unknown split 'tset'; did you mean 'test'"):
        read_prepared(folder, "tset")


def test_pictures_stand_on_the_time_line_of_the_sound(folder: Path) -> None:
    clip = load_clip(read_prepared(folder)[0], [0.0, 0.25, 0.6, 2.99, 9.0])
    assert clip.frame_times_seconds.tolist() == [0.0, 0.25, 0.5, 2.75, 2.75]
    assert clip.frames[:, 0, 31, 0].tolist() == [0, 20, 40, 220, 220]
    assert clip.waveform.shape == (1, 3 * RATE_HZ)


def test_motion_features_lose_their_places(folder: Path) -> None:
    clip = read_prepared(folder)[0]
    np.testing.assert_array_equal(
        read_i3d_features(clip), np.arange(6, dtype=np.float32).reshape(3, 2)
    )
    assert clip.i3d_features is not None
    places = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
    np.save(clip.i3d_features, places)
    np.testing.assert_array_equal(read_i3d_features(clip), places.max((2, 3)))
    np.save(clip.i3d_features, np.zeros(3, np.float32))
    with pytest.raises(
        InputError, match=r"a\.npy' holds float32 \[3\]: motion features are floats"
    ):
        read_i3d_features(clip)
    np.save(clip.i3d_features, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"cannot read motion features from .*a\.npy"):
        read_i3d_features(clip)


def test_motion_features_of_a_safetensors_file_are_its_entry_motion(folder: Path) -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    path = folder / "features/motion/acoustic_guitar/a.safetensors"
    path.with_suffix(".npy").unlink()
    save_file({"motion": features}, path)
    np.testing.assert_array_equal(read_i3d_features(read_prepared(folder)[0]), features)
    save_file({"other": features}, path)
    with pytest.raises(InputError, match=r"cannot read motion features from .*a\.safetensors"):
        read_i3d_features(read_prepared(folder)[0])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("frame_rate_hz", "fps", r"holds 12 pictures and index\.csv no rate for acoustic_guitar/a"),
        (
            "violin,,4",
            "violin,,",
            r"violin/c' holds 12 pictures and index\.csv no rate for violin/c",
        ),
        (
            "id,category",
            "id,kind",
            r"has no column 'category': its first line must name .* and may",
        ),
        ("erhu,test,4", "erhu,tset,4", r"line 3, split 'tset': 'tset' is none of train, val, test"),
        ("erhu,test,4", "erhu,test,fast", r"line 3, frame_rate_hz 'fast': Input should be a valid"),
        ("b,erhu", ",erhu", r"line 3, id '': String should have at least 1 character"),
        ("b,erhu", "../b,erhu", r"line 3, id '\.\./b': String should match"),
        ("b,erhu", "d,erhu", r"no sound '.*audio/erhu/d\.wav' \(or \.flac"),
        ("c,violin,,4,12", "c,violin,,4,13", r"holds 12 pictures and index\.csv states 13"),
        ("train,4,12,3.0", "train,1,12,3.0", r"12 pictures at 1 Hz last 12 s, the sound 3 s"),
        ("b,erhu,test,4,,", "a,acoustic_guitar,,4,,", r"lists acoustic_guitar/a twice: remove one"),
        (INDEX[INDEX.index("\n") + 1 :], "", r"lists nothing for clips: add lines to it"),
    ],
)
def test_lines_that_name_nothing_usable(
    folder: Path, before: str, after: str, message: str
) -> None:
    (folder / "index.csv").write_text(INDEX.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_prepared(folder)
    assert "\n" not in str(caught.value)


def test_pictures_that_are_missing_or_damaged(folder: Path) -> None:
    first = folder / "frames/violin/c/000001.png"
    first.write_bytes(b"no picture")
    clip = read_prepared(folder)[2]
    with pytest.raises(InputError, match=r"cannot read the picture '.*000001\.png'"):
        load_clip(clip, [0.0])
    for path in first.parent.iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no pictures in '.*violin/c' \(000001\.jpg, \.\.\.\)"):
        read_prepared(folder)


def test_a_clip_without_pictures_and_their_rate_is_heard_and_not_seen(folder: Path) -> None:
    before = read_prepared(folder)
    hide(folder)
    guitar, erhu, violin = read_prepared(folder)
    assert (guitar, violin) == (before[0], before[2]) and guitar.is_visible
    sound = folder / "audio/erhu/b.wav"
    assert erhu.video == erhu.sound == erhu.sources[0].path == sound and not erhu.is_visible
    # Its box lies there, and there is nothing to cut it out of.
    assert erhu.sources[0].category == "erhu" == erhu.sources[0].visible.label
    assert erhu.sources[0].visible.boxes == () and erhu.split == "test"
    with pytest.raises(InputError, match="clip 'erhu/b' is audio-only: it has no frames to show"):
        load_clip(erhu, [0.0])


@pytest.mark.parametrize("counts_on_pictures", ["4,,", ",12,"])
def test_a_line_that_tells_of_pictures_needs_them(folder: Path, counts_on_pictures: str) -> None:
    hide(folder)
    text = INDEX.replace("b,erhu,test,4,,", f"b,erhu,test,{counts_on_pictures}")
    (folder / "index.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"no pictures in '.*erhu/b'"):
        read_prepared(folder)


def test_an_index_of_sounds_alone_needs_no_column_for_pictures(folder: Path) -> None:
    shutil.rmtree(folder / "frames")
    (folder / "index.csv").write_text(
        "id,category\na,acoustic_guitar\nc,violin\n", encoding="utf-8"
    )
    assert [clip.is_visible for clip in read_prepared(folder)] == [False, False]


def test_spreadsheets_and_other_sounds_are_read(folder: Path) -> None:
    text = INDEX.replace("id,category", "id, category").replace("a,acoustic", "a , acoustic")
    (folder / "index.csv").write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig")
    wav = folder / "audio/erhu/b.wav"
    wav.rename(wav.with_suffix(".flac"))
    first, second, _ = read_prepared(folder)
    assert first.name == "acoustic_guitar/a" and second.sources[0].path.suffix == ".flac"


def retold(separator: str) -> str:
    return INDEX.replace(",", separator)


@pytest.mark.parametrize(
    "content",
    [
        retold(";").encode(),
        retold("\t").encode(),
        retold("|").encode(),
        ("sep=;\r\n" + retold(";")).encode("utf-8-sig"),
        INDEX.encode("utf-16"),
        retold("\t").replace("\n", "\r\n").encode("utf-16"),
        INDEX.replace("\n", "\r").encode(),
        INDEX.replace("id,category,split", " ID ,Category,SPLIT").encode(),
        INDEX.replace("frame_rate_hz", " Frame rate Hz").encode(),
        INDEX.replace("frame_rate_hz", "frame-rate-hz").encode(),
        INDEX.replace("a,acoustic_guitar,train", '"a", "acoustic_guitar", "Train"').encode(),
        retold(";").replace("c;violin", '"c";"violin"').encode(),
        INDEX.replace("\n", "\n\n").encode(),
        (INDEX + ",,,,,\n,,,,,\n").encode(),
        INDEX.replace("4,12,3.0", "4,12,3.0,,,").encode(),
        INDEX.replace("id,", "note,id,").replace("\na", "\nsolo; good,a").replace("\nb", "\n,b")
        .replace("\nc", "\n,c").encode(),
    ],
)  # fmt: skip
def test_an_index_that_another_program_wrote_is_the_same(folder: Path, content: bytes) -> None:
    expected = read_prepared(folder)
    (folder / "index.csv").write_bytes(content)
    assert read_prepared(folder) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (INDEX.encode("utf-16")[2:], "is no text: it holds zero bytes"),
        ("id,category\na,\xe9tude\n".encode("latin-1"), "is no text in UTF-8 .*: save it as one"),
        (retold(" ").encode(), r"no column 'id': its first line must name .*; it is 'id category"),
        (b"a,acoustic_guitar\n", r"no column 'id': .*; it is 'a,acoustic_guitar'"),
        (b"", r"no column 'id': .*; it is ''"),
        (
            INDEX.replace("acoustic_guitar,train", "acoustic_guitar,nylon,train").encode(),
            "line 2 has more cells than the first line has columns, 3.0: put a cell that",
        ),
        (
            retold(";").replace("3.0", "3,0").encode(),
            "line 2, duration_seconds '3,0': write the number with a point in place of the comma",
        ),
        (INDEX.replace("id,category,split", "id,category,ID").encode(), "has 2 columns 'id'; leav"),
        (
            INDEX.replace("a,acoustic", '"a,acoustic').encode(),
            r"as a list: unexpected end of data \(line 4\)",
        ),
        (INDEX.replace("\na,", "\n\n\na,").replace("4,12,3", "x,12,3").encode(), "line 4, frame_r"),
    ],
)
def test_an_index_that_cannot_be_understood_is_told(
    folder: Path, content: bytes, message: str
) -> None:
    (folder / "index.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_prepared(folder)
    assert "\n" not in str(caught.value) and "index.csv'" in str(caught.value)


def test_a_folder_of_neither_kind(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"holds no clips: it is neither a prepared folder \(index\.csv.* --clips 10",
    ):
        open_dataset(tmp_path)


def test_the_index_that_the_documents_show_how_to_write(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    expected = read_prepared(folder)
    (folder / "index.csv").unlink()
    (folder / "audio/violin/without pictures.wav").write_bytes(b"")
    names: dict = {}
    exec(block, names)
    names["write_index"](folder, 4.0)
    assert read_prepared(folder) == tuple(replace(clip, split=None) for clip in expected)
