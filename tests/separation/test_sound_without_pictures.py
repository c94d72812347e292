"""Sound without pictures: files and arrays, separated by words alone."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsep.checkpoint import save_checkpoint
from avsep.errors import InputError
from avsep.models.base import SeparationModel
from avsep.records import Clip
from avsep.separation.output import write_result
from avsep.separation.separator import Separator
from avsep.separation.settings import OutputSettings
from media.making import Track, make, noise
from separation.brightness import Brightness, two_tone
from tiny_models import tiny_model

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def model() -> SeparationModel:
    """A tiny DAVIS, which takes its categories as text prompts."""
    return tiny_model("davis-flow")


def test_arrays_without_frames_are_separated_as_with_black_ones(model: SeparationModel) -> None:
    sound = noise(2, 24_000)
    result = Separator(model).separate(Clip(sound, RATE_HZ), text=["fiddle", "tuba"])
    assert [item.label for item in result.objects] == ["fiddle", "tuba"]
    assert {item.prompt_kind for item in result.objects} == {"text category"}
    np.testing.assert_allclose(sum(result.stems.values()) + result.residual, sound, atol=2e-7)
    # A text prompt reads no picture, whatever there is to see.
    seen = Clip(sound, RATE_HZ, np.stack(two_tone(0.3, 0.9, 2)), np.array([0.0, 0.5]))
    with_pictures = Separator(model).separate(seen, text=["fiddle", "tuba"])
    for name, stem in with_pictures.stems.items():
        assert np.array_equal(stem, result.stems[name])


@pytest.mark.parametrize(
    ("name", "codec", "cover"),
    [
        ("band.wav", "pcm_s16le", None),
        ("band.mp3", "libmp3lame", None),
        ("band.mkv", "flac", "cover"),
    ],
)
def test_a_file_of_sound_becomes_stems_and_a_report(
    run: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: SeparationModel,
    name: str,
    codec: str,
    cover: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    content = cover and _cover()
    make(Path(name), [], [Track(noise(1, RATE_HZ), RATE_HZ, codec=codec)], cover=content)
    save_checkpoint(model, tmp_path / "d.safetensors", model_name="davis-flow", metadata={})
    words = ["--text", "fiddle", "--text", "tuba", "--model", "d.safetensors", "--project"]
    done = run("separate", name, *words, "-o", "out")
    assert done.code == 0 and not done.err
    assert {path.name for path in Path("out/band").iterdir()} == {
        "01-fiddle.wav", "02-tuba.wav", "residual.wav", "manifest.json", "report.html",
        "project.otio",
    }  # fmt: skip
    manifest = json.loads(Path("out/band/manifest.json").read_text())
    assert manifest["preview"] is None and manifest["warnings"] == []
    assert manifest["num_samples"] == RATE_HZ
    page = Path("out/band/report.html").read_text(encoding="utf-8")
    assert "without pictures there is no key frame" in page and page.count("<audio") == 4
    assert "key frame with boxes" not in page
    # Again, over the earlier result, and another sound of that name beside it.
    assert run("separate", name, *words, "-o", "out").code == 0
    assert [path.name for path in Path("out").iterdir()] == ["band"]


def _cover() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    return buffer.getvalue()


def test_what_needs_pictures_names_the_models_that_do_without(model: SeparationModel) -> None:
    sound = Clip(noise(1, 8000), RATE_HZ, name="band")
    with pytest.raises(InputError) as error:
        Separator(Brightness()).separate(sound, "harp")
    assert str(error.value) == (
        "clip 'band' has no pictures, which model 'brightness' needs; without them: --text violin "
        "--model avsep-mini or davis-flow-mini or davis-mini"
    )
    with pytest.raises(InputError) as error:
        Separator(model).separate(sound, ["tuba"], text="harp")
    assert str(error.value) == (
        "clip 'band' has no pictures, so that objects have no box: give each one by text, --text "
        "violin"
    )


def test_a_result_of_arrays_without_frames_is_written(
    tmp_path: Path, model: SeparationModel
) -> None:
    result = Separator(model).separate(Clip(noise(1, 8000), RATE_HZ), text="harp")
    manifest = write_result(result, tmp_path / "a", OutputSettings(format="opus"))
    names = {"01-harp.opus", "residual.opus", "manifest.json", "report.html"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert manifest.sample_rate_hz == 48_000 and manifest.num_samples == 24_000
