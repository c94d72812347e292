"""The contract of every data set: recognised, read, checked and evaluated, with clear errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsep.data import DATASETS, find_dataset, open_dataset
from avsep.data.checks.reports import SHORT, report_findings
from avsep.data.clips import ClipFiles, load_clip
from avsep.data.datasets import Dataset, examine_clips
from avsep.data.mixing import mix_clip
from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings
from data.fair_play_folder import make_fair_play
from data.prepared_folder import INDEX, make_prepared

Made = tuple[Dataset, Path, tuple[ClipFiles, ...]]


def make_toyband(folder: Path) -> None:
    from avsep.toyband.build import make_toyband as make
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
    settings = ToybandSettings(clip_seconds=2, pictures=pictures, offscreen_player_probability=1)
    list(make(folder, 2, 4, settings, Material.read(), num_workers=1))


def make_prepared_without_test(folder: Path) -> None:
    make_prepared(folder)
    (folder / "index.csv").write_text(INDEX.replace(",test,", ",,"), encoding="utf-8")


def make_fair_play_without_splits(folder: Path) -> None:
    make_fair_play(folder)
    shutil.rmtree(folder / "splits")


# Name -> function that writes a tiny folder of the data set: at least two test clips, of different
# categories if it has any, or no test clips at all. A new data set needs a line here.
TINY_FOLDERS: dict[str, Callable[[Path], None]] = {
    "prepared": make_prepared_without_test,
    "fair-play": make_fair_play_without_splits,
    "toyband": make_toyband,
}


@pytest.fixture(scope="module", params=DATASETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("data") / "a sét of clips"
    TINY_FOLDERS[request.param](folder)
    dataset = DATASETS[request.param]
    return dataset, folder, dataset.read(folder)


@pytest.fixture
def broken(made: Made, tmp_path: Path) -> Path:
    """A copy of the folder in which the sound of one source is damaged."""
    _, folder, clips = made
    copy = Path(shutil.copytree(folder, tmp_path / "broken"))
    (copy / clips[0].sources[0].path.relative_to(folder)).write_bytes(b"no sound")
    return copy


def test_names_and_descriptions() -> None:
    for name, dataset in DATASETS.items():
        assert dataset.name == name == name.lower() and dataset.description


def test_a_folder_is_recognised(made: Made) -> None:
    dataset, folder, clips = made
    assert find_dataset(folder) is dataset and open_dataset(folder) == clips


def test_clips_come_in_one_order_with_names_of_their_own(made: Made) -> None:
    dataset, folder, clips = made
    assert dataset.read(folder) == clips
    names = [clip.name for clip in clips]
    assert len(set(names)) == len(names) > 0 and names == sorted(names)


def test_files_exist_and_objects_tell_their_sources(made: Made) -> None:
    for clip in made[2]:
        assert clip.video.exists() and all(path.is_file() for path in clip.offscreen)
        paths = [source.path for source in clip.sources]
        assert len({*paths, *clip.offscreen}) == len(paths) + len(clip.offscreen)
        for source in clip.sources:
            assert source.path.is_file() and source.clip == clip.name
            assert source.category == source.visible.label


@pytest.mark.slow
def test_sources_add_up_to_what_the_video_sounds_like(made: Made) -> None:
    for files in made[2]:
        clip = load_clip(files, [0.0, 1.0])
        front_end = FrontEndSettings(sample_rate_hz=clip.sample_rate_hz)
        item = mix_clip(files, front_end)
        assert clip.objects == tuple(source.visible for source in files.sources)
        assert clip.frames.shape[0] == len(clip.frame_times_seconds) == 2
        # 16-bit steps, in which the files are written, add up without error.
        np.testing.assert_allclose(clip.waveform.mean(0), item.mixture[0], atol=1e-6)


@pytest.mark.slow
def test_check_reads_every_clip(made: Made, run: Callable) -> None:
    dataset, folder, clips = made
    done = run("check", folder, "--json")
    report = json.loads(done.out)
    assert done.code == 0 and report["kind"] == dataset.name and report["clips"] == len(clips)
    assert len(report["findings"]) <= 1  # clips of 2 or 3 seconds are short, which is a note


def test_check_finds_a_damaged_sound(broken: Path, run: Callable) -> None:
    done = run("check", broken, "--json")
    wrong = [finding for finding in json.loads(done.out)["findings"] if finding["wrong"]]
    assert done.code == 2 and [finding["what"] for finding in wrong] == [
        "files that cannot be read"
    ]


@pytest.mark.slow
def test_the_generic_examination_serves_every_data_set(made: Made, broken: Path) -> None:
    dataset, folder, clips = made
    examination = examine_clips(folder, dataset.read)
    findings, reports = report_findings([job() for job in examination.jobs], "here")
    assert [report.clip for report in reports] == [clip.name for clip in clips]
    assert examination.findings == () and {finding.what for finding in findings} <= {SHORT}
    assert sum(len(part.clips) for part in examination.lists) == len(clips)
    examination = examine_clips(broken, dataset.read)
    findings, _ = report_findings([job() for job in examination.jobs], "here")
    wrong = [*examination.findings, *(finding for finding in findings if finding.is_wrong)]
    assert len(wrong) == 1 and wrong[0].num == 1 and wrong[0].items[0].why


@pytest.mark.slow
def test_mixtures_of_it_can_be_evaluated(made: Made, run: Callable) -> None:
    done = run("evaluate", "mixture", "--data", made[1], "--limit", 1, "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["mixtures"]) == 1


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("what", ["nowhere", "empty", "file.txt"])
def test_folders_that_hold_none(name: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no folder")
    assert not DATASETS[name].recognise(tmp_path / what)
    with pytest.raises(InputError, match=f"{what}.*: avsep ") as caught:
        DATASETS[name].read(tmp_path / what)
    assert "\n" not in str(caught.value)


def test_the_error_names_every_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(tmp_path)
    assert all(dataset.description in str(caught.value) for dataset in DATASETS.values())
