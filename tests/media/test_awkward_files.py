"""Truncated and tampered files, full disks: a result or one InputError, and no partial files."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.media.atomic import atomic_file, make_folder, write_atomic
from avsep.media.audio import read_audio
from avsep.media.audio_writing import write_audio
from avsep.media.frames import FrameSettings, read_frames
from avsep.media.probe import probe
from avsep.media.video_files import AudioTrack, write_tracks, write_video
from media.making import Track, Video, make, noise, numbered

ENDINGS = [".mp4", ".mkv", ".ts", ".wav"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two seconds in several containers: pictures and sound, or sound alone."""
    folder = tmp_path_factory.mktemp("whole")
    videos = [Video(numbered(24), options={"preset": "ultrafast", "g": "6"})]
    codecs = {".ts": "mp2", ".mp4": "aac", ".mkv": "flac", ".wav": "pcm_s16le"}
    return {
        ending: make(
            folder / f"a{ending}",
            videos if ending != ".wav" else [],
            [Track(noise(1, 16000), codec=codecs[ending])],
        ).read_bytes()
        for ending in ENDINGS
    }


def tamper(content: bytes, generator: np.random.Generator) -> bytes:
    """Truncate, cut bytes out, or change some, mostly in the header."""
    changed = bytearray(content)
    kind = generator.integers(4)
    if kind == 0:
        return bytes(changed[: generator.integers(1, len(changed))])
    if kind == 1:
        begin = generator.integers(len(changed))
        del changed[begin : begin + generator.integers(1, 2000)]
        return bytes(changed) or b"?"
    upto = len(changed) if kind == 2 else min(len(changed), 1500)
    for position in generator.integers(upto, size=generator.integers(1, 20)):
        changed[position] = generator.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("seed", range(12))
def test_tampered_files_are_read_or_refused(
    whole: dict[str, bytes], ending: str, seed: int, tmp_path: Path
) -> None:
    source = tamper(whole[ending], np.random.default_rng([seed, ENDINGS.index(ending)]))
    skip = FrameSettings(on_damage="skip", longest_side_pixels=32)
    track = AudioTrack("sound", noise(1, 8000), 8000)
    readers = [
        lambda: probe(source),
        lambda: read_audio(source),
        lambda: read_audio(source, on_damage="skip"),
        lambda: read_frames(source, [0.0, 0.5, 5.0]),
        lambda: read_frames(source, [0.9, 0.1], skip),
        lambda: write_tracks(tmp_path / "a.mp4", source, [track]),
    ]
    for reader in readers:
        try:
            result = reader()
        except InputError as error:
            assert "\n" not in str(error)
        else:
            waveform = getattr(result, "waveform", np.zeros(1))
            assert np.isfinite(waveform).all()
    assert {path.name for path in tmp_path.iterdir()} <= {"a.mp4"}


def test_time_stamps_that_go_back_cannot_be_copied(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", [Video(numbered(6), options={"bf": "0", "g": "1"})])
    content = path.read_bytes()
    # In Matroska a block begins with its track, 16 bits of time in ms, and flags: 200 ms -> 0 ms.
    block = b"\x81\x00\xc8\x80"
    assert content.count(block) == 1
    torn = content.replace(block, b"\x81\x00\x00\x80")
    with pytest.raises(
        InputError, match=r"b\.mp4' cannot be written \(Invalid argument\): the disk"
    ):
        write_tracks(tmp_path / "b.mp4", torn, [])
    assert [item.name for item in tmp_path.iterdir()] == ["a.mkv"]


def test_pictures_that_cannot_be_sought(tmp_path: Path) -> None:
    options = {"preset": "veryfast", "g": "6"}
    video = Video(numbered(30), Fraction(2), options=options)
    content = bytearray(make(tmp_path / "a.mp4", [video]).read_bytes())
    # The table of key frames: a count, then the number of each, here of pictures there are not.
    table = content.index(b"stss") + 8
    num_keys = int.from_bytes(content[table : table + 4], "big")
    content[table + 4 : table + 4 + 4 * num_keys] = b"\x00\x00\x77\x77" * num_keys
    assert len(read_frames(bytes(content), [0.0, 2.0]).pictures) == 2  # near enough to read on
    with pytest.raises(InputError, match="the video has a faulty index, seeking fails; copy it"):
        read_frames(bytes(content), [0.0, 14.0])


@contextmanager
def room_for(num_bytes: int) -> Iterator[None]:
    """Simulate a full disk: no file may grow beyond this size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp4", "a.json"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    sound, target = noise(1, 60000), tmp_path / name

    def write() -> None:
        if name == "a.mp4":
            write_video(target, numbered(20), 25, [AudioTrack("sound", sound, 16000)])
        elif name == "a.json":
            write_atomic(target, "é" * 60000)
        else:
            write_audio(target, sound, 16000)

    error = None
    with room_for(20_000):  # nothing else is written in here, what pytest keeps among it
        try:
            write()
        except InputError as caught:
            error = caught
    assert error is not None and f"'{target}' cannot be written" in str(error)
    assert list(tmp_path.iterdir()) == []
    write()
    assert target.stat().st_size > 20_000


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.txt", "old é")
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a.txt") as part:
        part.write_text("half")
        assert part.parent == tmp_path and (tmp_path / "a.txt").read_bytes() == "old é".encode()
        _ = 1 / 0
    assert [(p.name, p.read_text("utf-8")) for p in tmp_path.iterdir()] == [("a.txt", "old é")]
    write_atomic(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_folders_are_made_where_there_is_room(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "é b")
    make_folder(tmp_path / "a" / "é b")
    (tmp_path / "a" / "é b" / "c").touch()
    for name, why in [("a/é b/c", "File exists"), ("a/é b/c/d", "Not a directory")]:
        with pytest.raises(InputError, match=f"cannot make the folder '.*{name}': {why}"):
            make_folder(tmp_path / name)
