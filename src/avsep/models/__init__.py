"""The separation systems, one module or folder each, all of the contract in base.py."""

from avsep.models import iquery, lavss, separation_25d, sound_of_pixels
from avsep.models.base import SeparationModel
from avsep.models.davis import released as davis_tables
from avsep.models.davis.model import DAVIS, DAVISFlow
from avsep.models.dgfnet import DGFNet
from avsep.models.iquery import IQuery
from avsep.models.lavss import LAVSS
from avsep.models.separation_25d import Separation25D
from avsep.models.sound_of_pixels import SoundOfPixels
from avsep.released import ReleasedSystem

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

# Name -> table of the tensors that its authors released. Of systems with the same names the first
# is recognised; the others are chosen by name (`avsep convert --as`).
RELEASES: dict[str, ReleasedSystem] = {
    "sound-of-pixels": sound_of_pixels.RELEASE,
    "ccol": sound_of_pixels.CCOL_RELEASE,
    "iquery": iquery.RELEASE,
    "davis": davis_tables.RELEASE,
    "davis-flow": davis_tables.FLOW_RELEASE,
    "lavss": lavss.RELEASE,
    "separation-2.5d": separation_25d.RELEASE,
}
