"""Scores of sound files: read, checked against one another, cut to one length, scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.media.audio import Sound, read_audio


@dataclass(frozen=True)
class FileScores:
    """The scores of files, with what was done to them.

    Attributes:
        references, estimates: the files, those scored against each other side by side.
        scores_db: SDR, SIR, SAR of each, mean over the channels that count.
        num_samples: of what was scored, per channel.
        remarks: what the reader of the figures has to know: cut lengths, silent channels.
    """

    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    scores_db: Float64[np.ndarray, "S 3"]
    sample_rate_hz: int
    num_channels: int
    num_samples: int
    remarks: tuple[str, ...]

    @property
    def mean_db(self) -> Float64[np.ndarray, "3"]:
        """SDR, SIR, SAR, mean over the sources."""
        return _mean_db(self.scores_db)


def score_files(
    references: Sequence[Path], estimates: Sequence[Path], *, permute: bool = False
) -> FileScores:
    """BSS Eval of sound files: each channel by itself, then the mean over channels.

    Longer files are cut to the shortest. A channel in which a reference is silent has no score and
    does not enter the mean. `permute` finds one order for all channels.

    Raises:
        InputError: unequal numbers of files, rates or channels; no channel that can be scored.
    """
    if not references or len(references) != len(estimates):
        raise InputError(
            f"{len(references)} reference and {len(estimates)} estimate files given; give as many "
            "of one as of the other: --reference a.wav b.wav --estimate x.wav y.wav"
        )
    paths = (*references, *estimates)
    sounds = [read_audio(path) for path in paths]
    _check_alike(paths, sounds)
    waveforms, remarks = _cut_to_shortest(paths, [sound.waveform for sound in sounds])
    truth, guess = np.split(waveforms, 2, axis=1)
    scored, more_remarks = _scored_channels(paths, waveforms == 0)
    truth, guess = truth[scored], guess[scored]
    order = np.arange(len(references))
    if permute:
        whole = bss_eval(_end_to_end(truth), _end_to_end(guess), permute=True)
        order = whole.permutation
    scores = bss_eval(truth, guess[:, order])
    by_channel_db = scores.table_db  # C S 3
    return FileScores(
        references=tuple(references),
        estimates=tuple(estimates[index] for index in order.tolist()),
        scores_db=_mean_db(by_channel_db),
        sample_rate_hz=sounds[0].sample_rate_hz,
        num_channels=waveforms.shape[0],
        num_samples=waveforms.shape[-1],
        remarks=(*remarks, *more_remarks),
    )


def _check_alike(paths: Sequence[Path], sounds: Sequence[Sound]) -> None:
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


def _scored_channels(
    paths: Sequence[Path], is_zero: Bool[np.ndarray, "C files N"]
) -> tuple[Bool[np.ndarray, " C"], list[str]]:
    """The channels in which every reference sounds, and remarks on all that is silent in a file."""
    silent = np.asarray(is_zero.all(axis=-1))
    num_references = len(paths) // 2
    scored = np.asarray(~silent[:, :num_references].any(axis=1))
    remarks = []
    for channel, index in np.argwhere(silent):
        what = f"'{paths[index]}' is silent in channel {channel + 1} of {len(silent)}"
        if index < num_references and not scored.any():
            raise InputError(
                f"reference {what}: no score is defined against silence; "
                "give a reference that sounds, or leave it out with its estimate"
            )
        if index < num_references:
            remarks.append(f"reference {what}, which is left out of the mean")
        elif scored[channel]:
            remarks.append(f"estimate {what}, which scores -inf")
    return scored, remarks


def _mean_db(scores_db: Float64[np.ndarray, "first *rest"]) -> Float64[np.ndarray, "*rest"]:
    """The mean over the first axis, -inf where any is: one source has an SIR of inf beside it."""
    lowest = np.isneginf(scores_db).any(axis=0)
    return np.where(lowest, -np.inf, np.where(lowest, 0.0, scores_db).mean(axis=0))


def _end_to_end(waveforms: Float32[np.ndarray, "C S N"]) -> Float32[np.ndarray, "S samples"]:
    """The channels of each source one after the other, to be compared as one sound."""
    return np.concatenate(list(waveforms), axis=-1)
