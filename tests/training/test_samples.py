from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avsep.sound.front_end import FrontEnd
from avsep.training.callbacks import MetricsLogger, show_samples, spectrograms
from tiny_models import FRONT_END, tiny_batch, tiny_model


def test_a_low_tone_is_bright_below_and_a_high_one_above() -> None:
    seconds = torch.arange(FRONT_END.window_samples) / FRONT_END.sample_rate_hz
    tones = torch.stack([torch.sin(2 * torch.pi * hertz * seconds) for hertz in (150.0, 3500.0)])
    picture = spectrograms(tones, FrontEnd(FRONT_END)).sum(axis=2).astype(float)
    num_rows, width = picture.shape
    assert num_rows == 32
    low, high = picture[:, : width // 2 - 3], picture[:, width // 2 + 3 :]
    assert np.argmax(low.mean(axis=1)) > 20  # rows count from the top
    assert np.argmax(high.mean(axis=1)) < 5


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
