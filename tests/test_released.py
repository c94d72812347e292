"""Test the tables of released names: prefixes, copies, changes, and what is left out."""

import pytest
import torch

from avsep.errors import InputError
from avsep.released import LeftOut, ReleasedNetwork, ReleasedSystem, Rename, Unused, assign

HEADS = ReleasedNetwork(
    "heads",
    ("head_0.weight", "out.weight"),
    (
        Rename(r"head_\d\.weight", "heads.weight", lambda tensors: torch.cat(list(tensors))),
        Rename(r"out\.(\w+)", r"last.\1"),
    ),
    unused=(Unused(r"dead\..+", "never used"),),
)
TAIL = ReleasedNetwork("tail", ("scale",), (Rename("scale", "tail.scale"),))
SYSTEM = ReleasedSystem(
    model="dgfnet",
    repository="example.org/code",
    licence="MIT",
    networks=(HEADS, TAIL),
    settings=lambda weights: {},
    unused=(Unused("schedule", "computed"),),
)
STATE = {
    "head_0.weight": torch.zeros(1, 2),
    "head_1.weight": torch.ones(1, 2),
    "out.weight": torch.ones(3),
    "dead.bias": torch.ones(4),
}


def prefixed(prefix: str, factor: float = 1.0) -> dict[str, torch.Tensor]:
    return {prefix + name: factor * value for name, value in STATE.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "state_dict.module.", "net.model.0."])
def test_any_prefix_is_taken_off(prefix: str) -> None:
    result = assign(SYSTEM, {"a": prefixed(prefix), "b": {"scale": torch.ones(1)}})
    assert not result.missing(SYSTEM) and not result.unknown
    weights = result.parts[0].translation.weights
    # Several tensors become one, in the order of the checkpoint.
    assert weights["heads.weight"].tolist() == [[0, 0], [1, 1]]
    assert result.parts[0].translation.sources["heads.weight"] == ["head_0.weight", "head_1.weight"]
    assert result.left_out == [LeftOut("dead.bias", "never used")]


def test_the_moving_average_is_preferred_and_the_rest_has_a_reason() -> None:
    extra = {"optimizer.state.0.exp_avg": 1, "step": 1, "schedule": 1, "ema.initted": 1}
    tensors = prefixed("ema.online_model.") | prefixed("ema.ema_model.", 2.0)
    tensors |= {name: torch.tensor(value) for name, value in extra.items()}
    result = assign(SYSTEM, {"a": tensors})
    assert result.parts[0].translation.weights["last.weight"].tolist() == [2, 2, 2]
    assert result.missing(SYSTEM) == ["tail"] and not result.unknown
    reasons = {item.name: item.reason for item in result.left_out}
    assert reasons["schedule"] == "computed"
    assert reasons["ema.online_model.out.weight"].startswith("a copy of the network")
    assert len(reasons) == 4 + len(extra) + 1


def test_unknown_and_repeated_are_told_apart() -> None:
    files = {"a": prefixed("") | {"more.weight": torch.ones(1)}, "b": prefixed("module.")}
    result = assign(SYSTEM, files)
    assert result.unknown == ["more.weight"]
    repeated = result.repeated()
    assert repeated is not None and (repeated.network.title, repeated.file) == ("heads", "b")


def test_a_tensor_of_other_axes_is_an_error() -> None:
    with pytest.raises(InputError, match=r"'head_0.weight' of the heads has the shape \(1, 2\)"):
        assign(SYSTEM, {"a": STATE | {"head_1.weight": torch.ones(1, 2, 3)}})
