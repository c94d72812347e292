"""Test published lists: every form gives the same ids, and bad files one clear line."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from avsep.data.list_files import ListedClip, lists_mixtures, read_list_file, read_pair_file
from avsep.errors import InputError

# An id that looks like an option, and one with dots, one of them before a word that is an ending.
IDS = ["-Gdh8N_KpLY", "a.b..c", "clip.wave"]


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("row", "category"),
    [
        ("/acoustic_guitar/{}.wav,/acoustic_guitar/{}.mp4,187", "acoustic_guitar"),
        ("./data/audio/violin/{}.mp3,./data/frames/violin/{}.mp4,1432", "violin"),
        ("/root/MUSIC/audio/cello/{}.WAV, /root/MUSIC/frames/cello/{},4", "cello"),
        ("data\\audio\\tuba\\{}.wav,data\\frames\\tuba\\{}.mp4,4", "tuba"),
        ("./data/binaural_audios/{}.wav,./data/frames/{}.mp4,82", None),
        ('{}.wav,{}.mp4,12,"Male speech, man speaking"', "Male speech, man speaking"),
        ("audio/erhu/{}.wav,frames/erhu/{}.mp4,30,180", "erhu"),  # AVPC's fourth is a number
        ("/Train/{}.wav,/Train/{}.mp4,250", "Train"),  # horns of trains, not a split
        ("violin/{}.wav,violin/{}.mp4", "violin"),
        ("{}.mp3", None),
        ("{}", None),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_forms_of_text(tmp_path: Path, row: str, category: str | None, end: str) -> None:
    lines = [row.replace("{}", clip_id) for clip_id in IDS]
    text = end.join(["", *lines])  # a blank line first, no line end last
    path = written(tmp_path, "train.csv", b"\xef\xbb\xbf" + text.encode())
    expected = tuple(ListedClip(clip_id, category, n) for n, clip_id in enumerate(IDS, 2))
    assert read_list_file(path) == expected
    assert not lists_mixtures(path)


@pytest.mark.parametrize("separator", [";", "\t", " ; "])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_spreadsheets(tmp_path: Path, separator: str, encoding: str) -> None:
    rows = [["violin/{}.wav", "violin/{}.mp4", "12"], ["{}.wav", "{}.mp4", "12", '"Speech, man"']]
    for cells, category in zip(rows, ("violin", "Speech, man"), strict=True):
        text = "\r\n".join(separator.join(cells).replace("{}", clip_id) for clip_id in IDS)
        path = written(tmp_path, "train.csv", text.encode(encoding))
        expected = tuple(ListedClip(clip_id, category, n) for n, clip_id in enumerate(IDS, 1))
        assert read_list_file(path) == expected
    pairs = written(tmp_path, "pairs.csv", f"flute/a.wav{separator}cello/b.wav\n")
    ((first, second),) = read_pair_file(pairs)
    assert (first.category, second.category) == ("flute", "cello") and lists_mixtures(pairs)


def test_a_semicolon_that_may_be_of_a_name_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "train.csv", "a;12\nb;13\n")
    with pytest.raises(InputError, match=r"'a;12' has no comma: write one in place of each ';' if"):
        read_list_file(path)
    assert read_list_file(written(tmp_path, "t.csv", "a;1.wav,a;1.mp4,4\n"))[0].id == "a;1"


def test_annotations_of_ave_and_their_orders(tmp_path: Path) -> None:
    lines = [f"Church bell&{IDS[0]}&good&0&10", f"Baby cry, infant cry&{IDS[1]}&ok&6&8"]
    lines.append(f"Church bell&{IDS[0]}&good&3&7")
    path = written(tmp_path, "Annotations.txt", "\n".join(lines))
    bell, cry = ("Church bell", "Baby cry, infant cry")
    clips = read_list_file(path)
    assert clips == (
        ListedClip(IDS[0], bell, 1),
        ListedClip(IDS[1], cry, 2),
        ListedClip(IDS[0], bell, 3),
    )
    order = tmp_path / "val_order.h5"
    with h5py.File(order, "w") as file:
        file["order"] = np.array([2, 1])
    assert read_list_file(order) == (ListedClip(IDS[0], bell, 1), ListedClip(IDS[1], cry, 2))
    head = "Category&VideoID&Quality&StartTime&EndTime\n"  # which some copies have
    written(tmp_path, "Annotations.txt", head + "\n".join(lines))
    assert [clip.id for clip in read_list_file(order)] == [IDS[0], IDS[1]]
    with h5py.File(order, "w") as file:
        file["order"] = np.array([0, 3])
    with pytest.raises(InputError, match=r"names row 3 \(from 0\), and '.*Annotations\.txt' has 3"):
        read_list_file(order)
    path.unlink()
    with pytest.raises(InputError, match=r"Annotations\.txt, which is not beside it: put"):
        read_list_file(order)


@pytest.mark.parametrize("dtype", [h5py.string_dtype(), h5py.string_dtype("ascii"), "S60"])
def test_fairplay_h5_holds_paths(tmp_path: Path, dtype: object) -> None:
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as file:
        names = [f"/home/u/FAIR-Play/binaural_audios/{name}.wav".encode() for name in IDS]
        file.create_dataset("audio", data=np.array(names), dtype=dtype)
    assert read_list_file(path) == tuple(
        ListedClip(name, None, place) for place, name in enumerate(IDS, 1)
    )


@pytest.mark.parametrize(
    ("content", "categories"),
    [
        ({"version": 1.0, "videos": {"flute violin": IDS[:2], "tuba": IDS[2:]}}, None),
        ({"flute violin": IDS[:2], "tuba": IDS[2:]}, None),
        (IDS, [None] * 3),
    ],
)
def test_json_of_music(tmp_path: Path, content: object, categories: list | None) -> None:
    path = written(tmp_path, "MUSIC_duet_videos.json", json.dumps(content))
    clips = read_list_file(path)
    assert [clip.id for clip in clips] == IDS and [clip.line for clip in clips] == [1, 2, 3]
    expected = categories or ["flute violin", "flute violin", "tuba"]
    assert [clip.category for clip in clips] == expected


def test_pair_files(tmp_path: Path) -> None:
    two = written(
        tmp_path, "two.csv", f"/flute/{IDS[0]}.wav, /cello/{IDS[1]}.wav\n\n/a/x.wav,y.wav"
    )
    assert lists_mixtures(two)
    assert read_pair_file(two) == (
        (ListedClip(IDS[0], "flute", 1), ListedClip(IDS[1], "cello", 1)),
        (ListedClip("x", "a", 3), ListedClip("y", None, 3)),
    )
    three = written(tmp_path, "three.csv", "/flute/a.wav, /cello/b.wav, /tuba/c.wav")
    assert [[clip.id for clip in mixture] for mixture in read_pair_file(three)] == [["a", "b", "c"]]
    four = written(tmp_path, "four.csv", "/flute/a.wav, /cello/b.wav, /tuba/c.wav, /erhu/d.wav")
    (pair,) = read_pair_file(four)
    assert pair == (ListedClip("a", "flute", 1), ListedClip("c", "tuba", 1))
    bare = written(tmp_path, "bare.csv", "000653,000399")  # FAIR-Play's names, without endings
    assert [clip.id for clip in read_pair_file(bare)[0]] == ["000653", "000399"]


def test_lists_and_pairs_are_not_taken_for_each_other(tmp_path: Path) -> None:
    singles = written(tmp_path, "singles.csv", "/flute/a.wav,/flute/a.mp4,12")
    with pytest.raises(InputError, match=r"line 1: '/flute/a.wav, /flute/a.mp4, 12' is no mixture"):
        read_pair_file(singles)
    pairs = written(tmp_path, "pairs.csv", "/flute/a.wav, /cello/b.wav")
    with pytest.raises(InputError, match=r"line 1, names several sounds: it lists mixtures"):
        read_list_file(pairs)
    column = written(tmp_path, "column.txt", "a.wav\nb.wav")
    with pytest.raises(InputError, match=r"line 1: 'a.wav' is no mixture of different videos"):
        read_pair_file(column)
    with pytest.raises(InputError, match=r"'.*pairs\.json' is no pair file"):
        read_pair_file(written(tmp_path, "pairs.json", '["a"]'))
    for same in ("/flute/a.wav, /cello/a.wav", "a.wav, b.wav, a.wav"):
        with pytest.raises(InputError, match="is no mixture of different videos"):
            read_pair_file(written(tmp_path, "same.csv", same))


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 108335\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "train.h5",
            POINTER,
            "is a pointer of git LFS, not the list itself: fetch it with `git lf",
        ),
        ("train.csv", POINTER, "is a pointer of git LFS"),
        ("train.csv", "", "lists nothing: give a list with one video at least"),
        ("train.csv", " \n ,\n", "lists nothing"),
        ("train.json", '{"videos": {}}', "lists nothing"),
        ("train.h5", "no such thing", "cannot read '.*train.h5' as HDF5"),
        ("train.json", "{", "is not JSON"),
        ("train.json", "[" * 100_000, "is not JSON"),
        ("train.json", '{"videos": {"violin": "a"}}', "is no list of videos: write"),
        ("train.json", '{"videos": {"violin": [1]}}', "is no list of videos: write"),
        ("train.json", '{"violin": ["../.."]}', "line 1: '../..' names no file"),
        (
            "train.csv",
            "a.wav,a.mp4,1\nb.wav\n",
            "line 2 has 1 columns, line 1 has 3: a line is dam",
        ),
        ("train.csv", "a.wav,a.mp4,1,x\nb.wav,b.mp4,1,x, y", "a label with a comma lacks its quot"),
        ("train.csv", "a,b,c,d,e", "line 1 has 5 columns; published lists have one to 4"),
        ("train.csv", 'a.wav,a.mp4,1,"x\nb.wav', "as a list: unexpected end of data"),
        ("train.csv", "x/..,y,1", "line 1: 'x/..' names no file; write a line such as"),
        ("train.csv", "x/.wav,y,1", "names no file"),
        ("train.csv", "x/a\x1b[31m.wav,y,1", r"line 1: 'x/a\\x1b\[31m.wav' names no file"),
        ("train.csv", "é".encode("latin-1"), "is no text in UTF-8"),
        ("train.csv", "a\0b.wav", "is no text: it holds zero bytes"),
        ("train.txt", "a&b&c\nd&e", "line 2 has 2 fields, not category&id&quality"),
    ],
)
def test_bad_files_are_one_clear_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_list_file(written(tmp_path, name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"images": np.zeros(2)}, r"holds neither 'order' \(AVE\) nor 'audio' .* it holds images"),
        ({}, "it holds nothing"),
        ({"audio": np.zeros((2, 2))}, "holds neither 'order'"),
        ({"audio": np.zeros(2)}, "holds float64, not paths of sound files"),
        ({"order": np.zeros(2)}, "'order' holds float64, not numbers of rows"),
        ({"audio": np.array([b"\xff.wav"])}, "holds a name that is not UTF-8"),
        ({"audio": np.array([b"..", b"a.wav"])}, "line 1: '..' names no file"),
    ],
)
def test_hdf5_without_a_list(tmp_path: Path, entries: dict, message: str) -> None:
    path = tmp_path / "train.h5"
    with h5py.File(path, "w") as file:
        for name, value in entries.items():
            file[name] = value
    with pytest.raises(InputError, match=message):
        read_list_file(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; give a list: csv, txt, json or h5"):
        read_list_file(tmp_path)
    with pytest.raises(InputError, match=r"'.*nowhere\.csv' does not exist; give a list"):
        read_pair_file(tmp_path / "nowhere.csv")
