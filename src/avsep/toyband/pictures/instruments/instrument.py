"""The drawing of an instrument: layers that are redrawn only when their pose fields change."""

from collections.abc import Callable
from dataclasses import dataclass

from avsep.toyband.pictures.drawing import Colour, Sketch, Transform
from avsep.toyband.pictures.instruments.motion import Pose
from avsep.toyband.pictures.instruments.people import (
    Appearance,
    paint_head,
    paint_standing_legs,
    paint_torso,
)

Painter = Callable[[Sketch, Appearance, Pose], None]
IDENTITY = Transform((0, 0))


@dataclass(frozen=True)
class Layer:
    """One layer of a drawing.

    Attributes:
        paint: adds the layer's shapes to a sketch.
        pose_fields: fields of the pose that the shapes depend on. A drawing is cached for each
            combination of their values, so a layer names no field that it does not use.
        sway_share: share of the player's sway and nod that moves the layer, 0..1.
    """

    paint: Painter
    pose_fields: tuple[str, ...] = ()
    sway_share: float = 1.0


@dataclass(frozen=True)
class Instrument:
    """The drawing of a musician with an instrument.

    Attributes:
        layers: from back to front.
        body_colours: colours of the instrument, one of which is chosen at random.
        paint_alone: paints the instrument without a player, or None.
        strike_position: from a pitch to the x position at which a hand strikes it; None for a
            pitch that no hand strikes.
    """

    layers: tuple[Layer, ...]
    body_colours: tuple[Colour, ...]
    paint_alone: Painter | None = None
    strike_position: Callable[[int], float | None] = float


def upper_body(
    turn: float = 0.0, transform: Transform = IDENTITY, sway_share: float = 1.0
) -> Layer:
    """Return a layer of torso and head; `turn` rotates the head to the right, 0..1."""

    def paint(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        player = sketch.within(transform)
        paint_torso(player, appearance)
        paint_head(player, appearance, turn)

    return Layer(paint, sway_share=sway_share)


def _paint_legs(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_standing_legs(sketch, appearance)


# Feet stay on the floor while the body sways above them.
LEGS = Layer(_paint_legs, sway_share=0)


def transformed(paint: Painter, transform: Transform) -> Painter:
    """Return a painter that draws in the coordinates of a transform."""

    def paint_transformed(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        paint(sketch.within(transform), appearance, pose)

    return paint_transformed
