"""Check that vision decides: exchanged objects, and frames of a third instrument."""

from pathlib import Path

import pytest

from avsep.data.toyband import read_toyband
from avsep.evaluation.benchmark import Evaluation, score_clips
from avsep.evaluation.methods import find_methods
from avsep.recipe import load_recipe
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.material import Material

NAME = "dgfnet-mini"
NUM_PAIRS = 16


@pytest.mark.slow
def test_vision_decides(tmp_path: Path) -> None:
    """Without labels, on duets of held-out notes by different instruments."""
    overrides = ["same_category_probability=0", "clip_seconds=7"]
    settings = load_recipe("toyband-training", "toyband", ToybandSettings, overrides)
    list(make_toyband(tmp_path / "band", NUM_PAIRS, 4000, settings, Material.read()))
    ablations = ["all", "swapped", "wrong"]
    rows = find_methods(["mixture", NAME], "predicted", ablations, with_baselines=False)
    clips = tuple(score_clips(read_toyband(tmp_path / "band"), rows))
    evaluation = Evaluation(rows, clips)
    floor, matched, swapped, wrong = (evaluation.summary(row.name, "strict").sdr_db for row in rows)
    assert evaluation.summary(rows[0].name, "strict").num_left_out == 0
    assert matched > floor + 5
    # Each source gets the cues of the other, or of no source: worse than not separating.
    assert swapped < floor - 3
    assert wrong < floor
    # Stems are exchanged with the objects, and so are the predicted categories.
    for clip in clips:
        straight, exchanged = (clip.categories_used[row.name] for row in rows[1:3])
        assert exchanged == tuple(reversed(straight))
