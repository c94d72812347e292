"""The picture read for a time is the one displayed then, upright and with square pixels."""

import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.media.frames import (
    FrameReader,
    FrameSettings,
    Geometry,
    iterate_frames,
    iterate_unrendered,
    read_frames,
)
from avsep.media.probe import probe
from media.making import LARGEST_NUMBER, Video, make, number_of, numbered

NUM, RATE = LARGEST_NUMBER, 25
WAYS = {
    "index": (".mp4", {"preset": "veryfast", "crf": "4", "g": "6"}, 0.0),
    "one key frame": (".mp4", {"preset": "veryfast", "crf": "4", "g": "999"}, 0.0),
    "milliseconds": (".mkv", {"preset": "veryfast", "crf": "4", "g": "6"}, 0.0),
    "no index, late clock": (".ts", {"preset": "veryfast", "crf": "4", "g": "6"}, 3600.0),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("frames")
    return {
        way: make(
            folder / f"{way}{ending}",
            [Video(numbered(NUM), Fraction(RATE), options=options, start_seconds=start)],
        )
        for way, (ending, options, start) in WAYS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=15, deadline=None)
@given(times=st.lists(st.floats(-1, NUM / RATE + 1), min_size=1, max_size=6))
def test_picture_is_the_last_that_has_begun(
    clips: dict[str, Path], way: str, times: list[float]
) -> None:
    # Half a tick of a millisecond clock may decide either way.
    times = [t for t in times if abs(t * RATE - round(t * RATE)) > 0.02] or [0.0]
    frames = read_frames(clips[way], times)
    expected = np.clip(np.floor(np.array(times) * RATE), 0, NUM - 1)
    assert [number_of(picture) for picture in frames.pictures] == expected.tolist()
    assert frames.times_seconds == pytest.approx(expected / RATE, abs=0.001)


@pytest.mark.parametrize("way", WAYS)
def test_times_written_as_index_over_rate_give_that_picture(
    clips: dict[str, Path], way: str
) -> None:
    frames = read_frames(clips[way], [index / RATE for index in range(NUM)])
    assert [number_of(picture) for picture in frames.pictures] == list(range(NUM))


def test_every_picture_in_order(clips: dict[str, Path]) -> None:
    times, pictures = zip(*iterate_frames(clips["index"]), strict=True)
    assert [number_of(picture) for picture in pictures] == list(range(NUM))
    assert times == pytest.approx([index / RATE for index in range(NUM)])


@pytest.mark.parametrize("rate_hz", [8.0, 25.0, 60.0])
def test_pictures_at_a_steady_rate(clips: dict[str, Path], rate_hz: float) -> None:
    times, pictures = zip(*iterate_frames(clips["index"], rate_hz), strict=True)
    assert times == pytest.approx(np.arange(np.ceil(NUM / RATE * rate_hz)) / rate_hz)
    # A time on the edge of two pictures belongs to the later; the rest of 1e-6 is for rounding.
    expected = np.floor(np.array(times) * RATE + 1e-6).astype(int)
    assert [number_of(picture) for picture in pictures] == expected.tolist()


def test_pictures_do_not_share_memory(clips: dict[str, Path]) -> None:
    pictures = [picture for _, picture in iterate_frames(clips["index"], 60.0)]
    before = pictures[1].copy()
    pictures[0][:] = 0
    assert np.array_equal(pictures[1], before)


# What a player does with each display matrix: turned counter-clockwise, then flipped.
TURNS = {
    (0.0, False, False): lambda picture: picture,
    (90.0, False, False): lambda picture: np.rot90(picture, 1),
    (-90.0, False, False): lambda picture: np.rot90(picture, -1),
    (180.0, False, False): lambda picture: np.rot90(picture, 2),
    (0.0, True, False): lambda picture: picture[:, ::-1],
    (0.0, False, True): lambda picture: picture[::-1],
    (90.0, True, False): lambda picture: np.rot90(picture, 1)[:, ::-1],
    (-90.0, True, False): lambda picture: np.rot90(picture, -1)[:, ::-1],
}


@pytest.mark.parametrize("turn", TURNS)
def test_pictures_are_upright(tmp_path: Path, turn: tuple[float, bool, bool]) -> None:
    stored = np.full((48, 64, 3), 30, np.uint8)
    stored[:16, :16], stored[:16, 32:], stored[32:, :16] = 240, 160, 90
    path = make(tmp_path / "a.mov", [Video([stored] * 2, rotation=turn)])
    picture, expected = read_frames(path, [0.0]).pictures[0], TURNS[turn](stored)
    assert picture.shape == expected.shape
    # Flat patches survive compression at this quality within a few steps, edges less so.
    assert np.median(np.abs(picture.astype(int) - expected)) <= 3
    assert np.corrcoef(picture.ravel(), expected.ravel())[0, 1] > 0.98
    info = probe(path).video[0]
    assert (info.height, info.width) == expected.shape[:2]
    assert info.is_mirrored == (turn[1] != turn[2])
    if not info.is_mirrored:
        assert info.rotation_degrees == -turn[0] % 360


@pytest.mark.parametrize(
    ("aspect", "width"),
    [(Fraction(3, 2), 96), (Fraction(2, 3), 43), (Fraction(448, 447), 64), (Fraction(20), 64)],
)
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, width: int) -> None:
    path = make(tmp_path / "a.mkv", [Video(numbered(2), pixel_aspect=aspect)])
    assert read_frames(path, [0.0]).pictures.shape == (1, 48, width, 3)


def test_larger_pictures_are_shrunk_smaller_ones_left(clips: dict[str, Path]) -> None:
    for limit, shape in ((32, (24, 32)), (64, (48, 64)), (500, (48, 64))):
        frames = read_frames(clips["index"], [1.0], FrameSettings(longest_side_pixels=limit))
        assert frames.pictures.shape[1:3] == shape
        assert number_of(frames.pictures[0]) == 25


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt"),
    [
        (".mkv", "libx264", "yuv422p"),
        (".mkv", "libx264", "yuv444p10le"),
        (".mkv", "ffv1", "gray"),
        (".mkv", "ffv1", "yuv420p"),
        (".mov", "qtrle", "rgb24"),
        (".avi", "mjpeg", "yuvj420p"),
        (".webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_codecs_and_pixel_formats(tmp_path: Path, ending: str, codec: str, pix_fmt: str) -> None:
    video = Video(numbered(5), codec=codec, pix_fmt=pix_fmt, options={})
    frames = read_frames(make(tmp_path / f"a{ending}", [video]), [0.0, 0.04, 0.16])
    assert [number_of(picture) for picture in frames.pictures] == [0, 1, 4]


@pytest.mark.parametrize(
    ("ending", "codec", "pix_fmt"),
    [
        (".mov", "qtrle", "argb"),
        (".webm", "libvpx-vp9", "yuva420p"),
        (".webm", "libvpx", "yuva420p"),
    ],
)
def test_transparent_parts_show_black(
    tmp_path: Path, ending: str, codec: str, pix_fmt: str
) -> None:
    # VP8 takes no look ahead with transparency.
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    picture = np.full((64, 64, 4), 255, np.uint8)
    picture[:, 32:, 3] = 0
    path = make(
        tmp_path / f"a{ending}",
        [Video([picture] * 3, codec=codec, pix_fmt=pix_fmt, options=options)],
    )
    shown = read_frames(path, [0.0]).pictures[0]
    assert shown[:, :24].min() > 240
    assert shown[:, 40:].max() < 15


@pytest.mark.parametrize("height", [480, 1080])
def test_colours_of_untagged_video_follow_its_height(tmp_path: Path, height: int) -> None:
    """Studio video is BT.601 when small and BT.709 when large, by custom."""
    colour = np.full((height, 64, 3), (200, 40, 90), np.uint8)
    frame = av.VideoFrame.from_ndarray(colour, format="rgb24")
    stored = frame.reformat(format="yuv420p", dst_colorspace="itu601" if height < 720 else "itu709")
    planes = stored.to_ndarray()
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, 64, "yuv420p"
        untagged = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        untagged.pts = 0
        output.mux(stream.encode(untagged))
        output.mux(stream.encode(None))
    shown = read_frames(tmp_path / "a.mkv", [0.0]).pictures[0, 10, 10]
    # 8-bit chroma rounds to within 2 steps; the wrong matrix is off by 14 and more.
    assert np.abs(shown.astype(int) - (200, 40, 90)).max() <= 3


@pytest.mark.slow
def test_damage_is_an_error_or_skipped(tmp_path: Path) -> None:
    cut = make(
        tmp_path / "c.mp4", [Video(numbered(48), Fraction(8))], container={"movflags": "faststart"}
    )
    half = cut.read_bytes()[: cut.stat().st_size * 2 // 3]
    with pytest.raises(InputError, match=r"the video ends after \d\.\d+ s, where the file is cut"):
        read_frames(half, [5.9])
    frames = read_frames(half, [0.5, 5.9], FrameSettings(on_damage="skip"))
    assert number_of(frames.pictures[0]) == 4
    assert frames.times_seconds[1] < 5.0
    assert "the video ends after" in frames.warnings[0]


@pytest.mark.slow
def test_video_is_read_in_constant_memory(tmp_path: Path) -> None:
    pictures = [np.full((240, 320, 3), 5 * k, np.uint8) for k in range(2)]
    path = make(tmp_path / "a.mkv", [Video(pictures * 40)])
    tracemalloc.start()
    try:
        num_pictures = sum(1 for _ in iterate_frames(path))
        frames = read_frames(path, [3.1])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_pictures == 80
    assert frames.times_seconds.tolist() == pytest.approx([3.08], abs=0.001)
    # All pictures are 18 MB, one is 0.23 MB; a handful is held at a time.
    assert peak_bytes < 3_000_000


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_of_rising_times_gives_the_pictures_of_these_times(
    clips: dict[str, Path], way: str
) -> None:
    times = [-0.5, 0.0, 0.02, 0.02, 0.13, 0.9, 0.91, 1.5, 99.0]
    expected = read_frames(clips[way], times).pictures
    with FrameReader(clips[way], FrameSettings()) as reader:
        pictures = [reader.picture_at(time) for time in times]
    assert [number_of(picture) for picture in pictures] == [number_of(p) for p in expected]
    # Each is the caller's own.
    pictures[2][:] = 0
    assert number_of(pictures[3]) == number_of(expected[3])


def test_a_part_at_a_steady_rate(clips: dict[str, Path]) -> None:
    frames = list(iterate_frames(clips["index"], 10, start_seconds=0.5, end_seconds=1.0))
    assert [time for time, _ in frames] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert [number_of(picture) for _, picture in frames] == [12, 15, 17, 20, 22]


def test_pictures_are_rendered_when_they_are_needed(
    clips: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    render = Geometry.render
    monkeypatch.setattr(
        Geometry, "render", lambda self, frame: (rendered.append(frame.pts), render(self, frame))[1]
    )
    times, pictures = [], []
    for number, (seconds, picture) in enumerate(iterate_unrendered(clips["index"])):
        times.append(seconds)
        if number % 3 == 0:
            pictures.append(picture())
            assert picture() is pictures[-1]
    assert len(rendered) == len(pictures) == len(range(0, len(times), 3))
    all_times, all_pictures = zip(*iterate_frames(clips["index"]), strict=True)
    assert list(all_times) == times
    assert all(map(np.array_equal, all_pictures[::3], pictures))
