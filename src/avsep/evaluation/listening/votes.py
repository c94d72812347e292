"""Count the votes of a listening test: winning rates, intervals and a binomial test."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import binomtest

from avsep.errors import InputError
from avsep.evaluation.listening.design import ListeningKey

_CONFIDENCE = 0.95
# Enough that the ends of the interval, each cutting off 2.5 %, rest on 250 resamples.
_NUM_RESAMPLES = 10_000
# Files come from strangers: larger ones are refused before they are parsed. 100,000 votes fit.
_MAX_BYTES = 10_000_000


def _on_one_line(name: str) -> str:
    """Replace characters of a name that would move the cursor of a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


class Vote(BaseModel):
    """One listener's answer to one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str = Field(min_length=1, max_length=64)
    choice: Literal["first", "second"]
    time: AwareDatetime


class Listener(BaseModel):
    """A listener: a random id from the page, and the name typed there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z-]+$")
    name: Annotated[str, Field(max_length=200), AfterValidator(_on_one_line)] = ""


class Votes(BaseModel):
    """A file of votes as the page saves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["avsep listening votes 1"]
    test: str = Field(min_length=1, max_length=64)
    listener: Listener
    votes: tuple[Vote, ...] = Field(max_length=100_000)


@dataclass(frozen=True)
class WinningRate:
    """Share of votes for the first method.

    Attributes:
        num_won: votes for the first method.
        num_votes: all votes.
        low, high: Wilson's 95 % interval of the share, as if votes were independent.
    """

    num_won: int
    num_votes: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of votes won, 0 to 1; 0.5 by chance."""
        return self.num_won / self.num_votes

    def as_json(self) -> dict[str, float | int]:
        """Return the rates as JSON values."""
        return {
            "winning_rate": self.share, "low": self.low, "high": self.high,
            "num_won": self.num_won, "num_votes": self.num_votes,
        }  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """The outcome of a listening test; all rates are those of the first of two methods.

    Attributes:
        by_listener_low, by_listener_high: 95 % interval of the overall rate with listeners
            resampled (bootstrap), which many votes of few listeners do not narrow; None for a
            single listener.
        p_value: p of the exact two-sided binomial test against one half.
        num_replaced: votes replaced by a later one of the same listener on the same trial.
    """

    methods: tuple[str, str]
    overall: WinningRate
    by_listener_low: float | None
    by_listener_high: float | None
    p_value: float
    listeners: Mapping[str, WinningRate]
    mixtures: Mapping[str, WinningRate]
    categories: Mapping[str, WinningRate]
    num_replaced: int

    def as_json(self) -> dict[str, object]:
        """Return the rates as JSON values."""
        return {
            "methods": list(self.methods),
            "rates_are_of": self.methods[0],
            "overall": self.overall.as_json(),
            "by_listener": {"low": self.by_listener_low, "high": self.by_listener_high},
            "p_value": self.p_value,
            "listeners": {name: rate.as_json() for name, rate in self.listeners.items()},
            "mixtures": {name: rate.as_json() for name, rate in self.mixtures.items()},
            "categories": {name: rate.as_json() for name, rate in self.categories.items()},
            "num_replaced": self.num_replaced,
        }


def tally_files(paths: Sequence[Path], key_path: Path) -> Tally:
    """Count the votes of several files with the organiser's key.

    Raises:
        InputError: a file that cannot be read or is not a file of votes, votes of another test or
            on an unknown trial, or no vote at all; with the file's name.
    """
    key = read_key(key_path)
    return tally(key, [(str(path), read_votes(path)) for path in paths])


def tally(key: ListeningKey, files: Sequence[tuple[str, Votes]]) -> Tally:
    """Count votes, given as pairs of file name and content.

    Of several votes of a listener on a trial the last counts.
    """
    trials = {trial.trial: trial for trial in key.trials}
    last: dict[tuple[str, str], Vote] = {}
    names: dict[str, tuple[datetime, str]] = {}
    num_read = 0
    for name, votes in files:
        if votes.test != key.test:
            raise InputError(
                f"'{name}' holds votes of test {votes.test}, and the key is of test {key.test}: "
                "give the key that was made with that page, or leave the file out"
            )
        for vote in votes.votes:
            if vote.trial not in trials:
                raise InputError(
                    f"'{name}' has a vote on trial '{vote.trial}', which the key does not have: "
                    "give the key of this page, or leave the file out"
                )
            num_read += 1
            # By time, not by the order of files: a listener may send two versions of a file.
            slot = (votes.listener.id, vote.trial)
            if slot not in last or last[slot].time <= vote.time:
                last[slot] = vote
            if votes.listener.id not in names or names[votes.listener.id][0] <= vote.time:
                names[votes.listener.id] = (vote.time, votes.listener.name)
    if not last:
        raise InputError("there are no votes to count: give files that the test's page saved")
    won: list[tuple[str, str, str, bool]] = []  # listener, mixture, category, won
    for (listener, identifier), vote in sorted(last.items()):
        trial = trials[identifier]
        chosen = trial.first if vote.choice == "first" else trial.second
        label = _listener_label(listener, names[listener][1])
        won.append((label, trial.mixture, trial.category, chosen == key.methods[0]))
    overall = _rate([is_won for *_, is_won in won])
    low, high = _bootstrap_interval([(label, is_won) for label, *_, is_won in won])
    return Tally(
        methods=key.methods,
        overall=overall,
        by_listener_low=low,
        by_listener_high=high,
        p_value=float(binomtest(overall.num_won, overall.num_votes).pvalue),
        listeners=_group_rates(won, lambda vote: vote[0]),
        mixtures=_group_rates(won, lambda vote: vote[1]),
        categories=_group_rates(won, lambda vote: vote[2]),
        num_replaced=num_read - len(last),
    )


def tally_table(result: Tally) -> tuple[list[str], list[list[str]], list[str]]:
    """Return head and rows of a table of the rates, and lines on their uncertainty."""
    rows = [["all votes", "", *_cells(result.overall)]]
    for kind, rates in (
        ("listener", result.listeners),
        ("category", result.categories),
        ("mixture", result.mixtures),
    ):
        rows += [[kind, name, *_cells(rate)] for name, rate in rates.items()]
    warnings = [f"exact binomial test against 50 %, two-sided: p = {result.p_value:.2g}"]
    if result.by_listener_low is not None and result.by_listener_high is not None:
        low, high = 100 * result.by_listener_low, 100 * result.by_listener_high
        warnings.append(f"95 % interval over listeners (bootstrap): {low:.1f} to {high:.1f} %")
    else:
        warnings.append("one listener: no interval over listeners")
    if result.num_replaced:
        warnings.append(
            f"{result.num_replaced} votes were replaced by later ones on the same trial"
        )
    return ["votes", "of", "won", "votes", "rate %", "95 % interval"], rows, warnings


def read_votes(path: Path) -> Votes:
    """Read a file of votes.

    Raises:
        InputError: not a readable file of votes.
    """
    return _read(path, Votes, "votes of a listening test")


def read_key(path: Path) -> ListeningKey:
    """Read the organiser's key.

    Raises:
        InputError: not a readable key.
    """
    return _read(path, ListeningKey, "the key of a listening test")


FileModel = TypeVar("FileModel", bound=BaseModel)


def _read(path: Path, model: type[FileModel], kind: str) -> FileModel:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"'{path}' is not {kind}: it is larger than {_MAX_BYTES:,} bytes")
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        where = f"{place}: " if place else ""
        raise InputError(f"'{path}' is not {kind}: {where}{first['msg']}") from error


def _listener_label(identifier: str, name: str) -> str:
    """Return a listener's name in tables, with the id, since names may be equal."""
    # Six digits, as in the name of the file of votes.
    return f"{name} ({identifier[:6]})" if name else identifier


def _group_rates(
    won: Sequence[tuple[str, str, str, bool]],
    group_of: Callable[[tuple[str, str, str, bool]], str],
) -> dict[str, WinningRate]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for vote in won:
        groups[group_of(vote)].append(vote[-1])
    return {name: _rate(groups[name]) for name in sorted(groups)}


def _rate(won: Sequence[bool]) -> WinningRate:
    interval = binomtest(sum(won), len(won)).proportion_ci(_CONFIDENCE, method="wilson")
    return WinningRate(sum(won), len(won), float(interval.low), float(interval.high))


def _bootstrap_interval(
    won: Sequence[tuple[str, bool]],
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of the overall rate with listeners resampled, each with all votes."""
    # Votes of one person are not independent: resampling votes would give too narrow an interval.
    listeners = sorted({name for name, _ in won})
    if len(listeners) < 2:
        return None, None
    counts = np.array(
        [
            [
                sum(is_won for name, is_won in won if name == listener),
                sum(name == listener for name, _ in won),
            ]
            for listener in listeners
        ]
    )
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(listeners), size=(_NUM_RESAMPLES, len(listeners)))
    num_won, num_votes = counts[drawn].sum(axis=1).T
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(num_won / num_votes, (tail, 100 - tail))
    return float(low), float(high)


def _cells(rate: WinningRate) -> list[str]:
    return [
        str(rate.num_won),
        str(rate.num_votes),
        f"{100 * rate.share:.1f}",
        f"{100 * rate.low:.1f} to {100 * rate.high:.1f}",
    ]
