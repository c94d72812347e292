"""The sixteen instruments as layered drawings, by category."""

from avsep.toyband.pictures.instruments.bowed import CELLO, VIOLIN
from avsep.toyband.pictures.instruments.brass import (
    TROMBONE,
    TRUMPET,
    TUBA,
)
from avsep.toyband.pictures.instruments.instrument import Instrument, Layer
from avsep.toyband.pictures.instruments.keys import ACCORDION, HARP, PIANO
from avsep.toyband.pictures.instruments.percussion import DRUMS, XYLOPHONE
from avsep.toyband.pictures.instruments.plucked import (
    BANJO,
    GUITAR,
    MANDOLIN,
)
from avsep.toyband.pictures.instruments.woodwind import (
    CLARINET,
    FLUTE,
    SAXOPHONE,
)

INSTRUMENTS: dict[str, Instrument] = {
    "accordion": ACCORDION,
    "banjo": BANJO,
    "cello": CELLO,
    "clarinet": CLARINET,
    "drums": DRUMS,
    "flute": FLUTE,
    "guitar": GUITAR,
    "harp": HARP,
    "mandolin": MANDOLIN,
    "piano": PIANO,
    "saxophone": SAXOPHONE,
    "trombone": TROMBONE,
    "trumpet": TRUMPET,
    "tuba": TUBA,
    "violin": VIOLIN,
    "xylophone": XYLOPHONE,
}

__all__ = ["INSTRUMENTS", "Instrument", "Layer"]
