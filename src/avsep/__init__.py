"""Separate the sound of every visible object in a video, and evaluate separation models."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avsep.checkpoint import load_model
    from avsep.data import DATASETS
    from avsep.errors import InputError
    from avsep.evaluation.bss_eval import bss_eval
    from avsep.evaluation.bss_eval_images import bss_eval_images
    from avsep.models import MODELS
    from avsep.separation.separator import Separator, separate
    from avsep.vision.finding import find_objects

__version__ = "0.1.0"
__all__ = [
    "DATASETS", "MODELS", "InputError", "Separator", "__version__", "bss_eval", "bss_eval_images",
    "find_objects", "load_model", "separate",
]  # fmt: skip

# Public name -> its module, imported on first use: loading PyTorch takes seconds.
_MODULES = {
    "DATASETS": "avsep.data",
    "InputError": "avsep.errors",
    "MODELS": "avsep.models",
    "Separator": "avsep.separation.separator",
    "bss_eval": "avsep.evaluation.bss_eval",
    "bss_eval_images": "avsep.evaluation.bss_eval_images",
    "find_objects": "avsep.vision.finding",
    "load_model": "avsep.checkpoint",
    "separate": "avsep.separation.separator",
}


def __getattr__(name: str) -> object:
    """Import the module of a public name on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'avsep' has no attribute '{name}'; it has {sorted(_MODULES)}")
    return getattr(import_module(_MODULES[name]), name)
