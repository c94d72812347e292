"""Separation with generative models: one noise field for the whole video."""

import numpy as np
import pytest
import torch
from torch import nn

from avsep.diffusion.sampling import SamplingSettings
from avsep.records import Clip
from avsep.separation.inference import WindowInputs, WindowSound
from avsep.separation.result import Result
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from avsep.sound.front_end import FrontEndSettings, StftSettings
from avsep.sound.resampling import MaskResampler
from avsep.sound.windows import window_starts
from media.making import noise
from separation.brightness import Brightness
from tiny_models import FRONT_END, tiny_model

# Fresh noise in every step, and few steps.
DDIM = SamplingSettings(sampler="ddim", num_steps=3, eta=1.0)
# Both processes, each with the paper's target.
SAMPLING = {
    "davis": {"sampling": DDIM, "target": "noise", "loss": "l1"},
    "davis-flow": {"target": "velocity"},
}
LEFT, RIGHT = "violin@0,0,0.5,1", "@0.5,0,1,1"
WINDOWS = FRONT_END.model_copy(
    update={
        "window_samples": 8191,  # 32 frames, a second
        "stft": StftSettings(fft_samples=512, hop_samples=256),
    }
)


@pytest.fixture(params=SAMPLING)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return tiny_model(request.param, **SAMPLING[request.param])


def clip(num_samples: int, rate_hz: int = 8000, num_channels: int = 1, seed: int = 0) -> Clip:
    """Make a clip of noise audio and noise frames."""
    generator = np.random.default_rng(seed)
    pictures = generator.integers(0, 256, (3, 24, 48, 3), dtype=np.uint8)
    return Clip(noise(num_channels, num_samples), rate_hz, pictures, np.array([0.0, 0.3, 0.6]))


def run(
    model: nn.Module, video: Clip, objects: object = (LEFT, RIGHT), **settings: object
) -> Result:
    return Separator(model, SeparatorSettings(**settings)).separate(video, objects)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [pytest.param("davis", marks=pytest.mark.slow), "davis-flow"])
def test_windows_in_one_batch_or_many_give_the_same_stems(name: str) -> None:
    # With target "noise" an untrained network amplifies rounding errors.
    model = tiny_model(name, **(SAMPLING[name] | {"target": "mask"}))
    # At a rate at which windows begin between two frames of the model.
    video = clip(20_001, 22_050, num_channels=2)
    one, many = (run(model, video, sources_at_once=number) for number in (1, 16))
    for item, other in zip(one.objects, many.objects, strict=True):
        assert np.abs(item.stem).max() > 0.01
        # Convolutions of another batch size sum in another order.
        np.testing.assert_allclose(item.stem, other.stem, atol=1e-4)


@pytest.mark.slow
def test_stems_hang_on_the_seed_and_add_up(model: nn.Module) -> None:
    video = clip(6000)
    first, again, other = (run(model, video, seed=seed) for seed in (5, 5, 6))
    for index in range(2):
        stems = [result.objects[index].stem for result in (first, again, other)]
        assert (stems[0] == stems[1]).all()
        assert np.abs(stems[0] - stems[2]).max() > 1e-3
    total = sum(item.stem for item in first.objects) + first.residual
    # One rounding of float32 is 6e-8 of the sample.
    np.testing.assert_allclose(total, video.waveform, atol=2e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLING)
def test_no_level_shows_where_windows_begin(name: str) -> None:
    # With separate noise for every window, stems that overlap half and half would cancel in part:
    # the level of steady sound would rise at every border, and fall between.
    sound, step = clip(60 * 8000), round(WINDOWS.window_samples / 2)
    # A network whose last layer is zero returns the noise as it is. A loud mixture limits few
    # cells.
    model = tiny_model(name, front_end=WINDOWS, input_rms=50.0, **SAMPLING[name])
    for parameter in model.unet.leave.parameters():
        nn.init.zeros_(parameter)
    written = Separator(model, SeparatorSettings(rate="model", sources_at_once=16))  # type: ignore[arg-type]
    stem = written.separate(sound, text="harp").objects[0].stem[0]
    borders = np.arange(step, len(stem) - 2 * step, step)  # but for the last, pulled back
    # Just before and just after each border, and the same in the middle between two.
    at_borders, between = (
        np.concatenate([level_db(stem, sound, places + offset) for offset in (-step // 4, 0)])
        for places in (borders, borders + step // 2)
    )
    errors_db = (levels.std(ddof=1) / len(levels) ** 0.5 for levels in (at_borders, between))
    assert len(at_borders) > 200 and at_borders.std() > 0.1
    assert abs(at_borders.mean() - between.mean()) < 3 * np.hypot(*errors_db)


def level_db(stem: np.ndarray, sound: Clip, starts: np.ndarray) -> np.ndarray:
    """Compute the level of a quarter of a step from each start, relative to the mixture."""
    pieces = starts[:, None] + np.arange(round(WINDOWS.window_samples / 8))
    energies = (np.square(x[pieces]).sum(axis=1) for x in (stem, sound.waveform[0]))
    return 10 * np.log10(next(energies) / next(energies))


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_100, 48_000])
def test_starts_are_told_in_frames_of_the_model(rate_hz: int) -> None:
    front_end = FrontEndSettings()
    band = MaskResampler(front_end, rate_hz)
    starts = window_starts(60 * rate_hz, band.window_samples)
    silence = np.zeros((1, 1), np.float32)
    windows = [WindowSound(start, silence, silence) for start in starts]
    inputs = WindowInputs((), torch.zeros(0, dtype=torch.int64), band)
    frames = inputs.batch(windows, frozenset()).start_frames
    assert frames is not None
    seconds = frames * front_end.stft.hop_samples / front_end.sample_rate_hz
    half_a_frame = front_end.stft.hop_samples / front_end.sample_rate_hz / 2
    assert (seconds - torch.tensor(starts) / rate_hz).abs().max() <= half_a_frame * (1 + 1e-6)
    # Neighbours share half a window, whatever the rate; the last one is pulled back.
    assert set(frames.diff()[:-1].tolist()) == {128}


@pytest.mark.slow
def test_quality_is_what_the_model_has_of_that_name() -> None:
    best = SamplingSettings(sampler="ddim", num_steps=2)
    model = tiny_model("davis", sampling=DDIM, qualities={"best": best})
    for quality, expected in (("fast", DDIM), ("balanced", DDIM), ("best", best)):
        manifest = run(model, clip(2000), quality=quality).manifest
        assert manifest.settings.quality == quality and manifest.sampling is not None
        assert manifest.sampling.sampler == expected.sampler
        assert manifest.sampling.evaluations == expected.evaluations
    plain = Separator(Brightness()).separate(clip(6000), [LEFT, RIGHT])
    assert plain.manifest.settings.quality == "fast" and plain.manifest.sampling is None


@pytest.mark.slow
def test_a_label_names_the_stem_and_tells_a_model_without_categories_nothing() -> None:
    model, video = tiny_model("davis-flow"), clip(3000)
    results = [
        run(model, video, [f"{label}@0,0,0.5,1", "Otto@0.5,0,1,1"]) for label in ("harp", "kazoo")
    ]
    assert [result.objects[0].label for result in results] == ["harp", "kazoo"]
    assert (results[0].objects[0].stem == results[1].objects[0].stem).all()
    for result in results:
        assert not result.warnings
        assert [item.prompt_kind for item in result.manifest.objects] == ["visual", "visual"]
        assert {(item.category, item.category_from) for item in result.manifest.objects} == {
            (None, None)
        }
    twice = run(model, video, ["harp@0,0,0.5,1", "kazoo@0,0,0.5,1"])
    assert twice.warnings[0].startswith(
        "objects 1 and 2 are the same to the model (harp, same box)"
    )


@pytest.mark.slow
def test_a_lone_box_is_honoured_by_a_model_that_is_used_to_whole_pictures() -> None:
    crops = tiny_model("davis-flow").settings.crops.model_copy(update={"whole_when_alone": True})
    model, video = tiny_model("davis-flow", crops=crops), clip(3000)
    boxed, whole = run(model, video, [LEFT]), run(model, video, ["violin@"])
    plain = run(tiny_model("davis-flow"), video, [LEFT])
    assert (boxed.objects[0].stem == plain.objects[0].stem).all()
    assert (boxed.objects[0].stem != whole.objects[0].stem).any()
