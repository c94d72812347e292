"""Test DAVIS and DAVIS-Flow: exact networks, levels, words, noise and switches."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Generator, Tensor, nn

from avsep.cues.crops import CropSettings
from avsep.diffusion.paths import compute_target
from avsep.diffusion.sampling import SAMPLERS, SamplingSettings
from avsep.errors import InputError
from avsep.models.davis.convolution_attention import ConvolutionAttentionSettings
from avsep.models.davis.frame_network import TemporalTransformerSettings
from avsep.models.davis.model import DAVIS, DAVISFlow, DAVISFlowSettings, DAVISSettings
from avsep.models.davis.separation_unet import SeparationUNetSettings
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings, StftSettings
from avsep.sound.magnitudes import compress, expand

FRONT_END = FrontEndSettings(
    sample_rate_hz=8000,
    window_samples=2047,
    stft=StftSettings(fft_samples=254, hop_samples=64),  # 128 bins, 32 frames
    num_rows=32,
)
SMALL = {
    "categories": ("harp", "tuba", "rain"),
    "front_end": FRONT_END,
    "crops": CropSettings(crop_pixels=20, num_crops=2, with_crop_motion=False),
    "unet": SeparationUNetSettings(
        channels=(8, 8),
        attention=ConvolutionAttentionSettings(num_heads=2, head_width=4, column_width=64),
    ),
    "image_encoder": "small",
    "encoder_categories": ("harp", "tuba"),
    "transformer": TemporalTransformerSettings(num_heads=2, feed_forward_width=16),
}
QUIET = SamplingSettings(num_steps=3, silence="off")


def make(cls: type[DAVIS] = DAVIS, **changes: object) -> DAVIS:
    torch.manual_seed(0)
    return cls(cls.Settings(**(SMALL | {"sampling": QUIET} | changes))).eval()


def make_batch(num_channels: int = 1, num_samples: int = 2047) -> Batch:
    generator = torch.Generator().manual_seed(1)
    sources = 0.2 * torch.randn(2, 2, num_channels, num_samples, generator=generator)
    crops = torch.randint(0, 256, (2, 2, 2, 3, 20, 20), generator=generator, dtype=torch.uint8)
    return Batch(sources.sum(1), sources, Cues(crops=crops))


def separate(model: DAVIS, batch: Batch, seed: int = 0) -> Tensor:
    with torch.no_grad():
        separation = model.separate(batch, generator=Generator().manual_seed(seed))
    return separation.magnitudes


class Oracle(nn.Module):
    """Predict exactly the target, from the clean compressed magnitude."""

    def __init__(self, model: DAVIS, clean: Tensor) -> None:
        super().__init__()
        self.model, self.clean = model, clean

    def reduce_precision(self, *, reduced: bool) -> None:
        """Do nothing: there are no convolutions."""

    def forward(self, noisy: Tensor, mixture: Tensor, timestep: Tensor, visual: Tensor) -> Tensor:
        """Return the target; its noise is the part of `noisy` that is not the clean sound."""
        time, path = timestep / self.model._timesteps_per_time, self.model.path
        signal, noise_scale = (
            w[:, None, None] for w in (path.signal(time), path.noise_scale(time))
        )
        noise = (noisy - signal * self.clean) / noise_scale
        return compute_target(self.model.settings.target, self.clean, noise, time, path)


# Each sampler with one target of each model is quick.
CASES = [
    pytest.param(*(cls, target, sampler), marks=[] if target == "velocity" else [pytest.mark.slow])
    for cls in (DAVIS, DAVISFlow)
    for target in ("noise", "data", "velocity")
    for sampler in SAMPLERS
    if not (cls is DAVISFlow and target == "noise")  # at a flow's first time there is only noise
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "target", "sampler"), CASES)
def test_a_perfect_network_gives_the_source_at_its_level(
    cls: type[DAVIS], target: str, sampler: str
) -> None:
    """Every sampler and target gives the source, warped to log-frequency, at its own level."""
    sampling = SamplingSettings(sampler=sampler, num_steps=3, silence="off")
    model = make(cls, target=target, sampling=sampling)
    batch = make_batch()
    magnitudes = model.front_end.magnitude(batch.sources[:, :, 0])  # type: ignore[index]
    rows = model.front_end.to_rows(magnitudes.flatten(0, 1))
    model.unet = Oracle(model, compress(2 * rows))  # type: ignore[assignment]
    expected = model.front_end.to_bins(rows).unflatten(0, (2, 2))
    # The oracle's noise comes from float32 sums in which the clean sound is as small as 5.5e-4.
    torch.testing.assert_close(separate(model, batch)[:, :, 0], expected, atol=1e-3, rtol=1e-2)


def test_the_representation(golden: dict) -> None:
    """REFERENCE 3.3: a full-scale sine reaches 0.832, the clip is at 784.77, 0.002 at 0.0134."""
    magnitude = expand(torch.tensor([[1.0, 0.002]], dtype=torch.float64))[0]
    expected = [golden["davis"]["clip_magnitude"], golden["davis"]["silence_0.002_magnitude"]]
    assert magnitude.tolist() == pytest.approx(expected, rel=1e-9)
    magnitudes = torch.tensor([[0.0, 1.0, 255.5, 2000.0]], dtype=torch.float64)
    compressed = compress(magnitudes)
    assert compressed[0, 2].item() == pytest.approx(0.832, abs=5e-4) and compressed[0, 3] == 1
    torch.testing.assert_close(expand(compressed)[:, :3], magnitudes[:, :3])
    torch.testing.assert_close(expand(-compressed), expand(compressed))


@pytest.mark.slow
def test_the_network_reads_the_same_in_training_and_sampling() -> None:
    """It reads the compressed mixture, and a time in 0..1000."""
    model, batch, calls = make(), make_batch(), []
    model.unet.register_forward_pre_hook(lambda module, inputs: calls.append(inputs))
    separate(model, batch)
    model.losses(batch)
    sampled, trained = calls[0], calls[-1]
    assert torch.equal(sampled[1], trained[1])
    rows = model.front_end.to_rows(model.front_end.magnitude(batch.mixture[:, 0]))
    torch.testing.assert_close(sampled[1], compress(rows).repeat_interleave(2, 0))
    assert [float(inputs[2][0]) for inputs in calls[:3]] == [999, 665, 332]
    flow, times = make(DAVISFlow), []
    flow.unet.register_forward_pre_hook(lambda module, inputs: times.append(float(inputs[2][0])))
    separate(flow, batch)
    assert times == pytest.approx([0, 1000 / 3, 2000 / 3])


@pytest.mark.slow
@pytest.mark.parametrize("target", ["noise", "mask"])
def test_no_estimate_exceeds_the_mixture(target: str) -> None:
    model, batch = make(target=target, bound_by_mixture=target != "mask"), make_batch()
    mixture = model.front_end.magnitude(batch.mixture)[:, None]
    assert bool((separate(model, batch) <= mixture * (1 + 1e-5)).all())
    if target == "noise":
        free = make()
        assert not bool((separate(free, batch) <= mixture * (1 + 1e-5)).all())


@pytest.mark.slow
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_the_level_of_targets(gain: float) -> None:
    """The L1 loss of a network that predicts zero is the mean of the targets."""
    changes = {"target": "data", "ignore_silence": False, "loss_scale": 1.0}
    model, batch = make(target_gain=gain, **changes), make_batch()
    model.unet.forward = lambda noisy, *_: torch.zeros_like(noisy)  # type: ignore[method-assign]
    rows = model.front_end.to_rows(model.front_end.magnitude(batch.sources[:, :, 0]))  # type: ignore[index]
    expected = compress(gain * rows).mean() * 2
    torch.testing.assert_close(model.losses(batch)["total"], expected)


@pytest.mark.slow
def test_input_rms() -> None:
    """A mixture ten times as loud gives the same input, and sources ten times as loud."""
    model, batch = make(input_rms=0.1), make_batch()
    loud = replace(batch, mixture=10 * batch.mixture)
    magnitudes, expected = separate(model, loud), 10 * separate(model, batch)
    # The factor is rounded to float32, and the network may amplify that.
    assert float((magnitudes - expected).abs().max()) < 1e-3 * float(expected.max())


@pytest.mark.slow
def test_noise_is_the_generators() -> None:
    model, batch = make(), make_batch()
    assert torch.equal(separate(model, batch), separate(model, batch))
    assert not torch.allclose(separate(model, batch), separate(model, batch, seed=1), atol=1e-4)


@pytest.mark.slow
def test_windows_of_one_sound_share_their_noise() -> None:
    """Two windows half a window apart have the same noise in the frames they share."""
    model, calls = make(), []
    model.unet.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[0]))
    separate(model, replace(make_batch(), start_frames=torch.tensor([160, 176])))
    first, second = calls[0][0], calls[0][2]
    assert torch.equal(first[:, 16:], second[:, :16])
    # All sources of a mixture start from one noise.
    assert torch.equal(first, calls[0][1])
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_two_channels_are_separated_one_by_one() -> None:
    model, batch = make(), make_batch(num_channels=2)
    both = separate(model, batch)
    for ear in range(2):
        alone = replace(batch, mixture=batch.mixture[:, ear : ear + 1], sources=None)
        torch.testing.assert_close(both[:, :, ear], separate(model, alone)[:, :, 0])


@pytest.mark.slow
def test_windows_of_other_lengths() -> None:
    """Frames are padded to a number that can be halved, for the network alone."""
    batch = make_batch(num_samples=2200)  # 35 frames, of which 36 can be halved
    assert separate(make(), batch).shape == (2, 2, 1, 128, 35)


@pytest.mark.slow
def test_frames_resized_to_columns() -> None:
    """As on AVE: the network reads 15 columns, padded to 16; the estimate has all 32 frames."""
    model, calls = make(front_end=FRONT_END.model_copy(update={"num_columns": 15})), []
    model.unet.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[:2]))
    batch = replace(make_batch(), start_frames=torch.tensor([160, 176]))
    assert separate(model, batch).shape == (2, 2, 1, 128, 32)
    noise, mixture = calls[0]
    assert noise.shape == mixture.shape == (4, 32, 16)
    assert mixture[:, :, :15].any(1).all() and not mixture[:, :, 15].any()
    # The windows begin 75 and 82 columns into one noise.
    assert torch.equal(noise[0, :, 7:], noise[2, :, :9])
    assert model.losses(batch)["total"].isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("silence", ["released", "equation-5"])
def test_silence_is_taken_from_the_mixture(silence: str) -> None:
    """The estimate is silent where the mixture is."""
    sampling = SamplingSettings(num_steps=5, silence=silence, silence_threshold=0.05)
    plain = make(sampling=sampling.model_copy(update={"silence": "off"}))
    model, batch = make(sampling=sampling), make_batch()
    quiet = batch.mixture.clone()
    quiet[:, :, 1200:] = 0
    batch = replace(batch, mixture=quiet)
    end = slice(24, None)
    loud, silenced = (separate(network, batch)[..., end] for network in (plain, model))
    assert float(loud.mean()) > 0.01
    assert not silenced.any()


@pytest.mark.slow
def test_words() -> None:
    """A source without pictures has the embedding of its word; a given embedding replaces that."""
    model, batch = make(), make_batch()
    offscreen = torch.zeros(2, 2, dtype=torch.bool)
    by_word = Cues(is_visible=offscreen, category=torch.tensor([[0, 2]] * 2))
    from_words = separate(model, replace(batch, cues=by_word))
    # Without any pictures, and with pictures that are not read.
    ignored = replace(by_word, crops=batch.cues.crops)
    torch.testing.assert_close(separate(model, replace(batch, cues=ignored)), from_words)
    assert model.frames.words is not None
    embedding = model.frames.words(torch.tensor([[0, 2]] * 2)).detach()
    clip = Cues(is_visible=offscreen, embedding=embedding)
    torch.testing.assert_close(separate(model, replace(batch, cues=clip)), from_words)
    half = replace(ignored, is_visible=torch.tensor([[True, False]] * 2))
    mixed, from_pictures = separate(model, replace(batch, cues=half)), separate(model, batch)
    torch.testing.assert_close(mixed[:, 1], from_words[:, 1])
    torch.testing.assert_close(mixed[:, 0], from_pictures[:, 0])
    assert not torch.allclose(from_words, from_pictures, atol=1e-5)


@pytest.mark.parametrize(
    ("cues", "message"),
    [
        (Cues(), "give it pictures"),
        (Cues(category=torch.tensor([[0, 1]] * 2)), "give it pictures"),
        (
            Cues(
                is_visible=torch.zeros(2, 2, dtype=torch.bool), category=torch.tensor([[0, -1]] * 2)
            ),
            "a word of this model's vocabulary: harp, tuba, rain",
        ),
    ],
)
def test_sources_without_any_cue_are_an_error(cues: Cues, message: str) -> None:
    with pytest.raises(InputError, match=message):
        separate(make(), replace(make_batch(), cues=cues))


@pytest.mark.slow
def test_words_are_learned_beside_pictures() -> None:
    model, batch = make(word_probability=1.0).train(), make_batch()
    cues = replace(batch.cues, category=torch.tensor([[0, 1]] * 2))
    model.losses(replace(batch, cues=cues))["total"].backward()
    assert model.frames.words is not None
    reached = model.frames.words.weight.grad.abs().amax(1) > 0  # type: ignore[union-attr]
    assert reached.tolist() == [True, True, False]


def test_self_conditioning_starts_from_the_networks_own_estimates() -> None:
    """The input is noise on the network's first estimate; the target stays the reference."""
    inputs: list[Tensor] = []
    model = make(target="data", self_conditioning_probability=1.0, loss_scale=1.0).train()

    def predict(noisy: Tensor, *_: Tensor) -> Tensor:
        inputs.append(noisy)
        return torch.full_like(noisy, 0.5)

    model.unet.forward = predict  # type: ignore[method-assign]
    loss = model.losses(make_batch())["total"]
    assert len(inputs) == 2  # the first estimate, then the training
    model.eval()
    torch.testing.assert_close(model.losses(make_batch())["total"], loss)
    assert len(inputs) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "share"},
        {"qualities": {"good": SamplingSettings()}},
        {"self_conditioning_probability": 0.5},
        {"word_probability": 0.5, "categories": ()},
        {"sampling": {"sampler": "eulr"}},
    ],
)
def test_settings_that_do_not_fit(changes: dict) -> None:
    with pytest.raises(ValidationError):
        DAVIS.Settings(**(SMALL | changes))


def test_quality() -> None:
    best = SamplingSettings(num_steps=9)
    model = make(qualities={"best": best})
    assert model.at_quality("best").settings.sampling == best
    assert model.at_quality("fast").settings.sampling == QUIET
    assert model.settings.sampling == QUIET
    assert model.at_quality("best").unet is model.unet
    with pytest.raises(InputError, match=r"'beste'.*'best'"):
        model.at_quality("beste")


@pytest.mark.slow
def test_defaults_are_the_papers() -> None:
    paper, flow = DAVISSettings(), DAVISFlowSettings()
    assert (paper.process, paper.target, paper.loss) == ("diffusion", "noise", "l1")
    assert paper.sampling == SamplingSettings(sampler="ddim", num_steps=15, eta=1.0)
    assert (flow.process, flow.target, flow.loss_scale) == ("flow", "velocity", 2000)
    assert (flow.sampling.sampler, flow.sampling.num_steps) == ("euler", 2)
    for released, is_flow in ((paper, False), (flow, True)):
        assert released.unet.attention.divide_values and not released.bound_by_mixture
        assert (released.ignore_silence, released.sampling.clamp_estimate) == (not is_flow,) * 2
        assert released.sampling.step_noise == "predicted"
        assert (released.clip.colours, released.clip.equal_lengths) == ("imagenet", False)
    with torch.device("meta"):
        model = DAVIS()
    sizes = {name: sum(p.numel() for p in ps) for name, ps in model.parameter_groups().items()}
    # The released 36,549,603 and 13,663,232, less what is never used (tests/layers).
    assert sizes == {"unet": 35_760_099, "vision": 13_663_232}


def test_changed_sampling() -> None:
    model = make()
    changed = model.with_sampling({"silence": "equation-5", "silence_threshold": 0.01})
    expected = {"silence": "equation-5", "silence_threshold": 0.01}
    assert changed.settings.sampling == QUIET.model_copy(update=expected)
    assert changed.unet is model.unet and model.settings.sampling == QUIET
    with pytest.raises(InputError, match=r"sampling: unknown setting 'silense'.*'silence'"):
        model.with_sampling({"silense": "off"})


NOT_BOTH = [(False, False), (False, True), (True, False)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_reduced", "is_supported"),
    [
        (True, True),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in NOT_BOTH),
    ],
)
def test_precision_is_reduced_if_the_settings_and_the_device_have_it(
    monkeypatch: pytest.MonkeyPatch, is_reduced: bool, is_supported: bool
) -> None:
    monkeypatch.setattr("avsep.models.davis.model.supports_bfloat16", lambda device: is_supported)
    batch, exact = make_batch(), separate(make(target="mask"), make_batch())
    reduced = QUIET.model_copy(update={"reduced_precision": is_reduced})
    model = make(target="mask", sampling=reduced)
    magnitudes = separate(model, batch)
    assert torch.equal(magnitudes, exact) != (is_reduced and is_supported)
    assert (magnitudes - exact).norm() < 0.01 * exact.norm()  # 40 dB
    # The same weights with other sampling settings are exact again.
    assert torch.equal(separate(model.with_sampling({"reduced_precision": False}), batch), exact)
