"""Test that settings of the program around avsep neither break nor change it, nor it them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import avsep
from avsep.checkpoint import load_model, shipped_names
from avsep.data.toyband import read_toyband
from avsep.evaluation.benchmark import score_clips
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.methods import find_methods
from avsep.records import Clip
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.material import Material
from avsep.toyband.pictures.performers import PictureSettings
from avsep.training.initial_weights import make_model
from avsep.training.recipe import load_training
from avsep.vision.i3d import load_i3d

RATE_HZ = 11_025


@contextmanager
def changed(change: Callable, value: object, usual: object) -> Iterator[None]:
    change(value)
    try:
        yield
    finally:
        change(usual)


def changes() -> dict[str, AbstractContextManager[object]]:
    """Return settings that a program may have made, by name."""
    return {
        "float64": changed(torch.set_default_dtype, torch.float64, torch.float32),
        "meta device": changed(torch.set_default_device, "meta", None),
        "meta context": torch.device("meta"),
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "no gradients": changed(torch.set_grad_enabled, False, True),
        "inference mode": torch.inference_mode(),
        "deterministic": changed(torch.use_deterministic_algorithms, True, False),
        "errors of NumPy": np.errstate(all="raise"),
        "two threads": changed(torch.set_num_threads, 2, 1),
    }


NAMES = list(changes())


def state() -> dict[str, object]:
    """Return everything global that avsep might change, as values that can be compared.

    But not the state of `random`, from which the type checks of these tests draw.
    """
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (the state that programs use)
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": (kind, np.asarray(keys).tolist(), rest),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "errors of NumPy": np.geterr(),
        "threads": torch.get_num_threads(),
    }


def stems(model: str) -> np.ndarray:
    """Load a model and separate a second of noise with pictures of noise."""
    generator = np.random.default_rng(0)
    clip = Clip(
        (0.1 * generator.standard_normal((2, RATE_HZ))).astype(np.float32),
        RATE_HZ,
        generator.integers(0, 256, (4, 48, 64, 3), dtype=np.uint8),
        np.arange(4) / 4,
    )
    result = avsep.separate(
        clip, ["violin@0,0,0.5,1", "piano@0.5,0,1,1"], model=model, quality="fast"
    )
    return np.stack([*result.stems.values(), result.residual])


@pytest.fixture(scope="module")
def plain() -> dict[str, np.ndarray]:
    """The stems of each shipped model in a program without settings of its own."""
    return {model: stems(model) for model in shipped_names()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", shipped_names())
def test_stems_are_the_same_in_any_program(
    model: str, name: str, plain: dict[str, np.ndarray]
) -> None:
    with changes()[name]:
        before = state()
        separated = stems(model)
        assert state() == before
    # PyTorch's other path of attention rounds sums differently. Threads do so in every layer, and a
    # sharp mask amplifies it: within a quarter of a 16-bit step.
    tolerance = 2**-17 if name == "two threads" else 1e-6
    np.testing.assert_allclose(separated, plain[model], atol=tolerance)
    assert np.abs(plain[model]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_the_same_whatever_it_was_loaded_under(name: str) -> None:
    expected = load_model("dgfnet-mini").state_dict()
    with changes()[name]:
        model = load_model("dgfnet-mini")
    weights = model.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in expected.items())
    assert all(value.dtype == expected[key].dtype for key, value in weights.items())
    # Tensors made in inference mode could not be trained.
    assert not any(tensor.is_inference() for tensor in [*model.parameters(), *model.buffers()])


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bands") / "band"
    make_band(folder)
    return folder


def make_band(folder: Path) -> None:
    pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
    settings = ToybandSettings(clip_seconds=2, num_performers=(2,), pictures=pictures)
    list(make_toyband(folder, 1, 2, settings, Material.read(), num_workers=1))


def scores(folder: Path) -> np.ndarray:
    methods = find_methods(["dgfnet-mini"])
    (mixture,) = score_clips(read_toyband(folder), methods)
    return np.stack([pair.scores_db for pair in mixture.scores.values()])


@pytest.mark.slow
def test_scores_are_the_same_in_any_program(band: Path) -> None:
    expected = scores(band)
    for name in ("float64", "meta context", "autocast", "errors of NumPy"):
        with changes()[name]:
            before = state()
            found = scores(band)
            assert state() == before
        # In dB, of stems that are equal to a few millionths.
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.slow
def test_nothing_draws_from_the_global_random_state(
    band: Path, tmp_path: Path, i3d_file: Path
) -> None:
    sounds = np.random.default_rng(0).standard_normal((2, 4000))
    recipe = load_training("dgfnet-mini")
    find_methods(["nmf-mfcc"])  # imports packages, one of which draws while it is imported
    before = state()
    for work in (
        *(lambda model=model: load_model(model) for model in shipped_names()),
        lambda: load_i3d(i3d_file),
        lambda: make_model(recipe),
        lambda: make_band(tmp_path / "band"),
        lambda: scores(band),
        lambda: bss_eval(sounds, sounds[::-1]),
    ):
        work()
        assert state() == before


PROGRAM = """
import random
import numpy as np
import avsep
from avsep.records import Clip

before = random.getstate()
clip = Clip(np.zeros((1, 11025), np.float32), 11025, np.zeros((2, 8, 8, 3), np.uint8), [0, 0.5])
avsep.Separator("davis-mini").separate(clip, "violin")
avsep.load_model("lavss-mini")
assert random.getstate() == before
"""


@pytest.mark.slow
def test_pythons_own_random_state_is_left_alone() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
