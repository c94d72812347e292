"""Make a trained checkpoint into shipped weights: half precision, and what it was measured at.

    python tools/ship_weights.py RUN/model.safetensors dgfnet-mini --measured figures.json

The figures, a JSON object of name and value, stand in the file's own record, which `avsep models`
shows.
"""

import argparse
import json
from pathlib import Path

from avsep.checkpoint import load_model, read_card, save_checkpoint

WEIGHTS = Path(__file__).parents[1] / "src" / "avsep" / "weights"


def main() -> None:
    """Write the file and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("name", help="under which it ships")
    parser.add_argument("--measured", type=Path, help="JSON object of figures")
    given = parser.parse_args()
    card = read_card(given.checkpoint)
    metadata = dict(card.metadata)
    if given.measured is not None:
        metadata["measured"] = json.loads(given.measured.read_text(encoding="utf-8"))
    target = WEIGHTS / f"{given.name}.safetensors"
    model = load_model(given.checkpoint)
    save_checkpoint(model, target, model_name=card.model, metadata=metadata, half=True)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
