"""Chosen mixtures whole: pictures, sounds and what every separator makes of them, to be shown."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from avsep.data.clips import ClipFiles, SourceFile, load_clip
from avsep.devices import one_thread
from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import MixtureScores
from avsep.evaluation.methods import CPU, Method, Prediction, run_method
from avsep.evaluation.mixtures import Mixture
from avsep.media.probe import probe
from avsep.pages.figures import draw_boxes
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import ratio_mask
from avsep.sound.resampling import resample

PICTURE_PIXELS = 480  # longest side of a picture on a page or in a figure
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class ExampleEstimate:
    """What one separator makes of an example.

    Attributes:
        waveforms: the estimates, at the example's rate.
        rows: their magnitudes on the logarithmic axis.
        scores_db: SDR, SIR, SAR of each, as they were scored; NaN where they were not.
    """

    waveforms: Float32[np.ndarray, "S C N"]
    rows: Float32[np.ndarray, "S C R T"]
    scores_db: Float64[np.ndarray, "S 3"]


@dataclass(frozen=True)
class Example:
    """One mixture, its truth and its answers by the separator's name.

    Attributes:
        categories: one a source, as are pictures.
        pictures: a JPEG with the source's object marked; none where none can be read.
        front_end: whose rate the sounds have, and whose axes the rows.
    """

    name: str
    categories: tuple[str, ...]
    mixture: Float32[np.ndarray, "C N"]
    sources: Float32[np.ndarray, "S C N"]
    pictures: tuple[bytes | None, ...]
    answers: dict[str, ExampleEstimate]
    front_end: FrontEndSettings

    @property
    def sample_rate_hz(self) -> int:
        """The rate of all its sounds."""
        return self.front_end.sample_rate_hz

    @property
    def duration_seconds(self) -> float:
        """How long all its sounds are."""
        return self.mixture.shape[-1] / self.sample_rate_hz

    def magnitude_rows(
        self, waveforms: Float32[np.ndarray, "*sounds N"]
    ) -> Float32[np.ndarray, "*sounds R T"]:
        """Magnitudes on the logarithmic axis, such as those of its answers."""
        return magnitude_rows(waveforms, self.front_end)


@one_thread()
def make_example(
    methods: Sequence[Method],
    reader: ClipReader,
    index: int,
    seed: int = 0,
    device: torch.device = CPU,
    scored: MixtureScores | None = None,
) -> Example:
    """The mixture of this index, answered again by each contender; at least one of them.

    All sounds come to the rate of the first contender and to the length of the shortest answer.
    They are those that were scored, to the bit, however many cores there are.

    Args:
        scored: what the contenders scored on it, where that is shown.
    """
    asked = {one.name: run_method(one, reader, index, seed, device) for one in methods}
    settings = methods[0].front_end.settings
    first = asked[methods[0].name]
    mixture = reader.mixtures[index]
    sounds = {
        one.name: _at_rate(asked[one.name].estimates, one.front_end.settings, settings)
        for one in methods
    }
    num_samples = min(sound.shape[-1] for sound in sounds.values())
    answers = {
        one.name: ExampleEstimate(
            waveforms=sounds[one.name][..., :num_samples],
            rows=_rows(one, asked[one.name], sounds[one.name][..., :num_samples], settings),
            scores_db=_scores_db(mixture, scored, one.name),
        )
        for one in methods
    }
    return Example(
        name=mixture.name,
        categories=mixture.categories,
        mixture=np.atleast_2d(first.item.mixture)[:, :num_samples],
        sources=first.references[..., :num_samples],
        pictures=tuple(
            object_picture(part.clip, part.source, number)
            for number, part in enumerate(mixture.parts)
        ),
        answers=answers,
        front_end=settings,
    )


def source_mask(
    rows: Float32[np.ndarray, "*sounds R T"], mixture: Float32[np.ndarray, "*#sounds R T"]
) -> Float32[np.ndarray, "*sounds R T"]:
    """The share of the mixture's magnitude that an estimate or a true source takes, at most one."""
    return ratio_mask(torch.from_numpy(rows), torch.from_numpy(mixture), 1.0).numpy()


def magnitude_rows(
    waveforms: Float32[np.ndarray, "*sounds N"], settings: FrontEndSettings
) -> Float32[np.ndarray, "*sounds R T"]:
    """Magnitudes of sounds on the logarithmic axis of a front end."""
    front_end = FrontEnd(settings)
    return front_end.to_rows(front_end.magnitude(torch.from_numpy(waveforms))).numpy()


def object_picture(clip: ClipFiles, source: SourceFile, number: int = 0) -> bytes | None:
    """The picture in the middle of a clip, one object marked with its number in the mixture.

    None where the clip has no picture that can be read: sounds can be judged without.
    """
    try:
        middle_seconds = (probe(source.path).duration_seconds or 0) / 2
        shown = load_clip(clip, [middle_seconds])
    except InputError:
        return None
    labelled = source.visible.model_copy(update={"label": source.category})
    marked = replace(shown, objects=(labelled,))
    frame = _shrunk(shown.frames[0])
    buffer = io.BytesIO()
    picture = draw_boxes(frame, marked, float(shown.frame_times_seconds[0]), number)
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _shrunk(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    picture = Image.fromarray(frame)
    picture.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _rows(
    method: Method,
    asked: Prediction,
    waveforms: Float32[np.ndarray, "S C N"],
    settings: FrontEndSettings,
) -> Float32[np.ndarray, "S C R T"]:
    """Magnitudes on the example's axis: as the contender answered them where it has the same."""
    if method.front_end.settings != settings:
        return magnitude_rows(waveforms, settings)
    magnitudes = asked.separation.magnitudes[0].float().cpu()
    num_frames = settings.stft.num_frames(waveforms.shape[-1])
    return method.front_end.to_rows(magnitudes[..., :num_frames]).numpy()


def _scores_db(
    mixture: Mixture, scored: MixtureScores | None, name: str
) -> Float64[np.ndarray, "S 3"]:
    if scored is None:
        return np.full((len(mixture.parts), 3), np.nan)
    return scored.scores[name].scores_db


def _at_rate(
    waveforms: Float32[np.ndarray, "S C N"], given: FrontEndSettings, wanted: FrontEndSettings
) -> Float32[np.ndarray, "S C M"]:
    if given.sample_rate_hz == wanted.sample_rate_hz:
        return waveforms
    return np.stack(
        [resample(one, given.sample_rate_hz, wanted.sample_rate_hz) for one in waveforms]
    )
