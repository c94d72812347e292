"""Test the floor of further metrics in an evaluation: no ratio in dB is below -30."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avsep.data.clips import ClipFiles, SourceFile
from avsep.evaluation.baselines import MixtureBaseline
from avsep.evaluation.benchmark import Evaluator
from avsep.evaluation.methods import Method
from avsep.evaluation.protocol import FLOOR_DB
from avsep.records import Batch, Separation, VisibleObject
from avsep.sound.front_end import FrontEnd, FrontEndSettings, StftSettings

# A window of a quarter of a second keeps the test quick.
FRONT_END = FrontEnd(
    FrontEndSettings(
        sample_rate_hz=8000, window_samples=2048, stft=StftSettings(fft_samples=256, hop_samples=64)
    )
)


class Amplifier(MixtureBaseline):
    """A method whose estimates are the mixture times a gain."""

    def __init__(self, front_end: FrontEnd, gain: float) -> None:
        super().__init__(front_end)
        self.gain = gain

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        """Scale the mixture."""
        separation = super().separate(batch)
        return replace(separation, magnitudes=separation.magnitudes * self.gain)


@pytest.fixture
def duet(tmp_path: Path) -> ClipFiles:
    stems = 0.1 * np.random.default_rng(0).standard_normal((2, 3000))
    sources = []
    for index, stem in enumerate(stems):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, stem, 8000, subtype="FLOAT")
        sources.append(SourceFile(path, "harp", "duet", VisibleObject()))
    return ClipFiles("duet", tmp_path / "duet.mp4", tuple(sources), ())


def test_ratios_in_db_have_a_floor(duet: ClipFiles) -> None:
    """As for SDR: neither noise nor silence scores below -30 dB, and silence has a score."""
    gains = {"plain": 1.0, "silent": 0.0, "loud": 1e4}  # SA-SDR of "loud" is about -80 dB
    methods = [
        Method(name, Amplifier(FRONT_END, g), FRONT_END, "nothing") for name, g in gains.items()
    ]
    names = ("si-sdr", "sa-sdr", "spectral")
    values = Evaluator([duet], methods, metrics=names).score(0).metrics
    assert FLOOR_DB == -30
    assert values["silent"]["si-sdr"].tolist() == [-30, -30]  # -inf without the floor
    assert values["loud"]["sa-sdr"].tolist() == [-30, -30]
    # Values above the floor stay as they are: SI-SDR ignores gains, and the distance has no floor.
    np.testing.assert_allclose(values["loud"]["si-sdr"], values["plain"]["si-sdr"], atol=1e-3)
    assert (values["plain"]["si-sdr"] > -5).all()
    assert (values["plain"]["spectral"] < values["loud"]["spectral"]).all()
