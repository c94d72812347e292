"""What every system promises, at a tiny size: batches, silence, cues, gradients, saving."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from avsep.checkpoint import load_model, save_checkpoint
from avsep.errors import InputError
from avsep.models import MODELS
from avsep.records import Batch, Cues, Separates, Separation
from tiny_models import CATEGORIES, FRONT_END, TINY, tiny_batch, tiny_model


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in TINY, "a new model needs a line in tests/tiny_models.py"
    return request.param


@pytest.fixture
def model(name: str) -> nn.Module:
    return tiny_model(name)


def separate(model: nn.Module, batch: Batch) -> Separation:
    with torch.no_grad():
        return model.separate(batch)


def item(batch: Batch, index: int) -> Batch:
    """One item of a batch, as a batch."""
    here = slice(index, index + 1)
    given = {field.name: getattr(batch.cues, field.name) for field in fields(Cues)}
    cues = Cues(**{name: None if value is None else value[here] for name, value in given.items()})
    assert batch.sources is not None
    return Batch(batch.mixture[here], batch.sources[here], cues)


def test_shapes_shares_and_facts(model: nn.Module) -> None:
    assert isinstance(model, Separates)
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
    assert torch.equal(answer.facts["category"], batch.cues.category)
    assert answer.facts["category_source"] == "told"


def test_a_batch_of_two_is_two_batches_of_one(model: nn.Module) -> None:
    batch = tiny_batch(2)
    whole = separate(model, batch)
    for index in range(2):
        alone = separate(model, item(batch, index))
        # Convolutions of another batch size add up in another order.
        assert torch.allclose(whole.magnitudes[index], alone.magnitudes[0], atol=1e-5)
        assert torch.allclose(whole.presence[index], alone.presence[0], atol=1e-5)


def test_silence_in_silence_out(model: nn.Module) -> None:
    batch = tiny_batch(1)
    answer = separate(model, replace(batch, mixture=torch.zeros_like(batch.mixture)))
    assert not answer.magnitudes.any() and not answer.presence.any()


def test_exchanged_cues_are_exchanged_estimates(model: nn.Module) -> None:
    batch = tiny_batch(1, 3)
    given = {field.name: getattr(batch.cues, field.name) for field in fields(Cues)}
    turned = Cues(**{k: None if v is None else v.roll(1, dims=1) for k, v in given.items()})
    straight, exchanged = (separate(model, replace(batch, cues=c)) for c in (batch.cues, turned))
    assert torch.allclose(exchanged.magnitudes, straight.magnitudes.roll(1, dims=1), atol=1e-5)
    # They do differ, or this would say nothing.
    assert not torch.allclose(exchanged.magnitudes, straight.magnitudes, atol=1e-3)


def test_the_category_may_be_left_to_the_pictures(model: nn.Module) -> None:
    batch = tiny_batch(1)
    untold = replace(batch.cues, category=None)
    answer = separate(model, replace(batch, cues=untold))
    assert answer.facts["category_source"] == "picture"
    used = answer.facts["category"]
    assert used.shape == (1, 2) and ((used >= 0) & (used < len(CATEGORIES))).all()
    some = replace(batch.cues, category=torch.tensor([[1, -1]]))
    mixed = separate(model, replace(batch, cues=some)).facts
    assert mixed["category_source"] == "mixed" and mixed["category"].tolist() == [
        [1, int(used[0, 1])]
    ]


def test_pictures_and_movement_matter(model: nn.Module) -> None:
    batch = tiny_batch(1)
    plain = separate(model, batch).magnitudes
    for name in model.needs - {"category"}:
        dark = replace(batch.cues, **{name: torch.zeros_like(getattr(batch.cues, name))})
        changed = separate(model, replace(batch, cues=dark)).magnitudes
        # Random weights see little; equal inputs give equal bits.
        assert not torch.allclose(changed, plain, rtol=1e-4, atol=0), name


def test_it_reads_what_it_needs_and_nothing_else(model: nn.Module) -> None:
    batch = tiny_batch(1)
    own = {name: getattr(batch.cues, name) for name in model.needs}
    assert None not in own.values()
    answer = separate(model, replace(batch, cues=Cues(**own)))
    assert torch.equal(answer.magnitudes, separate(model, batch).magnitudes)
    for name in model.needs - {"category"}:
        with pytest.raises(InputError, match=f"reads `{name}`") as caught:
            separate(model, replace(batch, cues=replace(batch.cues, **{name: None})))
        assert "\n" not in str(caught.value)


def test_what_is_embedded_once_counts_the_same(model: nn.Module) -> None:
    batch = tiny_batch(1)
    embedded = model.embed(batch.cues)
    assert embedded.crops is None and model.embed(embedded) is embedded
    assert not any(
        value.requires_grad
        for field in fields(Cues)
        if (value := getattr(embedded, field.name)) is not None
    )
    straight, ahead = (separate(model, replace(batch, cues=c)) for c in (batch.cues, embedded))
    assert torch.equal(straight.magnitudes, ahead.magnitudes)


def test_gradients_reach_every_trained_parameter(model: nn.Module) -> None:
    model.train()
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
    before = model.losses(batch)["total"]
    before.backward()
    with torch.no_grad():
        norm = torch.stack([p.grad.square().sum() for p in trained]).sum().sqrt()
        for parameter in trained:
            parameter -= 1e-2 * parameter.grad / norm
    assert model.losses(batch)["total"] < before


def test_saved_and_loaded_it_answers_the_same(name: str, model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path, model_name=name, facts={})
    loaded = load_model(str(path))
    assert type(loaded) is type(model) and not loaded.training
    assert loaded.settings == model.settings
    batch = tiny_batch(1)
    assert torch.equal(separate(loaded, batch).magnitudes, separate(model, batch).magnitudes)
