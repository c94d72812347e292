"""The shipped model goes by what it sees: exchanged objects, pictures of a third instrument."""

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
    """No label is read; duets of held-out notes, of instruments that differ."""
    overrides = ["same_category_probability=0", "clip_seconds=7"]
    settings = load_recipe("toyband-training", "toyband", ToybandSettings, overrides)
    list(make_toyband(tmp_path / "band", NUM_PAIRS, 4000, settings, Material.read()))
    trials = ["all", "swapped", "wrong"]
    rows = find_methods(["mixture", NAME], "predicted", trials, with_baselines=False)
    clips = tuple(score_clips(read_toyband(tmp_path / "band"), rows))
    result = Evaluation(rows, clips)
    floor, seen, swapped, wrong = (result.summary(row.name, "strict").sdr_db for row in rows)
    assert result.summary(rows[0].name, "strict").num_left_out == 0
    assert seen > floor + 5
    # Each source is given what belongs to the other, or to nobody: worse than doing nothing.
    assert swapped < floor - 3
    assert wrong < floor
    # The stems were exchanged with the objects: what each was taken for is exchanged too.
    for clip in clips:
        straight, exchanged = (clip.categories_used[row.name] for row in rows[1:3])
        assert exchanged == tuple(reversed(straight))
