"""Test baselines and ceilings: scores of two synthetic sources, and properties of masks."""

import numpy as np
import pytest
import torch

from avsep.errors import InputError
from avsep.evaluation.baselines import BASELINES, DESCRIPTIONS, IdealMask, waveforms
from avsep.evaluation.bss_eval import bss_eval
from avsep.records import Batch
from avsep.sound.front_end import FrontEnd, FrontEndSettings

# SDR, SIR of plucks and vibrato tone, measured once with librosa and mir_eval: mask, logarithmic
# axis, legacy corners. SIR is given to one decimal on the logarithmic axis.
ORACLES = {
    ("ratio", 5.0, False, False): ((18.399, 15.065), (26.125, 16.828)),
    ("ratio", 1.0, False, False): ((18.977, 15.052), (26.152, 16.662)),
    ("binary", 5.0, False, False): ((19.046, 14.552), (32.492, 16.511)),
    ("ratio", 5.0, True, False): ((17.741, 14.545), (24.8, 16.1)),
    ("ratio", 1.0, True, False): ((18.396, 14.534), (25.0, 16.0)),
    ("binary", 5.0, True, False): ((18.069, 14.062), (29.7, 16.2)),
    ("ratio", 5.0, True, True): ((15.402, 13.534), None),
    ("ratio", 1.0, True, True): ((16.206, 13.593), None),
    ("binary", 5.0, True, True): ((15.639, 13.054), None),
}


@pytest.fixture(scope="module")
def oracle_batch() -> Batch:
    """Twelve plucks of six harmonics, and a vibrato tone of four, at half their level each."""
    t = np.arange(65535) / 11025
    plucks = np.zeros_like(t)
    for k in range(12):
        tau = np.maximum(t - 0.5 * k, 0)
        frequency_hz = 220 * 2 ** ((k % 7) / 12)
        for h in range(1, 7):
            tone = np.sin(2 * np.pi * frequency_hz * h * tau)
            plucks += 0.3 / h * np.exp(-6 * tau) * tone * (t >= 0.5 * k)
    phase = 2 * np.pi * (523.25 * t + 12 * np.sin(2 * np.pi * 5 * t) / (2 * np.pi * 5))
    tremolo = 0.6 + 0.4 * np.sin(2 * np.pi * 0.7 * t)
    vibrato = sum(0.15 / h * np.sin(h * phase) for h in range(1, 5)) * tremolo
    sources = torch.tensor(np.stack([plucks, vibrato]) / 2, dtype=torch.float32)
    return Batch(sources.sum(0)[None, None], sources[None, :, None])


def scores(batch: Batch, estimates: torch.Tensor) -> list[list[float]]:
    assert batch.sources is not None
    result = bss_eval(batch.sources[0, :, 0, :65280], estimates[0, :, 0])
    return [result.sdr_db.tolist(), result.sir_db.tolist(), result.sar_db.tolist()]


@pytest.mark.parametrize("oracle", ORACLES, ids=str)
def test_oracle_table(oracle_batch: Batch, oracle: tuple[str, float, bool, bool]) -> None:
    kind, maximum, logarithmic, legacy = oracle
    front_end = FrontEnd(FrontEndSettings(legacy_corners=legacy))
    ceiling = IdealMask(front_end, kind, maximum=maximum, logarithmic=logarithmic)
    sdr, sir, _ = scores(oracle_batch, waveforms(ceiling.separate(oracle_batch), front_end))
    expected_sdr, expected_sir = ORACLES[oracle]
    assert sdr == pytest.approx(expected_sdr, abs=0.01)
    if expected_sir:
        assert sir == pytest.approx(expected_sir, abs=0.06 if logarithmic else 0.01)


def test_oracle_mixture(oracle_batch: Batch) -> None:
    front_end = FrontEnd()
    estimate = BASELINES["mixture"](front_end).separate(oracle_batch)
    sdr, sir, sar = scores(oracle_batch, waveforms(estimate, front_end))
    assert sdr == pytest.approx([2.031, -1.940], abs=0.01)
    assert sir == pytest.approx([2.031, -1.940], abs=0.01)
    assert min(sar) > 100


@pytest.mark.parametrize(
    ("legacy", "expected_sdr"), [(False, (17.687, 14.299)), (True, (12.490, 12.091))]
)
def test_oracle_magnitude_of_davis(
    oracle_batch: Batch, legacy: bool, expected_sdr: tuple[float, float]
) -> None:
    front_end = FrontEnd(FrontEndSettings(legacy_corners=legacy))
    assert oracle_batch.sources is not None
    magnitudes, _ = front_end.spectrogram(oracle_batch.sources)
    _, phase = front_end.spectrogram(oracle_batch.mixture)
    estimates = front_end.waveform(front_end.to_bins(front_end.to_rows(magnitudes)), phase[:, None])
    sdr, _, _ = scores(oracle_batch, estimates)
    assert sdr == pytest.approx(expected_sdr, abs=0.01)


def test_oracle_true_magnitude(oracle_batch: Batch) -> None:
    front_end = FrontEnd()
    assert oracle_batch.sources is not None
    magnitudes, _ = front_end.spectrogram(oracle_batch.sources)
    _, phase = front_end.spectrogram(oracle_batch.mixture)
    sdr, _, _ = scores(oracle_batch, front_end.waveform(magnitudes, phase[:, None]))
    assert sdr == pytest.approx([18.392, 15.066], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_a_batch_is_its_items_and_order_of_sources_follows(name: str) -> None:
    sources = torch.randn(2, 3, 1, 8000, generator=torch.Generator().manual_seed(0))
    batch = Batch(sources.sum(1), sources)
    method = BASELINES[name](FrontEnd())
    whole = method.separate(batch).magnitudes
    alone = method.separate(Batch(batch.mixture[1:], sources[1:])).magnitudes
    assert torch.allclose(whole[1:], alone, atol=1e-5)
    turned = method.separate(Batch(batch.mixture, sources.flip(1))).magnitudes
    assert torch.allclose(turned.flip(1), whole, atol=1e-5)


def test_silence_in_silence_out() -> None:
    sources = torch.zeros(1, 2, 1, 4000)
    sources[:, 0] = torch.randn(1, 1, 4000)
    batch = Batch(sources.sum(1), sources)
    for name in ["ideal-ratio-mask", "ideal-binary-mask"]:
        estimate = BASELINES[name](FrontEnd()).separate(batch)
        assert estimate.magnitudes[0, 1].max().item() == 0
        assert estimate.presence.tolist() == [[1.0, 0.0]]


def test_every_baseline_is_described_and_wants_the_truth() -> None:
    assert list(DESCRIPTIONS) == list(BASELINES)
    for make in BASELINES.values():
        with pytest.raises(InputError, match="this batch holds none: give a data set with stems"):
            make(FrontEnd()).separate(Batch(torch.zeros(1, 1, 4000)))
