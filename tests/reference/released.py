"""Golden values of the networks that the papers' authors released: `tests/golden/released`.

A file names the tensors of one released network's checkpoint in order, the rule that fills them,
inputs by formula, and what the released network answers at stated places. The rule is one sequence
of numbers, `r(i, t) = u - floor(u) - 0.5` with
`u = sin(12.9898 (i + 1) + 78.233 (t + 1)) * 43758.5453`, for the flat position `i` of tensor `t`;
inputs count `t` from 1000, checksums use 2000.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent.parent / "golden" / "released"
CHECKSUM = 2000

Golden = dict[str, Any]


def golden(name: str) -> Golden:
    """What the file of one released network, sampler or loss holds."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def numbers(size: int, t: int) -> np.ndarray:
    """The rule's numbers in [-0.5, 0.5) for tensor `t`: [size], float64."""
    position = np.arange(1, size + 1, dtype=np.float64)
    u = np.sin(12.9898 * position + 78.233 * (t + 1)) * 43758.5453
    return u - np.floor(u) - 0.5


def released_state(golden: Golden) -> dict[str, Tensor]:
    """The filled state dict, with the names and the order of the released checkpoint."""
    state: dict[str, Tensor] = {}
    factors, tied = golden["fill"]["factors_here"], golden["fill"]["tied_here"]
    for t, (key, shape, dtype) in enumerate(golden["state"]):
        if key in tied:
            state[key] = state[tied[key]]
        else:
            state[key] = _filled(key, shape, dtype, t, factors.get(key, 1.0))
    return state


def given(spec: Golden) -> Tensor:
    """One input of a golden file, from its formula or its values."""
    if "values" in spec:
        return torch.from_numpy(np.array(spec["values"], spec["dtype"]))
    values = spec["offset"] + spec["amplitude"] * numbers(math.prod(spec["shape"]), spec["t"])
    values = np.clip(values, *spec.get("clamp", (-np.inf, np.inf)))
    return torch.from_numpy(values.astype(np.float32).reshape(spec["shape"]))


def assert_meets(actual: Tensor, expected: Golden, tolerance: float = 1e-4) -> None:
    """Assert that an output has the released shape, values and checksum.

    `tolerance` is in standard deviations of the output: the same released network with other
    kernels stays within 6e-5 of them.
    """
    values = actual.detach().double().numpy()
    assert list(values.shape) == list(expected["shape"])
    flat, scale = values.ravel(), expected["std"]
    difference = np.abs(flat[expected["positions"]] - expected["values"]).max()
    assert difference <= tolerance * scale, f"differs by {difference / scale:.1e} of std"
    checksum = float((flat * numbers(flat.size, CHECKSUM)).sum())
    # Errors of single cells add up like a random walk, which leaves room for a few of them.
    slack = tolerance * scale * math.sqrt(flat.size)
    assert abs(checksum - expected["checksum"]) <= slack


def _filled(key: str, shape: list[int], dtype: str, t: int, factor: float) -> Tensor:
    if "int" in dtype:
        return torch.zeros(shape, dtype=torch.int64)
    values, parts = numbers(math.prod(shape), t), key.split(".")
    if parts[-1] == "running_var":
        values = 1 + 0.4 * values
    elif parts[-1] in ("running_mean", "beta") or parts[-1].endswith("bias"):
        values = 0.2 * values
    elif len(shape) < 2 or parts[-1] in ("g", "gamma") or parts[0] in ("a0", "b0"):
        values = 1 + 0.2 * values
    else:
        values = values * (2 * math.sqrt(3) / math.sqrt(math.prod(shape[1:])))
    return torch.from_numpy((values * factor).astype(np.float32).reshape(shape))
