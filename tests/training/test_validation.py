from dataclasses import replace

import pytest
import torch
from torch import Generator

from avsep.evaluation.baselines import IdealMask
from avsep.models.base import ModelSettings, SeparationModel
from avsep.records import Batch, Separation
from avsep.training.validation import validate
from tiny_models import FRONT_END, tiny_batch, tiny_model

CPU = torch.device("cpu")


class Oracle(SeparationModel):
    """Ideal masks for whoever is told the category; others get the mixture, and are wrong."""

    def __init__(self) -> None:
        super().__init__(ModelSettings(front_end=FRONT_END))
        self.was_training = True

    @property
    def required_cues(self) -> frozenset[str]:
        return frozenset({"category"})

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.was_training = self.training
        return {"total": torch.tensor(len(batch.mixture) / 2)}

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        answer = IdealMask(self.front_end, "ratio").separate(batch)
        told = batch.cues.category
        if told is None:
            told = torch.full(batch.sources.shape[:2], -1)
            mean = answer.magnitudes.mean(1, keepdim=True)
            answer = replace(answer, magnitudes=mean.expand_as(answer.magnitudes))
        return replace(answer, metadata={"category": told, "gate": torch.full((2, 2, 1, 1), 0.25)})


def test_figures_are_those_of_the_two_ways_to_ask() -> None:
    model = Oracle()
    figures = validate(model, [tiny_batch(), tiny_batch(seed=1)], CPU)
    assert figures["validation/loss_total"] == 1
    assert figures["validation/category_right"] == 0
    assert figures["validation/gate_mean"] == pytest.approx(0.25)
    # Noise overlaps everywhere; its ideal masks still give more than the mixture does.
    assert figures["validation/sdr_db"] > figures["validation/sdr_from_picture_db"] + 0.5


def test_the_model_is_asked_in_eval_mode_and_left_as_it_was() -> None:
    model = Oracle()
    model.train()
    validate(model, [tiny_batch()], CPU)
    assert not model.was_training
    assert model.training


def test_a_real_model_is_scored() -> None:
    model = tiny_model("iquery")
    figures = validate(model, [tiny_batch()], CPU)
    assert 0 <= figures["validation/category_right"] <= 1
    assert "validation/gate_mean" not in figures
    assert figures == validate(model, [tiny_batch()], CPU)
