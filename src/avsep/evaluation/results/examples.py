"""Make examples of mixtures for pages and figures: pictures, references and estimates."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from avsep.data.clips import ClipFiles, SourceFile, load_clip
from avsep.devices import available_cores, one_thread
from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluation, MixtureScores
from avsep.evaluation.methods import CPU, Method, Prediction, run_method
from avsep.evaluation.mixtures import Mixture
from avsep.media.probe import probe
from avsep.pages.html_page import draw_boxes
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import ratio_mask
from avsep.sound.resampling import resample

PICTURE_PIXELS = 480  # longest side of a picture on a page or in a figure
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class ExampleEstimate:
    """One method's estimates of an example.

    Attributes:
        waveforms: the estimates, at the example's sample rate.
        rows: their magnitudes on the logarithmic frequency axis.
        scores_db: SDR, SIR, SAR of each source; NaN if the example was not scored.
    """

    waveforms: Float32[np.ndarray, "S C N"]
    rows: Float32[np.ndarray, "S C R T"]
    scores_db: Float64[np.ndarray, "S 3"]


@dataclass(frozen=True)
class Example:
    """One mixture with its references, pictures and estimates.

    Attributes:
        categories: one for each source.
        pictures: for each source a JPEG with its object marked, or none if no frame can be read.
        estimates: name of the method -> its estimates.
        front_end: settings for the sample rate of all sounds and the axes of all rows.
    """

    name: str
    categories: tuple[str, ...]
    mixture: Float32[np.ndarray, "C N"]
    sources: Float32[np.ndarray, "S C N"]
    pictures: tuple[bytes | None, ...]
    estimates: dict[str, ExampleEstimate]
    front_end: FrontEndSettings

    @property
    def sample_rate_hz(self) -> int:
        """The sample rate of all sounds."""
        return self.front_end.sample_rate_hz

    @property
    def duration_seconds(self) -> float:
        """The length of all sounds."""
        return self.mixture.shape[-1] / self.sample_rate_hz

    def magnitude_rows(
        self, waveforms: Float32[np.ndarray, "*sounds N"]
    ) -> Float32[np.ndarray, "*sounds R T"]:
        """Return magnitudes on the logarithmic frequency axis of the example."""
        return magnitude_rows(waveforms, self.front_end)


@contextmanager
def make_examples(
    evaluation: Evaluation,
    reader: ClipReader,
    places: Sequence[tuple[int, Sequence[str]]],
    device: torch.device,
) -> Iterator[Iterator[Example]]:
    """Yield the examples of mixtures, in order; those of a few are made at once.

    Args:
        evaluation: its methods can be run, with the seed of the evaluation.
        reader: of the mixtures evaluated, in order.
        places: index of each mixture, and the names of the methods that are run on it.
        device: of the models.
    """
    methods = {method.name: method for method in evaluation.methods}

    def make(place: tuple[int, Sequence[str]]) -> Example:
        index, names = place
        chosen = [methods[name] for name in names]
        # A reader of its own, since it holds the mixture that it reads.
        own_reader = ClipReader(reader.mixtures, mirrored=reader.mirrored)
        scored = evaluation.mixtures[index]
        return make_example(chosen, own_reader, index, evaluation.seed, device, scored)

    num_threads = available_cores() if device.type == "cpu" else 1
    # A thread takes whole examples: threads within one would wait for each other.
    with one_thread(), ThreadPoolExecutor(num_threads) as pool:
        yield pool.map(make, places)


@one_thread()
def make_example(
    methods: Sequence[Method],
    reader: ClipReader,
    index: int,
    seed: int = 0,
    device: torch.device = CPU,
    scored: MixtureScores | None = None,
) -> Example:
    """Run each method again on the mixture at an index; at least one method.

    All sounds have the sample rate of the first method and the length of its shortest estimate.
    They are equal to those that were scored: one thread, as there, and the same seed.

    Args:
        methods: models are on the device.
        reader: of the list of mixtures.
        index: position in that list.
        seed: that of the evaluation.
        device: of the batch.
        scored: scores of the methods on this mixture, if they are shown.
    """
    predictions = {
        method.name: run_method(method, reader, index, seed, device) for method in methods
    }
    settings = methods[0].front_end.settings
    first = predictions[methods[0].name]
    mixture = reader.mixtures[index]
    sounds = {
        method.name: _resample(
            predictions[method.name].estimates, method.front_end.settings, settings
        )
        for method in methods
    }
    num_samples = min(sound.shape[-1] for sound in sounds.values())
    estimates = {}
    for method in methods:
        waveforms = sounds[method.name][..., :num_samples]
        estimates[method.name] = ExampleEstimate(
            waveforms=waveforms,
            rows=_estimate_rows(method, predictions[method.name], waveforms, settings),
            scores_db=_scores_db(mixture, scored, method.name),
        )
    return Example(
        name=mixture.name,
        categories=mixture.categories,
        mixture=np.atleast_2d(first.item.mixture)[:, :num_samples],
        sources=first.references[..., :num_samples],
        pictures=tuple(
            object_picture(part.clip, part.source, number)
            for number, part in enumerate(mixture.parts)
        ),
        estimates=estimates,
        front_end=settings,
    )


def source_mask(
    rows: Float32[np.ndarray, "*sounds R T"], mixture: Float32[np.ndarray, "*#sounds R T"]
) -> Float32[np.ndarray, "*sounds R T"]:
    """Return the ratio of a source's magnitude to the mixture's, at most 1."""
    return ratio_mask(torch.from_numpy(rows), torch.from_numpy(mixture), 1.0).numpy()


def magnitude_rows(
    waveforms: Float32[np.ndarray, "*sounds N"], settings: FrontEndSettings
) -> Float32[np.ndarray, "*sounds R T"]:
    """Return magnitudes of waveforms on the logarithmic frequency axis of a front end."""
    front_end = FrontEnd(settings)
    return front_end.to_rows(front_end.magnitude(torch.from_numpy(waveforms))).numpy()


def object_picture(clip: ClipFiles, source: SourceFile, number: int = 0) -> bytes | None:
    """Return the middle frame of a clip as JPEG, with one object and its number marked.

    None if no frame can be read: the sounds can be judged without it.
    """
    try:
        middle_seconds = (probe(source.path).duration_seconds or 0) / 2
        loaded = load_clip(clip, [middle_seconds])
    except InputError:
        return None
    labelled = source.visible.model_copy(update={"label": source.category})
    marked = replace(loaded, objects=(labelled,))
    frame = _shrink(loaded.frames[0])
    buffer = io.BytesIO()
    picture = draw_boxes(frame, marked, float(loaded.frame_times_seconds[0]), number)
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _shrink(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    picture = Image.fromarray(frame)
    picture.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _estimate_rows(
    method: Method,
    prediction: Prediction,
    waveforms: Float32[np.ndarray, "S C N"],
    settings: FrontEndSettings,
) -> Float32[np.ndarray, "S C R T"]:
    """Return magnitudes on the example's axis.

    With an equal front end they are those of the method itself: the STFT of its waveforms would
    differ, since the phase of the mixture does not fit them.
    """
    if method.front_end.settings != settings:
        return magnitude_rows(waveforms, settings)
    magnitudes = prediction.separation.magnitudes[0].float().cpu()
    num_frames = settings.stft.num_frames(waveforms.shape[-1])
    return method.front_end.to_rows(magnitudes[..., :num_frames]).numpy()


def _scores_db(
    mixture: Mixture, scored: MixtureScores | None, name: str
) -> Float64[np.ndarray, "S 3"]:
    if scored is None:
        return np.full((len(mixture.parts), 3), np.nan)
    return scored.scores[name].scores_db


def _resample(
    waveforms: Float32[np.ndarray, "S C N"], source: FrontEndSettings, target: FrontEndSettings
) -> Float32[np.ndarray, "S C M"]:
    if source.sample_rate_hz == target.sample_rate_hz:
        return waveforms
    return np.stack(
        [resample(sound, source.sample_rate_hz, target.sample_rate_hz) for sound in waveforms]
    )
