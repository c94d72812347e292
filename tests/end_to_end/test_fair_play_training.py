"""From FAIR-Play's own folder to two ears' scores: a split chosen, trained on, and evaluated."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsep.models import MODELS
from avsep.recipe import write_recipe
from avsep.training.callbacks import ProgressCallback
from avsep.training.recipe import COMMAND, OptimizerSettings, TrainingSettings, TrainRecipe
from avsep.training.run import TrainingOptions, TrainingRun
from data.fair_play_folder import make_fair_play, write_detections, write_h5
from tiny_models import TINY

# What FAIR-Play's clips need: they are solos, and nobody says what is played.
SETTINGS = ["mixing.distinct_categories=false"]
EARS = ("sdr-left", "sdr-right")
BOX = (0.25, 0.25, 0.75, 0.75)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FAIR-Play with boxes of one clip and a split of ours, and a recipe of two steps."""
    place = tmp_path_factory.mktemp("place")
    make_fair_play(place / "FAIR-Play")
    write_detections(place / "FAIR-Play", "000003", [[1, 3, 0.9, 16, 12, 48, 36]])
    split = place / "FAIR-Play/splits/ours"
    write_h5(split / "train.h5", ["000001.wav", "000003.wav"])
    write_h5(split / "val.h5", ["000002.wav", "000004.wav"])
    model = MODELS["lavss"].Settings(**TINY["lavss"])
    recipe = TrainRecipe(
        model="lavss",
        settings=model.model_dump(mode="json", exclude_none=True),
        training=TrainingSettings(
            batch_size=2, max_steps=2, num_workers=0, num_validation=2, num_samples=0
        ),
        optimizers={
            name: OptimizerSettings(learning_rate=1e-3) for name in ("vision", "separation")
        },
    )
    (place / "tiny.toml").write_text(write_recipe(recipe, COMMAND), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def trained(place: Path) -> TrainingRun:
    data = [str(place / "FAIR-Play/splits/ours")]
    session = TrainingRun.from_options(
        TrainingOptions(
            str(place / "tiny.toml"), data, SETTINGS, folder=place / "run", device="cpu",
            cache=place / "cache",
        )
    )  # fmt: skip
    session.begin()
    assert len(list(session.prepare())) == 4
    assert session.train(ProgressCallback())
    return session


@pytest.mark.slow
def test_both_ears_and_the_boxes_are_learned_from(trained: TrainingRun) -> None:
    library, _ = trained.data.caches
    assert [source.clip for source in library.sources] == ["000001", "000003"]
    whole, boxed = (library[place] for place in range(2))
    left, right = whole.piece(0, 8000)
    assert np.abs(left).max() == pytest.approx(2 * np.abs(right).max(), rel=0.01)  # as made
    rows = np.zeros(1, dtype=np.int64)
    result = [source.rows("boxes", rows) for source in (whole, boxed)]
    assert [boxes[0].tolist() for boxes in result if boxes is not None] == [[0, 0, 1, 1], [*BOX]]


@pytest.mark.slow
def test_scores_of_both_ears(run: Callable, trained: TrainingRun, place: Path) -> None:
    pairs = place / "pairs.csv"
    pairs.write_text("./data/binaural_audios/000004.wav,./data/binaural_audios/000001.wav\n")
    for data, words in (
        ("FAIR-Play", ["--pairs", pairs]),
        ("FAIR-Play/splits/ours", ["--limit", 1]),
    ):
        done = run(
            "evaluate", trained.folder.best, "mixture", "--data", place / data, *words,
            "--set", f"metrics={','.join(EARS)}", "--device", "cpu", "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert len(result["mixtures"]) == 1
        for separator in result["methods"].values():
            assert all(separator["metrics"][name]["num_mixtures"] == 1 for name in EARS)
