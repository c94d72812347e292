"""Stems in every format, under names of the user's choice, all of them or some."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.probe import probe
from avsep.records import Clip
from avsep.separation.output import write_result, write_stream
from avsep.separation.result import Manifest, Result
from avsep.separation.separator import Separator
from avsep.separation.settings import OutputSettings
from media.making import Track, Video, make, noise
from separation.brightness import LEFT, RIGHT, Brightness, two_tone

RATE_HZ = 22_050
INTEGER_FORMATS = {"wav16": (".wav", 16), "wav24": (".wav", 24), "flac": (".flac", 24)}


@pytest.fixture(scope="module")
def result() -> Result:
    return separate(noise(2, RATE_HZ))


def separate(waveform: np.ndarray, *objects: str, rate_hz: int = RATE_HZ) -> Result:
    """Separate a sound of two objects, of which one gets a quarter and one a half."""
    frames = np.stack(two_tone(0.25, 0.5, 3))
    clip = Clip(waveform, rate_hz, frames, np.array([0.0, 0.1, 0.4]), (), "clip")
    return Separator(Brightness()).separate(clip, objects or (LEFT, RIGHT))


def written_sounds(manifest: Manifest, folder: Path) -> list[np.ndarray]:
    """Read stems and residual."""
    files = [item.file for item in manifest.objects if item.file]
    return [read_audio(folder / name).waveform for name in (*files, manifest.residual)]


@pytest.mark.parametrize("name", INTEGER_FORMATS)
def test_integer_stems_sum_to_the_mixture_within_a_step_each(
    result: Result, tmp_path: Path, name: str
) -> None:
    ending, bits = INTEGER_FORMATS[name]
    manifest = write_result(result, tmp_path / "a", OutputSettings(format=name, preview="none"))
    files = {f"01-violin{ending}", f"02-harp{ending}", f"residual{ending}"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == files | {
        "manifest.json", "report.html",
    }  # fmt: skip
    assert {soundfile.info(tmp_path / "a" / file).subtype for file in files} == {f"PCM_{bits}"}
    sounds = written_sounds(manifest, tmp_path / "a")
    total = np.sum(sounds, axis=0, dtype=np.float64)
    # Half a step for each of three files, and a rounding of float32.
    assert np.abs(total - result.mixture).max() <= 1.5 * 2.0 ** (1 - bits) + 2e-7
    assert manifest.gain_db == 0 and manifest.output.format == name and not manifest.warnings


@pytest.mark.parametrize("name", ["wav16", "wav24", "flac", "aac"])
def test_stems_that_would_clip_are_all_quieter_by_one_gain(tmp_path: Path, name: str) -> None:
    loud = separate(5 * noise(1, 8000), rate_hz=8000)
    peak = max(np.abs(sound).max() for sound in (*loud.stems.values(), loud.mixture, loud.residual))
    manifest = write_result(loud, tmp_path / "a", OutputSettings(format=name, preview="none"))
    expected_db = -20 * np.log10(peak)
    assert manifest.gain_db == pytest.approx(expected_db) and expected_db < -6
    assert manifest.peak == pytest.approx(1)
    assert manifest.warnings == (
        f"stems and residual are {-expected_db:.2g} dB quieter than the video's sound, since "
        f"{name} would clip them; wav32 does not",
    )
    sounds = written_sounds(manifest, tmp_path / "a")
    originals = [*loud.stems.values(), loud.residual]
    for sound, original in zip(sounds, originals, strict=True):
        error = sound - original / peak
        # The lossy codec is an error of some percent of noise, a step is far less.
        assert error.std() < (0.2 if name == "aac" else 1e-4) * sound.std()


def test_float_stems_keep_what_is_beyond_full_scale(tmp_path: Path) -> None:
    loud = separate(5 * noise(1, 8000), rate_hz=8000)
    manifest = write_result(loud, tmp_path / "a", OutputSettings(preview="none"))
    assert manifest.gain_db == 0 and not manifest.warnings
    sounds = written_sounds(manifest, tmp_path / "a")
    for sound, original in zip(sounds, [*loud.stems.values(), loud.residual], strict=True):
        assert np.array_equal(sound, original)


@pytest.mark.parametrize(("name", "rate_hz"), [("opus", 48_000), ("aac", RATE_HZ)])
def test_lossy_stems_are_in_place(result: Result, tmp_path: Path, name: str, rate_hz: int) -> None:
    manifest = write_result(result, tmp_path / "a", OutputSettings(format=name, preview="none"))
    assert (manifest.sample_rate_hz, manifest.num_samples) == (rate_hz, rate_hz)
    warning = f"stems and residual are resampled from {RATE_HZ} to 48000 Hz, which opus takes"
    assert manifest.warnings == ((warning,) if name == "opus" else ())
    for sound, original in zip(
        written_sounds(manifest, tmp_path / "a"), [*result.stems.values(), result.residual],
        strict=True,
    ):  # fmt: skip
        assert sound.shape == (2, rate_hz)
        # The lower quarter of the band, which codecs keep best, at the rate of the original.
        spectra = [np.fft.rfft(values)[:, : RATE_HZ // 8] for values in (sound, original)]
        ratio = np.vdot(spectra[1], spectra[0]) / np.vdot(spectra[1], spectra[1])
        # Out of place by ten samples the phases would cancel out.
        assert abs(ratio * RATE_HZ / rate_hz - 1) < 0.05


def test_more_channels_than_a_format_holds_are_told_before_the_work(tmp_path: Path) -> None:
    clip = separate(noise(9, 4000), rate_hz=8000).video_input.pictures
    stream = Separator(Brightness()).stream(clip, ["@"], progress=_fail)
    with pytest.raises(InputError, match="'clip' has 9 channels, flac holds 1, 2, 3, 4, 5, 6, 7"):
        write_stream(stream, tmp_path / "a", output=OutputSettings(format="flac"))
    assert list(tmp_path.iterdir()) == []


def _fail(*_: object) -> None:
    raise AssertionError("nothing is listened to or separated")


@pytest.mark.parametrize(
    ("template", "files"),
    [
        ("{number:02}-{label}", ["01-violin", "02-Harp", "03-violin"]),
        ("{label}", ["violin", "Harp", "violin-2"]),
        ("{video} {label} {number}", ["clip-violin-1", "clip-Harp-2", "clip-violin-3"]),
        ("../{category}/x", ["violin-x", "harp-x", "violin-x-2"]),
        ("residual", ["residual-2", "residual-3", "residual-4"]),
    ],
)
def test_stems_are_named_by_a_template(tmp_path: Path, template: str, files: list[str]) -> None:
    result = separate(noise(1, 4000), LEFT, "Harp@0.5,0,1,1", "violin", rate_hz=8000)
    output = OutputSettings(name=template, preview="none")
    manifest = write_result(result, tmp_path / "a", output)
    assert [item.file for item in manifest.objects] == [f"{name}.wav" for name in files]
    assert {f"{name}.wav" for name in (*files, "residual")} < {
        path.name for path in (tmp_path / "a").iterdir()
    }


@pytest.mark.parametrize(
    "template", ["{label!r}", "{number:999999}", "{label.__class__}", "{0}", "{", "{title}"]
)
def test_a_template_that_is_none_is_told(template: str) -> None:
    with pytest.raises(ValueError, match="is no template of names; write text"):
        OutputSettings(name=template)


@pytest.mark.parametrize("wanted", ["violin", " VIOLIN", "1", "01"])
def test_only_some_stems_are_written_and_all_else_is_the_residual(
    result: Result, tmp_path: Path, wanted: str
) -> None:
    manifest = write_result(result, tmp_path / "a", OutputSettings(only=(wanted,)))
    assert [item.file for item in manifest.objects] == ["01-violin.wav", None]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "01-violin.wav", "residual.wav", "manifest.json", "report.html", "preview.mp4",
    }  # fmt: skip
    violin, residual = written_sounds(manifest, tmp_path / "a")
    assert np.array_equal(violin, result.stems["violin"])
    np.testing.assert_allclose(residual, result.mixture - violin, atol=2e-7)
    share = np.square(residual).sum() / np.square(result.mixture).sum()
    assert manifest.residual_energy_share == pytest.approx(share, rel=1e-4)
    titles = [track.title for track in probe(tmp_path / "a" / "preview.mp4").audio]
    assert titles == ["mixture", "violin", "residual"]
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 3 and "<b>02 harp" not in page


def test_all_but_an_object_is_one_file(result: Result, tmp_path: Path) -> None:
    manifest = write_result(result, tmp_path / "a", OutputSettings(all_but=("harp",)))
    assert manifest.residual == "all-but-harp.wav"
    harp, rest = written_sounds(manifest, tmp_path / "a")
    assert np.array_equal(harp, result.stems["harp"])
    np.testing.assert_allclose(rest, result.mixture - harp, atol=2e-7)
    titles = [track.title for track in probe(tmp_path / "a" / "preview.mp4").audio]
    assert titles == ["mixture", "harp", "all but harp"]
    # The next result of the same video replaces it.
    write_result(result, tmp_path / "a", OutputSettings(preview="none"))
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert "all-but-harp.wav" not in names and "preview.mp4" not in names


def test_a_label_means_all_objects_that_have_it_and_a_name_one_of_them() -> None:
    result = separate(noise(1, 4000), LEFT, RIGHT, "violin", rate_hz=8000)
    for wanted, numbers in [("violin", [0, 2]), ("violin-2", [2]), ("3", [2])]:
        files = [item.file for item in _described(result, wanted).objects]
        assert [index for index, file in enumerate(files) if file] == numbers
    with pytest.raises(InputError) as error:
        _described(result, "tuba")
    assert str(error.value) == (
        "'clip': no object is called 'tuba'; there are 1 violin, 2 harp, 3 violin: give a label or "
        "a number with --only or --except"
    )
    with pytest.raises(ValueError, match="give --only or --except"):
        OutputSettings(only=("a",), all_but=("b",))


def _described(result: Result, wanted: str, folder: str = "a") -> Manifest:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place:
        output = OutputSettings(only=(wanted,), preview="none")
        return write_result(result, Path(place) / folder, output)


@pytest.mark.parametrize(
    ("ending", "codec", "wanted", "name"),
    [
        (".mkv", "libx264", "mp4", "preview.mp4"),
        (".mkv", "libx264", "mkv", "preview.mkv"),
        (".webm", "libvpx", "mp4", "preview.mkv"),
        (".mov", "prores_ks", "mp4", "preview.mkv"),
    ],
)
def test_the_pictures_of_the_preview_are_copied(
    tmp_path: Path, ending: str, codec: str, wanted: str, name: str
) -> None:
    is_prores = codec == "prores_ks"
    pictures = Video(
        two_tone(0.25, 0.5, 10), codec=codec,
        pix_fmt="yuv422p10le" if is_prores else "yuv420p", options={},
    )  # fmt: skip
    sound = Track(noise(1, 24_000), rate=48_000, codec="libopus" if ending == ".webm" else "flac")
    if ending == ".mov":
        sound = Track(noise(1, 24_000), rate=48_000)
    source = make(tmp_path / f"a{ending}", [pictures], [sound])
    result = Separator(Brightness()).separate(source, [LEFT])
    manifest = write_result(result, tmp_path / "out", OutputSettings(preview=wanted))
    assert manifest.preview == name and not manifest.warnings
    before, after = probe(source).video[0], probe(tmp_path / "out" / name)
    assert after.video[0].codec == before.codec
    assert [track.title for track in after.audio] == ["mixture", "violin", "residual"]
    recorded = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert recorded["output"]["preview"] == wanted and recorded["preview"] == name
    assert not re.search(r"part$", "".join(path.name for path in tmp_path.iterdir()))
