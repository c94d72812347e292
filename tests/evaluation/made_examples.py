"""Make examples and evaluations of a few tones, for tests of pages and figures."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from avsep.cues.crops import CropSettings
from avsep.data.clips import ClipFiles, SourceFile
from avsep.evaluation.batches import ClipReader, CueSettings
from avsep.evaluation.benchmark import Evaluation, MixtureScores
from avsep.evaluation.methods import Method
from avsep.evaluation.protocol import PairScores
from avsep.evaluation.results.examples import Example, ExampleEstimate, magnitude_rows
from avsep.records import VisibleObject
from avsep.sound.front_end import FrontEnd, FrontEndSettings, StftSettings

SETTINGS = FrontEndSettings(
    sample_rate_hz=8000,
    window_samples=8000,
    stft=StftSettings(fft_samples=510, hop_samples=128),
    num_rows=64,
)


def tone(frequency_hz: float, num_channels: int = 1, level: float = 0.3) -> np.ndarray:
    """A second of a tone; the second ear hears half of it."""
    n = np.arange(SETTINGS.window_samples)
    sound = level * np.sin(2 * np.pi * frequency_hz * n / SETTINGS.sample_rate_hz)
    return np.stack([sound / (ear + 1) for ear in range(num_channels)]).astype(np.float32)


def jpeg(grey: int = 128) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((60, 80, 3), grey, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def example(
    name: str = "duet",
    models: tuple[str, ...] = ("small", "large"),
    num_channels: int = 1,
    categories: tuple[str, ...] = ("harp", "tuba"),
) -> Example:
    """Each model answers with the truth and a tenth, a fifth, ... of the mixture on top."""
    sources = np.stack(
        [tone(300 * (place + 1) ** 2, num_channels) for place in range(len(categories))]
    )
    mixture = sources.sum(axis=0)
    estimates = {}
    for place, model in enumerate(models):
        waveforms = (sources + np.float32(0.1 * (place + 1)) * mixture).astype(np.float32)
        scores_db = np.full((len(categories), 3), 10.0 - place)
        estimates[model] = ExampleEstimate(
            waveforms, magnitude_rows(waveforms, SETTINGS), scores_db
        )
    pictures = tuple(jpeg(60 * (place + 1)) for place in range(len(categories)))
    return Example(name, categories, mixture, sources, pictures, estimates, SETTINGS)


def scored_clips(names: tuple[str, ...], num_clips: int = 9) -> tuple[MixtureScores, ...]:
    """Clips whose n-th has n dB of every contender, and one dB more for each place in the list.

    The last is left out: it has one source.
    """
    clips = []
    for number in range(num_clips):
        categories = ("harp", "tuba") if number % 2 else ("harp", "cello")
        quiet = np.zeros(2, dtype=bool)
        scores = {
            name: PairScores(
                f"clip {number}", categories, np.full((2, 3), float(number + place)), quiet, quiet
            )
            for place, name in enumerate(names)
        }
        clips.append(MixtureScores(f"clip {number}", categories, scores, ("2 sources",)))
    return (*clips, MixtureScores("solo", ("harp",), {}, left_out="one source only"))


def methods(names: tuple[str, ...]) -> tuple[Method, ...]:
    """Rows of a table, all but the mixture models by their looks; they separate nothing."""
    cue_settings = CueSettings(CropSettings(), ("harp", "tuba"))

    class Nobody:
        def separate(self, batch, *, generator=None):
            raise AssertionError("a page asks no one")

    front_end = FrontEnd(SETTINGS)
    return tuple(
        Method(name, Nobody(), front_end, "picture", None if name == "mixture" else cue_settings)
        for name in names
    )


def evaluation(names: tuple[str, ...] = ("mixture", "small", "large")) -> Evaluation:
    return Evaluation(methods(names), scored_clips(names))


def reader_of_duets(num_clips: int) -> ClipReader:
    """A list of duets and, before them, a solo; no file of theirs is there."""
    nowhere = Path("nowhere")

    def clip(name: str, num_sources: int) -> ClipFiles:
        sources = tuple(
            SourceFile(nowhere, category, name, VisibleObject())
            for category in ("harp", "tuba")[:num_sources]
        )
        return ClipFiles(name, nowhere, sources)

    return ClipReader([clip("solo", 1), *(clip(f"duet {n}", 2) for n in range(num_clips))])
