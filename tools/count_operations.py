"""Count what networks hold and compute: parameters, and operations for a mixture of two objects.

    python tools/count_operations.py avsep dgfnet-music avsep-mini dgfnet-mini

Each name is a training recipe, whose settings decide the size; weights are random. Operations are
those of `separate` on one window, image encoders and all samplings included, as PyTorch counts
them: two for a multiplication and an addition, none for what is done to each element.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from avsep.cues.crops import blank_crops
from avsep.cues.windows import SourceWindow, window_cues
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.models.dgfnet import I3D_CHANNELS
from avsep.records import Batch
from avsep.training.recipe import load_training, model_settings
from avsep.vision.i3d import MOTION_RATE_HZ

NUM_OBJECTS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table in Markdown, a row for each recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("recipes", nargs="+", help="names or files of training recipes")
    names = parser.parse_args(arguments).recipes
    print("| recipe | trained | frozen | GFLOP a mixture | of a second of sound |")
    print("|---|---:|---:|---:|---:|")
    for name in names:
        recipe = load_training(name)
        model = MODELS[recipe.model](model_settings(recipe, name)).eval()
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        frozen = {id(p): p for part in (model, model.frozen_encoder) for p in part.parameters()}
        num_frozen = sum(p.numel() for p in frozen.values() if not p.requires_grad)
        front_end = model.settings.front_end
        seconds = front_end.window_samples / front_end.sample_rate_hz
        gflop = count_gflop(model)
        sizes = f"{trained / 1e6:.1f} M | {num_frozen / 1e6:.1f} M"
        print(f"| {name} | {sizes} | {gflop:.1f} | {gflop / seconds:.1f} |", flush=True)


def count_gflop(model: SeparationModel) -> float:
    """Return the operations of one separation of two objects, in thousands of millions."""
    batch = blank_batch(model)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.separate(batch, generator=torch.Generator().manual_seed(0))
    return counter.get_total_flops() / 1e9


def blank_batch(model: SeparationModel) -> Batch:
    """Return a batch of one mixture: noise, and as many black crops as the model takes."""
    front_end = model.settings.front_end
    generator = torch.Generator().manual_seed(0)
    shape = (1, front_end.num_channels, front_end.window_samples)
    mixture = 0.1 * torch.randn(shape, generator=generator)
    seconds = front_end.window_samples / front_end.sample_rate_hz
    features = None
    if "i3d_features" in model.required_cues:
        features = torch.zeros(I3D_CHANNELS, round(seconds * MOTION_RATE_HZ))
    crops = [
        SourceWindow(replace(blank, is_visible=True, i3d_features=features), 0.0)
        for blank in blank_crops(NUM_OBJECTS, model.settings.crops)
    ]
    category = torch.zeros(1, NUM_OBJECTS, dtype=torch.int64)
    cues = replace(window_cues([crops], seconds), category=category)
    return Batch(mixture, None, cues)


if __name__ == "__main__":
    main()
