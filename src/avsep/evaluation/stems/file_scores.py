"""Scores of sound files: read, checked against one another, cut to one length, scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.bss_eval_images import bss_eval_images
from avsep.evaluation.metrics.framewise import FramewiseScores, bss_eval_framewise
from avsep.evaluation.metrics.registry import Metric, choose_metrics, mean_figures, measure
from avsep.media.audio import Audio, read_audio

# What a mixture adds where no metric is asked for that compares with it.
_IMPROVEMENTS = ("sdri", "si-sdri")


@dataclass(frozen=True)
class Column:
    """What stands in one column of a table of scores; `key` is its name in JSON and CSV."""

    key: str
    label: str
    unit: str
    higher_is_better: bool

    @classmethod
    def of(cls, metric: Metric) -> "Column":
        """The column of a metric."""
        return cls(metric.key, metric.label, metric.unit, metric.higher_is_better)


SDR, SIR, SAR, ISR = (
    Column(f"{name.lower()}_db", name, "dB", True) for name in ("SDR", "SIR", "SAR", "ISR")
)


@dataclass(frozen=True)
class ScoreSettings:
    """How files are scored.

    Attributes:
        permute: find one order of the estimates for all channels, by best mean SIR.
        metrics: names of METRICS, a column each beside SDR, SIR and SAR.
        frames_seconds: SDR, SIR, SAR as medians over frames of so long; none: of the whole.
        hop_seconds: from one frame to the next; none: frames do not overlap.
        image: BSS Eval of images, which has ISR as well and compares all channels together.
        mixture: the file that was separated, for metrics that compare with it; where none of those
            was asked for, SDRi and SI-SDRi are. For songs, the folder of their mixtures.
    """

    permute: bool = False
    metrics: tuple[str, ...] = ()
    frames_seconds: float | None = None
    hop_seconds: float | None = None
    image: bool = False
    mixture: Path | None = None

    def chosen_metrics(self) -> tuple[Metric, ...]:
        """The metrics asked for, and those that the mixture adds.

        Raises:
            InputError: as `choose_metrics`.
        """
        chosen = choose_metrics(self.metrics)
        if self.mixture is not None and not any(metric.needs_mixture for metric in chosen):
            chosen += choose_metrics(_IMPROVEMENTS)
        return chosen

    def check(self) -> None:
        """Raise an InputError for settings that do not go together, before files are read."""
        self.chosen_metrics()
        for name, value in (("--frames", self.frames_seconds), ("--hop", self.hop_seconds)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} is {value}; give seconds above 0: {name} 1")
        if self.hop_seconds is not None and self.frames_seconds is None:
            raise InputError("--hop is from one frame to the next: give --frames SECONDS too")
        if self.image and self.frames_seconds is not None:
            raise InputError("--image scores the whole sound; leave out --image or --frames")


@dataclass(frozen=True)
class FileScores:
    """The scores of files, with what was done to them.

    Attributes:
        references, estimates: the files, those scored against each other side by side.
        figures: of each, column by column; mean over the channels that count.
        num_samples: of what was scored, per channel.
        warnings: what the reader of the figures has to know: cut lengths, silent channels.
    """

    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    columns: tuple[Column, ...]
    figures: Float64[np.ndarray, "S columns"]
    sample_rate_hz: int
    num_channels: int
    num_samples: int
    warnings: tuple[str, ...]

    @property
    def mean(self) -> Float64[np.ndarray, " columns"]:
        """Each column, mean over the sources that have a figure."""
        return mean_figures(self.figures)


def score_files(
    references: Sequence[Path],
    estimates: Sequence[Path],
    settings: ScoreSettings = ScoreSettings(),
    *,
    leave_out_silent: bool = False,
) -> FileScores:
    """BSS Eval of sound files and what else is asked for, each channel by itself, then their mean.

    Longer files are cut to the shortest. A channel in which a reference is silent has no score and
    does not enter the mean. With `leave_out_silent` a reference that is silent in all channels is
    no error: the others are scored without it, and it has NaN.

    Raises:
        InputError: unequal numbers of files, rates or channels; no channel that can be scored; as
            `measure` and `ScoreSettings.check`.
    """
    settings.check()
    if not references or len(references) != len(estimates):
        raise InputError(
            f"{len(references)} reference and {len(estimates)} estimate files given; give as many "
            "of one as of the other: --reference a.wav b.wav --estimate x.wav y.wav"
        )
    paths = [*references, *estimates, *([settings.mixture] if settings.mixture else [])]
    sounds = [read_audio(path) for path in paths]
    _check_alike(paths, sounds)
    waveforms, warnings = _cut_to_shortest(paths, [sound.waveform for sound in sounds])
    num_sources = len(references)
    sounding = np.asarray(waveforms[:, :num_sources].any(axis=(0, -1)))
    if not (leave_out_silent and sounding.any()):
        sounding = np.ones(num_sources, bool)
    for index in np.flatnonzero(~sounding).tolist():
        warnings.append(f"reference '{paths[index]}' is silent, and left out")
    with_mixture = np.ones(len(paths) - 2 * num_sources, bool)
    kept = np.flatnonzero(np.concatenate([sounding, sounding, with_mixture]))
    order, columns, figures, more_remarks = _scored(
        [paths[index] for index in kept.tolist()],
        waveforms[:, kept],
        settings,
        sounds[0].sample_rate_hz,
    )
    whole = np.full((num_sources, len(columns)), np.nan)
    whole[sounding] = figures
    if sounding.sum() == 1 < num_sources:
        # All interference is silent: no figure, rather than one that is infinite in every mean.
        whole[:, [column.key.endswith("sir_db") for column in columns]] = np.nan
    places = np.arange(num_sources)
    places[sounding] = places[sounding][order]
    return FileScores(
        references=tuple(references),
        estimates=tuple(estimates[index] for index in places.tolist()),
        columns=columns,
        figures=whole,
        sample_rate_hz=sounds[0].sample_rate_hz,
        num_channels=waveforms.shape[0],
        num_samples=waveforms.shape[-1],
        warnings=(*warnings, *more_remarks),
    )


def _scored(
    paths: Sequence[Path],
    waveforms: Float32[np.ndarray, "C files N"],
    settings: ScoreSettings,
    sample_rate_hz: int,
) -> tuple[
    Int64[np.ndarray, " S"], tuple[Column, ...], Float64[np.ndarray, "S columns"], list[str]
]:
    """The order of the estimates, columns and figures of references that sound, and remarks.

    Args:
        paths, waveforms: references, their estimates, and the mixture if there is one.
    """
    num_sources, metrics = len(paths) // 2, settings.chosen_metrics()
    truth, guess = waveforms[:, :num_sources], waveforms[:, num_sources : 2 * num_sources]
    if settings.image:
        _check_images(paths[:num_sources], truth)
        scored, warnings = np.ones(len(waveforms), bool), list[str]()
    else:
        scored, warnings = _scored_channels(paths[: 2 * num_sources], waveforms == 0)
    order = np.arange(num_sources)
    if settings.permute:
        order = _best_order(truth[scored], guess[scored])
    guess = guess[:, order]
    columns, figures, more_remarks = _bss_eval(truth, guess, scored, settings, sample_rate_hz)
    measured = measure(
        [metric.name for metric in metrics],
        truth.swapaxes(0, 1),
        guess.swapaxes(0, 1),
        waveforms[:, -1] if settings.mixture else None,
        sample_rate_hz,
    )
    columns = (*columns, *(Column.of(metric) for metric in metrics))
    return (
        order,
        columns,
        np.column_stack([figures, *measured.values()]),
        [*warnings, *more_remarks],
    )


def _bss_eval(
    truth: Float32[np.ndarray, "C S N"],
    guess: Float32[np.ndarray, "C S N"],
    scored: Bool[np.ndarray, " C"],
    settings: ScoreSettings,
    sample_rate_hz: int,
) -> tuple[tuple[Column, ...], Float64[np.ndarray, "S columns"], list[str]]:
    """SDR, SIR, SAR of each source the way asked for, and remarks on how that was."""
    if settings.image:
        found = bss_eval_images(truth.swapaxes(0, 1), guess.swapaxes(0, 1))
        table_db = np.stack([found.sdr_db, found.isr_db, found.sir_db, found.sar_db], axis=-1)
        return (SDR, ISR, SIR, SAR), table_db, []
    truth, guess = truth[scored], guess[scored]
    if settings.frames_seconds is None:
        return (SDR, SIR, SAR), mean_figures(bss_eval(truth, guess).table_db), []
    seconds = settings.frames_seconds, settings.hop_seconds or settings.frames_seconds
    window_samples, hop_samples = (max(1, round(x * sample_rate_hz)) for x in seconds)
    frames = bss_eval_framewise(truth, guess, window_samples, hop_samples)
    return (SDR, SIR, SAR), mean_figures(frames.median_db), [_frames_remark(frames, *seconds)]


def _frames_remark(frames: FramewiseScores, window_seconds: float, hop_seconds: float) -> str:
    num_frames, num_left_out = len(frames.start_samples), int(frames.num_left_out.max())
    if num_frames == 1:
        return f"fewer than two frames of {window_seconds:g} s fit: the whole is scored as one"
    remark = (
        f"SDR, SIR and SAR are medians over {num_frames} frames of {window_seconds:g} s, one every "
        f"{hop_seconds:g} s"
    )
    if num_left_out:
        remark += f"; {num_left_out} are left out, in which a reference or an estimate is silent"
    return remark


def _best_order(
    truth: Float32[np.ndarray, "C S N"], guess: Float32[np.ndarray, "C S N"]
) -> Int64[np.ndarray, " S"]:
    """The order of best mean SIR of all channels one after the other, compared as one sound."""
    truth_whole, guess_whole = (np.concatenate(list(x), axis=-1) for x in (truth, guess))
    return bss_eval(truth_whole, guess_whole, permute=True).permutation


def _check_alike(paths: Sequence[Path], sounds: Sequence[Audio]) -> None:
    """Raise an InputError that names two files of different rates or channels."""
    first = sounds[0]
    for path, sound in zip(paths, sounds, strict=True):
        if sound.sample_rate_hz != first.sample_rate_hz:
            raise InputError(
                f"'{paths[0]}' has {first.sample_rate_hz} Hz, '{path}' {sound.sample_rate_hz} Hz; "
                "convert them to one rate before scoring"
            )
        if len(sound.waveform) != len(first.waveform):
            raise InputError(
                f"'{paths[0]}' has {len(first.waveform)} channels, '{path}' "
                f"{len(sound.waveform)}; convert them to one number of channels before scoring"
            )


def _cut_to_shortest(
    paths: Sequence[Path], waveforms: Sequence[Float32[np.ndarray, "C _"]]
) -> tuple[Float32[np.ndarray, "C files N"], list[str]]:
    """All files cut at their end to the shortest, and a remark if any was."""
    lengths = [waveform.shape[1] for waveform in waveforms]
    shortest, longest = int(np.argmin(lengths)), int(np.argmax(lengths))
    num_samples = lengths[shortest]
    together = np.stack([waveform[:, :num_samples] for waveform in waveforms], axis=1)
    if num_samples == lengths[longest]:
        return together, []
    remark = (
        f"cut to the {num_samples} samples of '{paths[shortest]}', the shortest file "
        f"(the longest, '{paths[longest]}', has {lengths[longest]})"
    )
    return together, [remark]


def _check_images(paths: Sequence[Path], truth: Float32[np.ndarray, "C S N"]) -> None:
    """Raise an InputError that names a reference with a silent channel."""
    for channel, index in np.argwhere(~truth.any(axis=-1)):
        raise InputError(
            f"reference '{paths[index]}' is silent in channel {channel + 1} of {len(truth)}: as an "
            "image it has no score; leave out --image to score channel by channel"
        )


def _scored_channels(
    paths: Sequence[Path], is_zero: Bool[np.ndarray, "C files N"]
) -> tuple[Bool[np.ndarray, " C"], list[str]]:
    """The channels in which every reference sounds, and remarks on all that is silent in a file."""
    silent = np.asarray(is_zero.all(axis=-1))[:, : len(paths)]
    num_references = len(paths) // 2
    scored = np.asarray(~silent[:, :num_references].any(axis=1))
    warnings = []
    for channel, index in np.argwhere(silent):
        what = f"'{paths[index]}' is silent in channel {channel + 1} of {len(silent)}"
        if index < num_references and not scored.any():
            raise InputError(
                f"reference {what}: no score is defined against silence; "
                "give a reference that sounds, or leave it out with its estimate"
            )
        if index < num_references:
            warnings.append(f"reference {what}, which is left out of the mean")
        elif scored[channel]:
            warnings.append(f"estimate {what}, which scores -inf")
    return scored, warnings
