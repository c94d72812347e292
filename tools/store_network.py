"""Write a trained network as the package ships it: float16, with its settings."""

from pathlib import Path

from safetensors.torch import save
from torch import nn

from avsep.media.atomic import write_atomic


def store_network(network: nn.Module, path: Path, facts: dict[str, str]) -> None:
    """Write a network that has `settings`; `facts` tell how it was trained."""
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    settings = network.settings.model_dump_json()  # type: ignore[union-attr]
    write_atomic(path, save(weights, facts | {"settings": settings}))
