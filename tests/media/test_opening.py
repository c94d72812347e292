"""Sources of every kind open; other files give one clear error; no source opens another file."""

import io
import os
from pathlib import Path

import pytest

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.frames import read_frames
from avsep.media.opening import source_name
from avsep.media.probe import probe
from media.making import Track, Video, make, noise, number_of, numbered


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("opening") / "clip.mkv"
    return make(path, [Video(numbered(10))], [Track(noise(1, 6400))])


def test_path_text_bytes_and_file_object_give_the_same(clip: Path) -> None:
    expected = read_audio(clip).waveform
    data = clip.read_bytes()
    every_second = bytearray(2 * len(data))
    every_second[::2] = data
    views = (memoryview(data), memoryview(every_second)[::2])
    with clip.open("rb") as file:
        for source in (str(clip), data, bytearray(data), *views, io.BytesIO(data), file):
            assert (read_audio(source).waveform == expected).all()
            assert number_of(read_frames(source, [0.2]).pictures[0]) == 5
        assert not file.closed


def test_file_object_may_be_read_in_turns(clip: Path) -> None:
    from avsep.media.audio import iterate_audio
    from avsep.media.frames import iterate_frames

    shared = io.BytesIO(clip.read_bytes())
    blocks, pictures = iterate_audio(shared, 0.04), iterate_frames(shared)
    pairs = list(zip(blocks, pictures, strict=True))
    assert [number_of(picture) for _, (_, picture) in pairs] == list(range(10))
    assert sum(block.shape[1] for block, _ in pairs) == 6400


@pytest.mark.parametrize("name", ["-dash.mkv", "a b.mkv", "concat:a.mkv", "ü%03d.mkv", "noending"])
def test_names_mean_nothing_to_ffmpeg(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    assert probe(name).video[0].width == 64


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1/a.mp4", "concat:clip.mkv|clip.mkv", "file:clip.mkv"]
)
def test_protocols_are_no_files(clip: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(clip.parent)
    with pytest.raises(InputError, match="does not exist"):
        probe(name)


def test_address_is_told_to_be_downloaded() -> None:
    with pytest.raises(InputError, match="download it first"):
        probe("https://example.org/a.mp4")


PLAYLISTS = {
    "list.ffconcat": "ffconcat version 1.0\nfile clip.mkv\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mkv\n#EXT-X-ENDLIST\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlists_are_not_followed(clip: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(clip.parent)
    Path(name).write_text(PLAYLISTS[name], encoding="utf-8")
    for source in (name, Path(name).read_bytes()):
        with pytest.raises(InputError, match="no sound or video that can be read"):
            probe(source)


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "notes"])
def test_text_is_no_media(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("only words\n" * 200, encoding="utf-8")
    with pytest.raises(InputError, match=rf"'.*{name}' is no sound or video that can be read"):
        probe(path)


def test_missing_empty_folder_pipe_and_nul(tmp_path: Path) -> None:
    empty, pipe = tmp_path / "empty.mp4", tmp_path / "pipe"
    empty.touch()
    os.mkfifo(pipe)
    for source, words in {
        tmp_path / "gone.mp4": "gone.mp4' does not exist",
        empty: "empty.mp4' is empty",
        tmp_path: "is a folder",
        pipe: "not a regular file",
        "a\0b": "cannot be opened",
        b"": "the given 0 bytes is empty",
        io.BytesIO(): "the given file object is empty",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            probe(source)
        assert "\n" not in str(caught.value)


def test_text_files_and_streams_that_cannot_seek(tmp_path: Path) -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

    path = tmp_path / "a.mp4"
    path.write_text("words", encoding="utf-8")
    with path.open(encoding="utf-8") as file, pytest.raises(InputError, match="open as text"):
        probe(file)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot seek"):
        probe(Unseekable(b"words"))


@pytest.mark.parametrize("source", [None, 3, {"path": "a.mp4"}, ["a.mp4"], {b"a"}, iter(())])
def test_other_objects_are_told_what_to_give(source: object) -> None:
    with pytest.raises(InputError) as error:
        source_name(source)
    assert str(error.value) == (
        f"a {type(source).__name__} is no sound or video; give the path of a file, its bytes, or a "
        "file that is open with mode 'rb' (to separate also arrays, as avsep.records.Clip)"
    )
