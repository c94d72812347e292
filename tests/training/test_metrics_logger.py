import csv
from pathlib import Path

import numpy as np
import pytest

from avsep.training.callbacks import MetricsLogger


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a journal of three steps."""
    journal = MetricsLogger(tmp_path)
    for step in (2, 4, 6):
        journal.write(step, {"loss/total": 1 / step})
    journal.close()
    return tmp_path


def test_figures_of_one_step_stand_in_one_row(tmp_path: Path) -> None:
    journal = MetricsLogger(tmp_path)
    journal.write(2, {"loss/total": 0.5})
    journal.write(4, {"loss/total": 0.25})
    journal.write(4, {"validation/sdr_db": 3.0})
    journal.close()
    assert rows(tmp_path) == [
        {"step": "2", "loss/total": "0.5", "validation/sdr_db": ""},
        {"step": "4", "loss/total": "0.25", "validation/sdr_db": "3"},
    ]


def test_a_resumed_journal_forgets_what_is_done_again(begun: Path) -> None:
    journal = MetricsLogger(begun, first_step=4)
    journal.write(6, {"loss/total": 9.0})
    journal.write(8, {"loss/total": 8.0})
    journal.close()
    assert [(row["step"], row["loss/total"]) for row in rows(begun)] == [
        ("2", "0.5"), ("4", "0.25"), ("6", "9"), ("8", "8"),
    ]  # fmt: skip


def test_a_run_without_a_checkpoint_begins_its_journal_anew(begun: Path) -> None:
    journal = MetricsLogger(begun)
    journal.write(1, {"loss/total": 1.0})
    journal.close()
    assert [row["step"] for row in rows(begun)] == ["1"]


def test_tensorboard_holds_figures_sounds_and_pictures(tmp_path: Path) -> None:
    journal = MetricsLogger(tmp_path)
    journal.write(3, {"loss/total": 0.5})
    journal.sound("a sound", np.zeros(800, np.float32), 8000, 3)
    journal.picture("a picture", np.zeros((4, 6, 3), np.uint8), 3)
    journal.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/total")] == [(3, 0.5)]
    (sound,) = events.Audio("a sound")
    assert (sound.sample_rate, sound.length_frames) == (8000, 800)
    (picture,) = events.Images("a picture")
    assert (picture.width, picture.height) == (6, 4)
