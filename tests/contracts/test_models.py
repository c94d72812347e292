"""Test the contract of every model at a tiny size: train, evaluate, separate, cues, saving."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from avsep.checkpoint import load_model, save_checkpoint
from avsep.data.clips import ClipFiles, SourceFile
from avsep.diffusion.sampling import SamplingSettings
from avsep.errors import InputError
from avsep.evaluation.benchmark import Evaluator
from avsep.evaluation.methods import model_methods
from avsep.models import MODELS
from avsep.models.base import SeparationMethod, SeparationModel
from avsep.records import Batch, Clip, Cues, Separation, TimedBox, VisibleObject
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from avsep.training.recipe import OptimizerSettings, TrainRecipe
from avsep.training.task import Length, SeparationTask
from tiny_models import CATEGORIES, FRONT_END, TINY, tiny_batch, tiny_model

# Convolutions of another batch size sum in another order: absolute and relative. A model that
# samples runs its network several times, each on the rounded output of the last.
ROUNDING = 1e-5
DIFFERENT = 1e-3


# A clip of two objects, side by side, a little longer than a window.
FRAME_RATE_HZ = 10.0
NUM_FRAMES = 5
NUM_SAMPLES = 4000
OBJECTS = (
    VisibleObject(label="harp", boxes=(TimedBox(time_seconds=0, box=(0.0, 0.0, 0.5, 1.0)),)),
    VisibleObject(label="violin", boxes=(TimedBox(time_seconds=0, box=(0.5, 0.0, 1.0, 1.0)),)),
)


def stereo_noise() -> np.ndarray:
    """Return the sounds of the two objects [S, C, N], noise in two channels."""
    noise = np.random.default_rng(0).standard_normal((len(OBJECTS), 2, NUM_SAMPLES))
    return (0.1 * noise).astype(np.float32)


def pictures() -> np.ndarray:
    """Return the frames of the clip [K, H, W, 3]."""
    generator = np.random.default_rng(1)
    return generator.integers(0, 256, (NUM_FRAMES, 24, 48, 3), dtype=np.uint8)


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in TINY, "a new model needs a line in tests/tiny_models.py"
    return request.param


@pytest.fixture
def model(name: str) -> SeparationModel:
    # Four steps instead of DAVIS' fifteen: the contract is the same in each, and a step costs the
    # time of a whole model that does not sample.
    changes = {"sampling": SamplingSettings(num_steps=4)} if name == "davis" else {}
    return tiny_model(name, **changes)


def separate(model: SeparationModel, batch: Batch) -> Separation:
    """Separate a batch; a model that samples draws the same noise each time."""
    generator = torch.Generator().manual_seed(0)
    # The items are far apart in one long sound, so that each has its own noise.
    starts = 1000 * torch.arange(len(batch.mixture))
    if batch.start_frames is None:
        batch = replace(batch, start_frames=starts)
    with torch.no_grad():
        return model.separate(batch, generator=generator)


def total_loss(model: SeparationModel, batch: Batch) -> torch.Tensor:
    """Compute the loss with the same random draws each time."""
    torch.manual_seed(0)
    return model.losses(batch)["total"]


def reads_category(model: SeparationModel) -> bool:
    return "category" in model.required_cues


def item(batch: Batch, index: int) -> Batch:
    """Return one item of a batch, as a batch."""
    part = slice(index, index + 1)
    values = {field.name: getattr(batch.cues, field.name) for field in fields(Cues)}
    cues = Cues(**{name: None if value is None else value[part] for name, value in values.items()})
    assert batch.sources is not None
    starts = torch.tensor([1000 * index])
    return Batch(batch.mixture[part], batch.sources[part], cues, starts)


def test_shapes_masks_and_metadata(model: SeparationModel) -> None:
    assert isinstance(model, SeparationMethod)
    batch = tiny_batch(2, 3)
    separation = separate(model, batch)
    num_bins = FRONT_END.stft.num_bins
    assert separation.magnitudes.shape == (2, 3, 1, num_bins, 32)
    assert separation.phase.shape == (2, 1, num_bins, 32)
    mixture, _ = model.front_end.spectrogram(batch.mixture)
    # Masks are 0 to 1: no source is louder than the mixture.
    assert (separation.magnitudes >= 0).all()
    assert (separation.magnitudes <= mixture[:, None] * (1 + 1e-5)).all()
    assert ((separation.presence >= 0) & (separation.presence <= 1)).all()
    if reads_category(model):
        assert torch.equal(separation.metadata["category"], batch.cues.category)
    assert ("sampler" in separation.metadata) == ("evaluations" in separation.metadata)


def test_a_batch_of_two_is_two_batches_of_one(model: SeparationModel) -> None:
    batch = tiny_batch(2)
    whole = separate(model, batch)
    for index in range(2):
        alone = separate(model, item(batch, index))
        assert_near(whole.magnitudes[index], alone.magnitudes[0], whole)
        assert_near(whole.presence[index], alone.presence[0], whole)


def assert_near(value: torch.Tensor, expected: torch.Tensor, separation: Separation) -> None:
    """Check values up to rounding, in every evaluation of the network by the sampler."""
    num_evaluations = separation.metadata.get("evaluations", 1)
    assert isinstance(num_evaluations, int)
    rounding = ROUNDING * num_evaluations
    torch.testing.assert_close(value, expected, atol=rounding, rtol=rounding)


def select_sources(cues: Cues, sources: list[int]) -> Cues:
    """Return the cues of some sources, in this order."""
    values = {field.name: getattr(cues, field.name) for field in fields(Cues)}
    return Cues(**{name: None if v is None else v[:, sources] for name, v in values.items()})


def test_silence_in_silence_out(model: SeparationModel) -> None:
    batch = tiny_batch(1)
    separation = separate(model, replace(batch, mixture=torch.zeros_like(batch.mixture)))
    assert not separation.magnitudes.any() and not separation.presence.any()


@pytest.mark.slow
def test_exchanged_cues_are_exchanged_estimates(model: SeparationModel) -> None:
    batch = tiny_batch(1, 3)
    separation = separate(model, batch)
    for first in range(3):
        # A sampler has one noise for all sources; else an estimate would depend on its place.
        rotated = select_sources(batch.cues, [(first + step) % 3 for step in range(3)])
        exchanged = separate(model, replace(batch, cues=rotated)).magnitudes
        alone = separate(model, replace(batch, cues=select_sources(batch.cues, [first]))).magnitudes
        if model.is_joint:
            # Alone, an object has none to compete with, and the mask is another one.
            assert not torch.allclose(exchanged[:, 0], alone[:, 0], atol=DIFFERENT)
        else:
            assert_near(exchanged[:, 0], alone[:, 0], separation)
        assert_near(exchanged, separation.magnitudes.roll(-first, dims=1), separation)
        # Estimates of different sources differ; else the test would pass for any order.
        is_same = torch.allclose(exchanged[:, 0], separation.magnitudes[:, 0], atol=DIFFERENT)
        assert is_same == (first == 0)


@pytest.mark.parametrize(
    "quality", ["fast", *(pytest.param(q, marks=pytest.mark.slow) for q in ("balanced", "best"))]
)
def test_every_quality_is_the_same_model(model: SeparationModel, quality: str) -> None:
    before = model.settings
    other = model.at_quality(quality)
    assert type(other) is type(model) and other.required_cues == model.required_cues
    # Weights are shared, not copied; only the settings of a sampler differ.
    parameters, others = ([id(p) for p in m.parameters()] for m in (model, other))
    assert parameters == others and model.settings is before
    settings = [{k: v for k, v in m.settings if k != "sampling"} for m in (model, other)]
    assert settings[0] == settings[1]
    separation = separate(other, tiny_batch(1))
    assert separation.magnitudes.isfinite().all()


def test_the_category_is_predicted_where_it_is_not_given(model: SeparationModel) -> None:
    batch = tiny_batch(1)
    if not reads_category(model):
        # A category changes nothing.
        separations = [
            separate(model, replace(batch, cues=replace(batch.cues, category=category)))
            for category in (None, batch.cues.category)
        ]
        assert torch.equal(separations[0].magnitudes, separations[1].magnitudes)
        return
    without_labels = replace(batch.cues, category=None)
    separation = separate(model, replace(batch, cues=without_labels))
    used = separation.metadata["category"]
    assert isinstance(used, torch.Tensor)
    assert used.shape == (1, 2) and ((used >= 0) & (used < len(CATEGORIES))).all()
    some = replace(batch.cues, category=torch.tensor([[1, -1]]))
    mixed = separate(model, replace(batch, cues=some)).metadata
    assert mixed["category"].tolist() == [[1, int(used[0, 1])]]
    given = separate(model, replace(batch, cues=replace(without_labels, category=used)))
    is_same = torch.equal(given.magnitudes, separation.magnitudes)
    assert is_same == model.takes_predicted_category


def test_every_cue_changes_the_estimates(model: SeparationModel) -> None:
    batch = tiny_batch(1)
    plain = separate(model, batch).magnitudes
    for name in model.required_cues - {"category"}:
        dark = replace(batch.cues, **{name: torch.zeros_like(getattr(batch.cues, name))})
        changed = separate(model, replace(batch, cues=dark)).magnitudes
        # The change may be small with random weights; equal inputs would give equal bits.
        assert not torch.allclose(changed, plain, rtol=1e-4, atol=0), name


def test_only_required_cues_are_read(model: SeparationModel) -> None:
    batch = tiny_batch(1)
    required = {name: getattr(batch.cues, name) for name in model.required_cues}
    assert None not in required.values()
    separation = separate(model, replace(batch, cues=Cues(**required)))
    assert torch.equal(separation.magnitudes, separate(model, batch).magnitudes)
    for name in model.required_cues - {"category"}:
        with pytest.raises(InputError, match=f"reads `{name}`") as error:
            separate(model, replace(batch, cues=replace(batch.cues, **{name: None})))
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_precomputed_cues_give_the_same_estimates(model: SeparationModel) -> None:
    batch = tiny_batch(1)
    embedded = model.precompute(batch.cues)
    assert embedded.crops is None and model.precompute(embedded) is embedded
    assert not any(
        value.requires_grad
        for field in fields(Cues)
        if (value := getattr(embedded, field.name)) is not None
    )
    plain, ahead = (separate(model, replace(batch, cues=c)) for c in (batch.cues, embedded))
    assert torch.equal(plain.magnitudes, ahead.magnitudes)


def test_gradients_reach_every_trained_parameter(model: SeparationModel) -> None:
    model.train()
    torch.manual_seed(0)
    losses = model.losses(tiny_batch(2))
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    losses["total"].backward()
    groups = model.parameter_groups()
    trained = [parameter for group in groups.values() for parameter in group]
    assert {id(p) for p in trained} == {id(p) for p in model.parameters() if p.requires_grad}
    assert len({id(p) for p in trained}) == len(trained)
    without = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]
    assert without == []
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.slow
def test_a_step_down_the_gradient_lowers_the_loss(model: SeparationModel) -> None:
    batch = tiny_batch(2)
    trained = [p for group in model.parameter_groups().values() for p in group]
    before = total_loss(model, batch)
    before.backward()
    # Stored embeddings of categories are read in train mode only.
    trained = [p for p in trained if p.grad is not None]
    with torch.no_grad():
        norm = torch.stack([p.grad.square().sum() for p in trained]).sum().sqrt()
        for parameter in trained:
            parameter -= 1e-2 * parameter.grad / norm
    assert total_loss(model, batch) < before


def test_a_saved_and_loaded_model_gives_the_same_estimates(
    name: str, model: SeparationModel, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path, model_name=name, metadata={})
    loaded = load_model(str(path))
    assert type(loaded) is type(model) and not loaded.training
    assert loaded.settings == model.settings
    batch = tiny_batch(1)
    assert torch.equal(separate(loaded, batch).magnitudes, separate(model, batch).magnitudes)


# Train, evaluate and separate: the three uses of a model, by the code of the commands


def test_train_one_step(name: str, model: SeparationModel) -> None:
    """One optimizer step changes every trained tensor and no frozen one."""
    optimizers = {
        group: OptimizerSettings(learning_rate=1e-3) for group in model.parameter_groups()
    }
    task = SeparationTask(model, TrainRecipe(model=name, optimizers=optimizers), Length(1, 1.0))
    (optimizer,), (schedule,) = task.configure_optimizers()
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    model.train()
    step = task.training_step(tiny_batch(2), 0)
    assert step["loss"].isfinite() and step["loss"] == step["losses"]["total"]
    step["loss"].backward()
    optimizer.step()
    schedule["scheduler"].step()
    for key, parameter in model.named_parameters():
        assert parameter.isfinite().all(), key
        assert torch.equal(parameter, before[key]) != parameter.requires_grad, key


@pytest.fixture(scope="module")
def duet(tmp_path_factory: pytest.TempPathFactory) -> ClipFiles:
    """Return the files of a clip of half a second: noise of a harp and of a violin."""
    folder = tmp_path_factory.mktemp("duet")
    for source, sound in enumerate(stereo_noise()):
        soundfile.write(folder / f"{source}.wav", sound.T, FRONT_END.sample_rate_hz)
    for number, picture in enumerate(pictures()):
        Image.fromarray(picture).save(folder / f"{number + 1:06d}.png")
    sources = tuple(
        SourceFile(folder / f"{source}.wav", str(visible.label), "duet", visible)
        for source, visible in enumerate(OBJECTS)
    )
    return ClipFiles("duet", folder, sources, frame_rate_hz=FRAME_RATE_HZ)


@pytest.mark.slow
def test_evaluate_a_clip(name: str, model: SeparationModel, duet: ClipFiles) -> None:
    methods = tuple(model_methods(name, model))
    # The category given and predicted, or the only way of a model that reads none.
    assert len(methods) == (2 if reads_category(model) else 1)
    scored = Evaluator([duet], methods).score(0)
    assert scored.left_out is None and scored.categories == ("harp", "violin")
    assert set(scored.scores) == {method.name for method in methods}
    for scores in scored.scores.values():
        assert scores.scores_db.shape == (2, 3) and np.isfinite(scores.scores_db).all()
        assert not scores.silent_references.any()


def test_separate_a_clip(name: str, model: SeparationModel) -> None:
    sources = stereo_noise()
    times_seconds = np.arange(NUM_FRAMES) / FRAME_RATE_HZ
    mixture, rate_hz = sources.sum(0), FRONT_END.sample_rate_hz
    clip = Clip(mixture, rate_hz, pictures(), times_seconds, OBJECTS, "duet")
    result = Separator(model, SeparatorSettings(device="cpu")).separate(clip)
    assert list(result.stems) == ["harp", "violin"]
    total = result.residual.copy()
    for source in result.objects:
        assert source.stem.shape == clip.waveform.shape
        assert source.stem.any() and np.isfinite(source.stem).all()
        assert 0 <= source.presence <= 1
        total += source.stem
    # One rounding of float32 is 6e-8 of a sample.
    np.testing.assert_allclose(total, clip.waveform, atol=5e-7)
