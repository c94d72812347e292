"""The systems, one file each; `MODELS` names them."""

from avsep.models.davis import DAVIS, DAVISFlow
from avsep.models.dgfnet import DGFNet, IQuery

# Name -> class. Settings without arguments are those of the paper.
MODELS: dict[str, type[DGFNet | DAVIS]] = {
    "dgfnet": DGFNet,
    "iquery": IQuery,
    "davis": DAVIS,
    "davis-flow": DAVISFlow,
}
