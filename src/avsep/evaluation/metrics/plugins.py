"""Scores of packages that are not installed with avsep: PESQ of speech, CLAP score and FAD."""

import math
import os
from functools import lru_cache
from types import ModuleType
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32, Float64, Shaped

from avsep.errors import InputError, require_package
from avsep.sound.resampling import resample

# The weights that make CLAP scores and FAD, unless AVSEP_CLAP names a folder or another hub id.
CLAP_WEIGHTS = "laion/clap-htsat-unfused"
CLAP_VARIABLE = "AVSEP_CLAP"
PESQ_RATE_HZ = 16000
# PESQ is made for some ten seconds, and its code holds 50 utterances.
_LONGEST_PESQ_SECONDS = 20
_SHORTEST_PESQ_SECONDS = 0.25


# Speech.


def pesq_mos(
    reference: Shaped[np.ndarray, " N"], estimate: Shaped[np.ndarray, " N"], sample_rate_hz: int
) -> float:
    """Wide-band PESQ of speech, 1 to 4.64, higher is better (ITU-T P.862.2), by the package pesq.

    Both are resampled to 16 kHz. Beyond 20 s it is the mean over equal parts of at most that in
    which somebody speaks. An estimate of zeros, for which PESQ has no figure, scores -inf.

    Raises:
        InputError: no package pesq, less than a quarter of a second, no speech in the reference.
    """
    pesq = require_package("pesq", "pesq")
    truth, guess = (
        resample(x.astype(np.float32)[None], sample_rate_hz, PESQ_RATE_HZ)[0]
        for x in (reference, estimate)
    )
    if len(truth) < _SHORTEST_PESQ_SECONDS * PESQ_RATE_HZ:
        raise InputError(
            f"pesq needs {_SHORTEST_PESQ_SECONDS} s of sound or more, there are "
            f"{len(truth) / PESQ_RATE_HZ:.3f} s; leave it out"
        )
    num_parts = math.ceil(len(truth) / (_LONGEST_PESQ_SECONDS * PESQ_RATE_HZ))
    parts = zip(*(np.array_split(x, num_parts) for x in (truth, guess)), strict=True)
    found = [_pesq_of_part(pesq, *part) for part in parts]
    found = [mos for mos in found if mos is not None]
    if not found:
        raise InputError("pesq finds no speech in the reference; it is a score of speech only")
    return float(np.mean(found))


def _pesq_of_part(
    pesq: ModuleType, truth: Float32[np.ndarray, " n"], guess: Float32[np.ndarray, " n"]
) -> float | None:
    """PESQ of at most 20 s, none where nobody speaks."""
    if not guess.any():
        return -math.inf if truth.any() else None
    try:
        return float(pesq.pesq(PESQ_RATE_HZ, truth, guess, "wb"))
    except pesq.NoUtterancesError:
        return None
    except (pesq.PesqError, ValueError) as error:
        raise InputError(f"pesq cannot score this sound ({error}); leave it out") from error


# What a network that knows sounds and words hears.


class ClapEmbedder:
    """A CLAP network by transformers: sounds to points, near to one another where they sound alike.

    Args:
        model, extractor: a `ClapModel` and its `ClapFeatureExtractor`.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        self._model, self._extractor = model.eval(), extractor
        self.sample_rate_hz: int = extractor.sampling_rate
        self._window_samples: int = extractor.nb_max_samples

    @classmethod
    def load(cls, weights: str | None = None) -> Self:
        """The network of a folder, or of a hub id; none: of AVSEP_CLAP, else CLAP_WEIGHTS.

        Raises:
            InputError: no package transformers, no such weights, no network to fetch them.
        """
        name = weights or os.environ.get(CLAP_VARIABLE) or CLAP_WEIGHTS
        return _load_clap(cls, name)

    def embed(
        self, waveform: Shaped[np.ndarray, "C N"], sample_rate_hz: int
    ) -> Float64[np.ndarray, "windows D"]:
        """A point of length 1 for each ten seconds of a sound, of its channels' mean.

        What is left at the end makes a window too; windows that are too short are repeated to fill
        it, as CLAP is trained.
        """
        mono = waveform.astype(np.float32).mean(axis=0, keepdims=True)
        (mono,) = resample(mono, sample_rate_hz, self.sample_rate_hz)
        points = [
            self._embed_window(mono[start : start + self._window_samples])
            for start in range(0, len(mono), self._window_samples)
        ]
        return np.stack(points).astype(np.float64)

    def _embed_window(self, window: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " D"]:
        features = self._extractor(window, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        # The extractor draws one at random to count as longer than a window; none is.
        longer = torch.zeros_like(features["is_longer"], dtype=torch.bool)
        with torch.inference_mode():
            found = self._model.get_audio_features(
                input_features=features["input_features"], is_longer=longer
            )
        # Up to version 4 the points themselves, since then an object that holds them.
        points = getattr(found, "pooler_output", found)
        return torch.nn.functional.normalize(points[0], dim=-1).numpy()


@lru_cache(maxsize=1)
def _load_clap(kind: type[ClapEmbedder], name: str) -> Any:
    transformers = require_package("transformers", "clap")
    try:
        extractor = transformers.ClapFeatureExtractor.from_pretrained(name)
        return kind(transformers.ClapModel.from_pretrained(name), extractor)
    except (OSError, ValueError, KeyError) as error:
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"no CLAP weights '{name}' ({why}); fetch them once with a network, or put a folder "
            f"with config.json, preprocessor_config.json and model.safetensors in {CLAP_VARIABLE}"
        ) from error


def clap_score(
    reference: Float64[np.ndarray, "windows D"], estimate: Float64[np.ndarray, "windows D"]
) -> float:
    """Cosine of the angle between two sounds' embeddings, -1 to 1, mean over their windows."""
    return float((reference * estimate).sum(axis=-1).mean())


def frechet_audio_distance(
    embeddings_a: Float64[np.ndarray, "A D"], embeddings_b: Float64[np.ndarray, "B E"]
) -> float:
    """Fréchet distance between the Gaussians of two sets of embeddings, 0 is best.

        |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    with means m and covariances S (Kilgour, Zuluaga, Roblek, Sharifi, "Fréchet audio distance",
    Interspeech 2019). It grows as sets get smaller: compare sets of one size only.

    Raises:
        InputError: a set of fewer than two, different numbers of dimensions, NaN.
    """
    for given in (embeddings_a, embeddings_b):
        if len(given) < 2 or not np.isfinite(given).all():
            raise InputError(
                f"FAD compares sets of sounds: {len(given)} embeddings given, two or more finite "
                "ones are needed in each (one for each ten seconds of sound)"
            )
    if embeddings_a.shape[1] != embeddings_b.shape[1]:
        raise InputError(
            f"embeddings have {embeddings_a.shape[1]} and {embeddings_b.shape[1]} dimensions; "
            "they must come from one network"
        )
    offset = embeddings_a.mean(axis=0) - embeddings_b.mean(axis=0)
    roots = [_covariance_root(given) for given in (embeddings_a, embeddings_b)]
    spread = sum(float(np.square(root).sum()) for root in roots)
    # The trace of (S_a S_b)^(1/2) is the sum of the singular values of their roots' product: exact
    # where covariances of few sounds are singular, which a matrix root is not.
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(offset @ offset + spread - 2 * shared))


def _covariance_root(
    embeddings: Float64[np.ndarray, "A D"],
) -> Float64[np.ndarray, "rank D"]:
    """A matrix R with R^T R the covariance, of as few rows as it takes."""
    centred = (embeddings - embeddings.mean(axis=0)) / math.sqrt(len(embeddings) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))
