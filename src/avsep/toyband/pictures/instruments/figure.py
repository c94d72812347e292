"""What an instrument is to the pictures: layers that are painted anew only when they change."""

from collections.abc import Callable
from dataclasses import dataclass

from avsep.toyband.pictures.drawing import Colour, Frame, Sketch
from avsep.toyband.pictures.instruments.motion import Pose
from avsep.toyband.pictures.instruments.people import (
    Looks,
    paint_head,
    paint_standing_legs,
    paint_torso,
)

Painter = Callable[[Sketch, Looks, Pose], None]
STANDING = Frame((0, 0))


@dataclass(frozen=True)
class Layer:
    """One sheet of a drawing.

    Attributes:
        paint: adds the sheet's shapes to a sketch.
        reads: fields of the pose that change it; a picture is kept for each of their values.
        sways: how far it follows the player's sway and nod, 0..1.
    """

    paint: Painter
    reads: tuple[str, ...] = ()
    sways: float = 1.0


@dataclass(frozen=True)
class Instrument:
    """A musician with an instrument, back to front.

    Attributes:
        layers: the first lies at the back.
        bodies: colours that the instrument comes in.
        alone: paints the instrument without a player, or none.
        where: how far right a pitch is hit, none for what no hand hits.
    """

    layers: tuple[Layer, ...]
    bodies: tuple[Colour, ...]
    alone: Painter | None = None
    where: Callable[[int], float | None] = float


def upper_body(turn: float = 0.0, at: Frame = STANDING, sways: float = 1.0) -> Layer:
    """Torso and head of a musician who looks to the right as far as `turn` says, 0..1."""

    def paint(sketch: Sketch, looks: Looks, pose: Pose) -> None:
        player = sketch.within(at)
        paint_torso(player, looks)
        paint_head(player, looks, turn)

    return Layer(paint, sways=sways)


def _paint_legs(sketch: Sketch, looks: Looks, pose: Pose) -> None:
    paint_standing_legs(sketch, looks)


LEGS = Layer(_paint_legs, sways=0)


def placed(paint: Painter, frame: Frame) -> Painter:
    """The same painter within a frame."""

    def paint_placed(sketch: Sketch, looks: Looks, pose: Pose) -> None:
        paint(sketch.within(frame), looks, pose)

    return paint_placed
