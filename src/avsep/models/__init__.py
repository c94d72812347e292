"""The systems, one file each; `MODELS` names them."""

from avsep.models.davis import DAVIS, DAVISFlow
from avsep.models.dgfnet import DGFNet, IQuery
from avsep.models.lavss import LAVSS

# Name -> class. Settings without arguments are those of the paper.
MODELS: dict[str, type[DGFNet | DAVIS | LAVSS]] = {
    "dgfnet": DGFNet,
    "iquery": IQuery,
    "davis": DAVIS,
    "davis-flow": DAVISFlow,
    "lavss": LAVSS,
}
