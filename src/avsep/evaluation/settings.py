"""Settings of an evaluation that few change: how solos are mixed, further metrics, processes."""

from typing import Literal

from pydantic import Field, field_validator

from avsep.evaluation.mixture_lists import PairSettings


class EvaluationSettings(PairSettings):
    """What `avsep evaluate --set NAME=VALUE` takes."""

    metrics: tuple[str, ...] = Field(
        default=(), description="names of METRICS, a column each: si-sdr,sdri"
    )
    figure_pairs: tuple[str, ...] = Field(
        default=(), description="names of mixtures to draw beside those of --figures"
    )
    channels: Literal[1, 2] | None = Field(
        default=None,
        description="1: all channels are averaged; 2: two ears, each scored; none: two where a "
        "separator that is asked hears with two",
    )
    mirrored: bool = Field(
        default=False, description="as a mirror shows all: ears, boxes and pictures change sides"
    )
    workers: int = Field(
        default=0, ge=0, description="processes; 0 means one a core, or one with a GPU"
    )

    @field_validator("metrics", "figure_pairs", mode="before")
    @classmethod
    def _from_words(cls, value: object) -> object:
        """A list may be written as words with commas between."""
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
