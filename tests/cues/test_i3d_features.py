"""I3D motion features of prepared folders: which pictures are read, and the files written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.cues.i3d_features import (
    clip_motion_features,
    clips_with_pictures,
    one_picture_a_second,
    write_motion_features,
)
from avsep.data.clips import load_clip, read_i3d_features, read_picture
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.separation.video_input import VideoInput
from avsep.vision.i3d import I3D, load_i3d, motion_features
from data.prepared_folder import hide, make_prepared


@pytest.fixture(scope="module")
def model(i3d_file: Path) -> I3D:
    return load_i3d(i3d_file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips, none of which has motion features."""
    folder = tmp_path / "solos"
    make_prepared(folder)
    for path in folder.glob("features/motion/*/*"):
        path.unlink()
    return folder


@pytest.mark.parametrize(
    ("num_pictures", "frame_rate_hz", "numbers"),
    [
        (3, 1.0, [0, 1, 2]),
        (12, 4.0, [0, 4, 8]),
        (13, 4.0, [0, 4, 8, 12]),
        (60, 29.97, [0, 30, 59]),  # 2.002 seconds: the nearest to the second one is the last
        (3, 2.5, [0, 3 - 1]),
        (2, 0.5, [0, 1, 1, 1]),
        (1, 25.0, [0]),
    ],
)
def test_the_picture_nearest_to_each_second(
    num_pictures: int, frame_rate_hz: float, numbers: list[int]
) -> None:
    assert one_picture_a_second(num_pictures, frame_rate_hz).tolist() == numbers


def test_features_are_of_a_picture_a_second(folder: Path, model: I3D) -> None:
    clip = read_prepared(folder)[0]
    pictures = [read_picture(clip.video / f"{number + 1:06d}.png") for number in (0, 4, 8)]
    features = clip_motion_features(clip, model)
    assert torch.equal(features, motion_features(np.stack(pictures), model))


def test_a_clip_to_separate_has_the_features_that_were_trained_with(
    folder: Path, model: I3D
) -> None:
    files = read_prepared(folder)[0]
    clip = load_clip(files, [number / 4 for number in range(12)])
    assert torch.equal(
        VideoInput.open(clip).i3d_features(model), clip_motion_features(files, model)
    )


def test_files_are_found_again_and_whole(folder: Path, model: I3D) -> None:
    clips = clips_with_pictures(folder)
    done = list(write_motion_features(folder, clips[:2], model))
    assert [outcome.clip for outcome in done] == ["acoustic_guitar/a", "erhu/b"]
    first, second, third = read_prepared(folder)
    assert (first.i3d_features, second.i3d_features, third.i3d_features) == (
        done[0].file,
        done[1].file,
        None,
    )
    assert first.i3d_features is not None and np.load(first.i3d_features).dtype == np.float32
    np.testing.assert_array_equal(
        read_i3d_features(first), clip_motion_features(first, model).numpy()
    )
    written = {path.name for path in folder.glob("features/motion/**/*") if path.is_file()}
    assert written == {"a.npy", "b.npy"}


def test_clips_without_pictures_have_no_motion(folder: Path) -> None:
    hide(folder)
    assert [clip.name for clip in clips_with_pictures(folder)] == ["acoustic_guitar/a", "violin/c"]
    (folder / "index.csv").write_text("id,category\nb,erhu\n", encoding="utf-8")
    with pytest.raises(InputError, match="solos' holds clips without pictures: motion"):
        clips_with_pictures(folder)


@pytest.mark.slow
def test_a_clip_that_cannot_be_read_stops_no_other(folder: Path, model: I3D) -> None:
    (folder / "frames" / "acoustic_guitar" / "a" / "000005.png").write_bytes(b"broken")
    broken, *others = write_motion_features(folder, clips_with_pictures(folder), model)
    assert broken.file is None and broken.as_json()["file"] is None
    assert broken.error.startswith("clip 'acoustic_guitar/a': cannot read the picture '")
    assert "000005.png" in broken.error
    assert [o.clip for o in others if o.file and not o.error] == ["erhu/b", "violin/c"]


def test_a_folder_that_cannot_be_written_is_an_error(folder: Path, model: I3D) -> None:
    (folder / "features" / "motion" / "acoustic_guitar").rmdir()
    (folder / "features" / "motion" / "acoustic_guitar").touch()
    with pytest.raises(InputError, match=r"cannot make the folder '.*acoustic_guitar': File exist"):
        list(write_motion_features(folder, clips_with_pictures(folder)[:1], model))
