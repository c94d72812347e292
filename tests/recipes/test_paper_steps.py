"""One training step of every paper's recipe at its full size, its loss as computed by hand.

The hand's formulas of masks are held against the golden losses of the released codes first; those
of DAVIS are in `tests/reference/test_losses.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.records import Batch, Cues
from avsep.training.datamodule import DataModule
from avsep.training.recipe import TrainRecipe, load_training, model_settings
from avsep.training.task import make_optimizer
from recipes.test_paper_numbers import NUMBERS
from reference.released import given, golden

RATE_HZ, SECONDS, FRAME_RATE_HZ = 22050, 4, 4
# Instruments of MUSIC, MUSIC-21 and AVE.
SOLOS = ["accordion", "flute", "violin", "acoustic_guitar"]


@pytest.fixture(scope="module")
def solos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of binaural noise and grey pictures each, with boxes and motion features."""
    folder = tmp_path_factory.mktemp("papers") / "solos"
    generator = np.random.default_rng(0)
    lines = ["id,category,split,frame_rate_hz"]
    for number, name in enumerate(SOLOS):
        lines.append(f"{number},{name},{'train' if number < 2 else 'val'},{FRAME_RATE_HZ}")
        frames = folder / "frames" / name / str(number)
        features, detections = (
            folder / "features/motion" / name,
            folder / "detection_results" / name,
        )
        for place in (frames, folder / "audio" / name, features, detections):
            place.mkdir(parents=True)
        for frame in range(SECONDS * FRAME_RATE_HZ):
            picture = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(picture).save(frames / f"{frame + 1:06d}.png")
        sound = 0.2 * generator.standard_normal((SECONDS * RATE_HZ, 2))
        soundfile.write(folder / "audio" / name / f"{number}.wav", sound, RATE_HZ)
        np.save(features / f"{number}.npy", generator.random((1024, 2), dtype=np.float32))
        np.save(detections / f"{number}.mp4.npy", [[1, 1, 0.9, 4, 2, 20, 22]])
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


# Losses by hand: one ear's mixture [...], magnitudes and masks [..., S, ...]


def weight_of(mixture: Tensor, is_weighted: bool) -> Tensor:
    return (1 + mixture).log().clamp(1e-3, 10) if is_weighted else torch.ones(())


def mask_errors(mixture: Tensor, magnitudes: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    """Predicted masks less ratio masks held in 0..5."""
    ratios = [(magnitude / (mixture + 1e-10)).clamp(0, 5) for magnitude in magnitudes]
    return [mask - ratio for mask, ratio in zip(masks, ratios, strict=True)]


def ratio_loss(
    mixture: Tensor, magnitudes: list[Tensor], masks: list[Tensor], is_weighted: bool = True
) -> Tensor:
    """Half the sum over two sources of the mean weighted L1 distance."""
    weight = weight_of(mixture, is_weighted)
    errors = mask_errors(mixture, magnitudes, masks)
    return sum(((weight * error.abs()).mean() for error in errors), torch.zeros(())) / len(errors)


def square_loss(mixture: Tensor, magnitudes: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The same of squares."""
    errors = mask_errors(mixture, magnitudes, masks)
    weight = weight_of(mixture, is_weighted=True)
    return sum(((weight * error**2).mean() for error in errors), torch.zeros(())) / len(errors)


def binary_loss(mixture: Tensor, magnitudes: list[Tensor], masks: list[Tensor]) -> Tensor:
    """The mean over two sources of the weighted cross-entropy of binary masks."""
    weight = weight_of(mixture, is_weighted=True)
    targets = [(magnitude > 0.5 * mixture).float() for magnitude in magnitudes]
    terms = [
        -(weight * (target * mask.log() + (1 - target) * (1 - mask).log())).mean()
        for target, mask in zip(targets, masks, strict=True)
    ]
    return sum(terms, torch.zeros(())) / len(terms)


def golden_inputs(specs: dict[str, Any]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    mixture = given(specs["magnitude_mixture"]) + 1e-10
    magnitudes = [given(specs[f"magnitude_{k}"]) for k in range(2)]
    return mixture, magnitudes, [given(specs[f"logits_{k}"]).sigmoid() for k in range(2)]


def test_the_hand_computes_the_released_losses() -> None:
    iquery, pixels, lavss = (golden(name) for name in ("iquery-loss", "sop-bce-loss", "lavss-loss"))
    inputs = golden_inputs(iquery["inputs"])
    assert float(ratio_loss(*inputs)) == pytest.approx(iquery["outputs"]["loss_weighted"], rel=1e-5)
    unweighted = float(ratio_loss(*inputs, is_weighted=False))
    assert unweighted == pytest.approx(iquery["outputs"]["loss_unweighted"], rel=1e-5)
    binary = float(binary_loss(*golden_inputs(pixels["inputs"])))
    assert binary == pytest.approx(pixels["outputs"]["bce_binary_weighted"], rel=1e-5)
    for ear in ("left", "right"):
        inputs = golden_inputs(lavss["inputs"][ear])
        v2, v3 = (lavss["outputs"][f"as_coded_{name}_weighted"] for name in ("v2", "v3"))
        assert float(ratio_loss(*inputs)) == pytest.approx(v2[ear], rel=1e-5)
        assert float(square_loss(*inputs)) == pytest.approx(v3[f"l2_{ear}"], rel=1e-5)


# One step of each recipe


def captured(model: SeparationModel, name: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a method of the model returns from now on."""
    returned: list[Any] = []
    method: Callable[..., Any] = getattr(model, name)

    def note(*arguments: Any) -> Any:
        returned.append(method(*arguments))
        return returned[-1]

    monkeypatch.setattr(model, name, note)
    return returned


def by_hand(name: str, model: SeparationModel, batch: Batch, masks: Tensor) -> dict[str, Tensor]:
    """The separation losses of a batch of one, from the masks of the model [S, C, R, t]."""
    assert batch.sources is not None
    mixture = model.to_network(model.front_end.magnitude(batch.mixture[0]))  # C R t
    sources = model.to_network(model.front_end.magnitude(batch.sources[0]))  # S C R t
    loss = binary_loss if NUMBERS[name].model == "sound-of-pixels" else ratio_loss
    ears = range(len(mixture))
    each = {
        "first": [loss(mixture[c], list(sources[:, c]), list(masks[:, c])) for c in ears],
        "squares": [square_loss(mixture[c], list(sources[:, c]), list(masks[:, c])) for c in ears],
    }
    return {key: torch.stack(values).mean() for key, values in each.items()}


def assert_learns(model: SeparationModel, recipe: TrainRecipe, total: Tensor) -> None:
    """Assert that a step of the optimizer moves most weights of every group, to finite values."""
    groups = model.parameter_groups()
    optimizer = make_optimizer(groups, recipe.optimizers, recipe.training.optimizer)
    before = {group: [p.detach().clone() for p in part] for group, part in groups.items()}
    total.backward()
    optimizer.step()
    for group, part in groups.items():
        assert all(torch.isfinite(parameter).all() for parameter in part)
        moved = [not torch.equal(a, b) for a, b in zip(before[group], part, strict=True)]
        assert sum(moved) > 0.5 * len(moved), f"{group} learns"


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMBERS)
def test_one_step(name: str, solos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_training(name, ["weights={}", "training.num_validation=1"])
    recipe = recipe.model_copy(update={"data": (str(solos),)})
    torch.manual_seed(0)
    model = MODELS[recipe.model](model_settings(recipe, name)).train()
    data = DataModule(recipe, tmp_path, num_workers=0)
    assert len(list(data.build_caches(model))) == len(SOLOS)
    batch = data.mixtures.collate([data.mixtures[0]])
    numbers = NUMBERS[name]
    assert batch.mixture.shape == (1, 2 if name == "lavss-fair-play" else 1, numbers.sound[1])
    assert batch.cues.crops is not None
    assert batch.cues.crops.shape == (1, 2, numbers.crops[0], 3, 224, 224)
    is_query_network = numbers.num_categories > 0
    outputs = captured(model, "_predict" if is_query_network else "_predict_logits", monkeypatch)
    losses = model.losses(batch)
    masks = outputs[0].masks[0, :, None] if is_query_network else outputs[0][0].sigmoid()
    hand = by_hand(name, model, batch, masks.detach())
    first = losses["separation" if is_query_network else "masks"].item()
    assert first == pytest.approx(hand["first"].item(), rel=1e-4)
    total = hand["first"].item()
    if is_query_network:
        total += 0.1 * losses["category"].item()  # of the head that predicts categories, ours
    elif numbers.model == "lavss":
        assert losses["squared"].item() == pytest.approx(hand["squares"].item(), rel=1e-4)
        total += 0.5 * hand["squares"].item() + 0.25 * losses["time"].item()
    assert losses["total"].item() == pytest.approx(total, rel=1e-4)
    assert_learns(model, recipe, losses["total"])


def davis_error(model: SeparationModel, batch: Batch, noise: Tensor, predicted: Tensor) -> Tensor:
    """The released distance of each cell, once for the noise, twice for the velocity: [S, R, t]."""
    assert batch.sources is not None
    # The codes mix (a + b) / 2 and leave a and b undivided.
    magnitudes = 2 * model.to_network(model.front_end.magnitude(batch.sources[0, :, 0]))
    if model.settings.model_dump()["process"] == "flow":
        clean = (0.15 * (1 + magnitudes).log()).clamp(0, 1)
        return 2 * (predicted - (clean - (1 - 1e-4) * noise)).abs()
    mixture = model.to_network(model.front_end.magnitude(batch.mixture[0, 0]))
    return (predicted - noise).abs() * ((1 + mixture).log() > 1e-3)


def step_of_davis(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_training(name, ["weights={}"])
    torch.manual_seed(0)
    model = MODELS[recipe.model](model_settings(recipe, name)).train()
    front_end, crops = model.settings.front_end, model.settings.crops
    sources = 0.1 * torch.randn(1, 2, 1, front_end.window_samples)
    # Pictures as the vectors that CLIP makes of them before training.
    cues = Cues(appearance=torch.randn(1, 2, crops.num_crops, 512, 1, 1))
    batch = Batch(sources.sum(1), sources, cues)
    noise = torch.randn(2, front_end.num_rows, 256)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda _: noise)
        predictions = captured(model, "_predict", patch)
        total = model.losses(batch)["total"]
    error = davis_error(model, batch, noise, predictions[0].detach())
    assert total.item() == pytest.approx(1000 * error.mean((1, 2)).sum().item(), rel=1e-4), name
    assert_learns(model, recipe, total)


@pytest.mark.slow
def test_one_step_of_davis(monkeypatch: pytest.MonkeyPatch) -> None:
    # One after the other: each takes eight gigabytes.
    for name in ("davis-music", "davis-flow-music", "davis-ave", "davis-flow-ave"):
        step_of_davis(name, monkeypatch)
