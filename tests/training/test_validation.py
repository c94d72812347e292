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
    """Ideal masks where the category is given; else the mean of the sources, and no category."""

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
        assert batch.sources is not None
        separation = IdealMask(self.front_end, "ratio").separate(batch)
        category = batch.cues.category
        if category is None:
            category = torch.full(batch.sources.shape[:2], -1)
            mean = separation.magnitudes.mean(1, keepdim=True)
            magnitudes = mean.expand_as(separation.magnitudes)
            separation = replace(separation, magnitudes=magnitudes)
        metadata = {"category": category, "gate": torch.full((2, 2, 1, 1), 0.25)}
        return replace(separation, metadata=metadata)


@pytest.mark.slow
def test_scores_are_those_of_given_and_of_predicted_categories() -> None:
    model = Oracle()
    metrics = validate(model, [tiny_batch(), tiny_batch(seed=1)], CPU)
    assert metrics["validation/loss_total"] == 1
    assert metrics["validation/category_accuracy"] == 0
    assert metrics["validation/gate_mean"] == pytest.approx(0.25)
    # Noise overlaps everywhere; its ideal masks still score higher than the mixture.
    assert metrics["validation/sdr_db"] > metrics["validation/sdr_predicted_db"] + 0.5
    assert {"validation/sir_predicted_db", "validation/sar_predicted_db"} <= metrics.keys()


def test_the_model_is_in_eval_mode_and_then_as_it_was() -> None:
    model = Oracle()
    model.train()
    validate(model, [tiny_batch()], CPU)
    assert not model.was_training
    assert model.training


@pytest.mark.slow
def test_a_real_model_is_scored() -> None:
    model = tiny_model("iquery")
    metrics = validate(model, [tiny_batch()], CPU)
    assert 0 <= metrics["validation/category_accuracy"] <= 1
    assert "validation/gate_mean" not in metrics
    assert metrics == validate(model, [tiny_batch()], CPU)


@pytest.mark.slow
def test_a_model_that_reads_no_category_is_scored_once() -> None:
    metrics = validate(tiny_model("separation-2.5d"), [tiny_batch()], CPU)
    assert "validation/sdr_db" in metrics
    assert not {"validation/sdr_predicted_db", "validation/category_accuracy"} & metrics.keys()
