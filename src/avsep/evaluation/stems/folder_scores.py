"""Scores of folders of stems: tools side by side, song by song, with mean and median over songs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from avsep.errors import InputError, require_package
from avsep.evaluation.metrics.framewise import median_over_frames
from avsep.evaluation.metrics.plugins import ClapEmbedder, frechet_audio_distance
from avsep.evaluation.metrics.registry import SET_METRICS, mean_figures
from avsep.evaluation.stems.file_scores import Column, FileScores, ScoreSettings, score_files
from avsep.evaluation.stems.stem_folders import Song
from avsep.media.audio import read_audio

FAD = Column("fad", "FAD", "", higher_is_better=False)
Points = Float64[np.ndarray, "windows D"]


@dataclass(frozen=True)
class SongScores:
    """One song's scores by one tool.

    Attributes:
        points: CLAP embeddings of each reference and estimate where FAD was asked for.
    """

    song: Song
    scores: FileScores
    points: tuple[tuple[Points, Points], ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was done to its files, and which were not used."""
        return (*self.song.warnings, *self.scores.warnings)


@dataclass(frozen=True)
class SourceSummary:
    """One source of one tool over all its songs; source "" is all sources together.

    Attributes:
        num_songs: how many have a figure of it.
        mean, median: of each column; of all sources together, over the means of the songs.
    """

    tool: str
    source: str
    num_songs: int
    mean: Float64[np.ndarray, " columns"]
    median: Float64[np.ndarray, " columns"]


def score_songs(songs: Sequence[Song], settings: ScoreSettings) -> Iterator[SongScores]:
    """Each song's scores, one after the other; `fad` among the metrics asks for embeddings.

    A reference that is silent has no figures in its song, and enters no mean; a remark says so.

    Raises:
        InputError: as `score_files`, with the song named; --permute, since names match.
    """
    if settings.permute:
        raise InputError("--permute is for files; in folders names tell which belong together")
    names = tuple(name for name in settings.metrics if name not in SET_METRICS)
    settings, asks_fad = replace(settings, metrics=names), len(names) < len(settings.metrics)
    settings.check()
    if asks_fad:
        require_package("transformers", FAD.key)
    compares = any(metric.needs_mixture for metric in settings.chosen_metrics())
    for song in songs:
        own = replace(settings, mixture=song.mixture if compares else None)
        try:
            scores = score_files(song.references, song.estimates, own, leave_out_silent=True)
        except InputError as error:
            raise InputError(f"{song.name}: {error}" if song.name else str(error)) from error
        yield SongScores(song, scores, tuple(_points(song)) if asks_fad else ())


def summarise(done: Sequence[SongScores]) -> tuple[tuple[Column, ...], list[SourceSummary]]:
    """The columns, and tool by tool each source's summary, that of all sources at the end."""
    columns = done[0].scores.columns
    tools = list(dict.fromkeys(each.song.tool for each in done))
    rows: list[SourceSummary] = []
    with_fad = any(each.points for each in done)
    for tool in tools:
        own = [each for each in done if each.song.tool == tool]
        sources = dict.fromkeys(name for each in own for name in each.song.sources)
        for source in sources:
            figures = [
                row
                for each in own
                for name, row in zip(each.song.sources, each.scores.figures, strict=True)
                if name == source
            ]
            rows.append(_summary(tool, source, figures, own if with_fad else []))
        means = [each.scores.mean for each in own]
        rows.append(_summary(tool, "", means, own if with_fad else []))
    return (*columns, *([FAD] if with_fad else [])), rows


def _summary(
    tool: str,
    source: str,
    figures: Sequence[Float64[np.ndarray, " columns"]],
    with_points: Sequence[SongScores],
) -> SourceSummary:
    """Mean and median of the figures; where there are embeddings their distance behind them."""
    together = np.stack(figures)
    num_songs = int((~np.isnan(together[:, 0])).sum())
    mean, median = mean_figures(together), median_over_frames(together.T)
    if with_points:
        distance = [_distance(source, with_points)]
        mean, median = np.append(mean, distance), np.append(median, distance)
    return SourceSummary(tool, source, num_songs, mean, median)


def _distance(source: str, songs: Sequence[SongScores]) -> float:
    """FAD of a source's estimates from its references in all songs; NaN for too few sounds."""
    pairs = [
        pair
        for each in songs
        for name, pair in zip(each.song.sources, each.points, strict=True)
        if source in ("", name)
    ]
    truth, guess = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return frechet_audio_distance(truth, guess) if min(len(truth), len(guess)) > 1 else float("nan")


def _points(song: Song) -> Iterator[tuple[Points, Points]]:
    """Embeddings of each reference and its estimate."""
    embedder = ClapEmbedder.load()
    for pair in zip(song.references, song.estimates, strict=True):
        sounds = [read_audio(path) for path in pair]
        truth, guess = (embedder.embed(x.waveform, x.sample_rate_hz) for x in sounds)
        yield truth, guess
