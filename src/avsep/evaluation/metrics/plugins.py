"""Compute metrics of optional packages: PESQ, CLAP score and Fréchet audio distance."""

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

# Weights for CLAP scores and FAD, unless AVSEP_CLAP names a folder or another hub id.
CLAP_WEIGHTS = "laion/clap-htsat-unfused"
CLAP_VARIABLE = "AVSEP_CLAP"
PESQ_RATE_HZ = 16000
# PESQ is designed for sentences of about ten seconds, and its C code has room for 50 utterances.
_MAX_PESQ_SECONDS = 20
_MIN_PESQ_SECONDS = 0.25  # its C code refuses shorter sound


# PESQ


def pesq_mos(
    reference: Shaped[np.ndarray, " N"], estimate: Shaped[np.ndarray, " N"], sample_rate_hz: int
) -> float:
    """Return wide-band PESQ of speech, 1 to 4.64, higher is better (ITU-T P.862.2).

    Computed by the package pesq at 16 kHz, to which both are resampled. Sounds longer than 20 s are
    split into equal parts of at most 20 s, and the mean is over those with speech. An estimate of
    zeros, for which PESQ is not defined, scores -inf.

    Raises:
        InputError: no package pesq, less than a quarter of a second, no speech in the reference.
    """
    pesq = require_package("pesq", "pesq")
    truth, guess = (
        resample(x.astype(np.float32)[None], sample_rate_hz, PESQ_RATE_HZ)[0]
        for x in (reference, estimate)
    )
    if len(truth) < _MIN_PESQ_SECONDS * PESQ_RATE_HZ:
        raise InputError(
            f"pesq needs {_MIN_PESQ_SECONDS} s of sound or more, there are "
            f"{len(truth) / PESQ_RATE_HZ:.3f} s; leave it out"
        )
    num_parts = math.ceil(len(truth) / (_MAX_PESQ_SECONDS * PESQ_RATE_HZ))
    parts = zip(*(np.array_split(x, num_parts) for x in (truth, guess)), strict=True)
    scores = [_score_part(pesq, *part) for part in parts]
    scores = [score for score in scores if score is not None]
    if not scores:
        raise InputError("pesq finds no speech in the reference; it is a score of speech only")
    return float(np.mean(scores))


def _score_part(
    pesq: ModuleType, truth: Float32[np.ndarray, " n"], guess: Float32[np.ndarray, " n"]
) -> float | None:
    """Return PESQ of at most 20 s, None without speech."""
    if not guess.any():
        return -math.inf if truth.any() else None
    try:
        return float(pesq.pesq(PESQ_RATE_HZ, truth, guess, "wb"))
    except pesq.NoUtterancesError:
        return None
    except (pesq.PesqError, ValueError) as error:
        raise InputError(f"pesq cannot score this sound ({error}); leave it out") from error


# CLAP score and Fréchet audio distance


class ClapEmbedder:
    """A CLAP audio encoder of the package transformers: embeddings of sounds.

    Args:
        model, extractor: a `ClapModel` and its `ClapFeatureExtractor`.
    """

    def __init__(self, model: Any, extractor: Any) -> None:
        self._model, self._extractor = model.eval(), extractor
        self.sample_rate_hz: int = extractor.sampling_rate
        self._window_samples: int = extractor.nb_max_samples

    @classmethod
    def load(cls, weights: str | None = None) -> Self:
        """Load the network of a folder or hub id; by default of AVSEP_CLAP, else CLAP_WEIGHTS.

        Raises:
            InputError: no package transformers, no such weights, no network to fetch them.
        """
        name = weights or os.environ.get(CLAP_VARIABLE) or CLAP_WEIGHTS
        return _load_clap(cls, name)

    def embed(
        self, waveform: Shaped[np.ndarray, "C N"], sample_rate_hz: int
    ) -> Float64[np.ndarray, "windows D"]:
        """Return a unit-length embedding of each ten seconds of the mean of all channels.

        The remainder at the end is a window too; short windows are repeated to the full length, as
        in CLAP's training.
        """
        mono = waveform.astype(np.float32).mean(axis=0, keepdims=True)
        (mono,) = resample(mono, sample_rate_hz, self.sample_rate_hz)
        embeddings = [
            self._embed_window(mono[start : start + self._window_samples])
            for start in range(0, len(mono), self._window_samples)
        ]
        return np.stack(embeddings).astype(np.float64)

    def _embed_window(self, window: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " D"]:
        features = self._extractor(window, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        # The extractor marks one input of a batch at random as longer than a window; none is.
        longer = torch.zeros_like(features["is_longer"], dtype=torch.bool)
        with torch.inference_mode():
            output = self._model.get_audio_features(
                input_features=features["input_features"], is_longer=longer
            )
        # A tensor up to transformers 4, an object with that tensor from version 5.
        embeddings = getattr(output, "pooler_output", output)
        return torch.nn.functional.normalize(embeddings[0], dim=-1).numpy()


@lru_cache(maxsize=1)
def _load_clap(embedder: type[ClapEmbedder], name: str) -> Any:
    """Load a network once per process: every mixture uses it."""
    transformers = require_package("transformers", "clap")
    try:
        extractor = transformers.ClapFeatureExtractor.from_pretrained(name)
        return embedder(transformers.ClapModel.from_pretrained(name), extractor)
    except (OSError, ValueError, KeyError) as error:
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise InputError(
            f"no CLAP weights '{name}' ({why}); fetch them once with a network, or put a folder "
            f"with config.json, preprocessor_config.json and model.safetensors in {CLAP_VARIABLE}"
        ) from error


def clap_score(
    reference: Float64[np.ndarray, "windows D"], estimate: Float64[np.ndarray, "windows D"]
) -> float:
    """Return the cosine similarity of two sounds' embeddings, -1 to 1, mean over windows."""
    return float((reference * estimate).sum(axis=-1).mean())


def frechet_audio_distance(
    embeddings_a: Float64[np.ndarray, "A D"], embeddings_b: Float64[np.ndarray, "B E"]
) -> float:
    """Return the Fréchet distance between the Gaussians of two sets of embeddings, 0 is best.

        |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

    with means m and covariances S (Kilgour, Zuluaga, Roblek, Sharifi, "Fréchet audio distance",
    Interspeech 2019). It grows as sets get smaller: compare sets of one size only.

    Raises:
        InputError: a set of fewer than two, different numbers of dimensions, NaN.
    """
    for embeddings in (embeddings_a, embeddings_b):
        if len(embeddings) < 2 or not np.isfinite(embeddings).all():
            raise InputError(
                f"FAD compares sets of sounds: {len(embeddings)} embeddings given, two or more "
                "finite ones are needed in each (one for each ten seconds of sound)"
            )
    if embeddings_a.shape[1] != embeddings_b.shape[1]:
        raise InputError(
            f"embeddings have {embeddings_a.shape[1]} and {embeddings_b.shape[1]} dimensions; "
            "they must come from one network"
        )
    offset = embeddings_a.mean(axis=0) - embeddings_b.mean(axis=0)
    roots = [_covariance_root(embeddings) for embeddings in (embeddings_a, embeddings_b)]
    spread = sum(float(np.square(root).sum()) for root in roots)
    # The trace of (S_a S_b)^(1/2) is the sum of the singular values of their roots' product. Unlike
    # a matrix square root this is exact for singular covariances, as of few sounds.
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(offset @ offset + spread - 2 * shared))


def _covariance_root(
    embeddings: Float64[np.ndarray, "A D"],
) -> Float64[np.ndarray, "rank D"]:
    """Return a matrix R with R^T R the covariance; min(sounds, dimensions) rows."""
    centred = (embeddings - embeddings.mean(axis=0)) / math.sqrt(len(embeddings) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))
