"""The separation systems, one module or folder each, all of the contract in base.py."""

from avsep.models.base import SeparationModel
from avsep.models.davis.model import DAVIS, DAVISFlow
from avsep.models.dgfnet import DGFNet, IQuery
from avsep.models.lavss import LAVSS
from avsep.models.separation_25d import Separation25D
from avsep.models.sound_of_pixels import SoundOfPixels

# Name -> class. Settings without arguments are those of the paper.
MODELS: dict[str, type[SeparationModel]] = {
    "dgfnet": DGFNet,
    "iquery": IQuery,
    "davis": DAVIS,
    "davis-flow": DAVISFlow,
    "lavss": LAVSS,
    "sound-of-pixels": SoundOfPixels,
    "separation-2.5d": Separation25D,
}
