"""Test optional metrics: Fréchet distance, PESQ, CLAP with tiny weights, missing packages."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import sqrtm

from avsep.errors import InputError
from avsep.evaluation.metrics.plugins import (
    CLAP_VARIABLE,
    ClapEmbedder,
    clap_score,
    frechet_audio_distance,
    pesq_mos,
)
from avsep.evaluation.metrics.registry import measure
from evaluation.tiny_clap import write_tiny_clap


def test_frechet_distance_is_that_of_gaussians() -> None:
    """Samples with the mean and covariance of two Gaussians to the last digit."""
    rng = np.random.default_rng(0)
    num_samples = 50
    means, covariances, samples = [], [], []
    for _ in range(2):
        mean, root = rng.standard_normal(4), rng.standard_normal((4, 4))
        white = rng.standard_normal((num_samples, 4))
        white = np.linalg.qr(white - white.mean(0))[0] * np.sqrt(num_samples - 1)
        means.append(mean)
        covariances.append(root @ root.T)
        samples.append(mean + white @ root.T)
    mixed = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((means[0] - means[1]) ** 2).sum()
    expected += np.trace(covariances[0] + covariances[1] - 2 * mixed)
    assert frechet_audio_distance(*samples) == pytest.approx(expected, rel=1e-9)
    assert frechet_audio_distance(*samples[::-1]) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_few_sounds() -> None:
    """Two or three points in many dimensions have singular covariances, and a distance."""
    line = np.zeros((2, 512))
    line[:, 0] = [-1.0, 1.0]  # mean 0, variance 2
    other = np.zeros((3, 512))
    other[:, 0] = [1.0, 3.0, 5.0]  # mean 3, variance 4
    expected = 3**2 + (np.sqrt(4) - np.sqrt(2)) ** 2
    assert frechet_audio_distance(line, other) == pytest.approx(expected)
    assert frechet_audio_distance(line, line) == pytest.approx(0, abs=1e-12)
    apart = np.roll(other, 1, axis=1)  # no direction in common
    assert frechet_audio_distance(line, apart) == pytest.approx(9 + 2 + 4)


def test_frechet_distance_of_bad_sets() -> None:
    points = np.random.default_rng(1).standard_normal((5, 8))
    with pytest.raises(InputError, match="1 embeddings given, two or more finite ones are needed"):
        frechet_audio_distance(points, points[:1])
    with pytest.raises(InputError, match="5 embeddings given, two or more finite ones"):
        frechet_audio_distance(points * np.nan, points)
    with pytest.raises(InputError, match="embeddings have 8 and 7 dimensions"):
        frechet_audio_distance(points, points[:, 1:])


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(2).standard_normal((2, 1, 2000))
    for metric, package in (("pesq", "pesq"), ("clap", "transformers")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=f"{metric} needs a package: pip install {package}"):
            measure([metric], sound, sound, None, 8000)


# Speech.


def speech(seconds: float = 2.0, rate_hz: int = 16000) -> np.ndarray:
    """A voice-like sound: partials of 120 Hz in two formants, in syllables."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    partials = np.arange(1, 30)[:, None] * 120
    weights = np.exp(-(((partials - 600) / 300) ** 2)) + 0.5 * np.exp(
        -(((partials - 1800) / 400) ** 2)
    )
    voice = (weights * np.sin(2 * np.pi * partials * t)).sum(axis=0)
    return 0.1 * voice * np.clip(np.sin(2 * np.pi * 3 * t), 0, None)


def test_pesq_is_the_packages_own() -> None:
    pesq = pytest.importorskip("pesq")
    truth = speech()
    noise = np.random.default_rng(3).standard_normal(len(truth))
    little, much = truth + 0.002 * noise, truth + 0.02 * noise
    expected = pesq.pesq(16000, truth.astype(np.float32), much.astype(np.float32), "wb")
    assert pesq_mos(truth, much, 16000) == pytest.approx(expected, abs=1e-6)
    assert pesq_mos(truth, truth, 16000) == pytest.approx(4.64, abs=0.01)
    assert pesq_mos(truth, little, 16000) > pesq_mos(truth, much, 16000) + 0.1
    # A rate of its own is brought to 16 kHz first, which costs next to nothing.
    fast = speech(rate_hz=48000)
    assert pesq_mos(fast, fast, 48000) == pytest.approx(4.64, abs=0.01)


def test_pesq_of_long_silent_and_short_sounds() -> None:
    pytest.importorskip("pesq")
    truth = speech(21.0)
    quiet_end = truth.copy()
    quiet_end[len(truth) // 2 :] = 0.0
    assert pesq_mos(truth, truth, 16000) == pytest.approx(4.64, abs=0.01)
    assert pesq_mos(quiet_end, quiet_end, 16000) == pytest.approx(4.64, abs=0.01)
    assert pesq_mos(truth, quiet_end, 16000) == -np.inf
    assert pesq_mos(truth, 0 * truth, 16000) == -np.inf
    with pytest.raises(InputError, match=r"pesq needs 0.25 s of sound or more, there are 0.200 s"):
        pesq_mos(truth[:3200], truth[:3200], 16000)
    with pytest.raises(InputError, match="pesq finds no speech in the reference"):
        pesq_mos(0 * truth, truth, 16000)


# CLAP.


@pytest.fixture
def clap_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tiny-clap"
    write_tiny_clap(folder)
    monkeypatch.setenv(CLAP_VARIABLE, str(folder))
    return folder


@pytest.mark.slow
def test_clap_hears_what_its_package_hears(clap_folder: Path) -> None:
    import torch
    from transformers import ClapFeatureExtractor, ClapModel

    rng = np.random.default_rng(4)
    sound = 0.1 * rng.standard_normal((2, 11 * 48000)).astype(np.float32)
    embedder = ClapEmbedder.load()
    points = embedder.embed(sound, 48000)
    assert points.shape == (2, 6)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-6)
    model = ClapModel.from_pretrained(clap_folder).eval()
    extractor = ClapFeatureExtractor.from_pretrained(clap_folder)
    first = sound.mean(axis=0)[: 10 * 48000]
    features = extractor(first, sampling_rate=48000, return_tensors="pt")
    with torch.inference_mode():
        result = model.get_audio_features(**features)
    expected = getattr(result, "pooler_output", result)[0].numpy()
    np.testing.assert_allclose(points[0], expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_array_equal(embedder.embed(sound, 48000), points)
    slower = embedder.embed(sound[:, :44100], 44100)
    assert slower.shape == (1, 6)


@pytest.mark.slow
def test_clap_is_a_metric(clap_folder: Path) -> None:
    rng = np.random.default_rng(5)
    sources = rng.standard_normal((2, 2, 48000))
    (same,) = measure(["clap"], sources, sources, None, 48000).values()
    np.testing.assert_allclose(same, 1, atol=1e-5)
    other = np.cumsum(sources, axis=-1)
    (less,) = measure(["clap"], sources, other, None, 48000).values()
    assert (less < same).all()
    embedder = ClapEmbedder.load(str(clap_folder))
    pair = embedder.embed(sources[0], 48000), embedder.embed(other[0], 48000)
    assert clap_score(*pair) == pytest.approx(less[0])


def test_clap_without_weights_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no CLAP weights .* put a folder with config") as stop:
        ClapEmbedder.load(str(tmp_path))
    assert "\n" not in str(stop.value)
