import csv
from pathlib import Path

import numpy as np
import pytest

from avsep.training.callbacks import MetricsLogger


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Return the folder of a run that logged three steps."""
    logger = MetricsLogger(tmp_path)
    for step in (2, 4, 6):
        logger.write(step, {"loss/total": 1 / step})
    logger.close()
    return tmp_path


def test_metrics_of_one_step_are_in_one_row(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.write(2, {"loss/total": 0.5})
    logger.write(4, {"loss/total": 0.25})
    logger.write(4, {"validation/sdr_db": 3.0})
    logger.close()
    assert rows(tmp_path) == [
        {"step": "2", "loss/total": "0.5", "validation/sdr_db": ""},
        {"step": "4", "loss/total": "0.25", "validation/sdr_db": "3"},
    ]


def test_a_resumed_run_drops_the_rows_of_steps_it_repeats(run_folder: Path) -> None:
    logger = MetricsLogger(run_folder, first_step=4)
    logger.write(6, {"loss/total": 9.0})
    logger.write(8, {"loss/total": 8.0})
    logger.close()
    assert [(row["step"], row["loss/total"]) for row in rows(run_folder)] == [
        ("2", "0.5"), ("4", "0.25"), ("6", "9"), ("8", "8"),
    ]  # fmt: skip


def test_a_last_line_without_newline_is_a_row(run_folder: Path) -> None:
    """As an editor may leave it."""
    path = run_folder / "metrics.csv"
    path.write_text(path.read_text().removesuffix("\n"))
    logger = MetricsLogger(run_folder, first_step=6)
    logger.write(8, {"loss/total": 8.0})
    logger.close()
    assert [(row["step"], row["loss/total"]) for row in rows(run_folder)] == [
        ("2", "0.5"), ("4", "0.25"), ("6", "0.166667"), ("8", "8"),
    ]  # fmt: skip


def test_a_run_without_a_checkpoint_drops_all_rows(run_folder: Path) -> None:
    logger = MetricsLogger(run_folder)
    logger.write(1, {"loss/total": 1.0})
    logger.close()
    assert [row["step"] for row in rows(run_folder)] == ["1"]


def test_tensorboard_has_metrics_audio_and_pictures(tmp_path: Path) -> None:
    logger = MetricsLogger(tmp_path)
    logger.write(3, {"loss/total": 0.5})
    logger.write_audio("a sound", np.zeros(800, np.float32), 8000, 3)
    logger.write_picture("a picture", np.zeros((4, 6, 3), np.uint8), 3)
    logger.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/total")] == [(3, 0.5)]
    (audio,) = events.Audio("a sound")
    assert (audio.sample_rate, audio.length_frames) == (8000, 800)
    (picture,) = events.Images("a picture")
    assert (picture.width, picture.height) == (6, 4)
