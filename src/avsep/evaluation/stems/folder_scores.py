"""Score folders of stems by tool and song, with means and medians over songs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from avsep.errors import InputError, require_package
from avsep.evaluation.metrics.framewise import median_over_frames
from avsep.evaluation.metrics.plugins import ClapEmbedder, frechet_audio_distance
from avsep.evaluation.metrics.registry import SET_METRICS, mean_values
from avsep.evaluation.stems.file_scores import Column, FileScores, FileScoreSettings, score_files
from avsep.evaluation.stems.stem_folders import Song

FAD = Column("fad", "FAD", "", higher_is_better=False)
Embeddings = Float64[np.ndarray, "windows D"]


@dataclass(frozen=True)
class SongScores:
    """Scores of one tool's estimates of one song.

    Attributes:
        embeddings: CLAP embeddings of each reference and estimate; empty unless FAD is computed.
    """

    song: Song
    scores: FileScores
    embeddings: tuple[tuple[Embeddings, Embeddings], ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about unused files and about the scoring."""
        return (*self.song.warnings, *self.scores.warnings)


@dataclass(frozen=True)
class SourceSummary:
    """Scores of one source of one tool over all its songs; source "" is all sources together.

    Attributes:
        num_songs: number of songs with a score of it.
        mean, median: of each column; of all sources together, over the means of the songs.
    """

    tool: str
    source: str
    num_songs: int
    mean: Float64[np.ndarray, " columns"]
    median: Float64[np.ndarray, " columns"]


def score_songs(songs: Sequence[Song], settings: FileScoreSettings) -> Iterator[SongScores]:
    """Score songs one after the other; with `fad` among the metrics, embed their stems as well.

    A silent reference has no values in its song, and enters no mean; a warning reports it.

    Raises:
        InputError: as `score_files`, with the song named; --permute, since stems match by name.
    """
    if settings.permute:
        # Names already decide; another order would contradict them.
        raise InputError("--permute is for files; in folders stems match by name: leave it out")
    names = tuple(name for name in settings.metrics if name not in SET_METRICS)
    settings, with_fad = replace(settings, metrics=names), len(names) < len(settings.metrics)
    settings.check()
    # Before the first song is read: a missing package is reported at once.
    if with_fad:
        require_package("transformers", FAD.key)
    needs_mixture = any(metric.needs_mixture for metric in settings.chosen_metrics())
    for song in songs:
        song_settings = replace(settings, mixture=song.mixture if needs_mixture else None)
        try:
            scores = score_files(
                song.references, song.estimates, song_settings, leave_out_silent=True
            )
        except InputError as error:
            raise InputError(f"{song.name}: {error}" if song.name else str(error)) from error
        embeddings = tuple(_embed_stems(song, settings)) if with_fad else ()
        yield SongScores(song, scores, embeddings)


def summarise(songs: Sequence[SongScores]) -> tuple[tuple[Column, ...], list[SourceSummary]]:
    """Return the columns, and for each tool the summary of every source, then of all sources."""
    columns = songs[0].scores.columns
    tools = list(dict.fromkeys(scored.song.tool for scored in songs))
    rows: list[SourceSummary] = []
    with_fad = any(scored.embeddings for scored in songs)
    for tool in tools:
        of_tool = [scored for scored in songs if scored.song.tool == tool]
        sources = dict.fromkeys(name for scored in of_tool for name in scored.song.sources)
        for source in sources:
            values = [
                row
                for scored in of_tool
                for name, row in zip(scored.song.sources, scored.scores.values, strict=True)
                if name == source
            ]
            rows.append(_summarise_source(tool, source, values, of_tool if with_fad else []))
        # Over the means of the songs: a song with many stems counts no more than others.
        means = [scored.scores.mean for scored in of_tool]
        rows.append(_summarise_source(tool, "", means, of_tool if with_fad else []))
    return (*columns, *([FAD] if with_fad else [])), rows


def _summarise_source(
    tool: str,
    source: str,
    values: Sequence[Float64[np.ndarray, " columns"]],
    with_embeddings: Sequence[SongScores],
) -> SourceSummary:
    """Return mean and median of the values, followed by FAD if there are embeddings."""
    table = np.stack(values)
    # Counted by SDR, the first column: NaN where the reference is silent in the song.
    num_songs = int((~np.isnan(table[:, 0])).sum())
    mean, median = mean_values(table), median_over_frames(table.T)
    if with_embeddings:
        # FAD is one value of the whole set: its own mean and median.
        distance = [_compute_fad(source, with_embeddings)]
        mean, median = np.append(mean, distance), np.append(median, distance)
    return SourceSummary(tool, source, num_songs, mean, median)


def _compute_fad(source: str, songs: Sequence[SongScores]) -> float:
    """Return FAD of a source's estimates and references in all songs; NaN for too few sounds."""
    pairs = [
        pair
        for scored in songs
        for name, pair in zip(scored.song.sources, scored.embeddings, strict=True)
        if source in ("", name)
    ]
    truth, guess = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return frechet_audio_distance(truth, guess) if min(len(truth), len(guess)) > 1 else float("nan")


def _embed_stems(
    song: Song, settings: FileScoreSettings
) -> Iterator[tuple[Embeddings, Embeddings]]:
    """Compute the embeddings of each reference and its estimate."""
    embedder = ClapEmbedder.load()
    for pair in zip(song.references, song.estimates, strict=True):
        sounds = [settings.read(path) for path in pair]
        truth, guess = (embedder.embed(x.waveform, x.sample_rate_hz) for x in sounds)
        yield truth, guess
