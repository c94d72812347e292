"""Votes of a listening test counted: winning rates, with intervals, and what chance would give."""

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
_NUM_RESAMPLES = 10_000
_MOST_BYTES = 10_000_000


def _on_one_line(name: str) -> str:
    """A name as it can be printed: nothing in it moves the cursor of a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


class Vote(BaseModel):
    """What one listener answered to one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str = Field(min_length=1, max_length=64)
    choice: Literal["first", "second"]
    time: AwareDatetime


class Listener(BaseModel):
    """Who voted: an id that the page drew, and the name that was typed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z-]+$")
    name: Annotated[str, Field(max_length=200), AfterValidator(_on_one_line)] = ""


class Votes(BaseModel):
    """A file as the page saves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["avsep listening votes 1"]
    test: str = Field(min_length=1, max_length=64)
    listener: Listener
    votes: tuple[Vote, ...] = Field(max_length=100_000)


@dataclass(frozen=True)
class Rate:
    """How often the first separator won.

    Attributes:
        num_won, num_votes: of the first separator, and all.
        low, high: the 95 % interval of the share after Wilson, as if votes were independent.
    """

    num_won: int
    num_votes: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Between 0 and 1; one half is what chance gives."""
        return self.num_won / self.num_votes

    def as_json(self) -> dict[str, float | int]:
        """All of it, for a program."""
        return {
            "winning_rate": self.share, "low": self.low, "high": self.high,
            "num_won": self.num_won, "num_votes": self.num_votes,
        }  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """The outcome of a listening test, every rate that of the first of two separators.

    Attributes:
        by_listener_low, by_listener_high: the 95 % interval of the overall rate when listeners
            are drawn again (bootstrap), which a few of one mind do not narrow; none of one alone.
        p_value: of the exact binomial test, two-sided, against one half.
        num_replaced: votes that a later one of the same listener on the same trial replaced.
    """

    separators: tuple[str, str]
    overall: Rate
    by_listener_low: float | None
    by_listener_high: float | None
    p_value: float
    listeners: Mapping[str, Rate]
    mixtures: Mapping[str, Rate]
    categories: Mapping[str, Rate]
    num_replaced: int

    def as_json(self) -> dict[str, object]:
        """All of it, for a program."""
        return {
            "separators": list(self.separators),
            "rates_are_of": self.separators[0],
            "overall": self.overall.as_json(),
            "by_listener": {"low": self.by_listener_low, "high": self.by_listener_high},
            "p_value": self.p_value,
            "listeners": {name: rate.as_json() for name, rate in self.listeners.items()},
            "mixtures": {name: rate.as_json() for name, rate in self.mixtures.items()},
            "categories": {name: rate.as_json() for name, rate in self.categories.items()},
            "num_replaced": self.num_replaced,
        }


def tally_files(paths: Sequence[Path], key_path: Path) -> Tally:
    """The votes of several files counted with the organiser's key.

    Raises:
        InputError: a file that cannot be read or is no such file, votes of another test or on a
            trial it does not have, no vote at all; with the file's name.
    """
    key = read_key(key_path)
    return tally(key, [(str(path), read_votes(path)) for path in paths])


def tally(key: ListeningKey, files: Sequence[tuple[str, Votes]]) -> Tally:
    """Votes counted; each file after its name. Of votes on one trial a listener's last counts."""
    trials = {trial.trial: trial for trial in key.trials}
    last: dict[tuple[str, str], Vote] = {}
    names: dict[str, tuple[datetime, str]] = {}
    num_given = 0
    for name, votes in files:
        if votes.test != key.test:
            raise InputError(
                f"'{name}' holds votes of test {votes.test}, and the key is of test {key.test}: "
                "give the key that was made with that page, or leave the file out"
            )
        for vote in votes.votes:
            if vote.trial not in trials:
                raise InputError(f"'{name}' has a vote on trial '{vote.trial}', which is not there")
            num_given += 1
            place = (votes.listener.id, vote.trial)
            if place not in last or last[place].time <= vote.time:
                last[place] = vote
            if votes.listener.id not in names or names[votes.listener.id][0] <= vote.time:
                names[votes.listener.id] = (vote.time, votes.listener.name)
    if not last:
        raise InputError("there are no votes to count: give files that the test's page has saved")
    won: list[tuple[str, str, str, bool]] = []  # listener, mixture, category, by the first
    for (listener, identifier), vote in sorted(last.items()):
        trial = trials[identifier]
        chosen = trial.first if vote.choice == "first" else trial.second
        known = _listener(listener, names[listener][1])
        won.append((known, trial.mixture, trial.category, chosen == key.separators[0]))
    overall = _rate([one[-1] for one in won])
    low, high = _over_listeners([(one[0], one[-1]) for one in won])
    return Tally(
        separators=key.separators,
        overall=overall,
        by_listener_low=low,
        by_listener_high=high,
        p_value=float(binomtest(overall.num_won, overall.num_votes).pvalue),
        listeners=_rates(won, lambda one: one[0]),
        mixtures=_rates(won, lambda one: one[1]),
        categories=_rates(won, lambda one: one[2]),
        num_replaced=num_given - len(last),
    )


def tally_table(result: Tally) -> tuple[list[str], list[list[str]], list[str]]:
    """Head and rows of a table of the rates, and lines that say how sure they are."""
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
        warnings.append("one listener: nothing is known of others")
    if result.num_replaced:
        warnings.append(
            f"{result.num_replaced} votes were replaced by later ones on the same trial"
        )
    return ["votes", "of", "won", "votes", "rate %", "95 % interval"], rows, warnings


def read_votes(path: Path) -> Votes:
    """A file of votes; InputError in one line for anything else."""
    return _read(path, Votes, "votes of a listening test")


def read_key(path: Path) -> ListeningKey:
    """The organiser's file; InputError in one line for anything else."""
    return _read(path, ListeningKey, "the key of a listening test")


Model = TypeVar("Model", bound=BaseModel)


def _read(path: Path, model: type[Model], what: str) -> Model:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"'{path}' is not {what}: it is larger than {_MOST_BYTES:,} bytes")
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        where = f"{place}: " if place else ""
        raise InputError(f"'{path}' is not {what}: {where}{first['msg']}") from error


def _listener(identifier: str, name: str) -> str:
    """As tables call a listener; two of one name stay two."""
    return f"{name} ({identifier[:6]})" if name else identifier


def _rates(
    won: Sequence[tuple[str, str, str, bool]],
    group_of: Callable[[tuple[str, str, str, bool]], str],
) -> dict[str, Rate]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for one in won:
        groups[group_of(one)].append(one[-1])
    return {name: _rate(groups[name]) for name in sorted(groups)}


def _rate(won: Sequence[bool]) -> Rate:
    found = binomtest(sum(won), len(won)).proportion_ci(_CONFIDENCE, method="wilson")
    return Rate(sum(won), len(won), float(found.low), float(found.high))


def _over_listeners(
    won: Sequence[tuple[str, bool]],
) -> tuple[float, float] | tuple[None, None]:
    """The interval of the overall rate with listeners drawn again, each with all their votes."""
    listeners = sorted({name for name, _ in won})
    if len(listeners) < 2:
        return None, None
    counts = np.array(
        [
            [sum(is_won for name, is_won in won if name == one), sum(n == one for n, _ in won)]
            for one in listeners
        ]
    )
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(listeners), size=(_NUM_RESAMPLES, len(listeners)))
    num_won, num_votes = counts[drawn].sum(axis=1).T
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(num_won / num_votes, (tail, 100 - tail))
    return float(low), float(high)


def _cells(rate: Rate) -> list[str]:
    return [
        str(rate.num_won),
        str(rate.num_votes),
        f"{100 * rate.share:.1f}",
        f"{100 * rate.low:.1f} to {100 * rate.high:.1f}",
    ]
