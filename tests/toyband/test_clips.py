"""Test whole clips: files, stems that sum to the sample, held-out notes, seeds, resuming."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.data import DATASETS
from avsep.data.toyband import read_toyband
from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.objects_file import read_objects
from avsep.media.probe import probe
from avsep.recipe import load_recipe
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.folder import ClipPaths, read_record
from avsep.toyband.material import Material
from avsep.toyband.pictures.performers import PictureSettings

SMALL = PictureSettings(width_pixels=160, height_pixels=96, frame_rate_hz=8)
SETTINGS = ToybandSettings(clip_seconds=2, pictures=SMALL, offscreen_player_probability=0.5)


def make(folder: Path, num_clips: int = 1, seed: int = 5, **changes: object) -> list[str]:
    settings = SETTINGS.model_copy(update=changes)
    return list(make_toyband(folder, num_clips, seed, settings, Material.read(), num_workers=1))


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make six small clips of a training seed."""
    folder = tmp_path_factory.mktemp("band")
    assert make(folder, 6) == [f"00000{index}" for index in range(1, 7)]
    return folder


def test_stems_sum_to_the_mixture_to_the_sample(band: Path) -> None:
    for clip in read_toyband(band):
        paths = [*(source.path for source in clip.sources), *clip.offscreen]
        stems = [soundfile.read(path, dtype="int16")[0].astype(int) for path in paths]
        sound = read_audio(clip.video)
        assert sound.sample_rate_hz == 44100 and sound.start_seconds == 0
        mixture = sound.waveform[0] * 32768  # exact: 16-bit samples as floating point
        # A tenth of full scale: the sum of silent files would be exact too.
        assert np.array_equal(mixture, sum(stems)) and np.abs(mixture).max() > 3000
        assert len(mixture) == 2 * 44100


def test_all_files_of_a_clip_agree(band: Path) -> None:
    num_performers = 0
    for clip in DATASETS["toyband"].read(band):
        paths = ClipPaths(band, clip.name)
        record = read_record(paths.score)
        labels = [visible.label for visible in read_objects(paths.objects)]
        assert labels == [performer.category for performer in record.performers]
        assert [source.category for source in clip.sources] == labels
        for number, (performer, source) in enumerate(
            zip(record.performers, clip.sources, strict=True), 1
        ):
            assert source.path.name == f"{number:02d}-{performer.category}.wav"
            assert paths.clip_folder / performer.stem == source.path
            assert record.score.parts[performer.part].category == performer.category
        assert len(clip.offscreen) == len(record.offscreen)
        assert not record.held_out and record.seed == 5
        video = probe(clip.video).video[0]
        assert (video.width, video.height) == (160, 96)
        num_performers += len(labels)
    assert num_performers > 6  # of six clips, so that the order of several has been checked


@pytest.mark.slow
def test_the_same_seed_makes_the_same_files(band: Path, tmp_path: Path) -> None:
    make(tmp_path / "again", 1)
    again = digest(tmp_path / "again")
    first = {name: hashed for name, hashed in digest(band).items() if name in again}
    assert again == first
    make(tmp_path / "other", 1, seed=6)
    assert digest(tmp_path / "other")["000001.mp4"] != again["000001.mp4"]


@pytest.mark.slow
def test_held_out_seeds_play_what_training_seeds_never_play(band: Path, tmp_path: Path) -> None:
    make(tmp_path / "test", 3, seed=1005)

    def played_notes(folder: Path) -> set[str]:
        records = [read_record(ClipPaths(folder, c.name).score) for c in read_toyband(folder)]
        return {
            note
            for record in records
            for player in (*record.performers, *record.offscreen)
            for note in player.notes
        }

    train, test = played_notes(band), played_notes(tmp_path / "test")
    # Enough notes that a missing split would show.
    assert len(train) > 20 and len(test) > 10 and not train & test


@pytest.mark.slow
def test_resuming_after_a_stop(band: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    make(folder, 1)
    modified_ns = ClipPaths(folder, "000001").video.stat().st_mtime_ns
    unfinished = ClipPaths(folder, "000002")
    unfinished.stems.mkdir(parents=True)
    (unfinished.stems / "01-kazoo.wav").write_bytes(b"left by a run that was stopped")
    make(folder, 2)
    assert ClipPaths(folder, "000001").video.stat().st_mtime_ns == modified_ns
    assert digest(folder)["000002.mp4"] == digest(band)["000002.mp4"]
    assert not (unfinished.stems / "01-kazoo.wav").exists()


@pytest.mark.slow
def test_two_processes_make_the_same_files_as_one(band: Path, tmp_path: Path) -> None:
    settings, material = SETTINGS, Material.read()
    list(make_toyband(tmp_path / "two", 2, 5, settings, material, num_workers=2))
    first = digest(band)
    assert all(first[name] == value for name, value in digest(tmp_path / "two").items())


@pytest.mark.slow
def test_the_recipe_determines_the_cast(tmp_path: Path) -> None:
    settings = load_recipe("toyband-twins", "toyband", ToybandSettings)
    settings = settings.model_copy(update={"clip_seconds": 1.0, "pictures": SMALL})
    list(make_toyband(tmp_path, 2, 0, settings, Material.read(), num_workers=1))
    for clip in read_toyband(tmp_path):
        assert len(clip.sources) == 2 and not clip.offscreen
        assert clip.sources[0].category == clip.sources[1].category


@pytest.mark.slow
def test_errors(tmp_path: Path) -> None:
    make(tmp_path / "mine")
    with pytest.raises(InputError, match="holds clips of another seed, recipe or material"):
        make(tmp_path / "mine", seed=6)
    # A folder of other files is never written into.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"is not empty and holds no toyband\.toml"):
        make(tmp_path / "other")
    with pytest.raises(InputError, match=r"cannot make the folder"):
        make(tmp_path / "other" / "letter.txt" / "band")
    with pytest.raises(InputError, match=r"holds no toyband clips .* avsep toyband"):
        read_toyband(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown category 'kazoo'"):
        ToybandSettings(categories=("kazoo",))
    with pytest.raises(ValueError, match="each must be 1 to 4"):
        ToybandSettings(num_performers=(5,))
    with pytest.raises(InputError, match="2 different instruments are needed and there are 1"):
        make(
            tmp_path / "few",
            num_performers=(2,),
            categories=("tuba",),
            same_category_probability=0.0,
            offscreen_player_probability=0.0,
        )
    next((tmp_path / "mine" / "000001" / "stems").glob("01-*")).unlink()
    with pytest.raises(InputError, match=r"has \d stems for \d objects: a stem is missing"):
        read_toyband(tmp_path / "mine")
    (tmp_path / "mine" / "000001" / "score.json").write_text("{}")
    with pytest.raises(InputError, match=r"cannot read '.*score.json' as a clip's score"):
        read_record(tmp_path / "mine" / "000001" / "score.json")
