"""MP4 files hold the pictures drawn, with every track titled, exact and in time."""

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.audio_encoding import AudioCodec
from avsep.media.frames import iterate_frames, read_frames
from avsep.media.probe import probe
from avsep.media.video_files import AudioTrack, VideoSettings, mp4_holds, write_tracks, write_video
from media.making import Track, Video, make, noise, number_of, numbered

FINE = VideoSettings(quality_crf=4)


@pytest.mark.slow
def test_video_with_two_tracks_reads_back_exactly(tmp_path: Path) -> None:
    mixture, violin = noise(2, 66150), noise(1, 44100, seed=1)
    tracks = [AudioTrack("mixture", mixture, 44100), AudioTrack("violin", violin, 44100, 0.5)]
    write_video(tmp_path / "a.mp4", numbered(45), 30000 / 1001, tracks, FINE)
    info = probe(tmp_path / "a.mp4")
    assert (info.video[0].codec, info.video[0].frame_rate_hz) == ("h264", pytest.approx(29.97003))
    assert [(a.title, a.is_default) for a in info.audio] == [("mixture", True), ("violin", False)]
    first, second = read_audio(tmp_path / "a.mp4"), read_audio(tmp_path / "a.mp4", track=2)
    assert np.array_equal(first.waveform, mixture)
    assert np.array_equal(second.waveform, violin)
    # Edit lists of MP4 count milliseconds.
    assert (first.start_seconds, second.start_seconds) == (0.0, pytest.approx(0.5, abs=0.001))
    output = [number_of(picture) for _, picture in iterate_frames(tmp_path / "a.mp4")]
    assert output == list(range(45))


@pytest.mark.parametrize("rate_hz", [8000, 11025, 48000, 96000])
@pytest.mark.parametrize("num_channels", [1, 2, 6, 8])
def test_lossless_tracks_of_any_rate_and_channels(
    tmp_path: Path, rate_hz: int, num_channels: int
) -> None:
    waveform = noise(num_channels, 5001)
    write_video(tmp_path / "a.mp4", numbered(2), 25, [AudioTrack("a", waveform, rate_hz)])
    sound = read_audio(tmp_path / "a.mp4")
    assert sound.sample_rate_hz == rate_hz
    assert np.array_equal(sound.waveform, waveform)


@pytest.mark.parametrize("num_channels", [1, 2, 6, 8])
def test_aac_keeps_channels_apart(tmp_path: Path, num_channels: int) -> None:
    t = np.arange(24000) / 48000
    tones_hz = 300.0 * np.arange(1, num_channels + 1)
    waveform = (0.3 * np.sin(2 * np.pi * tones_hz[:, None] * t)).astype(np.float32)
    # The fourth of 5.1 and 7.1 is the low frequency channel, in which tones above 120 Hz get lost.
    compared = [channel for channel in range(num_channels) if num_channels < 6 or channel != 3]
    settings = VideoSettings(audio_codec="aac")
    write_video(tmp_path / "a.mp4", numbered(2), 25, [AudioTrack("a", waveform, 48000)], settings)
    decoded = read_audio(tmp_path / "a.mp4").waveform[:, :24000]
    assert decoded.shape[0] == num_channels
    loudest_hz = np.abs(np.fft.rfft(decoded)).argmax(axis=1) * 2.0
    assert loudest_hz[compared] == pytest.approx(tones_hz[compared], abs=4)


@pytest.mark.slow
def test_aac_tracks_stay_in_time(tmp_path: Path) -> None:
    waveform = noise(1, 44100)
    for start in (0.0, 0.5):
        tracks = [AudioTrack("first", noise(1, 10), 44100), AudioTrack("a", waveform, 44100, start)]
        settings = VideoSettings(audio_codec="aac")
        write_video(tmp_path / "a.mp4", numbered(25), 25, tracks, settings)
        sound = read_audio(tmp_path / "a.mp4", track=2)
        spectrum = np.fft.rfft(sound.waveform[0], 131072)
        lag = np.fft.irfft(spectrum * np.conj(np.fft.rfft(waveform[0], 131072))).argmax()
        # Edit lists of MP4 count milliseconds.
        assert sound.start_seconds + lag / 44100 == pytest.approx(start, abs=0.001)


def test_colours_survive(tmp_path: Path) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :32], picture[:, 32:64], picture[:, 64:] = (
        (200, 40, 90),
        (30, 180, 60),
        (40, 50, 220),
    )
    write_video(tmp_path / "a.mp4", [picture] * 3, 25, settings=FINE)
    output = read_frames(tmp_path / "a.mp4", [0.0]).pictures[0]
    # Patch centres, where subsampled colour does not mix: 8-bit rounding and crf 4 cost 4 steps.
    assert np.abs(output[32, [16, 48, 80]].astype(int) - picture[32, [16, 48, 80]]).max() <= 4


def test_odd_sizes_grow_by_a_pixel(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered(2, 33, 47), 25)
    assert read_frames(tmp_path / "a.mp4", [0.0]).pictures.shape == (1, 34, 48, 3)


@pytest.mark.slow
def test_pictures_and_sound_are_drawn_on_the_fly(tmp_path: Path) -> None:
    def draw() -> Iterator[np.ndarray]:
        for k in range(60):
            yield np.full((240, 320, 3), k, np.uint8)

    def play() -> Iterator[np.ndarray]:
        for second in range(30):
            yield noise(2, 8000, seed=second)

    tracemalloc.start()
    try:
        write_video(tmp_path / "a.mp4", draw(), 2.0, [AudioTrack("noise", play(), 8000)])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    sound = read_audio(tmp_path / "a.mp4")
    assert np.array_equal(sound.waveform[:, -8000:], noise(2, 8000, seed=29))
    # Pictures are 14 MB and sound 2 MB in all; one picture of 0.23 MB is held in a few forms.
    assert peak_bytes < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "codec", "rotation", "aspect", "written"),
    [
        (".mov", "libx264", (-90.0, False, False), None, "b.mp4"),
        (".mov", "libx264", (-90.0, False, False), None, "b.mkv"),
        (".mkv", "libx264", None, Fraction(3, 2), "b.mp4"),
        (".mkv", "libx264", None, Fraction(3, 2), "b.mkv"),
        (".ts", "libx264", None, None, "b.mp4"),
        (".ts", "libx264", None, None, "b.mkv"),
        (".webm", "libvpx-vp9", None, None, "b.mp4"),
        (".webm", "libvpx", None, None, "b.mkv"),
    ],
)
def test_tracks_beside_a_video_that_exists(
    tmp_path: Path,
    ending: str,
    codec: str,
    rotation: tuple | None,
    aspect: Fraction | None,
    written: str,
) -> None:
    options = {"crf": "4"} if codec == "libx264" else {"crf": "4", "b": "4M"}
    video = Video(
        numbered(25), codec=codec, rotation=rotation, pixel_aspect=aspect, options=options
    )
    voice = Track(noise(1, 16000), codec="aac" if ending == ".ts" else "libopus", rate=48000)
    source = make(tmp_path / f"a{ending}", [video], [] if ending == ".mov" else [voice])
    stem = noise(1, 48000, seed=3)
    write_tracks(tmp_path / written, source, [AudioTrack("violin", stem, 48000, 0.25)])
    before, after = probe(source).video[0], probe(tmp_path / written).video[0]
    assert (after.width, after.height) == (before.width, before.height)
    assert after.rotation_degrees == before.rotation_degrees
    assert after.codec == before.codec
    old, new = list(iterate_frames(source)), list(iterate_frames(tmp_path / written))
    assert [number_of(p) for _, p in new] == [number_of(p) for _, p in old] == list(range(25))
    # Each file counts from its own earliest stream.
    shift = new[0][0] - old[0][0]
    assert [t - shift for t, _ in new] == pytest.approx([t for t, _ in old], abs=0.0011)
    sound = read_audio(tmp_path / written)
    assert np.array_equal(sound.waveform, stem)
    assert sound.start_seconds - shift == pytest.approx(0.25, abs=0.0011)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["aac", "flac"])
def test_fragments_hold_what_one_index_does(tmp_path: Path, codec: AudioCodec) -> None:
    """With one key picture in all, fragments are ended by their length alone."""
    video = Video(numbered(25), Fraction(1), options={"g": "1000"})
    source = make(tmp_path / "a.mkv", [video])
    sounds = [noise(1, 8000 * 25), noise(2, 8000 * 24, seed=1)]
    read = []
    for is_fragmented in (False, True):
        settings = VideoSettings(audio_codec=codec, is_fragmented=is_fragmented)
        tracks = [
            AudioTrack(f"{number}", sound, 8000, number / 4) for number, sound in enumerate(sounds)
        ]
        path = tmp_path / f"{is_fragmented}.mp4"
        write_tracks(path, source, tracks, settings)
        read.append(([read_audio(path, track=k) for k in (1, 2)], list(iterate_frames(path))))
        assert path.read_bytes().count(b"moof") == (3 if is_fragmented else 0)
    for whole, part in zip(read[0][0], read[1][0], strict=True):
        assert np.array_equal(whole.waveform, part.waveform)
        assert whole.start_seconds == pytest.approx(part.start_seconds, abs=0.001)
    for (time, picture), (other_time, other) in zip(read[0][1], read[1][1], strict=True):
        assert time == pytest.approx(other_time, abs=0.001) and np.array_equal(picture, other)


@pytest.mark.parametrize("name", ["b.mp4", "b.avi"])
def test_a_video_that_the_container_does_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    video = Video(numbered(5), codec="libvpx", options={"b": "4M"})
    source = make(tmp_path / "a.webm", [video])
    words = {
        "b.mp4": "MP4 holds av1, h264, hevc, mpeg4, vp9, and the video is vp8; write .mkv",
        "b.avi": "video is written as .mp4 or .mkv; change the ending",
    }
    with pytest.raises(InputError, match=words[name]):
        write_tracks(tmp_path / name, source, [])
    assert not mp4_holds(source)
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]


def test_failures_leave_no_file(tmp_path: Path) -> None:
    loud = noise(1, 100) * 4
    for pictures, tracks, words in [
        ([], [], "a.mp4': a video needs at least one picture"),
        ([*numbered(1), *numbered(1, 50, 64)], [], "picture 1 is 64x50, the first 64x48"),
        (numbered(2), [AudioTrack("loud", loud, 8000)], "track 'loud': the loudest sample is"),
        (numbered(2), [AudioTrack("none", iter([]), 8000)], "track 'none' has no samples"),
        (numbered(2), [AudioTrack("many", noise(9, 10), 8000)], "'many' has 9 channels"),
    ]:
        with pytest.raises(InputError, match=words):
            write_video(tmp_path / "a.mp4", pictures, 25, tracks)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="aac cannot hold 1 channels at 12345 Hz; choose flac"):
        tracks = [AudioTrack("odd", noise(1, 100), 12345)]
        write_video(tmp_path / "a.mp4", numbered(2), 25, tracks, VideoSettings(audio_codec="aac"))
    assert list(tmp_path.iterdir()) == []


def test_tracks_need_a_video(tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav", tracks=[Track(noise(1, 1600))])
    with pytest.raises(InputError, match=r"a.wav' has no video"):
        write_tracks(tmp_path / "b.mp4", source, [])
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
