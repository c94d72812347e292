"""Score sound files: read them, check that they match, cut them to one length."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.bss_eval_images import bss_eval_images
from avsep.evaluation.metrics.framewise import FramewiseScores, bss_eval_framewise
from avsep.evaluation.metrics.registry import Metric, choose_metrics, mean_values, measure
from avsep.evaluation.stems.offsets import find_offset, take_off
from avsep.media.audio import Audio, read_audio
from avsep.media.decoding import OnDamage
from avsep.media.streams import Track

# Metrics that a mixture adds where the user named none that needs it.
_IMPROVEMENTS = ("sdri", "si-sdri")


@dataclass(frozen=True)
class Column:
    """One column of a table of scores; `key` is its name in JSON and CSV."""

    key: str
    label: str
    unit: str
    higher_is_better: bool

    @classmethod
    def from_metric(cls, metric: Metric) -> "Column":
        """Make the column of a metric."""
        return cls(metric.key, metric.label, metric.unit, metric.higher_is_better)


SDR, SIR, SAR, ISR = (
    Column(f"{name.lower()}_db", name, "dB", True) for name in ("SDR", "SIR", "SAR", "ISR")
)


@dataclass(frozen=True)
class FileScoreSettings:
    """Settings for scoring files.

    Attributes:
        permute: find one order of the estimates for all channels, by best mean SIR.
        metrics: names of METRICS, each a column beside SDR, SIR and SAR.
        frames_seconds: frame length; SDR, SIR, SAR are medians over frames. None scores the whole.
        hop_seconds: hop from one frame to the next; None for frames that do not overlap.
        image: BSS Eval of images, which adds ISR and compares all channels together.
        mixture: the file before separation, for metrics that need it; if `metrics` has none of
            those, SDRi and SI-SDRi are added. For songs, the folder of their mixtures.
        align: take off constant offsets between estimates and references.
        track: audio track of files with several, see `AudioReader`.
        on_damage: "skip" scores what can be decoded, with warnings; "error" refuses damaged files.
    """

    permute: bool = False
    metrics: tuple[str, ...] = ()
    frames_seconds: float | None = None
    hop_seconds: float | None = None
    image: bool = False
    mixture: Path | None = None
    align: bool = False
    track: Track | None = None
    on_damage: OnDamage = "skip"

    def read(self, path: Path) -> Audio:
        """Read a sound file by these settings; its warnings begin with its name.

        Raises:
            InputError: as `read_audio`.
        """
        sound = read_audio(path, track=self.track, on_damage=self.on_damage)
        return replace(sound, warnings=tuple(f"'{path}': {text}" for text in sound.warnings))

    def chosen_metrics(self) -> tuple[Metric, ...]:
        """Return the metrics named, and those that the mixture adds.

        Raises:
            InputError: as `choose_metrics`.
        """
        chosen = choose_metrics(self.metrics)
        if self.mixture is not None and not any(metric.needs_mixture for metric in chosen):
            chosen += choose_metrics(_IMPROVEMENTS)
        return chosen

    def check(self) -> None:
        """Raise an InputError for settings that exclude one another, before files are read."""
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
    """Scores of files, and how the files were changed for scoring.

    Attributes:
        references, estimates: paths, in pairs that were scored against each other.
        values: scores of each source, mean over the channels that count.
        num_samples: length that was scored, per channel.
        warnings: damage, offsets, cut lengths and silent channels, which affect the scores.
    """

    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    columns: tuple[Column, ...]
    values: Float64[np.ndarray, "S columns"]
    sample_rate_hz: int
    num_channels: int
    num_samples: int
    warnings: tuple[str, ...]

    @property
    def mean(self) -> Float64[np.ndarray, " columns"]:
        """The mean of each column over the sources that have a value."""
        return mean_values(self.values)


def score_files(
    references: Sequence[Path],
    estimates: Sequence[Path],
    settings: FileScoreSettings = FileScoreSettings(),
    *,
    leave_out_silent: bool = False,
) -> FileScores:
    """Return BSS Eval scores and chosen metrics of sound files, as means over channels.

    Longer files are cut to the shortest. A channel in which a reference is silent has no score and
    does not enter the mean. With `leave_out_silent` a reference that is silent in all channels is
    no error: the others are scored without it, and its values are NaN.

    Raises:
        InputError: unequal numbers of files, rates or channels; no channel that can be scored; as
            `measure` and `FileScoreSettings.check`.
    """
    settings.check()
    if not references or len(references) != len(estimates):
        raise InputError(
            f"{len(references)} reference and {len(estimates)} estimate files given; give as many "
            "of one as of the other: --reference a.wav b.wav --estimate x.wav y.wav"
        )
    paths = [*references, *estimates, *([settings.mixture] if settings.mixture else [])]
    sounds = [settings.read(path) for path in paths]
    _check_alike(paths, sounds)
    num_sources = len(references)
    aligned, offset_warnings = _align(paths, sounds, num_sources, settings)
    waveforms, warnings = _cut_to_shortest(paths, aligned)
    of_files = [warning for sound in sounds for warning in sound.warnings]
    warnings = [*of_files, *offset_warnings, *warnings]
    sounding = np.asarray(waveforms[:, :num_sources].any(axis=(0, -1)))
    if not (leave_out_silent and sounding.any()):
        sounding = np.ones(num_sources, bool)
    for index in np.flatnonzero(~sounding).tolist():
        warnings.append(f"reference '{paths[index]}' is silent, and left out")
    with_mixture = np.ones(len(paths) - 2 * num_sources, bool)
    # The order is references, estimates and perhaps the mixture: leave out pairs, not the mixture.
    scored = np.flatnonzero(np.concatenate([sounding, sounding, with_mixture]))
    order, columns, values, more_warnings = _score_waveforms(
        [paths[index] for index in scored.tolist()],
        waveforms[:, scored],
        settings,
        sounds[0].sample_rate_hz,
    )
    table = np.full((num_sources, len(columns)), np.nan)
    table[sounding] = values
    if sounding.sum() == 1 < num_sources:
        # All interference is silent: no SIR, rather than inf, which would make every mean inf.
        table[:, [column.key.endswith("sir_db") for column in columns]] = np.nan
    places = np.arange(num_sources)
    places[sounding] = places[sounding][order]
    return FileScores(
        references=tuple(references),
        estimates=tuple(estimates[index] for index in places.tolist()),
        columns=columns,
        values=table,
        sample_rate_hz=sounds[0].sample_rate_hz,
        num_channels=waveforms.shape[0],
        num_samples=waveforms.shape[-1],
        warnings=(*warnings, *more_warnings),
    )


def _score_waveforms(
    paths: Sequence[Path],
    waveforms: Float32[np.ndarray, "C files N"],
    settings: FileScoreSettings,
    sample_rate_hz: int,
) -> tuple[
    Int64[np.ndarray, " S"], tuple[Column, ...], Float64[np.ndarray, "S columns"], list[str]
]:
    """Return the order of the estimates, columns, values and warnings; all references sound.

    Args:
        paths, waveforms: references, their estimates, and the mixture if given.
    """
    num_sources, metrics = len(paths) // 2, settings.chosen_metrics()
    truth, guess = waveforms[:, :num_sources], waveforms[:, num_sources : 2 * num_sources]
    if settings.image:
        _check_images(paths[:num_sources], truth)
        scored, warnings = np.ones(len(waveforms), bool), list[str]()
    else:
        scored, warnings = _scored_channels(paths[: 2 * num_sources], waveforms == 0)
    # One order for all channels: a tool that swaps stems swaps them in both channels.
    order = np.arange(num_sources)
    if settings.permute:
        order = _best_order(truth[scored], guess[scored])
    guess = guess[:, order]
    columns, values, more_warnings = _bss_eval(truth, guess, scored, settings, sample_rate_hz)
    further_values = measure(
        [metric.name for metric in metrics],
        truth.swapaxes(0, 1),
        guess.swapaxes(0, 1),
        waveforms[:, -1] if settings.mixture else None,
        sample_rate_hz,
    )
    columns = (*columns, *(Column.from_metric(metric) for metric in metrics))
    return (
        order,
        columns,
        np.column_stack([values, *further_values.values()]),
        [*warnings, *more_warnings],
    )


def _bss_eval(
    truth: Float32[np.ndarray, "C S N"],
    guess: Float32[np.ndarray, "C S N"],
    scored: Bool[np.ndarray, " C"],
    settings: FileScoreSettings,
    sample_rate_hz: int,
) -> tuple[tuple[Column, ...], Float64[np.ndarray, "S columns"], list[str]]:
    """Return SDR, SIR, SAR of each source by the settings, and warnings about frames."""
    if settings.image:
        scores = bss_eval_images(truth.swapaxes(0, 1), guess.swapaxes(0, 1))
        table_db = np.stack([scores.sdr_db, scores.isr_db, scores.sir_db, scores.sar_db], axis=-1)
        return (SDR, ISR, SIR, SAR), table_db, []
    truth, guess = truth[scored], guess[scored]
    if settings.frames_seconds is None:
        return (SDR, SIR, SAR), mean_values(bss_eval(truth, guess).table_db), []
    seconds = settings.frames_seconds, settings.hop_seconds or settings.frames_seconds
    window_samples, hop_samples = (max(1, round(x * sample_rate_hz)) for x in seconds)
    frames = bss_eval_framewise(truth, guess, window_samples, hop_samples)
    return (SDR, SIR, SAR), mean_values(frames.median_db), [_frames_warning(frames, *seconds)]


def _frames_warning(frames: FramewiseScores, window_seconds: float, hop_seconds: float) -> str:
    num_frames, num_left_out = len(frames.start_samples), int(frames.num_left_out.max())
    if num_frames == 1:
        return f"fewer than two frames of {window_seconds:g} s fit: the whole is scored as one"
    warning = (
        f"SDR, SIR and SAR are medians over {num_frames} frames of {window_seconds:g} s, one every "
        f"{hop_seconds:g} s"
    )
    if num_left_out:
        warning += f"; {num_left_out} are left out, in which a reference or an estimate is silent"
    return warning


def _best_order(
    truth: Float32[np.ndarray, "C S N"], guess: Float32[np.ndarray, "C S N"]
) -> Int64[np.ndarray, " S"]:
    """Return the order of best mean SIR; channels are concatenated, so that all share one order."""
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


def _align(
    paths: Sequence[Path], sounds: Sequence[Audio], num_sources: int, settings: FileScoreSettings
) -> tuple[list[Float32[np.ndarray, "C _"]], list[str]]:
    """Return the waveforms, without the offsets of estimates if asked, and warnings of offsets."""
    waveforms = [sound.waveform for sound in sounds]
    references, rate = waveforms[:num_sources], sounds[0].sample_rate_hz
    estimates = waveforms[num_sources : 2 * num_sources]
    offsets, warnings = list[int](), list[str]()
    for index, estimate in enumerate(estimates):
        # Without an order yet, the reference that is most like the estimate is its own.
        candidates = range(num_sources) if settings.permute else (index,)
        by_reference = {k: find_offset(references[k], estimate, rate) for k in candidates}
        likeliest = max(candidates, key=lambda k: by_reference[k].correlation)
        offset = by_reference[likeliest].samples
        offsets.append(offset)
        if offset:
            side = "later" if offset > 0 else "earlier"
            done = "taken off" if settings.align else "scored as it is; --align takes it off"
            warnings.append(
                f"'{paths[num_sources + index]}' is {abs(offset)} samples "
                f"({abs(offset) / rate:.4f} s) {side} than '{paths[likeliest]}': {done}"
            )
    if settings.align and any(offsets):
        waveforms = take_off(references, estimates, waveforms[2 * num_sources :], offsets)
    return waveforms, warnings


def _cut_to_shortest(
    paths: Sequence[Path], waveforms: Sequence[Float32[np.ndarray, "C _"]]
) -> tuple[Float32[np.ndarray, "C files N"], list[str]]:
    """Cut all files at their end to the shortest; return a warning if any was cut."""
    # Encoders pad the end by up to a frame, so that unequal lengths are usual and harmless.
    lengths = [waveform.shape[1] for waveform in waveforms]
    shortest, longest = int(np.argmin(lengths)), int(np.argmax(lengths))
    num_samples = lengths[shortest]
    stacked = np.stack([waveform[:, :num_samples] for waveform in waveforms], axis=1)
    if num_samples == lengths[longest]:
        return stacked, []
    warning = (
        f"cut to the {num_samples} samples of '{paths[shortest]}', the shortest file "
        f"(the longest, '{paths[longest]}', has {lengths[longest]})"
    )
    return stacked, [warning]


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
    """Return the channels in which every reference sounds, and warnings about silent channels."""
    silent = np.asarray(is_zero.all(axis=-1))[:, : len(paths)]
    num_references = len(paths) // 2
    scored = np.asarray(~silent[:, :num_references].any(axis=1))
    warnings = []
    for channel, index in np.argwhere(silent):
        fault = f"'{paths[index]}' is silent in channel {channel + 1} of {len(silent)}"
        if index < num_references and not scored.any():
            raise InputError(
                f"reference {fault}: no score is defined against silence; "
                "give a reference that sounds, or leave it out with its estimate"
            )
        if index < num_references:
            warnings.append(f"reference {fault}, which is left out of the mean")
        elif scored[channel]:
            warnings.append(f"estimate {fault}, which scores -inf")
    return scored, warnings
