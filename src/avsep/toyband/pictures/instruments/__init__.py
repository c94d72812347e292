"""The sixteen instruments as drawings: category to layers, all of one kind."""

from avsep.toyband.pictures.instruments.bowed import CELLO_PLAYED, VIOLIN_PLAYED
from avsep.toyband.pictures.instruments.brass import (
    TROMBONE_PLAYED,
    TRUMPET_PLAYED,
    TUBA_PLAYED,
)
from avsep.toyband.pictures.instruments.figure import Instrument, Layer
from avsep.toyband.pictures.instruments.keys import ACCORDION_PLAYED, HARP_PLAYED, PIANO_PLAYED
from avsep.toyband.pictures.instruments.percussion import DRUMS_PLAYED, XYLOPHONE_PLAYED
from avsep.toyband.pictures.instruments.plucked import (
    BANJO_PLAYED,
    GUITAR_PLAYED,
    MANDOLIN_PLAYED,
)
from avsep.toyband.pictures.instruments.woodwind import (
    CLARINET_PLAYED,
    FLUTE_PLAYED,
    SAXOPHONE_PLAYED,
)

INSTRUMENTS: dict[str, Instrument] = {
    "accordion": ACCORDION_PLAYED,
    "banjo": BANJO_PLAYED,
    "cello": CELLO_PLAYED,
    "clarinet": CLARINET_PLAYED,
    "drums": DRUMS_PLAYED,
    "flute": FLUTE_PLAYED,
    "guitar": GUITAR_PLAYED,
    "harp": HARP_PLAYED,
    "mandolin": MANDOLIN_PLAYED,
    "piano": PIANO_PLAYED,
    "saxophone": SAXOPHONE_PLAYED,
    "trombone": TROMBONE_PLAYED,
    "trumpet": TRUMPET_PLAYED,
    "tuba": TUBA_PLAYED,
    "violin": VIOLIN_PLAYED,
    "xylophone": XYLOPHONE_PLAYED,
}

__all__ = ["INSTRUMENTS", "Instrument", "Layer"]
