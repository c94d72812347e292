from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avsep.training.callbacks import MetricsLogger, show_samples
from tiny_models import tiny_batch, tiny_model


def test_mixture_estimates_and_references_are_written_as_audio(tmp_path: Path) -> None:
    model, batch = tiny_model("dgfnet"), tiny_batch(num_items=1)
    logger = MetricsLogger(tmp_path)
    with torch.no_grad():
        show_samples(logger, 5, batch, model.separate(batch), model.front_end)
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    names = ["0 mixture", "1 estimate", "1 reference", "2 estimate", "2 reference"]
    assert events.Tags()["audio"] == [f"sample 0/{name}" for name in names]
    assert events.Tags()["images"] == ["sample 0"]
    (audio,) = events.Audio("sample 0/0 mixture")
    assert (audio.step, audio.sample_rate) == (5, 8000)
