"""Test the checks of folders of clips: each fault is found, and faultless folders have none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsep.data.checks.check import open_check
from avsep.data.checks.reports import AUDIO_ONLY, FAULT_KINDS, SHORT, CheckReport, Finding, Item
from avsep.data.checks.sound_files import AudioCheck, check_audio, sound_faults
from avsep.data.clips import read_i3d_features
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.toyband.folder import ClipPaths
from data.prepared_folder import INDEX, RATE_HZ, hide, make_prepared
from media.making import Track, Video, make, noise, numbered


@pytest.fixture
def solos(tmp_path: Path) -> Path:
    make_prepared(tmp_path / "solos")
    return tmp_path / "solos"


@pytest.fixture(scope="module")
def made_band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small clips, each with an unseen sound or not."""
    from avsep.toyband.build import make_toyband
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    folder = tmp_path_factory.mktemp("bands") / "band"
    pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
    settings = ToybandSettings(clip_seconds=6, num_performers=(2,), pictures=pictures)
    list(make_toyband(folder, 2, 2, settings, Material.read(), num_workers=1))
    return folder


@pytest.fixture
def band(made_band: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_band, tmp_path / "band"))


def check(data: Path, *against: Path) -> CheckReport:
    return open_check(data, against).report()


def faults(report: CheckReport) -> dict[str, list[str]]:
    """Return kind -> names of the problems, without notes."""
    return {row.what: [item.name for item in row.items] for row in report.findings if row.is_wrong}


def finding(report: CheckReport, what: str) -> Finding:
    return next(row for row in report.findings if row.what == what)


@pytest.mark.slow
def test_a_whole_prepared_folder_is_well(solos: Path) -> None:
    report = check(solos)
    assert report.is_well and report.num_clips == 3
    # The tones of the tests are of 3 seconds, half a window.
    assert [row.what for row in report.findings] == [SHORT]
    assert SHORT == "clips shorter than a window of 5.94 s"
    assert report.verdict == (
        f"{solos}: all is well, 1 note; 3 clips, 9 s of sound (shortest 3.00 s, median 3.00 s, "
        "longest 3.00 s)"
    )
    assert [facts.role for facts in report.lists] == ["test", "train"]
    assert check(solos / "index.csv").findings[0].items == report.findings[0].items


def silence(folder: Path) -> None:
    soundfile.write(folder / "audio/violin/c.wav", np.zeros(3 * RATE_HZ), RATE_HZ)


def hiss_of_one_step(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(-1, 2, 3 * RATE_HZ).astype(np.int16)
    soundfile.write(folder / "audio/violin/c.wav", noise, RATE_HZ)


def cut_off_sound(folder: Path) -> None:
    path = folder / "audio/violin/c.wav"
    path.write_bytes(path.read_bytes()[:100_000])


def save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)

    return write


def put(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return write


def reindex(before: str, after: str) -> Callable[[Path], None]:
    return put("index.csv", INDEX.replace(before, after).encode())


def remove(name: str) -> Callable[[Path], None]:
    def unlink(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return unlink


MOTION = "features/motion/violin/c.npy"
DETECTIONS = "detection_results/violin/c.mp4.npy"
LENGTHS = "sound and pictures of different length"
UNREADABLE = "files that cannot be read"
SIZES = "frames of different sizes"


def smaller_frames(folder: Path) -> None:
    for number in (5, 9):
        path = folder / f"frames/violin/c/{number:06d}.png"
        Image.open(path).resize((16, 12)).save(path)


def cut_off_frame(folder: Path) -> None:
    """Cut a JPEG of another name in half, in the middle of the clip."""
    path = folder / "frames/violin/c/000005.png"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    picture.save(path, "JPEG", quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def frame_of_two_files(folder: Path) -> None:
    path = folder / "frames/violin/c/000005.png"
    path.with_suffix(".jpg").write_bytes(path.read_bytes())


def cut_off_flac(folder: Path) -> None:
    wav = folder / "audio/violin/c.wav"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE_HZ)
    soundfile.write(wav.with_suffix(".flac"), noise, RATE_HZ)
    wav.unlink()
    flac = wav.with_suffix(".flac")
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])


def offset_alone(folder: Path) -> None:
    soundfile.write(folder / "audio/violin/c.wav", np.full(3 * RATE_HZ, 0.25), RATE_HZ)


CASES = [
    (smaller_frames, SIZES, "frames/violin/c/000005.png", "2 of 12: '"),
    (cut_off_frame, UNREADABLE, "frames/violin/c/000005.png", "cannot read the picture"),
    (frame_of_two_files, UNREADABLE, "violin/c", "are the same frame: remove one of them"),
    (cut_off_flac, UNREADABLE, "audio/violin/c.flac", "is cut off: "),
    (offset_alone, "silent sounds", "audio/violin/c.wav", "peak 0.2, a DC offset alone"),
    (remove("audio/violin/c.wav"), "missing files", "audio/violin/c.wav", ""),
    (remove("frames/violin/c"), "missing files", "frames/violin/c/000001.jpg", "no pictures"),
    (put("audio/violin/c.wav", b"no"), UNREADABLE, "audio/violin/c.wav", "is no sound or video"),
    (put("audio/violin/c.wav", b""), UNREADABLE, "audio/violin/c.wav", "is empty (0 bytes)"),
    (cut_off_sound, UNREADABLE, "audio/violin/c.wav", "cut off: 164"),
    (silence, "silent sounds", "audio/violin/c.wav", "peak 0"),
    (hiss_of_one_step, "silent sounds", "audio/violin/c.wav", "peak 3e-05"),
    (put("frames/violin/c/000001.png", b"x"), UNREADABLE, "frames/violin/c/000001.png", "cannot"),
    (put("frames/violin/c/000005.png", b""), UNREADABLE, "frames/violin/c/000005.png", "no bytes"),
    (put("objects/violin/c.json", b"{}"), UNREADABLE, "objects/violin/c.json", "must hold a list"),
    (put("objects/violin/c.json", b"[]"), "empty detections", "objects/violin/c.json", ""),
    (save(DETECTIONS, np.zeros((0, 7))), "empty detections", DETECTIONS, ""),
    (save(DETECTIONS, np.zeros(0)), "empty detections", DETECTIONS, ""),
    (save(DETECTIONS, np.zeros((3, 6))), UNREADABLE, DETECTIONS, "this is float64 [3, 6]"),
    (save(DETECTIONS, np.full((3, 7), np.nan)), UNREADABLE, DETECTIONS, "no numbers"),
    (put(DETECTIONS, b""), UNREADABLE, DETECTIONS, "is no array in .npy"),
    (save(MOTION, np.zeros(4, np.float32)), "wrong motion features", MOTION, "holds float32 [4]"),
    (save(MOTION, np.full((3, 2), np.nan)), "wrong motion features", MOTION, "no numbers"),
    (put(MOTION, b""), "wrong motion features", MOTION, "cannot read motion features"),
    (put(MOTION, b"PK\3\4 torn"), "wrong motion features", MOTION, "cannot read motion"),
    (save(MOTION, np.zeros((4, 2))), "wrong motion features", "violin/c", "most clips have 3"),
    (reindex("c,violin,,4,12", "c,violin,,4,13"), LENGTHS, "frames/violin/c", "states 13"),
    (reindex("c,violin,,4", "c,violin,,1"), LENGTHS, "frames/violin/c", "the sound lasts 3.00 s"),
    (reindex("12,3.0", "12,9.0"), LENGTHS, "frames/acoustic_guitar/a", "index.csv states 9.00 s"),
    (
        reindex("c,violin,,4", "c,violin,,"),
        "lines of index.csv that cannot be used",
        "frames/violin/c",
        "12 pictures, and no frame_rate_hz",
    ),
    (
        reindex("c,violin,,4", "c,violin,tset,4"),
        "lines of index.csv that cannot be used",
        "line 4",
        "'tset' is none of",
    ),
    (
        reindex("c,violin", "b,erhu,test,4,,\nc,violin"),
        "clips that index.csv lists twice",
        "erhu/b",
        "2 lines",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "name", "why"), CASES)
def test_each_fault_of_a_prepared_folder(
    solos: Path, spoil: Callable[[Path], None], kind: str, name: str, why: str
) -> None:
    spoil(solos)
    report = check(solos)
    assert faults(report) == {kind: [name]} and not report.is_well
    assert why in finding(report, kind).items[0].why


@pytest.mark.slow
def test_all_faults_are_told_at_once(solos: Path) -> None:
    for spoil in (silence, remove("frames/erhu/b"), put("objects/violin/c.json", b"[]")):
        spoil(solos)
    remove("frames/acoustic_guitar/a/000003.png")(solos)
    report = check(solos)
    assert faults(report) == {
        "missing files": ["frames/erhu/b/000001.jpg"],
        "silent sounds": ["audio/violin/c.wav"],
        "empty detections": ["objects/violin/c.json"],
        LENGTHS: ["frames/acoustic_guitar/a"],  # 11 pictures where the index says 12
        "pictures missing in between": ["frames/acoustic_guitar/a"],
    }
    output = [row.what for row in report.findings if row.is_wrong]
    assert output == [kind for kind in FAULT_KINDS if kind in output]
    assert json.dumps(report.as_json()) == json.dumps(check(solos).as_json())


def tone(level: float = 0.3, pitch_hz: float = 777.0) -> np.ndarray:
    return level * np.sin(2 * np.pi * pitch_hz * np.arange(3 * RATE_HZ) / RATE_HZ)


def stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right], axis=1)


@pytest.mark.parametrize(
    ("waveform", "kind", "why"),
    [
        (tone(1.4).clip(-1, 1), "clipped sounds", "4662 runs of 3 or more samples at full scale"),
        (tone() + 0.1, "sounds with a DC offset", "mean +0.1, RMS without it 0.21: subtract the m"),
        (tone(5e-4), "sounds that are nearly silent", "RMS -69 dB: remove it, or make it louder"),
        (stereo(tone(), 0 * tone()), "sounds with a silent channel", "channel 2 of 2 is silent"),
        (stereo(0 * tone(), tone()), "sounds with a silent channel", "channel 1 of 2 is silent"),
    ],
)
def test_levels_and_channels_are_noted(
    solos: Path, waveform: np.ndarray, kind: str, why: str
) -> None:
    soundfile.write(solos / "audio/violin/c.wav", waveform, RATE_HZ)
    report = check(solos)
    assert report.is_well and [row.what for row in report.findings] == [kind, SHORT]
    (item,) = finding(report, kind).items
    assert item.name == "audio/violin/c.wav" and item.why.startswith(why)


def test_loud_and_soft_sounds_are_no_faults(solos: Path) -> None:
    """A peak at full scale is no clipping, and neither a mean that noise has, nor -50 dB."""
    touching = tone()
    touching[1000:1002] = 1.0
    for waveform in (touching, tone() + 0.01, tone(5e-3), stereo(tone(), tone(1e-3))):
        soundfile.write(solos / "audio/violin/c.wav", waveform, RATE_HZ)
        assert [row.what for row in check(solos).findings] == [SHORT]


@pytest.mark.parametrize("num_full", [3, 4, 11])
def test_a_run_at_full_scale_is_counted_once_wherever_blocks_end(num_full: int) -> None:
    waveform = np.zeros((2, 100), np.float32)
    waveform[0, 20 : 20 + num_full] = 1
    waveform[1, 60 : 60 + num_full] = -1
    waveform[1, 90:92] = 1
    for block_samples in (1, 2, 3, 7, 100):
        audio = AudioCheck(8000, 2)
        for start in range(0, 100, block_samples):
            audio.add(waveform[:, start : start + block_samples])
        assert audio.num_clipped == 2 and audio.num_samples == 100
        assert audio.digest == check_of(waveform).digest


def check_of(waveform: np.ndarray) -> AudioCheck:
    audio = AudioCheck(8000, len(waveform))
    audio.add(waveform)
    return audio


def test_equal_sounds_are_told_whatever_their_format(solos: Path) -> None:
    """Within one split a note, across two a fault; silence and other rates are not equal."""
    sounds = solos / "audio"
    samples, _ = soundfile.read(sounds / "acoustic_guitar/a.wav")
    soundfile.write(sounds / "violin/c.flac", samples, RATE_HZ)
    (sounds / "violin/c.wav").unlink()
    report = check(solos)
    duplicates = finding(report, "equal sounds under two names")
    assert report.is_well and duplicates.items == (
        Item("audio/violin/c.flac", "equal to audio/acoustic_guitar/a.wav: remove one of them"),
    )
    reindex("c,violin,", "c,violin,val")(solos)
    report = check(solos)
    assert faults(report) == {"equal sounds in two of train, val and test": ["audio/violin/c.flac"]}
    soundfile.write(sounds / "violin/c.flac", samples, RATE_HZ // 2)
    report = check(solos)
    assert faults(report) == {LENGTHS: ["frames/violin/c"]} or report.is_well
    (item,) = finding(report, "sounds of another sample rate than most").items
    assert item.why == "22050 Hz, most have 44100 Hz; it is resampled"


def test_notes_are_no_faults(solos: Path) -> None:
    remove(MOTION)(solos)
    shutil.copytree(solos / "audio/violin", solos / "audio/viola")
    report = check(solos)
    notes = {row.what: [item.name for item in row.items] for row in report.findings}
    assert report.is_well and notes == {
        "sounds that index.csv does not list": ["audio/viola/c.wav"],
        "clips without the motion features that others have": ["violin/c"],
        SHORT: ["acoustic_guitar/a", "erhu/b", "violin/c"],
    }


def test_a_clip_that_is_heard_and_not_seen_is_noted(solos: Path) -> None:
    hide(solos)
    remove("features/motion/erhu/b.npy")(solos)  # nobody misses them
    report = check(solos)
    notes = {row.what: [item.name for item in row.items] for row in report.findings}
    assert report.is_well and list(notes) == [AUDIO_ONLY, SHORT] and notes[AUDIO_ONLY] == ["erhu/b"]
    path = solos / "index.csv"
    path.write_text(path.read_text().replace("erhu,test,,,", "erhu,test,,,9"))
    report = check(solos)
    assert faults(report) == {LENGTHS: ["audio/erhu/b"]}
    assert (
        finding(report, LENGTHS).items[0].why == "the sound lasts 3.00 s, index.csv states 9.00 s"
    )


def test_one_video_in_two_splits_of_an_index(solos: Path) -> None:
    for folder in ("audio", "frames"):
        shutil.copytree(solos / folder / "violin", solos / folder / "viola")
    reindex("c,violin", "c,viola,test,4,,\nc,violin")(solos)
    report = check(solos)
    assert faults(report) == {
        "test videos in its training list": ["c"],
        "equal sounds in two of train, val and test": ["audio/violin/c.wav"],
    }


def test_a_folder_against_a_list(solos: Path, tmp_path: Path) -> None:
    (tmp_path / "my_train.csv").write_text("erhu/b.wav,erhu/b.mp4,3\nviolin/c.wav,violin/c.mp4,3")
    report = check(solos, tmp_path / "my_train.csv")
    (what,) = faults(report)
    assert what == f"test videos in the training list of {tmp_path / 'my_train.csv'}"
    assert faults(report)[what] == ["b"]


def test_an_index_without_lines(solos: Path) -> None:
    put("index.csv", INDEX.splitlines()[0].encode())(solos)
    with pytest.raises(InputError, match=r"index\.csv' lists nothing for clips: add lines"):
        open_check(solos)


def test_sounds_are_heard_to_their_end(tmp_path: Path) -> None:
    waveform = np.zeros((25 * 8000, 2))
    waveform[-1, 1] = -0.5  # the last sample of the third block, in one channel
    soundfile.write(tmp_path / "a.wav", waveform, 8000)
    audio = check_audio(tmp_path / "a.wav")
    assert (audio.seconds, audio.peak) == (25.0, 0.5)


def test_a_sound_that_came_through_a_pipe_is_whole(solos: Path) -> None:
    path = solos / "audio/violin/c.wav"
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff\xff\xff\xff" + content[8:])
    assert check(solos).is_well


def test_motion_files_that_claim_too_much_are_refused(solos: Path) -> None:
    path = solos / MOTION
    content = path.read_bytes()
    huge = content.replace(
        b"'shape': (3, 6), }" + b" " * 20, b"'shape': (99999999999, 6), }" + b" " * 10
    )
    assert huge != content
    path.write_bytes(huge)
    with pytest.raises(InputError, match="cannot read motion features"):
        read_i3d_features(read_prepared(solos)[2])


@pytest.mark.slow
def test_a_whole_band_is_well(band: Path) -> None:
    report = check(band)
    assert report.is_well and report.findings == () and report.kind == "toyband"
    assert report.durations_seconds == pytest.approx((6.0, 6.0), abs=0.01)


def cut_off_video(folder: Path) -> None:
    path = folder / "000001.mp4"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def quieter_stem(folder: Path) -> None:
    stem = stem_of(folder)
    waveform, rate_hz = soundfile.read(stem)
    soundfile.write(stem, 0.9 * waveform, rate_hz, subtype="FLOAT")


def shorter_stem(folder: Path) -> None:
    stem = stem_of(folder)
    waveform, rate_hz = soundfile.read(stem)
    soundfile.write(stem, waveform[:-1000], rate_hz, subtype="FLOAT")


def silent_stem(folder: Path) -> None:
    waveform, rate_hz = soundfile.read(stem_of(folder))
    soundfile.write(stem_of(folder), 0 * waveform, rate_hz)


def stem_of(folder: Path) -> Path:
    return min(ClipPaths(folder, "000001").stems.glob("*.wav"))


def no_objects(folder: Path) -> None:
    paths = ClipPaths(folder, "000001")
    paths.objects.write_text("[]")
    for stem in paths.stems.glob("*.wav"):
        if "offscreen" not in stem.name:
            stem.unlink()


def mono_stem(folder: Path) -> None:
    waveform, rate_hz = soundfile.read(stem_of(folder))
    soundfile.write(stem_of(folder), waveform.mean(axis=1), rate_hz)


def exchanged_ears(folder: Path) -> None:
    waveform, rate_hz = soundfile.read(stem_of(folder))
    soundfile.write(stem_of(folder), waveform[:, ::-1], rate_hz)


def silent_ear(folder: Path) -> None:
    waveform, rate_hz = soundfile.read(stem_of(folder))
    soundfile.write(stem_of(folder), waveform * [1, 0], rate_hz)


MISFIT = "stems that do not add up to the sound of the video"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "kind", "name", "why"),
    [
        (put("000001.mp4", b""), UNREADABLE, "000001.mp4", "is empty"),
        (cut_off_video, UNREADABLE, "000001.mp4", "'"),
        (put("000001/score.json", b"{}"), UNREADABLE, "000001/score.json", "clip's score"),
        (remove("000001/objects.json"), UNREADABLE, "000001", "cannot read objects"),
        (lambda folder: stem_of(folder).unlink(), UNREADABLE, "000001", "stems for 2 objects"),
        (quieter_stem, MISFIT, "000001", "they differ by up to 0."),
        (shorter_stem, MISFIT, "000001", "lengths, rates or channels differ"),
        (no_objects, "empty detections", "000001/objects.json", ""),
    ],
)
def test_each_fault_of_a_band(
    band: Path, spoil: Callable[[Path], None], kind: str, name: str, why: str
) -> None:
    spoil(band)
    report = check(band)
    by_kind = faults(report)
    assert by_kind[kind] == [name] and set(by_kind) <= {kind, MISFIT}
    assert why in finding(report, kind).items[0].why


@pytest.fixture(scope="module")
def made_ears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clip for two ears."""
    from avsep.toyband.binaural import BinauralSceneSettings
    from avsep.toyband.build import make_toyband
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    settings = ToybandSettings(
        clip_seconds=6,
        num_performers=(2,),
        pictures=PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4),
        binaural=BinauralSceneSettings(azimuth_degrees=(20, 45)),
    )
    folder = tmp_path_factory.mktemp("ears") / "band"
    list(make_toyband(folder, 1, 2, settings, Material.read(), num_workers=1))
    return folder


@pytest.mark.slow
def test_a_whole_band_for_two_ears_is_well(made_ears: Path) -> None:
    report = check(made_ears)
    assert report.is_well and report.findings == ()
    assert soundfile.info(stem_of(made_ears)).channels == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (mono_stem, "lengths, rates or channels differ"),
        (exchanged_ears, "they differ by up to 0."),
        (silent_ear, "they differ by up to 0."),
    ],
)
def test_stems_add_up_in_each_ear(
    made_ears: Path, tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    folder = Path(shutil.copytree(made_ears, tmp_path / "band"))
    spoil(folder)
    report = check(folder)
    assert faults(report) == {MISFIT: ["000001"]}
    assert why in finding(report, MISFIT).items[0].why


@pytest.mark.slow
def test_a_silent_stem(band: Path) -> None:
    name = stem_of(band).relative_to(band).as_posix()
    silent_stem(band)
    assert faults(check(band)) == {"silent sounds": [name]}


@pytest.mark.slow
def test_a_clip_that_has_no_video_yet(band: Path) -> None:
    (band / "000002.mp4").unlink()
    report = check(band)
    assert report.is_well and report.num_clips == 1
    assert finding(report, "folders of clips without their video").items[0].name == "000002"


@pytest.mark.slow
def test_bands_are_alike_by_their_recipe(band: Path, made_band: Path, tmp_path: Path) -> None:
    report = check(band, made_band)
    assert finding(report, f"videos in {made_band}").num == 2
    recipe = band / "toyband.toml"
    recipe.write_text(recipe.read_text().replace("--seed 2", "--seed 3"))
    assert check(band, made_band).findings == ()


def test_a_picture_too_large_to_be_true(solos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    report = check(solos)
    assert "could be decompression bomb" in finding(report, UNREADABLE).items[0].why


def test_changes_that_reading_makes_are_noted(tmp_path: Path) -> None:
    tracks = [Track(noise(1, 3 * RATE_HZ, seed), RATE_HZ) for seed in (1, 2)]
    path = make(tmp_path / "a.mkv", [Video(numbered(5))], tracks)
    report, (fault,) = sound_faults(path, "a.mkv")
    assert report is not None and fault.kind == "sounds that are read in part or with changes"
    assert fault.why.startswith("the file has 2 audio tracks")
