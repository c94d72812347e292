"""Settings of detectors, the same for all: each reads those that it needs."""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


def no_frames(name: str) -> str:
    """Return the error for a frame rate where a detector counts no frames."""
    return (
        f"detector '{name}' counts no frames, so that a frame rate has no meaning; leave out "
        "frame_rate_hz (--frame-rate)"
    )


class DetectorSettings(BaseModel):
    """Thresholds, words and sizes; the defaults leave each detector as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(
        default=(),
        description="words that a detector without labels looks for where none are given",
    )
    least_score: float | None = Field(
        default=None, ge=0, le=1, description="objects below are left out; none: its usual one"
    )
    labels: tuple[str, ...] = Field(
        default=(),
        description="words of numbered classes, from class 0; none: those of NAME.labels.txt",
    )
    shortest_side_pixels: int | None = Field(
        default=None, ge=16, description="pictures are resized to it; none: as in training"
    )
    frame_rate_hz: float | None = Field(
        default=None, gt=0, description="of the frames that a file of detections counts"
    )
    frame_size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="width and height of these frames in pixels; none: those of the pictures",
    )
