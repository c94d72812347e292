"""Test BSS Eval against mir_eval on random cases of every kind, to 1e-6 dB."""

import mir_eval
import numpy as np
import pytest
import torch
from scipy.signal import butter, lfilter, sosfilt

from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.bss_eval_images import bss_eval_images

TOLERANCE_DB = 1e-6
PERFECT_DB = 100.0  # beyond it rounding decides
RATE_HZ = 11025
# Below this the equations of delayed references are singular to the last bit in float64, and
# mir_eval answers with what rounding leaves of them.
LEAST_EIGENVALUE = 1e-13
KINDS = (
    "white", "coloured", "correlated", "delayed", "nearly silent", "clipped", "plucked", "float32",
)  # fmt: skip


def random_case(seed: int, longest_seconds: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Make sources, estimates with leaks, delay and noise, and a choice to permute."""
    rng = np.random.default_rng(seed)
    num_sources = int(rng.choice([1, 2, 2, 2, 3, 4]))
    seconds = np.exp(rng.uniform(np.log(0.5), np.log(longest_seconds)))
    num_samples = max(int(seconds * RATE_HZ), num_sources * 512 + 200)
    kind = KINDS[seed % len(KINDS)]
    sources = make_sources(kind, rng, num_sources, num_samples)
    leaks = np.eye(num_sources) + rng.uniform(-0.3, 0.3, (num_sources, num_sources))
    estimates = np.roll(leaks @ sources, int(rng.integers(0, 60)), axis=-1)
    noise = rng.standard_normal(sources.shape) * np.abs(estimates).mean(-1, keepdims=True)
    estimates = estimates + 10.0 ** -rng.uniform(0, 3) * noise
    if kind == "clipped":
        estimates = estimates.clip(-0.7, 0.7)
    permute = bool(rng.integers(2))
    if permute:
        estimates = estimates[rng.permutation(num_sources)]
    if kind == "float32":
        return sources.astype(np.float32), estimates.astype(np.float32), permute
    return sources, estimates, permute


def make_sources(
    kind: str, rng: np.random.Generator, num_sources: int, num_samples: int
) -> np.ndarray:
    white = rng.standard_normal((num_sources, num_samples))
    if kind == "coloured":
        return sosfilt(butter(1, rng.uniform(0.1, 0.6), output="sos"), white) + 0.01 * white
    if kind == "correlated":
        return white + rng.uniform(0, 2) * white[0]
    if kind == "delayed":
        echo = np.roll(white[0], int(rng.integers(1, 500)))
        return white + 0.8 * echo
    if kind == "nearly silent":
        return white * 10.0 ** -rng.uniform(0, 7, (num_sources, 1))
    if kind == "clipped":
        return (2 * white).clip(-1, 1)
    if kind == "plucked":  # strings that ring, as music does, over the faint noise of a recording
        plucks = white * (rng.random(white.shape) < 2e-4)
        delays = rng.integers(15, 120, num_sources)
        strings = [
            lfilter([1], [1, *np.zeros(delay), -0.98], row)
            for delay, row in zip(delays, plucks, strict=True)
        ]
        return np.stack(strings) + 1e-3 * white
    return white


def least_eigenvalue(sources: np.ndarray, taps: int = 512) -> float:
    """Compute it for the inner products of all delayed sources, each of energy 1."""
    padded = np.pad(sources / np.linalg.norm(sources, axis=-1, keepdims=True), ((0, 0), (0, taps)))
    spectra = np.fft.rfft(padded)
    lags = np.fft.irfft(spectra[:, None].conj() * spectra[None], n=padded.shape[-1])
    index = np.arange(taps)[:, None] - np.arange(taps)
    gram = np.block([[lags[i, j][index] for j in range(len(lags))] for i in range(len(lags))])
    return float(np.linalg.eigvalsh(gram)[0])


def assert_mir_eval_agrees(seed: int, longest_seconds: float) -> None:
    sources, estimates, permute = random_case(seed, longest_seconds)
    as_double = sources.astype(np.float64), estimates.astype(np.float64)
    *expected_db, order = mir_eval.separation.bss_eval_sources(*as_double, permute)
    scores = bss_eval(sources, estimates, permute=permute)
    found_db = np.moveaxis(scores.table_db, -1, 0)
    if permute:
        assert scores.permutation.tolist() == list(order)
    expected_db = np.array(expected_db)
    perfect = expected_db > PERFECT_DB
    assert (found_db[perfect] > PERFECT_DB).all()
    if seed % 16 == 6:  # for some cases: they must be regular, as the tolerance needs
        assert least_eigenvalue(as_double[0]) > LEAST_EIGENVALUE
    np.testing.assert_allclose(found_db[~perfect], expected_db[~perfect], rtol=0, atol=TOLERANCE_DB)


# Four of the eight kinds, with few samples; the slow tests have all.
QUICK = (1, 4, 5, 6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed",
    [*QUICK, *(pytest.param(s, marks=pytest.mark.slow) for s in range(24) if s not in QUICK)],
)
def test_mir_eval_agrees(seed: int) -> None:
    assert_mir_eval_agrees(seed, longest_seconds=0.7)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 300, 10))
def test_mir_eval_agrees_on_many_and_long(first: int) -> None:
    for seed in range(first, first + 10):
        assert_mir_eval_agrees(seed, longest_seconds=20)


@pytest.mark.slow
@pytest.mark.parametrize("permute", [False, True])
@pytest.mark.parametrize(
    ("num_sources", "num_channels"),
    [(1, 2), (2, 1), (2, 2), pytest.param(3, 2, marks=pytest.mark.slow)],
)
def test_mir_eval_agrees_on_images(num_sources: int, num_channels: int, permute: bool) -> None:
    rng = np.random.default_rng(num_sources)
    sources = rng.standard_normal((num_sources, num_channels, 5000))
    noise = 10.0 ** -rng.uniform(0, 2) * rng.standard_normal(sources.shape)
    estimates = sources + 0.3 * sources[::-1] + 0.1 * sources[:, ::-1] + noise
    if permute:
        estimates = np.roll(estimates, 1, axis=0)
    *expected_db, order = mir_eval.separation.bss_eval_images(
        sources.transpose(0, 2, 1), estimates.transpose(0, 2, 1), permute
    )
    scores = bss_eval_images(sources, estimates, permute=permute)
    found_db = [scores.sdr_db, scores.isr_db, scores.sir_db, scores.sar_db]
    finite = np.isfinite(expected_db)
    assert (np.array(found_db)[~finite] == np.inf).all()  # SIR of one source
    np.testing.assert_allclose(
        np.array(found_db)[finite], np.array(expected_db)[finite], rtol=0, atol=TOLERANCE_DB
    )
    assert scores.permutation.tolist() == list(order)


@pytest.mark.slow
def test_images_of_a_batch_and_of_silence() -> None:
    rng = np.random.default_rng(3)
    sources = rng.standard_normal((3, 2, 2, 1500))
    answers = sources[:, None] + 0.2 * rng.standard_normal((3, 4, 2, 2, 1500))
    answers[1, 2, 0] = 0.0
    batch = bss_eval_images(sources[:, None], answers, filter_taps=32)
    assert batch.isr_db.shape == (3, 4, 2)
    for index in np.ndindex(3, 4):
        single = bss_eval_images(sources[index[0]], answers[index], filter_taps=32)
        for name in ("sdr_db", "isr_db", "sir_db", "sar_db"):
            result, expected = getattr(batch, name)[index], getattr(single, name)
            np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)
    assert batch.sdr_db[1, 2, 0] == batch.isr_db[1, 2, 0] == batch.sar_db[1, 2, 0] == -np.inf
    # A gain is forgiven by the sources' scores, and counted by the images'.
    quieter = bss_eval_images(sources[0], 0.5 * sources[0], filter_taps=32)
    np.testing.assert_allclose(quieter.sdr_db, 20 * np.log10(2), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_answers_to_one_mixture_share_its_references() -> None:
    """Axes that the references lack broadcast, at any position."""
    rng = np.random.default_rng(9)
    sources = rng.standard_normal((5, 2, 1200))
    answers = sources + rng.uniform(0.1, 2, (3, 5, 2, 1)) * rng.standard_normal((3, 5, 2, 1200))
    together = bss_eval(sources, answers, filter_taps=40).table_db
    assert together.shape == (3, 5, 2, 3)
    for model, mixture in np.ndindex(3, 5):
        alone = bss_eval(sources[mixture], answers[model, mixture], filter_taps=40).table_db
        np.testing.assert_allclose(together[model, mixture], alone, rtol=0, atol=1e-9)
    last = bss_eval(sources[:, None], answers.swapaxes(0, 1), filter_taps=40).table_db
    np.testing.assert_allclose(last, together.swapaxes(0, 1), rtol=0, atol=1e-9)
    # More estimates than fit in one batch, with both permutations among them.
    many = np.concatenate([answers[:, 0], answers[:, 0, ::-1]] * 12)
    result = bss_eval(sources[0], torch.tensor(many), permute=True, filter_taps=40)
    assert result.permutation.tolist() == ([[0, 1]] * 3 + [[1, 0]] * 3) * 12
    np.testing.assert_allclose(result.sdr_db[3:6], result.sdr_db[:3], rtol=0, atol=1e-9)


@pytest.mark.parametrize("level", [1e-300, 1e-160, 1e150, 1e300])
def test_images_of_extreme_levels(level: float) -> None:
    rng = np.random.default_rng(5)
    sources = rng.standard_normal((2, 2, 800))
    answers = sources + 0.3 * sources[::-1] + 0.1 * rng.standard_normal(sources.shape)
    plain = bss_eval_images(sources, answers, filter_taps=16)
    scaled = bss_eval_images(level * sources, level * answers, filter_taps=16)
    apart = bss_eval_images(sources, level * answers, filter_taps=16)
    for name in ("sdr_db", "isr_db", "sir_db", "sar_db"):
        expected = getattr(plain, name)
        np.testing.assert_allclose(getattr(scaled, name), expected, rtol=0, atol=1e-9)
    # SDR and ISR depend on the level of the estimate, SIR and SAR do not.
    np.testing.assert_allclose(apart.sir_db, plain.sir_db, rtol=0, atol=1e-9)
    np.testing.assert_allclose(apart.sar_db, plain.sar_db, rtol=0, atol=1e-9)


def test_an_image_without_its_source_is_not_silent() -> None:
    """Sources that sound one after the other, with estimates exchanged: all sound is wrong."""
    sources = np.zeros((2, 1, 900))
    noise = np.random.default_rng(6).standard_normal((2, 300))
    sources[0, 0, :300], sources[1, 0, 600:] = noise
    scores = bss_eval_images(sources, sources[::-1], filter_taps=32)
    energy = np.square(sources).sum((1, 2))
    expected_db = 10 * np.log10(energy / energy.sum())
    np.testing.assert_allclose(scores.sdr_db, expected_db, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores.isr_db, 0, rtol=0, atol=1e-9)
    assert (scores.sir_db < -100).all()
    assert (scores.sar_db > 100).all()
