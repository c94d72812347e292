"""What an instrument is to the pictures: layers that are painted anew only when they change."""

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
    """One sheet of a drawing.

    Attributes:
        paint: adds the sheet's shapes to a sketch.
        reads: fields of the pose that change it; a picture is kept for each of their values.
        sways: how far it follows the player's sway and nod, 0..1.
    """

    paint: Painter
    pose_fields: tuple[str, ...] = ()
    sway_share: float = 1.0


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
    body_colours: tuple[Colour, ...]
    paint_alone: Painter | None = None
    strike_position: Callable[[int], float | None] = float


def upper_body(turn: float = 0.0, at: Transform = IDENTITY, sway_share: float = 1.0) -> Layer:
    """Torso and head of a musician who looks to the right as far as `turn` says, 0..1."""

    def paint(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        player = sketch.within(at)
        paint_torso(player, appearance)
        paint_head(player, appearance, turn)

    return Layer(paint, sway_share=sway_share)


def _paint_legs(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_standing_legs(sketch, appearance)


LEGS = Layer(_paint_legs, sway_share=0)


def transformed(paint: Painter, transform: Transform) -> Painter:
    """The same painter within a frame."""

    def paint_transformed(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        paint(sketch.within(transform), appearance, pose)

    return paint_transformed
