"""Separation with models that read I3D features: computed once, or an error."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import avsep
from avsep.checkpoint import save_checkpoint
from avsep.errors import InputError
from avsep.records import Batch, Clip, Separation
from avsep.separation.result import Manifest
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from avsep.separation.video_input import VideoInput
from avsep.vision.i3d import I3D, load_i3d, motion_features
from media.making import noise
from separation.brightness import LEFT, RATE_HZ, RIGHT, Brightness, two_tone, video
from tiny_models import tiny_model


class MotionReader(Brightness):
    """Records the I3D features of its cues; separates by brightness."""

    def __init__(self) -> None:
        super().__init__(["crops", "crop_motion", "category", "i3d_features"])
        self.features: list[torch.Tensor] = []

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        assert batch.cues.i3d_features is not None
        self.features.append(batch.cues.i3d_features)
        return super().separate(batch, generator=generator)


@pytest.fixture(scope="module")
def i3d(i3d_file: Path) -> I3D:
    return load_i3d(i3d_file)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny iQuery that reads I3D features."""
    path = tmp_path_factory.mktemp("model") / "iquery.safetensors"
    save_checkpoint(tiny_model("iquery", motion="i3d"), path, model_name="iquery", metadata={})
    return path


def pictures_over_time(num_seconds: int, rate_hz: int) -> np.ndarray:
    """Make frames of noise, each different."""
    shape = (num_seconds * rate_hz, 32, 64, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def clip_of(pictures: np.ndarray, rate_hz: int) -> Clip:
    return Clip(
        waveform=noise(1, 2 * RATE_HZ),
        sample_rate_hz=RATE_HZ,
        frames=pictures,
        frame_times_seconds=np.arange(len(pictures)) / rate_hz,
    )


@pytest.mark.slow
def test_every_window_and_source_is_given_the_whole_video_s(i3d_file: Path, i3d: I3D) -> None:
    pictures = pictures_over_time(12, 5)
    model = MotionReader()
    result = avsep.separate(clip_of(pictures, 5), [LEFT, RIGHT], model=model, i3d=str(i3d_file))
    expected = motion_features(pictures[::5], i3d)
    windows = torch.cat(model.features)
    assert windows.shape == (7, 2, 1024, 2)  # two seconds of sound in seven windows
    assert all(torch.equal(features, expected) for features in windows.flatten(0, 1))
    assert result.manifest.settings.i3d == Path("I3D.pth.tar")


@pytest.mark.slow
def test_pictures_come_from_the_file_one_a_second(tmp_path: Path, i3d: I3D) -> None:
    pictures = two_tone(0.0, 1.0, 25) + two_tone(1.0, 0.0, 25) + two_tone(0.5, 0.5, 5)
    path = video(tmp_path / "a.mkv", pictures)  # 25 pictures a second
    features = VideoInput.open(path).i3d_features(i3d)
    expected = motion_features(np.stack(pictures[::25]), i3d)
    # Frames are encoded with a small loss, which 50 layers of random weights pass on.
    assert torch.nn.functional.cosine_similarity(features, expected, dim=0).min() > 0.99
    assert torch.equal(VideoInput.open(path.read_bytes()).i3d_features(i3d), features)


@pytest.mark.slow
def test_pictures_before_and_behind_the_sound(i3d: I3D) -> None:
    pictures = pictures_over_time(3, 1)
    for times, indices in [
        ([-1.0, 0.5, 1.0], [0, 2]),
        ([-3.0, -2.0, -1.0], [2]),
        ([2, 2, 3], None),
    ]:
        clip = replace(clip_of(pictures, 1), frame_times_seconds=np.array(times, np.float64))
        numbers = [0, 0, 1, 2] if indices is None else indices
        expected = motion_features(pictures[numbers], i3d)
        assert torch.equal(VideoInput.open(clip).i3d_features(i3d), expected)


@pytest.mark.slow
def test_from_the_command_line(
    run: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
    i3d_file: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "duet.mkv", two_tone(0.25, 0.5, 15), noise(1, RATE_HZ // 2))
    words = ["--object", LEFT, "--object", RIGHT, "--model", checkpoint, "--json"]
    done = run("separate", "duet.mkv", *words, "--i3d", i3d_file, "-o", "out")
    assert done.code == 0 and not done.err
    last = json.loads(done.out.splitlines()[-1])
    assert last["manifest"]["settings"]["i3d"] == "I3D.pth.tar"
    text = (tmp_path / "out" / "duet" / "manifest.json").read_text(encoding="utf-8")
    assert str(i3d_file.parent) not in text
    assert Manifest.model_validate_json(text).settings.i3d == Path("I3D.pth.tar")


@pytest.mark.parametrize("weights", [None, "nothing.pt"])
def test_weights_are_asked_for_before_any_work(
    run: Callable, tmp_path: Path, checkpoint: Path, weights: str | None
) -> None:
    words = [] if weights is None else ["--i3d", weights]
    out = tmp_path / "out"
    done = run("separate", "no-video.mp4", "--model", checkpoint, *words, "-o", out)
    message = (
        f"model '{checkpoint}' requires I3D features; give the file of I3D weights with --i3d "
        "FILE (i3d= in Python)"
        if weights is None
        else "'nothing.pt' is not a file; give the path of the weights that you downloaded"
    )
    assert done.code == 2 and done.err == f"avsep: {message}\n" and not out.exists()


def test_weights_that_nobody_reads_are_an_error(run: Callable, tmp_path: Path) -> None:
    done = run("separate", "no-video.mp4", "--i3d", "i3d.pt", "-o", tmp_path / "out")
    assert done.code == 2
    assert done.err == (
        "avsep: model 'avsep-mini' reads no I3D features, and 'i3d.pt' is given; leave out "
        "--i3d (i3d= in Python), or choose a model that reads them with --model\n"
    )
    with pytest.raises(InputError, match="model 'brightness' reads no I3D features"):
        Separator(Brightness(), SeparatorSettings(i3d=Path("i3d.pt")))
