"""Streams, sizes and times are reported as a player shows them."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.frames import FrameSettings, read_frames
from avsep.media.probe import probe
from media.making import Track, Video, make, noise, number_of, numbered


def test_every_stream_is_told(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.mkv",
        [Video(numbered(25)), Video(numbered(10, 96, 128), Fraction(10), is_default=False)],
        [Track(noise(6, 48000), 48000, "5.1", "flac"), Track(noise(1, 8000), 8000, codec="flac")],
    )
    info = probe(path)
    assert info.container == "matroska,webm"
    assert info.duration_seconds == pytest.approx(1.0, abs=0.002)  # Matroska counts milliseconds
    small, large = info.video
    assert (small.codec, small.width, small.height, small.frame_rate_hz) == ("h264", 64, 48, 25.0)
    assert (large.width, large.height, large.is_default) == (128, 96, False)
    surround, mono = info.audio
    assert (surround.codec, surround.sample_rate_hz, surround.num_channels) == (
        "flac",
        48000,
        6,
    )
    assert surround.layout == "5.1"
    assert (mono.codec, mono.sample_rate_hz, mono.layout) == ("flac", 8000, "mono")


def test_size_is_told_as_displayed(tmp_path: Path) -> None:
    video = Video(numbered(3), pixel_aspect=Fraction(3, 2), rotation=(-90, False, False))
    info = probe(make(tmp_path / "a.mov", [video])).video[0]
    assert (info.width, info.height) == (48, 96)
    assert (info.coded_width, info.coded_height) == (64, 48)
    assert (info.rotation_degrees, info.is_mirrored, info.pixel_aspect) == (90, False, 1.5)


def test_times_count_from_the_earliest_stream(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.ts",
        [Video(numbered(25), start_seconds=10)],
        [Track(noise(1, 16000), codec="aac", start_seconds=10.5)],
    )
    info = probe(path)
    assert info.video[0].start_seconds == 0.0
    # The frame of 1024 samples that primes the decoder is no sound.
    assert info.audio[0].start_seconds == pytest.approx(0.5, abs=0.001)
    assert info.audio[0].start_seconds == pytest.approx(read_audio(path).start_seconds, abs=1e-6)


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    content = make(tmp_path / "a.wav", tracks=[Track(noise(1, 1600))]).read_bytes()
    assert probe(content).truncation is None
    assert probe(content[:-700]).truncation == "700 bytes that it states are missing"


@pytest.mark.slow
def test_duration_is_found_when_the_header_is_silent(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.webm",
        [Video(numbered(25), codec="libvpx", options={"deadline": "realtime"})],
        container={"live": "1"},
    )
    assert probe(path).duration_seconds == pytest.approx(1.0, abs=0.002)


def test_cover_is_no_video(tmp_path: Path) -> None:
    cover = io.BytesIO()
    Image.new("RGB", (8, 8)).save(cover, "PNG")
    path = make(tmp_path / "a.mka", tracks=[Track(noise(1, 1600))], cover=cover.getvalue())
    info = probe(path)
    assert (info.video, info.attached_pictures) == ((), ("png",))
    with pytest.raises(
        InputError, match=r"has no video: streams: 1 audio \(pcm_s16le\), 1 attached"
    ):
        read_frames(path, [0.0])


def test_missing_kinds_are_told_with_what_there_is(tmp_path: Path) -> None:
    silent = make(tmp_path / "silent.mp4", [Video(numbered(3))])
    with pytest.raises(
        InputError, match=r"silent.mp4' has no sound: streams: 1 video \(h264\)\. Give"
    ):
        read_audio(silent)
    blind = make(tmp_path / "blind.wav", tracks=[Track(noise(1, 1600))])
    with pytest.raises(InputError, match=r"has no video: streams: 1 audio \(pcm_s16le\)\. Give"):
        read_frames(blind, [0.0])


def test_best_stream_is_the_default_then_the_largest(tmp_path: Path) -> None:
    few, many = numbered(2), [np.full((96, 128, 3), 200, np.uint8)] * 2
    for marks, width in (((True, False), 64), ((True, True), 128), ((False, False), 128)):
        videos = [Video(few, is_default=marks[0]), Video(many, is_default=marks[1])]
        tracks = [
            Track(noise(1, 800), 8000, is_default=marks[0]),
            Track(noise(1, 1600), 16000, is_default=marks[1]),
        ]
        path = make(tmp_path / "a.mkv", videos, tracks)
        assert read_frames(path, [0.0]).pictures.shape[2] == width
        assert read_audio(path).sample_rate_hz == (8000 if width == 64 else 16000)
    assert number_of(read_frames(path, [0.04], FrameSettings(track=1)).pictures[0]) == 1
    assert read_audio(path, track=1).sample_rate_hz == 8000


def test_track_that_does_not_exist(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", [Video(numbered(2))], [Track(noise(1, 800))])
    message = r"no audio track '2'; there are 1 \(und, 1 channel\): give a number, a language"
    with pytest.raises(InputError, match=message):
        read_audio(path, track=2)
    with pytest.raises(InputError, match="video track 4 does not exist; there are 1, counted from"):
        read_frames(path, [0.0], FrameSettings(track=4))
