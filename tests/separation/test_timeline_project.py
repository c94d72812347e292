"""The timeline for editing programs: video and stems in place, read back with OpenTimelineIO."""

import sys
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pytest

from avsep.errors import InputError
from avsep.records import Clip
from avsep.separation.many_files import FileOptions, ThisProcess, separate_files
from avsep.separation.output import write_result
from avsep.separation.separator import Separator
from avsep.separation.settings import OutputSettings, SeparatorSettings
from media.making import Track, Video, make, noise
from separation.brightness import LEFT, RIGHT, Brightness, two_tone

PROJECT = OutputSettings(project=True)


def write(
    source: Path | Clip | bytes,
    folder: Path,
    output: OutputSettings = PROJECT,
    **settings: object,
) -> otio.schema.Timeline:
    """Separate two objects, and read the project that is written with the stems."""
    separator = Separator(Brightness(), SeparatorSettings(**settings))  # type: ignore[arg-type]
    write_result(separator.separate(source, [LEFT, RIGHT]), folder, output)
    return otio.adapters.read_from_file(str(folder / "project.otio"))


def make_video(path: Path, sound_seconds: float = 0.0, picture_seconds: float = 0.0) -> Path:
    """Make two seconds of video at 25 Hz and of sound at 48 kHz, which start at these times."""
    video = Video(two_tone(0.25, 0.5, 50), start_seconds=picture_seconds)
    track = Track(noise(2, 96_000), 48_000, "stereo", "flac", start_seconds=sound_seconds)
    return make(path, [video], [track])


def spans(timeline: otio.schema.Timeline) -> dict[str, tuple[float, float, float]]:
    """Return start in the timeline, start in the media, and length of each clip, in seconds."""
    return {
        track.name: (
            clip.range_in_parent().start_time.to_seconds(),
            clip.source_range.start_time.to_seconds(),
            clip.source_range.duration.to_seconds(),
        )
        for track in timeline.tracks
        for clip in track.find_clips()
    }


def test_video_and_stems_are_side_by_side(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a duet.mkv")
    timeline = write(source, tmp_path / "out" / "a duet")
    assert timeline.name == "a duet"
    assert [(track.name, track.kind) for track in timeline.tracks] == [
        ("a duet", "Video"), ("violin", "Audio"), ("harp", "Audio"), ("residual", "Audio"),
    ]  # fmt: skip
    assert set(spans(timeline).values()) == {(0.0, 0.0, 2.0)}
    for clip in timeline.find_clips():
        assert clip.available_range() == clip.source_range
        path = otio.url_utils.filepath_from_url(clip.media_reference.target_url)
        assert not Path(path).is_absolute()
        assert (tmp_path / "out" / "a duet" / path).resolve().is_file()
    video, *sounds = timeline.find_clips()
    assert (tmp_path / "out/a duet/../../a duet.mkv").samefile(source)
    assert video.media_reference.target_url == "../../a%20duet.mkv"
    assert video.source_range.duration == otio.opentime.RationalTime(50, 25)
    samples = otio.opentime.RationalTime(96_000, 48_000)
    assert [clip.source_range.duration for clip in sounds] == [samples] * 3


@pytest.mark.parametrize(
    ("settings", "video", "sound"),
    [
        # In the timeline, in the media, length. A part begins with a whole picture.
        ({"start_seconds": 0.5, "end_seconds": 1.5}, (0, 0.48, 1.04), (0.02, 0, 1)),
        ({"start_seconds": 0.8, "end_seconds": 1.2}, (0, 0.8, 0.4), (0, 0, 0.4)),
        ({"start_seconds": 1.0}, (0, 1, 1), (0, 0, 1)),
    ],
)
def test_a_part_is_cut_out_of_the_video(
    tmp_path: Path, settings: dict, video: tuple, sound: tuple
) -> None:
    timeline = write(make_video(tmp_path / "a.mkv"), tmp_path / "out", **settings)
    found = spans(timeline)
    assert found["a"] == pytest.approx(video) and found["violin"] == pytest.approx(sound)
    assert next(iter(timeline.find_clips())).available_range().duration.to_seconds() == 2


@pytest.mark.parametrize(
    ("sound_seconds", "picture_seconds", "align", "video", "sound"),
    [
        (0.3, 0, "sound", (0, 0, 2), (0.3, 0, 2)),
        # Silence is put before the sound.
        (0.3, 0, "picture", (0, 0, 2), (0, 0, 2.3)),
        (0, 0.2, "sound", (0.2, 0, 2), (0, 0, 2)),
        # A gap of whole frames.
        (0.01, 0.2, "sound", (0.2, 0, 2), (0.01, 0, 2)),
        (0, 0.2, "picture", (0, 0, 2), (0, 0, 1.8)),
    ],
)
def test_sound_that_begins_at_another_time_than_the_picture_stays_there(
    tmp_path: Path,
    sound_seconds: float,
    picture_seconds: float,
    align: str,
    video: tuple,
    sound: tuple,
) -> None:
    source = make_video(tmp_path / "a.mkv", sound_seconds, picture_seconds)
    found = spans(write(source, tmp_path / "out", align=align))
    # Matroska counts milliseconds.
    assert found["a"] == pytest.approx(video, abs=0.0011)
    assert found["harp"] == pytest.approx(sound, abs=0.0011)


@pytest.mark.parametrize("preview", ["mp4", "none"])
def test_arrays_have_their_preview_as_video(tmp_path: Path, preview: str) -> None:
    frames = np.stack(two_tone(0.25, 0.5, 3))
    clip = Clip(noise(1, 16_000), 8000, frames, np.array([0.0, 0.1, 0.4]), (), "clip")
    output = OutputSettings(project=True, preview=preview, only=("harp",), format="flac")
    found = write(clip, tmp_path / "a", output)
    clips = {item.name: item.media_reference.target_url for item in found.find_clips()}
    expected = {"harp": "02-harp.flac", "residual": "residual.flac"}
    assert clips == expected if preview == "none" else {"clip": "preview.mp4", **expected}
    assert set(spans(found).values()) == {(0.0, 0.0, 2.0)}


def test_bytes_of_a_part_have_their_preview_from_the_key_frame_on(tmp_path: Path) -> None:
    content = make_video(tmp_path / "a.mkv").read_bytes()
    found = spans(write(content, tmp_path / "out", start_seconds=0.8, end_seconds=1.6))
    # The one key frame is the first; the preview ends at a whole picture.
    assert found["video"][:2] == pytest.approx((0, 0.8)) and found["violin"] == (0, 0, 0.8)


def test_without_the_package_one_line_says_so_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    with pytest.raises(InputError, match="--project needs a package: pip install opentimelineio"):
        runner = ThisProcess(Separator(Brightness()))
        list(
            separate_files(
                [tmp_path / "a.mkv"], None, tmp_path, runner, FileOptions(output=PROJECT)
            )
        )
    assert list(tmp_path.iterdir()) == []
