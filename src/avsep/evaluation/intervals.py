"""How far a mean over mixtures may be off: 95 % intervals by resampling videos, not mixtures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

LEVEL = 0.95
NUM_RESAMPLES = 2000
_SEED = 0  # the same resamples for everybody, so that differences are paired
# Weights held at once.
_MOST_WEIGHTS = 2_000_000


@dataclass(frozen=True)
class Resamples:
    """Draws of videos with replacement, and how often each mixture is in them.

    Mixtures that share a video are not independent: 250 pairs of 25 videos say much less than 250
    videos would. So videos are drawn, and a mixture counts as often as the product of its videos'
    multiplicities: the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1(2), 2007), here with one list of videos for all places in a mixture. It errs on
    the side of wide intervals.

    Attributes:
        counts: how often each video is drawn; a last column of ones stands for no video.
        videos_of: the videos of each mixture, filled up with that column.
    """

    counts: Int64[np.ndarray, "R videos"]
    videos_of: Int64[np.ndarray, "M places"]

    @classmethod
    def draw(
        cls, videos: Sequence[Sequence[str]], num_resamples: int = NUM_RESAMPLES
    ) -> "Resamples":
        """Resamples for mixtures, each given as the videos it is made of."""
        names = sorted({name for some in videos for name in some})
        place_of = {name: place for place, name in enumerate(names)}
        most = max((len(set(some)) for some in videos), default=0)
        videos_of = np.full((len(videos), most), len(names), np.int64)
        for row, some in enumerate(videos):
            own = sorted({place_of[name] for name in some})
            videos_of[row, : len(own)] = own
        counts = np.ones((num_resamples, len(names) + 1), np.int64)
        if names:
            shares = np.full(len(names), 1 / len(names))
            generator = np.random.default_rng(_SEED)
            counts[:, :-1] = generator.multinomial(len(names), shares, num_resamples)
        return cls(counts, videos_of)

    def intervals(
        self, values: Float64[np.ndarray, "n K"], mixtures: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "K 2"] | None:
        """Lowest and highest of the mean of each column: the middle 95 % of the resamples' means.

        None where fewer than two videos or two mixtures say anything: two sources of one mixture
        are in every resample together.

        Args:
            values: all of them numbers.
            mixtures: which mixture each row is of; several rows may be of one.
        """
        videos = self.videos_of[mixtures]
        no_video = self.counts.shape[1] - 1
        if len(set(mixtures.tolist())) < 2 or len(set(videos.flat) - {no_video}) < 2:
            return None
        means = np.concatenate(list(self._means(values, videos)))
        edges = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return np.percentile(means, edges, axis=0).T

    def _means(
        self, values: Float64[np.ndarray, "n K"], videos: Int64[np.ndarray, "n places"]
    ) -> Iterator[Float64[np.ndarray, "_ K"]]:
        """The mean in each resample that holds any of the values; a few resamples at a time."""
        num_at_once = max(1, _MOST_WEIGHTS // max(1, videos.size))
        for start in range(0, len(self.counts), num_at_once):
            counts = self.counts[start : start + num_at_once]
            weights = counts[:, videos].prod(axis=2).astype(np.float64)  # R n
            total = weights.sum(axis=1, keepdims=True)
            held = total[:, 0] > 0
            yield weights[held] @ values / total[held]
