"""The separation systems, one module or folder each, all of the contract in base.py."""

from typing import TYPE_CHECKING

from avsep.registry import Registry

if TYPE_CHECKING:
    from avsep.models.base import SeparationModel
    from avsep.released import ReleasedSystem

# Name -> class. Settings without arguments are those of the paper.
MODELS: Registry[type["SeparationModel"]] = Registry({
    "avsep": "avsep.models.avsep.model:AVSep",
    "dgfnet": "avsep.models.dgfnet:DGFNet",
    "iquery": "avsep.models.iquery:IQuery",
    "davis": "avsep.models.davis.model:DAVIS",
    "davis-flow": "avsep.models.davis.model:DAVISFlow",
    "lavss": "avsep.models.lavss:LAVSS",
    "sound-of-pixels": "avsep.models.sound_of_pixels:SoundOfPixels",
    "separation-2.5d": "avsep.models.separation_25d:Separation25D",
})  # fmt: skip

# Name -> table of the tensors that its authors released. Of systems with the same names the first
# is recognised; the others are chosen by name (`avsep convert --as`).
RELEASES: Registry["ReleasedSystem"] = Registry({
    "sound-of-pixels": "avsep.models.sound_of_pixels:RELEASE",
    "ccol": "avsep.models.sound_of_pixels:CCOL_RELEASE",
    "iquery": "avsep.models.iquery:RELEASE",
    "davis": "avsep.models.davis.released:RELEASE",
    "davis-flow": "avsep.models.davis.released:FLOW_RELEASE",
    "lavss": "avsep.models.lavss:RELEASE",
    "separation-2.5d": "avsep.models.separation_25d:RELEASE",
})  # fmt: skip
