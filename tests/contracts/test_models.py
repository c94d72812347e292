"""What every system promises, at a tiny size: batches, silence, cues, gradients, saving."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from avsep.checkpoint import load_model, save_checkpoint
from avsep.errors import InputError
from avsep.models import MODELS
from avsep.models.base import SeparationMethod
from avsep.records import Batch, Cues, Separation
from tiny_models import CATEGORIES, FRONT_END, TINY, tiny_batch, tiny_model

# Convolutions of another batch size add up in another order: absolute, and of the value. Models
# that sample ask their network several times, each time with the rounding of the last.
ROUNDING = 1e-5
DIFFERENT = 1e-3


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in TINY, "a new model needs a line in tests/tiny_models.py"
    return request.param


@pytest.fixture
def model(name: str) -> nn.Module:
    return tiny_model(name)


def separate(model: nn.Module, batch: Batch) -> Separation:
    """The answer; a model that samples draws the same noise each time."""
    generator = torch.Generator().manual_seed(0)
    # Every item lies far from the others, in one long sound.
    starts = 1000 * torch.arange(len(batch.mixture))
    if batch.start_frames is None:
        batch = replace(batch, start_frames=starts)
    with torch.no_grad():
        return model.separate(batch, generator=generator)


def total_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The loss, with the same draws each time where a model draws."""
    torch.manual_seed(0)
    return model.losses(batch)["total"]


def reads_category(model: nn.Module) -> bool:
    return "category" in model.required_cues


def item(batch: Batch, index: int) -> Batch:
    """One item of a batch, as a batch."""
    here = slice(index, index + 1)
    given = {field.name: getattr(batch.cues, field.name) for field in fields(Cues)}
    cues = Cues(**{name: None if value is None else value[here] for name, value in given.items()})
    assert batch.sources is not None
    starts = torch.tensor([1000 * index])
    return Batch(batch.mixture[here], batch.sources[here], cues, starts)


def test_shapes_shares_and_facts(model: nn.Module) -> None:
    assert isinstance(model, SeparationMethod)
    batch = tiny_batch(2, 3)
    answer = separate(model, batch)
    num_bins = FRONT_END.stft.num_bins
    assert answer.magnitudes.shape == (2, 3, 1, num_bins, 32)
    assert answer.phase.shape == (2, 1, num_bins, 32)
    mixture, _ = model.front_end.spectrogram(batch.mixture)
    # Masks are 0 to 1: no source is louder than the mixture.
    assert (answer.magnitudes >= 0).all()
    assert (answer.magnitudes <= mixture[:, None] * (1 + 1e-5)).all()
    assert ((answer.presence >= 0) & (answer.presence <= 1)).all()
    if reads_category(model):
        assert torch.equal(answer.metadata["category"], batch.cues.category)
        assert answer.metadata["category_source"] == "given"
    assert ("sampler" in answer.metadata) == ("evaluations" in answer.metadata)


def test_a_batch_of_two_is_two_batches_of_one(model: nn.Module) -> None:
    batch = tiny_batch(2)
    whole = separate(model, batch)
    for index in range(2):
        alone = separate(model, item(batch, index))
        close(whole.magnitudes[index], alone.magnitudes[0], whole)
        close(whole.presence[index], alone.presence[0], whole)


def close(found: torch.Tensor, expected: torch.Tensor, answer: Separation) -> None:
    rounding = ROUNDING * int(answer.metadata.get("evaluations", 1))  # type: ignore[call-overload]
    torch.testing.assert_close(found, expected, atol=rounding, rtol=rounding)


def of_sources(cues: Cues, sources: list[int]) -> Cues:
    """The cues of some sources, in this order."""
    given = {field.name: getattr(cues, field.name) for field in fields(Cues)}
    return Cues(**{name: None if v is None else v[:, sources] for name, v in given.items()})


def test_silence_in_silence_out(model: nn.Module) -> None:
    batch = tiny_batch(1)
    answer = separate(model, replace(batch, mixture=torch.zeros_like(batch.mixture)))
    assert not answer.magnitudes.any() and not answer.presence.any()


def test_exchanged_cues_are_exchanged_estimates(model: nn.Module) -> None:
    batch = tiny_batch(1, 3)
    straight = separate(model, batch)
    for first in range(3):
        # A sampler gives all sources one noise, or each would hang on its place.
        turned = of_sources(batch.cues, [(first + step) % 3 for step in range(3)])
        exchanged = separate(model, replace(batch, cues=turned)).magnitudes
        alone = separate(model, replace(batch, cues=of_sources(batch.cues, [first]))).magnitudes
        close(exchanged[:, 0], alone[:, 0], straight)
        close(exchanged, straight.magnitudes.roll(-first, dims=1), straight)
        # They do differ, or this would say nothing.
        is_same = torch.allclose(exchanged[:, 0], straight.magnitudes[:, 0], atol=DIFFERENT)
        assert is_same == (first == 0)


@pytest.mark.parametrize("quality", ["fast", "balanced", "best"])
def test_every_quality_is_the_same_model(model: nn.Module, quality: str) -> None:
    before = model.settings
    asked = model.at_quality(quality)
    assert type(asked) is type(model) and asked.required_cues == model.required_cues
    # Weights are shared, not copied; settings differ in how it samples, if it does.
    own, others = ([id(p) for p in one.parameters()] for one in (model, asked))
    assert own == others and model.settings is before
    without = ({k: v for k, v in one.settings if k != "sampling"} for one in (model, asked))
    assert next(without) == next(without)
    answer = separate(asked, tiny_batch(1))
    assert answer.magnitudes.isfinite().all()


def test_the_category_may_be_left_to_the_pictures(model: nn.Module) -> None:
    batch = tiny_batch(1)
    if not reads_category(model):
        # It is not read, told or not.
        answers = [
            separate(model, replace(batch, cues=replace(batch.cues, category=category)))
            for category in (None, batch.cues.category)
        ]
        assert torch.equal(answers[0].magnitudes, answers[1].magnitudes)
        return
    without_labels = replace(batch.cues, category=None)
    answer = separate(model, replace(batch, cues=without_labels))
    assert answer.metadata["category_source"] == "predicted"
    used = answer.metadata["category"]
    assert used.shape == (1, 2) and ((used >= 0) & (used < len(CATEGORIES))).all()
    some = replace(batch.cues, category=torch.tensor([[1, -1]]))
    mixed = separate(model, replace(batch, cues=some)).metadata
    assert mixed["category_source"] == "mixed" and mixed["category"].tolist() == [
        [1, int(used[0, 1])]
    ]


def test_pictures_and_movement_matter(model: nn.Module) -> None:
    batch = tiny_batch(1)
    plain = separate(model, batch).magnitudes
    for name in model.required_cues - {"category"}:
        dark = replace(batch.cues, **{name: torch.zeros_like(getattr(batch.cues, name))})
        changed = separate(model, replace(batch, cues=dark)).magnitudes
        # Random weights see little; equal inputs give equal bits.
        assert not torch.allclose(changed, plain, rtol=1e-4, atol=0), name


def test_it_reads_what_it_needs_and_nothing_else(model: nn.Module) -> None:
    batch = tiny_batch(1)
    own = {name: getattr(batch.cues, name) for name in model.required_cues}
    assert None not in own.values()
    answer = separate(model, replace(batch, cues=Cues(**own)))
    assert torch.equal(answer.magnitudes, separate(model, batch).magnitudes)
    for name in model.required_cues - {"category"}:
        with pytest.raises(InputError, match=f"reads `{name}`") as caught:
            separate(model, replace(batch, cues=replace(batch.cues, **{name: None})))
        assert "\n" not in str(caught.value)


def test_what_is_embedded_once_counts_the_same(model: nn.Module) -> None:
    batch = tiny_batch(1)
    embedded = model.precompute(batch.cues)
    assert embedded.crops is None and model.precompute(embedded) is embedded
    assert not any(
        value.requires_grad
        for field in fields(Cues)
        if (value := getattr(embedded, field.name)) is not None
    )
    straight, ahead = (separate(model, replace(batch, cues=c)) for c in (batch.cues, embedded))
    assert torch.equal(straight.magnitudes, ahead.magnitudes)


def test_gradients_reach_every_trained_parameter(model: nn.Module) -> None:
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


def test_a_step_down_the_gradient_lowers_the_loss(model: nn.Module) -> None:
    batch = tiny_batch(2)
    trained = [p for group in model.parameter_groups().values() for p in group]
    before = total_loss(model, batch)
    before.backward()
    # In eval mode nobody is told by a word, so stored words are not reached.
    trained = [p for p in trained if p.grad is not None]
    with torch.no_grad():
        norm = torch.stack([p.grad.square().sum() for p in trained]).sum().sqrt()
        for parameter in trained:
            parameter -= 1e-2 * parameter.grad / norm
    assert total_loss(model, batch) < before


def test_saved_and_loaded_it_answers_the_same(name: str, model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path, model_name=name, metadata={})
    loaded = load_model(str(path))
    assert type(loaded) is type(model) and not loaded.training
    assert loaded.settings == model.settings
    batch = tiny_batch(1)
    assert torch.equal(separate(loaded, batch).magnitudes, separate(model, batch).magnitudes)
