"""The output folder: exact stems, atomic writing, and foreign files that stay."""

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.probe import probe
from avsep.records import Clip
from avsep.separation import presentation
from avsep.separation.many_files import ThisProcess, separate_files
from avsep.separation.output import write_result
from avsep.separation.output_folder import check_writable, folder_name, result_files
from avsep.separation.result import Manifest, Result
from avsep.separation.separator import Separator, find_device
from media.making import noise
from separation.brightness import LEFT, RIGHT, Brightness, two_tone, video

FILES = {
    "01-violin.wav", "02-harp.wav", "residual.wav", "manifest.json", "preview.mp4", "report.html",
}  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Separate two seconds of stereo, so loud that a stem could clip."""
    path = tmp_path_factory.mktemp("video") / "a duet.mkv"
    sound = noise(2, 32_000)
    return Separator(Brightness()).separate(
        video(path, None, sound, 16000, "stereo"), [LEFT, RIGHT]
    )


@pytest.fixture(scope="module")
def written(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "new" / "a duet"
    write_result(result, folder)
    return folder


def test_every_file_is_there_and_nothing_else(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == FILES
    assert [path.name for path in written.parent.iterdir()] == ["a duet"]
    manifest = Manifest.model_validate_json((written / "manifest.json").read_text())
    assert result_files(manifest) == FILES


def test_stems_and_residual_are_the_mixture_in_the_files_too(result: Result, written: Path) -> None:
    names = ["01-violin.wav", "02-harp.wav", "residual.wav"]
    sounds = [read_audio(written / name) for name in names]
    assert {sound.sample_rate_hz for sound in sounds} == {16000}
    assert (sounds[0].waveform == result.objects[0].stem).all()
    total = np.sum([sound.waveform for sound in sounds], axis=0)
    # Float WAV is exact; one rounding of float32 remains in the sum.
    np.testing.assert_allclose(total, result.mixture, atol=2e-7)


def test_the_manifest_tells_what_was_done(result: Result, written: Path) -> None:
    manifest = json.loads((written / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["made_by"] == "avsep separate" and set(manifest["versions"]) >= {
        "avsep",
        "torch",
    }
    assert manifest["input"]["name"] == "a duet.mkv" and len(manifest["input"]["sha256"]) == 64
    assert (manifest["num_samples"], manifest["num_channels"], manifest["sample_rate_hz"]) == (
        32_000, 2, 16_000,
    )  # fmt: skip
    first = manifest["objects"][0]
    assert first["label"] == first["category"] == "violin" and first["category_from"] == "given"
    assert first["boxes"] == [{"time_seconds": 0, "box": [0, 0, 0.5, 1]}]
    assert first["presence"] == pytest.approx(result.objects[0].presence)
    mixture = float(np.square(result.mixture, dtype=np.float64).sum())
    shares = [item["energy_share"] for item in manifest["objects"]]
    sounds = [*result.stems.values(), result.residual]
    for share, sound in zip([*shares, manifest["residual_energy_share"]], sounds, strict=True):
        energy = float(np.square(sound, dtype=np.float64).sum())
        assert share == pytest.approx(energy / mixture, rel=1e-9)
    assert manifest["model"]["name"] == "brightness" and manifest["settings"]["seed"] == 0
    # Not "auto", but the device that was used.
    assert manifest["settings"]["device"] == str(find_device("auto"))
    assert manifest["input_channels"] == "the mean of 2 channels" and manifest["warnings"] == []


def test_the_preview_has_the_video_and_a_titled_track_for_each_sound(written: Path) -> None:
    info = probe(written / "preview.mp4")
    assert [track.title for track in info.audio] == ["mixture", "violin", "harp", "residual"]
    assert [track.is_default for track in info.audio] == [True, False, False, False]
    assert {(track.sample_rate_hz, track.num_channels) for track in info.audio} == {(16000, 2)}
    assert (info.video[0].width, info.video[0].height) == (64, 32)
    assert info.duration_seconds == pytest.approx(2, abs=0.1)
    # The violin has a quarter of the mixture, the harp half of it, in whatever codec.
    levels = [read_audio(written / "preview.mp4", track=k + 1).waveform.std() for k in range(4)]
    assert [level / levels[0] for level in levels] == pytest.approx([1, 0.25, 0.5, 0.25], rel=0.1)


def test_the_report_draws_when_each_object_is_heard(written: Path) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    manifest = json.loads((written / "manifest.json").read_text(encoding="utf-8"))
    curves = [item["presence_over_time"] for item in manifest["objects"]]
    assert any(curves) and page.count("<svg") == sum(bool(curve) for curve in curves)


def test_the_report_needs_no_other_file_and_shows_all(written: Path) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 4 and "<video" not in page
    # Key frame, four spectrograms, two gates.
    assert page.count("<img") == 7 and page.count("gate, mean 0.25") == 2
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    for words in ("a duet.mkv", "01 violin", "02 harp", "residual", "violin (given); 6 %"):
        assert words in page


@pytest.mark.slow
def test_an_earlier_result_is_replaced_and_leaves_nothing(result: Result, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    source = result.video_input.pictures
    write_result(Separator(Brightness()).separate(source, ["tuba", "tuba", "tuba"]), folder)
    assert (folder / "03-tuba.wav").is_file()
    (folder / ".DS_Store").touch()
    write_result(result, folder)
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_stems_are_there_when_the_page_is_interrupted(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> str:
        raise KeyboardInterrupt

    folder = tmp_path / "duet"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("avsep.separation.output.report_page", interrupt)
        write_result(result, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["preview"] is None and manifest["report"] is None
    files = {item["file"] for item in manifest["objects"]} | {"residual.wav", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == files
    assert [path.name for path in tmp_path.iterdir()] == ["duet"]
    # The next run finds a result of the same video and completes it.
    write_result(result, folder)
    assert {path.name for path in folder.iterdir()} == files | {"preview.mp4", "report.html"}


@pytest.mark.slow
def test_a_result_of_another_video_is_refused_and_kept(result: Result, tmp_path: Path) -> None:
    write_result(result, tmp_path / "a")
    before = (tmp_path / "a" / "manifest.json").read_bytes()
    short, long = (Separator(Brightness()).separate(_clip(noise(1, n)), ["@"]) for n in (900, 999))
    for other in (short, long):
        with pytest.raises(InputError) as error:
            write_result(other, tmp_path / "a")
        assert str(error.value) == (
            f"'{tmp_path / 'a'}' contains the result of another video, 'a duet.mkv': give another "
            "folder, or move it away"
        )
    assert (tmp_path / "a" / "manifest.json").read_bytes() == before
    # Arrays have no checksum: name and length identify them.
    write_result(short, tmp_path / "b")
    write_result(short, tmp_path / "b")
    with pytest.raises(InputError, match="contains the result of another video, 'clip'"):
        write_result(long, tmp_path / "b")


@pytest.mark.slow
def test_a_result_of_another_version_is_a_result(result: Result, tmp_path: Path) -> None:
    write_result(result, tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["new"] = manifest["settings"]["new"] = manifest["input"]["new"] = {"of": "tomorrow"}
    manifest["objects"][0]["new"] = 1
    del manifest["input_channels"], manifest["model"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    write_result(result, tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES
    assert "new" not in json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), KeyboardInterrupt()])
def test_an_earlier_result_stays_where_the_new_one_cannot_take_its_place(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    folder = tmp_path / "a"
    write_result(result, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with monkeypatch.context() as patch:
        _renames_fail(patch, fault, lambda path: path.suffix == ".part")
        with pytest.raises((InputError, KeyboardInterrupt)) as error:
            write_result(result, folder)
    assert str(error.value) in ("", f"'{folder}' cannot be written: Permission denied")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_an_earlier_result_that_cannot_be_put_back_is_kept_and_named(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a"
    write_result(result, folder)
    with monkeypatch.context() as patch:
        fault = OSError(39, "Directory not empty")
        _renames_fail(patch, fault, lambda path: path.suffix in (".part", ".old"))
        with pytest.raises(InputError) as error:
            write_result(result, folder)
    (kept,) = tmp_path.iterdir()
    assert str(error.value) == (
        f"'{folder}' cannot be written: Directory not empty; the earlier result is kept as "
        f"'{kept}', move it back"
    )
    assert {path.name for path in kept.iterdir()} == FILES


@pytest.mark.parametrize("with_result", [False, True])
def test_what_is_somebody_elses_is_refused_and_kept(
    result: Result, tmp_path: Path, with_result: bool
) -> None:
    folder = tmp_path / "a"
    if with_result:
        write_result(result, folder)
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("mine")
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(InputError) as error:
        write_result(result, folder)
    assert str(error.value) == (
        f"'{folder}' contains 'notes.txt', which avsep separate did not write: give another folder "
        "with -o, or move it away"
    )
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_manifest_of_another_program_makes_no_result(result: Result, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"files": ["manifest.json"]}')
    with pytest.raises(
        InputError, match=r"contains 'manifest\.json', which avsep separate did not"
    ):
        write_result(result, tmp_path)


def test_a_file_in_the_way_is_told(result: Result, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="a' exists and is not a folder; give another with -o"):
        write_result(result, tmp_path / "a")
    with pytest.raises(InputError, match="cannot make the folder"):
        write_result(result, tmp_path / "a" / "b")


@pytest.mark.slow
def test_a_sound_beyond_full_scale_is_whole_in_the_files_and_quieter_to_listen_to(
    tmp_path: Path,
) -> None:
    loud = _clip(3 * noise(1, 8000))
    result = Separator(Brightness()).separate(loud, ["harp@0.5,0,1,1"])
    write_result(result, tmp_path / "a")
    peak = float(np.abs(read_audio(tmp_path / "a" / "01-harp.wav").waveform).max())
    assert peak == float(np.abs(result.objects[0].stem).max())
    decibels = 20 * np.log10(np.abs(loud.waveform).max())
    assert decibels > 3
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert f"all audio is played {decibels:.1f} dB quieter to avoid clipping" in page


@pytest.mark.slow
def test_a_peak_that_rounding_lifts_over_full_scale_gives_no_warning(tmp_path: Path) -> None:
    sound = noise(1, 8000)
    lifted = _clip(sound * np.float32(1.001 / np.abs(sound).max()))
    write_result(Separator(Brightness()).separate(lifted, ["harp@0.5,0,1,1"]), tmp_path / "a")
    assert "quieter" not in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("rate_hz", "num_channels"), [(7000, 1), (16000, 6), (192_000, 2)])
def test_unusual_rates_and_many_channels_can_be_looked_at(
    tmp_path: Path, rate_hz: int, num_channels: int
) -> None:
    result = Separator(Brightness()).separate(_clip(noise(num_channels, rate_hz), rate_hz), ["@"])
    write_result(result, tmp_path / "a")
    assert read_audio(tmp_path / "a" / "residual.wav").waveform.shape == (num_channels, rate_hz)
    assert len(probe(tmp_path / "a" / "preview.mp4").audio) == 3


@pytest.mark.slow
def test_the_page_of_a_long_video_plays_its_begin(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presentation, "MAX_REPORT_SECONDS", 1)
    write_result(result, tmp_path / "a")
    text = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "this page plays the first 1 s; the files are complete" in text
    sounds = re.findall(r'data:audio/flac;base64,([^"]+)', text)
    lengths = {len(soundfile.read(io.BytesIO(base64.b64decode(sound)))[0]) for sound in sounds}
    assert lengths == {16_000} and len(sounds) == 4


@pytest.mark.slow
def test_a_gate_is_drawn_from_its_own_lowest_to_its_highest(result: Result, tmp_path: Path) -> None:
    steps = np.tile(np.linspace(0.45, 0.55, 101, dtype=np.float32), (4, 1))
    flat = np.full((4, 101), 0.51, np.float32)
    objects = tuple(
        replace(item, gate=gate) for item, gate in zip(result.objects, (steps, flat), strict=True)
    )
    changed = replace(result, objects=objects)
    write_result(changed, tmp_path / "a")
    text = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    pictures = dict(
        re.findall(r'<img alt="gate, mean ([^:"]*)[^"]*" src="data:[^,]*,([^"]+)', text)
    )
    assert list(pictures) == [
        "0.50, drawn from 0.45, dark, to 0.55, bright (its 2nd and 98th percentile)",
        "0.51, constant",
    ]
    spans = []
    for content in pictures.values():
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"), float)
        row = drawn[60, 60:-20]  # within the frame
        spans.append(row.max() - row.min())
    # Colours span about 30 to 230; on a scale from 0 to 1 they would span a tenth of that.
    assert spans[0] > 150 and spans[1] == 0


def test_labels_are_names_and_never_paths_or_markup(tmp_path: Path) -> None:
    labels = ["../../etc/passwd", "<b>&", "", "ü 🎻", "a" * 300, "\ud800", "CON"]
    result = Separator(Brightness()).separate(_clip(), [f"{label}@" for label in labels])
    manifest = write_result(result, tmp_path / "a")
    names = [item.file for item in manifest.objects]
    assert names[0] == "01-etc-passwd.wav" and names[1] == "02-b.wav"
    assert all(re.fullmatch(r"\d\d-[\w.-]{1,60}\.wav", name) for name in names)
    assert {path.name for path in (tmp_path / "a").iterdir()} >= set(names)
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page


@pytest.mark.parametrize(
    ("video_name", "name"),
    [("a/duet (2).mp4", "duet (2)"), ("...mp4", "video"), (".mp4", "mp4"), ("ü\n.mp4", "ü")],
)
def test_folders_are_called_as_the_videos(video_name: str, name: str) -> None:
    assert folder_name(Path(video_name)) == name


@pytest.mark.slow
def test_one_video_that_fails_stops_no_other(tmp_path: Path) -> None:
    good = video(tmp_path / "good.mkv", two_tone(0.25, 0.5, 10), noise(1, 3000))
    (tmp_path / "other").mkdir()
    twin = video(tmp_path / "other" / "good.mkv", two_tone(0.5, 0.5, 10), noise(1, 3000))
    videos = [tmp_path / "missing.mp4", good, tmp_path / "broken.mp4", twin]
    videos[2].write_text("no video")
    out = tmp_path / "out"
    done = list(separate_files(videos, [LEFT], out, ThisProcess(Separator(Brightness()))))
    assert [outcome.manifest is None for outcome in done] == [True, False, True, False]
    assert "missing.mp4' does not exist" in done[0].error
    assert "broken.mp4' is no sound or video that can be read" in done[2].error
    assert [outcome.folder.name for outcome in done] == ["missing", "good", "broken", "good-2"]
    assert sorted(path.name for path in out.iterdir()) == ["good", "good-2"]
    assert done[0].as_json()["event"] == "failed" and done[0].as_json()["error"]
    files = done[1].as_json()["files"]
    assert isinstance(files, list) and "01-violin.wav" in files
    head, rows = done[1].table()
    # A quarter of the amplitude is a sixteenth of the energy; the two stems leave nine sixteenths.
    assert rows[0] == ["01-violin.wav", "violin", "given", "uncertain", "6"] and len(head) == 5
    assert rows[-1] == ["residual.wav", "-", "-", "-", "56"]


@pytest.mark.slow
def test_another_video_of_the_same_name_gets_the_next_free_folder(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place, level in zip(places, (0.1, 0.5), strict=True):
        place.mkdir()
        video(place / "a.mkv", two_tone(level, 0.5, 5), noise(1, 2000))
    one, two = (place / "a.mkv" for place in places)
    out = tmp_path / "out"

    def separated(*videos: Path) -> list[str]:
        done = separate_files(videos, [LEFT], out, ThisProcess(Separator(Brightness())))
        return [outcome.folder.name if outcome.manifest else outcome.error for outcome in done]

    def presence(name: str) -> float:
        manifest = Manifest.model_validate_json((out / name / "manifest.json").read_text())
        return round(manifest.objects[0].presence, 1)

    assert separated(one) == ["a"]
    (out / "a-2").mkdir()
    (out / "a-2" / "notes.txt").write_text("mine")
    # Repeated in any order, each video keeps its folder.
    for videos, names in [([two], ["a-3"]), ([two, one], ["a-3", "a"]), ([one, two], ["a", "a-3"])]:
        assert separated(*videos) == names
        assert (presence("a"), presence("a-3")) == (0.1, 0.5)
    assert [path.name for path in (out / "a-2").iterdir()] == ["notes.txt"]
    # Foreign files in the folder of the plain name are an error, not passed over.
    (out / "a" / "notes.txt").write_text("mine")
    assert "a' contains 'notes.txt', which avsep separate did not" in separated(one)[0]


@pytest.mark.parametrize(
    ("place", "reason"),
    [("file", "Not a directory"), ("file/x", "Not a directory"), ("n" * 300, "File name too long")],
)
def test_a_place_that_takes_nothing_is_told_before_the_work(
    tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / place
    with pytest.raises(InputError) as error:
        # If the video were opened first, its error would be an outcome.
        list(separate_files([Path("none.mp4")], ["@"], out, ThisProcess(Separator(Brightness()))))
    expected = f"cannot make a folder in '{out}': {reason}; give another with -o"
    assert str(error.value) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_looking_whether_a_place_can_be_written_leaves_no_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "newer")
    assert not list(tmp_path.iterdir())
    check_writable(tmp_path)
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


def _renames_fail(
    patch: pytest.MonkeyPatch, fault: BaseException, of: Callable[[Path], bool]
) -> None:
    """Make the renaming of matching folders fail, as the disk or an interrupt would."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if of(path) and path.is_dir():
            raise fault
        return rename(path, target)

    patch.setattr(Path, "rename", refuse)


def _clip(waveform: np.ndarray | None = None, rate_hz: int = 8000) -> Clip:
    frames = np.stack(two_tone(0.25, 0.5, 3))
    sound = noise(1, 4000) if waveform is None else waveform.astype(np.float32)
    return Clip(sound, rate_hz, frames, np.array([0.0, 0.1, 0.4]), (), "clip")


def test_the_preview_of_hours_of_tracks_is_in_fragments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 10), noise(1, 3000))
    for most_seconds, num_warnings in ((0.5, 1), (5, 0)):
        monkeypatch.setattr(presentation, "_MOST_INDEXED_HOURS", most_seconds / 3600)
        out = tmp_path / f"{num_warnings}"
        (done,) = separate_files([path], [LEFT], out, ThisProcess(Separator(Brightness())))
        assert done.manifest is not None and done.manifest.preview == "preview.mp4"
        assert len(done.manifest.warnings) == num_warnings
        assert all("its index is in parts" in text for text in done.manifest.warnings)
        content = (done.folder / "preview.mp4").read_bytes()
        assert (b"moof" in content) == bool(num_warnings)
        assert len(probe(done.folder / "preview.mp4").audio) == 3


@pytest.mark.parametrize("can_encode", [True, False])
def test_a_preview_that_cannot_be_copied_is_told_without_hidden_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_encode: bool
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise InputError(f"'{path}' cannot be written")

    monkeypatch.setattr(presentation, "write_tracks", refuse)
    if not can_encode:
        monkeypatch.setattr(presentation, "write_video", refuse)
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 10), noise(1, 3000))
    (done,) = separate_files([path], [LEFT], tmp_path, ThisProcess(Separator(Brightness())))
    assert done.manifest is not None
    (warning,) = done.manifest.warnings
    if can_encode:
        assert done.manifest.preview == "preview.mp4" and (done.folder / "preview.mp4").is_file()
        assert warning == (
            "preview.mp4: its pictures are not copied but encoded at 25 Hz, since 'preview.mp4' "
            "cannot be written"
        )
    else:
        assert done.manifest.preview is None
        assert warning == "preview.mp4 is not written: 'preview.mp4' cannot be written"
