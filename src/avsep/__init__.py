"""avsep separates the sound of every visible object in a video."""

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

__version__ = "0.1.0"
__all__ = [
    "DATASETS", "MODELS", "InputError", "Separator", "__version__", "bss_eval", "bss_eval_images",
    "load_model", "separate",
]  # fmt: skip

# Public name -> module that holds it, loaded when first used so that `import avsep` stays light.
_HOMES = {
    "DATASETS": "avsep.data",
    "InputError": "avsep.errors",
    "MODELS": "avsep.models",
    "Separator": "avsep.separation.separator",
    "bss_eval": "avsep.evaluation.bss_eval",
    "bss_eval_images": "avsep.evaluation.bss_eval_images",
    "load_model": "avsep.checkpoint",
    "separate": "avsep.separation.separator",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'avsep' has no attribute '{name}'; it has {sorted(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)
