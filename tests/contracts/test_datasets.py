"""What every reader of a data set promises, and what it says of folders that are none."""

from pathlib import Path

import numpy as np
import pytest

from avsep.data import DATASETS
from avsep.data.clips import ClipFiles, load_clip
from avsep.data.mixing import mixture_of
from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings
from data.fair_play_folder import make_fair_play
from data.prepared_folder import make_prepared


def make_toyband(folder: Path) -> None:
    from avsep.toyband.build import make_toyband as make
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
    settings = ToybandSettings(clip_seconds=2, pictures=pictures, offscreen_player_probability=1)
    list(make(folder, 2, 4, settings, Material.read(), num_workers=1))


# Name -> how a small folder of it is made. A new reader needs a line here to be tested.
MAKERS = {"toyband": make_toyband, "prepared": make_prepared, "fair-play": make_fair_play}


@pytest.fixture(scope="module", params=DATASETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    folder = tmp_path_factory.mktemp("data") / "a sét of clips"
    MAKERS[request.param](folder)
    return request.param, folder, DATASETS[request.param](folder)


def test_clips_come_in_one_order_with_names_of_their_own(
    made: tuple[str, Path, tuple[ClipFiles, ...]],
) -> None:
    name, folder, clips = made
    assert DATASETS[name](folder) == clips
    names = [clip.name for clip in clips]
    assert len(set(names)) == len(names) > 0 and names == sorted(names)


def test_files_exist_and_objects_tell_their_sources(
    made: tuple[str, Path, tuple[ClipFiles, ...]],
) -> None:
    for clip in made[2]:
        assert clip.video.exists() and all(path.is_file() for path in clip.offscreen)
        paths = [source.path for source in clip.sources]
        assert len({*paths, *clip.offscreen}) == len(paths) + len(clip.offscreen)
        for source in clip.sources:
            assert source.path.is_file() and source.clip == clip.name
            assert source.category == source.visible.label


def test_sources_add_up_to_what_the_video_sounds_like(
    made: tuple[str, Path, tuple[ClipFiles, ...]],
) -> None:
    for files in made[2]:
        clip = load_clip(files, [0.0, 1.0])
        front_end = FrontEndSettings(sample_rate_hz=clip.sample_rate_hz)
        item = mixture_of(files, front_end, whole=True)
        assert clip.objects == tuple(source.visible for source in files.sources)
        assert clip.frames.shape[0] == len(clip.frame_times_seconds) == 2
        # 16-bit steps, in which the files are written, add up without error.
        np.testing.assert_allclose(clip.waveform.mean(0), item.mixture[0], atol=1e-6)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("what", ["nowhere", "empty", "file.txt"])
def test_folders_that_hold_none(name: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no folder")
    with pytest.raises(InputError, match=f"{what}.*: avsep ") as caught:
        DATASETS[name](tmp_path / what)
    assert "\n" not in str(caught.value)
