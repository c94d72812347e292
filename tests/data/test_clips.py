"""Test clips: sound, frames and objects of one video on one time line; splits; sounds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import ExifTags, Image

from avsep.cues.crops import CropSettings, extract_clip_crops
from avsep.data.clips import (
    ClipFiles,
    SourceFile,
    file_facts,
    frame_paths,
    load_clip,
    read_picture,
    read_picture_size,
    read_sound,
    split_clips,
)
from avsep.errors import InputError
from avsep.media.video_files import AudioTrack, write_video
from avsep.records import VisibleObject


def test_a_clip_is_its_files(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), 20 * index, dtype=np.uint8) for index in range(10)]
    sound = np.linspace(-0.5, 0.5, 8000, dtype=np.float32)[None]
    write_video(tmp_path / "a.mp4", frames, 10, [AudioTrack("all", sound, 8000)])
    source = SourceFile(tmp_path / "a.wav", "violin", "a", VisibleObject(label="violin"))
    clip = load_clip(ClipFiles("a", tmp_path / "a.mp4", (source,)), [0.0, 0.55])
    assert clip.name == "a" and clip.sample_rate_hz == 8000
    assert clip.objects == (source.visible,)
    np.testing.assert_allclose(clip.waveform, sound, atol=2**-15)
    assert clip.frame_times_seconds.tolist() == pytest.approx([0.0, 0.5])
    assert clip.frames.mean((1, 2, 3)).tolist() == pytest.approx([0, 100], abs=3)  # lossy video


def test_sounds_come_as_one_channel_at_the_rate_asked_for(tmp_path: Path) -> None:
    stereo = np.stack([np.full(4000, 0.2), np.full(4000, 0.4)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000)
    mono = read_sound(tmp_path / "a.wav", 16000)
    assert mono.shape == (1, 8000)
    np.testing.assert_allclose(mono[0, 1000:-1000], 0.3, atol=1e-4)


def test_two_ears_are_read_as_they_are_and_one_channel_for_both(tmp_path: Path) -> None:
    stereo = np.stack([np.full(4000, 0.2), np.full(4000, 0.4)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 8000, "FLOAT")
    ears = read_sound(tmp_path / "a.wav", 8000, 2)
    np.testing.assert_allclose(ears, stereo.T)
    soundfile.write(tmp_path / "b.wav", stereo[:, 0], 8000, "FLOAT")
    both = read_sound(tmp_path / "b.wav", 8000, 2)
    assert both.shape == (2, 4000) and (both == np.float32(0.2)).all()
    soundfile.write(tmp_path / "c.wav", np.zeros((10, 6)), 8000)
    with pytest.raises(InputError, match=r"c\.wav' has 6 channels: binaural models need two"):
        read_sound(tmp_path / "c.wav", 8000, 2)


def test_sounds_of_which_nothing_is_left(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8000)
    with pytest.raises(InputError, match=r"none\.wav.* of which nothing can be decoded"):
        read_sound(tmp_path / "none.wav", 8000)
    soundfile.write(tmp_path / "click.wav", np.ones(1), 44100)
    assert read_sound(tmp_path / "click.wav", 44100).shape == (1, 1)
    with pytest.raises(
        InputError, match=r"click\.wav' is too short: nothing is left of it at 11025"
    ):
        read_sound(tmp_path / "click.wav", 11025)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "DOUBLE"])
@pytest.mark.parametrize(("num_channels", "rate_hz"), [(1, 96000), (2, 192000), (6, 48000)])
def test_sounds_of_any_form_come_alike(
    tmp_path: Path, subtype: str, num_channels: int, rate_hz: int
) -> None:
    swell = np.sin(np.pi * np.arange(rate_hz) / rate_hz) ** 2
    tone = 0.5 * swell * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    soundfile.write(tmp_path / "a é.wav", np.stack([tone] * num_channels, 1), rate_hz, subtype)
    n = np.arange(11025)
    expected = 0.5 * np.sin(np.pi * n / 11025) ** 2 * np.sin(2 * np.pi * 440 * n / 11025)
    # An 8-bit step is 1/128, to which libsndfile cuts off; resampling rings a little on top.
    tolerance = 1.2 / 128 if subtype == "PCM_U8" else 1e-4
    resampled = read_sound(tmp_path / "a é.wav", 11025)
    np.testing.assert_allclose(resampled[0], expected, atol=tolerance)


GREY = np.full((6, 8), 100, np.uint8)
COLOURS = np.zeros((6, 8, 3), np.uint8) + np.array([200, 100, 50], np.uint8)


def cmyk(path: Path) -> None:
    Image.fromarray(COLOURS).convert("CMYK").save(path, "JPEG", quality=100)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(COLOURS.transpose(1, 0, 2)).save(path, "PNG", exif=exif)


def half_clear(path: Path) -> None:
    """Save a picture whose left half is transparent, with colours that nobody sees."""
    alpha = np.full((6, 8, 1), 255, np.uint8)
    alpha[:, :4] = 0
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(path, "PNG")


def clear_palette(path: Path) -> None:
    picture = Image.fromarray(COLOURS).quantize(2)
    picture.save(path, "PNG", transparency=int(np.asarray(picture)[0, 0]))


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (lambda path: Image.fromarray(COLOURS).save(path, "PNG"), COLOURS),
        (lambda path: Image.fromarray(COLOURS).save(path, "BMP"), COLOURS),
        (lambda path: Image.fromarray(COLOURS).save(path, "WEBP", lossless=True), COLOURS),
        (lambda path: Image.fromarray(COLOURS).quantize(4).save(path, "GIF"), COLOURS),
        (cmyk, COLOURS),
        (turned, COLOURS),
        (half_clear, COLOURS * (np.arange(8) >= 4)[:, None].astype(np.uint8)),
        (clear_palette, 0 * COLOURS),
        (lambda path: Image.fromarray(GREY).save(path, "PNG"), np.stack([GREY] * 3, 2)),
        (lambda path: Image.fromarray(GREY > 50).save(path, "PNG"), np.full((6, 8, 3), 255)),
        (
            lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(path, "PNG"),
            np.stack([GREY] * 3, 2),
        ),
    ],
)
def test_pictures_of_any_kind_are_what_is_seen(
    tmp_path: Path, save: Callable[[Path], None], expected: np.ndarray
) -> None:
    path = tmp_path / "000001.jpg"  # whatever it is: the content decides
    save(path)
    # JPEG and palettes round colours.
    np.testing.assert_allclose(read_picture(path).astype(int), expected.astype(int), atol=3)
    assert read_picture_size(path) == (8, 6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_was_cut_off_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "000001.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, kind)
    content = path.read_bytes()
    for share in (0.02, 0.5, 0.95):
        path.write_bytes(content[: round(share * len(content))])
        with pytest.raises(InputError, match=r"cannot read the picture '.*000001\.jpg': "):
            read_picture(path)


@pytest.fixture
def frames(tmp_path: Path) -> ClipFiles:
    """Frames 1.png to 12.png of brightness 1 to 12, among files that other programs leave."""
    for number in range(1, 13):
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    for name in ("._1.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"no picture")
    return ClipFiles("a", tmp_path, (SourceFile(tmp_path, "violin", "a", VisibleObject()),),
                     frame_rate_hz=2.0)  # fmt: skip


def test_frames_are_in_the_order_of_their_numbers(frames: ClipFiles) -> None:
    assert [path.name for path in frame_paths(frames)] == [f"{n}.png" for n in range(1, 13)]
    (crops,) = extract_clip_crops(frames, CropSettings(crop_rate_hz=2, crop_pixels=2))
    assert crops.crops[:, 0, 0, 0].tolist() == list(range(1, 13))


def test_a_frame_that_is_there_twice_is_told(frames: ClipFiles) -> None:
    Image.fromarray(GREY).save(frames.video / "0002.jpg")
    with pytest.raises(
        InputError, match=r"'.*0002\.jpg' and '2\.png' are the same frame: remove one of them"
    ):
        frame_paths(frames)


def test_frames_of_other_sizes_are_told(frames: ClipFiles) -> None:
    Image.fromarray(GREY[:, :4]).save(frames.video / "7.png")
    with pytest.raises(
        InputError, match=r"'.*7\.png' is 4x6, and '1\.png' is 8x6: the frames of a video have one"
    ):
        extract_clip_crops(frames, CropSettings())


def listed(names: list[str], split: str | None = None) -> list[ClipFiles]:
    return [ClipFiles(name, Path(f"{name}.mp4"), (), split=split) for name in names]


@pytest.mark.slow
def test_clips_that_are_added_move_no_other() -> None:
    names = [f"{index:06d}" for index in range(2000)]
    training, validation = split_clips(listed(names), 0.1)
    assert len(training) + len(validation) == 2000 and not set(training) & set(validation)
    assert 160 <= len(validation) <= 240  # three standard deviations of 200
    fewer, fewer_held_out = split_clips(listed(names[::3]), 0.1)
    assert set(fewer) <= set(training) and set(fewer_held_out) <= set(validation)
    assert set(validation) <= set(split_clips(listed(names), 0.2)[1])
    assert split_clips(listed(names), 0.1, seed=1)[1] != validation


def test_lists_that_say_what_they_are_for_are_kept() -> None:
    training, test = listed(["a", "b", "c"], "train"), listed(["d"], "test")
    validation = listed(["e"], "val")
    assert split_clips([*training, *test, *validation], 0.9) == (
        tuple(training),
        tuple(validation),
    )
    without = split_clips([*listed([str(i) for i in range(100)], "train"), *test], 0.5)
    assert 25 <= len(without[1]) <= 75 and all(test[0] not in part for part in without)


def test_what_changes_when_files_do(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(3):
        (tmp_path / "frames" / f"{index}.jpg").write_bytes(b"four")
    name, num_bytes, changed_ns = file_facts(tmp_path / "frames")
    assert (name, num_bytes) == ("frames", 12)
    assert changed_ns == max(p.stat().st_mtime_ns for p in (tmp_path / "frames").iterdir())
    assert file_facts(tmp_path / "frames" / "0.jpg")[:2] == ("0.jpg", 4)
    with pytest.raises(InputError, match=r"cannot read '.*nowhere\.wav': No such file"):
        file_facts(tmp_path / "nowhere.wav")
