"""Losses equal the released ones, for magnitudes and predictions given by formula."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from avsep.models import binaural
from avsep.models.base import SeparationModel, require_sources
from avsep.models.binaural import si_snr_db
from avsep.models.davis.model import DAVIS, DAVISFlow
from avsep.models.iquery import IQuery, IQuerySettings
from avsep.models.lavss import LAVSS, LAVSSSettings
from avsep.models.sound_of_pixels import SoundOfPixelsSettings
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import binary_mask, ratio_mask
from reference.released import assert_meets, given, golden
from tiny_models import tiny_model

# Losses are sums of some thousand float32 numbers.
TOLERANCE = 1e-6


class MagnitudeFrontEnd(FrontEnd):
    """Take flattened magnitudes for waveforms, and their rows for the network's."""

    def __init__(self, settings: FrontEndSettings, size: tuple[int, int]) -> None:
        super().__init__(settings)
        self.size = size

    def spectrogram(
        self, waveform: Float[Tensor, "*batch N"]
    ) -> tuple[Float[Tensor, "*batch F T"], Complex[Tensor, "*batch F T"]]:
        """Return the magnitude, in phase zero."""
        magnitude = self.magnitude(waveform)
        return magnitude, torch.ones_like(magnitude).to(torch.complex64)

    def magnitude(self, waveform: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch F T"]:
        """Return the magnitude in its shape."""
        return waveform.unflatten(-1, self.size)

    def to_rows(self, linear: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
        """Return the magnitude: the released losses were measured without a warp."""
        return linear


def sources_of(inputs: dict[str, Any], name: str) -> Tensor:
    """Return an input of both sources: [B S R T]."""
    return torch.cat([given(inputs[f"{name}_{source}"]) for source in range(2)], dim=1)


def read_magnitudes(model: SeparationModel, inputs: dict[str, Any], cues: Cues) -> Batch:
    """Return mixture and sources of a file as a batch, and let the model read its magnitudes."""
    mixture, sources = given(inputs["magnitude_mixture"]), sources_of(inputs, "magnitude")
    rows, frames = mixture.shape[2:]
    model.front_end = MagnitudeFrontEnd(model.settings.front_end, (rows, frames))
    return Batch(mixture.flatten(2), sources.flatten(2)[:, :, None], cues)


# DAVIS: noise and velocity

LOSS_FIELDS = ("process", "target", "loss", "loss_scale", "ignore_silence", "target_gain")


class ClosedForm(nn.Module):
    """The network of a file, a function of x, mixture, time and one number for the picture."""

    def reduce_precision(self, *, reduced: bool) -> None:
        """Do nothing: it has no convolutions."""

    def forward(self, noisy: Tensor, mixture: Tensor, timestep: Tensor, visual: Tensor) -> Tensor:
        """Return the prediction at times of 0..1000."""
        bent = torch.tanh(1.3 * noisy + 0.7 * mixture - 0.4)
        # 0.0001 of a time in 0..1000, 0.1 of one in 0..1.
        constant = 1e-4 * timestep + 0.2 * visual[:, 0]
        return 0.8 * noisy - 0.5 * bent + constant[:, None, None]


def davis_total(
    name: str, cls: type[DAVIS], monkeypatch: pytest.MonkeyPatch, **changes: object
) -> float:
    """Return the loss of the paper's settings with a file's magnitudes, times and noise."""
    inputs = golden(name)["inputs"]
    paper = {field: getattr(cls.Settings(), field) for field in LOSS_FIELDS}
    name_of_model = "davis-flow" if cls is DAVISFlow else "davis"
    model = tiny_model(
        name_of_model, 0, **{"categories": (), "word_probability": 0} | paper | changes
    )
    assert isinstance(model, DAVIS)
    monkeypatch.setattr(model, "unet", ClosedForm())
    seen = torch.tensor(inputs["seen"]).T[..., None]
    monkeypatch.setattr(model.frames, "forward", lambda *_: seen)
    batch = read_magnitudes(model, inputs, Cues())
    times = torch.tensor(inputs["times"], dtype=torch.float32).T.flatten()
    monkeypatch.setattr(model.path, "sample_times", lambda *_: times)
    noise = sources_of(inputs, "noise").flatten(0, 1)
    monkeypatch.setattr(torch, "randn_like", lambda _: noise)
    # Half of the mean of two is what the released code leaves undivided.
    require_sources(batch).div_(2)
    return float(model.losses(batch)["total"])


def test_noise_of_davis(monkeypatch: pytest.MonkeyPatch) -> None:
    total = davis_total("davis-noise-loss", DAVIS, monkeypatch)
    assert total == pytest.approx(golden("davis-noise-loss")["outputs"]["loss"], rel=TOLERANCE)


def test_equation_4_counts_silent_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    total = davis_total("davis-noise-loss", DAVIS, monkeypatch, ignore_silence=False)
    assert total > 1.2 * golden("davis-noise-loss")["outputs"]["loss"]


def test_velocity_of_davis_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    total = davis_total("davis-flow-loss", DAVISFlow, monkeypatch)
    assert total == pytest.approx(golden("davis-flow-loss")["outputs"]["loss"], rel=TOLERANCE)


# Masks


def replace_logits(model: SeparationModel, logits: Tensor) -> None:
    """Let a binaural model predict these mask logits: [B S C R T]."""
    setattr(model, "_predict_logits", lambda *_: logits)  # noqa: B010


@pytest.mark.parametrize("weighted", [True, False])
def test_iquery(weighted: bool) -> None:
    """Also the loss of DGFNet's paper settings."""
    file = golden("iquery-loss")
    model = tiny_model("iquery", weighted_loss=weighted)
    assert isinstance(model, IQuery) and IQuerySettings().weighted_loss
    batch = read_magnitudes(model, file["inputs"], Cues())
    masks = sources_of(file["inputs"], "logits").sigmoid()
    predicted = SimpleNamespace(masks=masks, category_logits=None)
    setattr(model, "_predict", lambda *_: predicted)  # noqa: B010
    expected = file["outputs"]["loss_weighted" if weighted else "loss_unweighted"]
    assert float(model.losses(batch)["total"]) == pytest.approx(expected, rel=TOLERANCE)


def test_ratio_masks_of_iquery() -> None:
    file = golden("iquery-loss")
    mixture, sources = given(file["inputs"]["magnitude_mixture"]), file["outputs"]
    targets = ratio_mask(sources_of(file["inputs"], "magnitude"), mixture)
    for source in range(2):
        assert_meets(targets[:, source, None], sources[f"true_mask_{source}"], tolerance=1e-6)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("masks", ["binary", "ratio"])
def test_sound_of_pixels(masks: str, weighted: bool) -> None:
    file = golden("sop-bce-loss")
    model = tiny_model(
        "sound-of-pixels", masks=masks, weighted_loss=weighted, squared_weight=0, time_weight=0
    )
    paper = SoundOfPixelsSettings()
    assert (paper.masks, paper.weighted_loss) == ("binary", True)
    batch = read_magnitudes(model, file["inputs"], Cues())
    replace_logits(model, sources_of(file["inputs"], "logits")[:, :, None])
    name = {"binary": "bce_binary", "ratio": "l1_ratio"}[masks]
    expected = file["outputs"][f"{name}_{'weighted' if weighted else 'unweighted'}"]
    assert float(model.losses(batch)["total"]) == pytest.approx(expected, rel=TOLERANCE)


def test_binary_masks_of_sound_of_pixels() -> None:
    file = golden("sop-bce-loss")
    mixture, sources = given(file["inputs"]["magnitude_mixture"]), file["outputs"]
    targets = binary_mask(sources_of(file["inputs"], "magnitude"), mixture)
    for source in range(2):
        assert_meets(targets[:, source, None], sources[f"true_mask_{source}"], tolerance=1e-6)


# LAVSS: both ears


def lavss_waveforms() -> tuple[Tensor, Tensor]:
    """Return estimates and true waveforms of the file: [mixture, source, sample]."""
    inputs = golden("lavss-loss")["inputs"]["waveforms"]
    true, other = given(inputs["true"]), given(inputs["other"])
    return 0.7 * true + 0.3 * other, true


def lavss_losses(*, is_weighted: bool, **weights: float | str) -> dict[str, float]:
    """Return the losses for the magnitudes and logits of both ears of the file."""
    inputs = golden("lavss-loss")["inputs"]
    model = tiny_model("lavss", 0, weighted_loss=is_weighted, **weights)
    assert isinstance(model, LAVSS)
    ears = [read_magnitudes(model, inputs[ear], Cues()) for ear in ("left", "right")]
    mixture = torch.cat([ear.mixture for ear in ears], dim=1)
    sources = torch.cat([require_sources(ear) for ear in ears], dim=2)
    logits = torch.stack([sources_of(inputs[ear], "logits") for ear in ("left", "right")], dim=2)
    replace_logits(model, logits)
    # The waveforms of the file belong to no magnitudes: their difference alone is given.
    found, true = lavss_waveforms()
    apart = (found - true).abs().mean()
    setattr(model, "_waveforms", lambda *_: apart + sources)  # noqa: B010
    losses = model.losses(Batch(mixture, sources, Cues()))
    return {name: float(value) for name, value in losses.items()}


@pytest.mark.parametrize("weighted", [True, False])
def test_lavss_as_coded(weighted: bool) -> None:
    """The code adds the ears, where ours is their mean: half of it."""
    name = "as_coded_v2_weighted" if weighted else "as_coded_v2_unweighted"
    losses = lavss_losses(is_weighted=weighted, squared_weight=0, time_weight=0)
    expected = golden("lavss-loss")["outputs"][name]["loss"]
    assert 2 * losses["total"] == pytest.approx(expected, rel=TOLERANCE)


def test_squared_distance_of_lavss() -> None:
    expected = golden("lavss-loss")["outputs"]["as_coded_v3_weighted"]
    squared = lavss_losses(is_weighted=True)["squared"]
    both = expected["l2_left"] + expected["l2_right"]
    assert 2 * squared == pytest.approx(both, rel=TOLERANCE)


def test_equation_8_of_lavss() -> None:
    """As means, with alpha 0.5 and beta 0.25, the defaults."""
    paper = LAVSSSettings()
    assert (paper.squared_weight, paper.time_weight) == (0.5, 0.25)
    expected = golden("lavss-loss")["outputs"]["equation_8"]["as_means_alpha_0.5_beta_0.25"]
    assert lavss_losses(is_weighted=False)["total"] == pytest.approx(expected, rel=TOLERANCE)


def test_si_snr_of_lavss() -> None:
    """The code's is negative, one number for each mixture and source."""
    expected = golden("lavss-loss")["outputs"]["cal_SISNR"]
    found = -si_snr_db(*lavss_waveforms()).flatten()
    assert found.tolist() == pytest.approx(expected, rel=TOLERANCE)


def test_si_snr_as_time_loss_of_lavss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of L1, of L2 and of 0.001 of the negative SI-SNR, each added over both ears.

    The code holds both ears against the left waveforms; the file has one pair for both.
    """
    expected = golden("lavss-loss")["outputs"]["as_coded_v3_weighted"]
    score = si_snr_db(*lavss_waveforms())
    monkeypatch.setattr(binaural, "si_snr_db", lambda *_: score)
    code = {"squared_weight": 1.0, "time_weight": 0.001, "time_loss": "si-snr"}
    losses = lavss_losses(is_weighted=True, **code)
    assert losses["time"] == pytest.approx(expected["time_term_each_ear"], rel=TOLERANCE)
    assert 2 / 3 * losses["total"] == pytest.approx(expected["loss"], rel=TOLERANCE)
