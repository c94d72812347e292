"""The settings of a separation, the same for every model."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from avsep.media.names import readable
from avsep.records import Quality


class SeparatorSettings(BaseModel):
    """Settings of `Separator` and `separate`; each field is also a keyword of `separate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Literal["native", "model"] = Field(
        default="native",
        description="sample rate and channels of the stems: those of the video (native), or those "
        "of the model, as papers score",
    )
    quality: Quality = Field(
        default="fast",
        description="sampling effort of generative models, as each defines it; other models run "
        "one pass",
    )
    # At one half the raised-cosine fades of neighbouring windows (sound/windows.py) sum to one.
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="fraction of a window shared with the next"
    )
    # torch.Generator overflows beyond 64 bits; NumPy's SeedSequence refuses negative seeds.
    seed: int = Field(default=0, ge=0, lt=2**63, description="random seed for generative models")
    device: str = Field(
        default="auto",
        description="device of the model, as PyTorch names it; auto: the fastest available. The "
        "manifest records the device that was used",
    )
    sources_at_once: int = Field(
        default=8, ge=1, description="batch size: windows times objects in one forward pass"
    )
    i3d: Path | None = Field(
        default=None,
        description="file of I3D weights, for models that read I3D features; the manifest records "
        "its name",
    )

    def as_recorded(self, device: torch.device) -> "SeparatorSettings":
        """Return the settings for the manifest: device that was used, file name without folders."""
        i3d = self.i3d and Path(readable(self.i3d.name))
        return self.model_copy(update={"i3d": i3d, "device": str(device)})
