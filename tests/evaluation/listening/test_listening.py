"""Test the listening test: trials, anonymity of the page, and the count of votes."""

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.stats import binom

import avsep.pages
from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.listening import design
from avsep.evaluation.listening.design import (
    LOUDNESS_DB,
    QUESTION,
    ListeningKey,
    ListeningTest,
    make_listening_test,
    match_loudness,
)
from avsep.evaluation.listening.page import listening_html, write_listening_test
from avsep.evaluation.listening.votes import Votes, tally, tally_files, tally_table
from evaluation.made_examples import example, methods, reader_of_duets, tone

NAMES = ("finch", "heron")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ListeningTest]:
    """Return a function that makes tests of two methods from `made_examples`, without models."""

    def make_test(num_mixtures: int = 3, seed: int = 0, num_channels: int = 1) -> ListeningTest:
        def make_example(chosen, reader: ClipReader, index: int, seed: int, device: object):
            names = tuple(method.name for method in chosen)
            return example(reader.mixtures[index].name, names, num_channels)

        monkeypatch.setattr(design, "make_example", make_example)
        reader = reader_of_duets(5)
        return make_listening_test(methods(NAMES), reader, "band", num_mixtures, seed)

    return make_test


def test_every_source_of_so_many_mixtures_is_asked_and_a_is_each_in_half(make) -> None:
    actual = make(num_mixtures=3)
    assert len(actual.trials) == 6
    assert len({trial.mixture for trial in actual.key.trials}) == 3
    assert sorted(trial.first for trial in actual.key.trials) == ["finch"] * 3 + ["heron"] * 3
    assert {trial.source for trial in actual.key.trials} == {1, 2}
    for trial, key in zip(actual.trials, actual.key.trials, strict=True):
        assert trial.identifier == key.trial and {key.first, key.second} == set(NAMES)


@pytest.mark.slow
def test_the_same_seed_is_the_same_test_and_another_another(make) -> None:
    assert listening_html(make()) == listening_html(make())
    assert make().key == make().key
    assert make(seed=1).key.test != make().key.test
    orders = {tuple(t.first for t in make(seed=seed).key.trials) for seed in range(6)}
    assert len(orders) > 1


def test_sounds_of_a_trial_are_equally_loud_and_do_not_clip(make) -> None:
    for trial in make(num_channels=2).trials:
        for sound in (trial.truth, trial.first, trial.second):
            level_db = 20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2)))
            assert level_db == pytest.approx(LOUDNESS_DB, abs=0.01)
    click = np.zeros((1, 8000), np.float32)
    click[0, 5] = 1  # at -23 dB it would reach 6.3
    quiet, loud, silent = match_loudness([click, tone(300), np.zeros((1, 8000), np.float32)])
    assert np.abs(quiet).max() == pytest.approx(0.98, abs=1e-6) and not silent.any()
    levels = [np.sqrt(np.mean(sound.astype(float) ** 2)) for sound in (quiet, loud)]
    assert levels[0] == pytest.approx(levels[1], rel=1e-5)


def test_the_page_plays_everything_and_names_no_separator(make) -> None:
    actual = make()
    page = listening_html(actual)
    HTMLParser().feed(page)
    visible = re.sub(r"base64,[^\"]+", "", page)
    for word in (*NAMES, "band", "duet", "clip 0", "seed"):
        assert word not in visible, f"the page gives away '{word}'"
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert QUESTION in page and page.count("Ground truth") == len(actual.trials)
    sounds = re.findall(r'data-sound="first"[^>]*base64,([^"]+)', page)
    decoded, _ = soundfile.read(io.BytesIO(base64.b64decode(sounds[0])))
    np.testing.assert_allclose(decoded, actual.trials[0].first[0], atol=1 / 32768)
    for name in ("truth", "first", "second"):
        assert page.count(f'data-sound="{name}"') == len(actual.trials)


def test_what_cannot_be_told_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def alike(chosen, reader, index, seed, device):
        written = example(reader.mixtures[index].name, NAMES)
        written.estimates["heron"].waveforms[0] = written.estimates["finch"].waveforms[0]
        written.sources[1] = 0
        return written

    monkeypatch.setattr(design, "make_example", alike)
    with pytest.raises(InputError, match="there is nothing to compare"):
        make_listening_test(methods(NAMES), reader_of_duets(2), "band", 2)
    with pytest.raises(InputError, match=r"compares two methods, and this is 1 \(finch\)"):
        make_listening_test(methods(("finch",)), reader_of_duets(2), "band", 2)


def test_the_folder_is_made_and_is_not_the_page(make, tmp_path: Path) -> None:
    page = tmp_path / "new" / "deep" / "listen.html"
    assert write_listening_test(make(), page).is_file() and page.is_file()
    for folder in (page.parent, Path()):
        with pytest.raises(InputError, match="is a folder; give the name of the page to -o"):
            write_listening_test(make(), folder)
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "listen-key.json",
        "listen.html",
    ]


def test_the_key_of_another_test_is_not_overwritten(make, tmp_path: Path) -> None:
    page = tmp_path / "listen.html"
    key = write_listening_test(make(), page)
    assert ListeningKey.model_validate_json(key.read_bytes()) == make().key
    write_listening_test(make(), page)  # the same again is no harm
    with pytest.raises(InputError, match="is of another test"):
        write_listening_test(make(seed=1), page)
    assert ListeningKey.model_validate_json(key.read_bytes()) == make().key


# Votes


def votes(key: ListeningKey, chosen: list[str | None], listener: str = "aa11", **more) -> dict:
    """Return a file of votes for the methods named, trial by trial; None is no vote."""
    cast = [
        {
            "trial": trial.trial,
            "choice": "first" if trial.first == name else "second",
            "time": f"2026-01-01T00:00:{number:02d}.000Z",
        }
        for number, (trial, name) in enumerate(zip(key.trials, chosen, strict=False))
        if name is not None
    ]
    return {
        "format": "avsep listening votes 1",
        "test": key.test,
        "listener": {"id": listener, "name": "Ann"},
        "votes": cast,
        **more,
    }


def write(path: Path, content: dict) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def count(key: ListeningKey, *files: dict):
    return tally(key, [(f"{n}.json", Votes.model_validate(file)) for n, file in enumerate(files)])


def test_rates_are_those_of_the_separator_whatever_letter_it_had(make) -> None:
    key = make().key
    result = count(key, votes(key, ["finch"] * 5 + ["heron"]), votes(key, ["finch"] * 6, "bb22"))
    assert (result.overall.num_won, result.overall.num_votes) == (11, 12)
    assert result.overall.share == pytest.approx(11 / 12)
    # Wilson's interval by its formula, and the exact test by the sum of its two tails.
    z, n, p = 1.959963985, 12, 11 / 12
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    bounds = [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    assert [result.overall.low, result.overall.high] == pytest.approx(bounds, rel=1e-6)
    assert result.p_value == pytest.approx(2 * binom.cdf(1, 12, 0.5))
    assert {name: rate.num_won for name, rate in result.listeners.items()} == {
        "Ann (aa11)": 5,
        "Ann (bb22)": 6,
    }
    assert sum(rate.num_votes for rate in result.mixtures.values()) == 12
    assert set(result.categories) == {"harp", "tuba"}
    json.dumps(result.as_json(), allow_nan=False)


def test_listeners_of_one_mind_widen_the_interval_and_one_alone_has_none(make) -> None:
    key = make(num_mixtures=5).key
    split = count(key, votes(key, ["finch"] * 10), votes(key, ["heron"] * 10, "bb22"))
    assert (split.by_listener_low, split.by_listener_high) == (0.0, 1.0)
    assert split.overall.low > 0.2  # what the votes alone would say
    alone = count(key, votes(key, ["finch"] * 10))
    assert alone.by_listener_low is None
    assert "one listener: no interval over listeners" in tally_table(alone)[2]


def test_the_last_of_a_listeners_votes_on_a_trial_counts(make) -> None:
    key = make().key
    early, late = votes(key, ["finch"]), votes(key, ["heron"])
    late["votes"][0]["time"] = "2026-01-02T00:00:00Z"
    for files in ((early, late), (late, early), (early, late, early)):
        result = count(key, *files)
        assert (result.overall.num_won, result.overall.num_votes) == (0, 1)
        assert result.num_replaced == len(files) - 1
    assert "replaced by later ones" in tally_table(count(key, early, late))[2][-1]


BROKEN: dict[str, Callable[[dict], object]] = {
    "of test ffff, and the key is of test": lambda content: content | {"test": "ffff"},
    "is not votes of a listening test: votes.0.choice: Input should be 'first' or 'second'": (
        lambda content: content | {"votes": [{**content["votes"][0], "choice": "finch"}]}
    ),
    "has a vote on trial 'x', which the key does not have: give the key of this page, or": (
        lambda content: content | {"votes": [{**content["votes"][0], "trial": "x"}]}
    ),
    "votes.0.time: Input should have timezone info": (
        lambda content: (
            content | {"votes": [{**content["votes"][0], "time": "2026-01-01T00:00:00"}]}
        )
    ),
    "there are no votes to count": lambda content: content | {"votes": []},
    "listener.id: String should match pattern": (
        lambda content: content | {"listener": {"id": "\x1b[31m", "name": ""}}
    ),
    "format: Input should be 'avsep listening votes 1'": lambda content: content | {"format": "2"},
    "extra: Extra inputs are not permitted": lambda content: content | {"extra": 1},
    "Input should be an object": lambda content: [content],
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_votes_are_one_line(message: str, make, tmp_path: Path) -> None:
    key = make().key
    key_path = tmp_path / "key.json"
    key_path.write_text(key.model_dump_json(), encoding="utf-8")
    content = BROKEN[message](votes(key, ["finch"]))
    path = write(tmp_path / "votes.json", content)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        tally_files([path], key_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b"{", b"[" * 100_000, b"null"])
def test_files_that_are_no_json_are_one_line(content: bytes, make, tmp_path: Path) -> None:
    path, key_path = tmp_path / "votes.json", tmp_path / "key.json"
    path.write_bytes(content)
    key_path.write_text(make().key.model_dump_json(), encoding="utf-8")
    with pytest.raises(InputError, match="is not votes of a listening test"):
        tally_files([path], key_path)
    with pytest.raises(InputError, match="is not the key of a listening test"):
        tally_files([path], path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        tally_files([tmp_path / "none.json"], key_path)


def test_a_key_that_contradicts_itself_is_refused(make) -> None:
    written = make().key.model_dump()
    written["trials"][0]["first"] = written["trials"][0]["second"]
    with pytest.raises(ValueError, match="is not of the two methods"):
        ListeningKey.model_validate(written)
    written = make().key.model_dump()
    written["trials"][0]["trial"] = written["trials"][1]["trial"]
    with pytest.raises(ValueError, match="two trials have the same id"):
        ListeningKey.model_validate(written)


def test_names_of_listeners_cannot_move_a_terminals_cursor(make) -> None:
    key = make().key
    content = votes(key, ["finch"], listener="aa11")
    content["listener"]["name"] = "Ann\x1b[2J\n\u202ebob"
    (name,) = count(key, content).listeners
    assert name.isprintable() and name.startswith("Ann")


# The page's own script


def run_script(expression: str) -> object:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to run the page's script with")
    script = Path(avsep.pages.__file__).with_name("listening_test.js")
    code = (
        f"const s = require({json.dumps(str(script))}); console.log(JSON.stringify({expression}))"
    )
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_vote_of_the_page_is_read_by_the_tally(make) -> None:
    key = make().key
    trial = key.trials[0].trial
    record = run_script(
        f's.withVote(s.withVote(s.emptyRecord("{key.test}", "aa11"), "{trial}", "second", '
        f'"2026-01-01T00:00:00.000Z"), "{trial}", "first", new Date().toISOString())'
    )
    result = count(key, record)  # type: ignore[arg-type]
    assert result.overall.num_votes == 1  # the second vote took the first's place
    assert result.overall.num_won == (key.trials[0].first == "finch")


@pytest.mark.slow
def test_the_script_keeps_what_is_its_own_and_nothing_else() -> None:
    kept = 's.withVote(s.emptyRecord("t", "a"), "x", "first", "")'
    assert run_script(f's.readRecord(JSON.stringify({kept}), "t", "b").listener.id') == "a"
    for text in ("", "{", "null", '{"test": "t"}'):
        actual = run_script(f's.readRecord({json.dumps(text)}, "t", "b").listener.id')
        assert actual == "b"
    assert run_script(f's.readRecord(JSON.stringify({kept}), "other", "b").votes') == []
    assert run_script(f's.firstOpen({kept}, ["x", "y", "z"])') == 1
    assert run_script(f's.firstOpen({kept}, ["x"])') == 0


@pytest.mark.slow
def test_keys_do_what_the_page_says_and_nothing_while_a_name_is_typed() -> None:
    pressed = run_script(
        '["0", "1", "2", "a", "B", "ArrowLeft", "q"].map((k) => s.actionOf(k, false))'
    )
    assert pressed == [
        "play-truth", "play-first", "play-second", "choose-first", "choose-second", "back", None,
    ]  # fmt: skip
    assert run_script('["a", "b", "1"].map((key) => s.actionOf(key, true))') == [None] * 3


@pytest.mark.slow
def test_the_file_of_votes_has_a_name_that_every_system_takes() -> None:
    record = 's.emptyRecord("t", "0123456789abcdef")'
    named = f'({{...{record}, listener: {{id: "0123456789abcdef", name: "../Zoë / 2"}}}})'
    assert run_script(f"s.fileName({named})") == "votes-zoe-2-012345.json"
    assert run_script(f"s.fileName({record})") == "votes-listener-012345.json"
