"""Test `avsep listen`: page and key of a tiny band, tally of votes, errors in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE_HZ = 11025


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of two sounds each, in the layout of a toyband, their videos empty files."""
    folder = tmp_path_factory.mktemp("band")
    generator = np.random.default_rng(0)
    for clip in ("one", "two"):
        stems = folder / clip / "stems"
        stems.mkdir(parents=True)
        for name in ("01-harp.wav", "02-tuba.wav"):
            soundfile.write(stems / name, generator.uniform(-0.3, 0.3, RATE_HZ), RATE_HZ)
        (folder / clip / "objects.json").write_text('[{"label": "harp"}, {"label": "tuba"}]')
        (folder / f"{clip}.mp4").touch()
    return folder


def votes(key: dict, winner: str, listener: str) -> str:
    given = [
        {
            "trial": trial["trial"],
            "choice": "first" if trial["first"] == winner else "second",
            "time": "2026-01-01T10:00:00Z",
        }
        for trial in key["trials"]
    ]
    return json.dumps(
        {
            "format": "avsep listening votes 1",
            "test": key["test"],
            "listener": {"id": listener, "name": ""},
            "votes": given,
        }
    )


@pytest.mark.slow
def test_from_the_page_to_the_winning_rate(run, band: Path, tmp_path: Path) -> None:
    page, key_path = tmp_path / "listen.html", tmp_path / "listen-key.json"
    words = ["mixture", "ideal-ratio-mask", "--data", band, "-o", page, "--pairs-count", 2]
    done = run("listen", *words)
    assert done.code == 0 and not done.err
    assert f"4 trials in {page}" in done.out and "keep it to yourself" in done.out
    key = json.loads(key_path.read_text())
    assert set(key["methods"]) == {"mixture", "ideal-ratio-mask"}
    output = set(re.findall(r'data-trial="([^"]+)"', page.read_text()))
    assert output == {trial["trial"] for trial in key["trials"]}
    for name in ("ann", "ben"):
        (tmp_path / f"{name}.json").write_text(votes(key, "ideal-ratio-mask", name))
    files = [tmp_path / "ann.json", tmp_path / "ben.json"]
    done = run("listen", "--tally", *files, "--key", key_path)
    assert done.code == 0 and not done.err
    assert "mixture preferred to ideal-ratio-mask" in done.out and "p = 0.0078" in done.out
    result = json.loads(run("listen", "--tally", *files, "--key", key_path, "--json").out)
    assert result["overall"]["num_votes"] == 8 and result["overall"]["winning_rate"] == 0
    assert result["rates_are_of"] == "mixture" and set(result["listeners"]) == {"ann", "ben"}


@pytest.mark.slow
def test_the_same_seed_writes_the_same_page(run, band: Path, tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        page = tmp_path / f"{name}.html"
        words = ["mixture", "ideal-binary-mask", "--data", band, "-o", page, "--json"]
        result = json.loads(run("listen", *words, "--pairs-count", 1, "--seed", 5).out)
        assert result["num_trials"] == 2 and result["page"] == str(page)
        pages.append(page.read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a listening test needs mixtures: add --data DIR"),
        (["--tally", "x.json"], "add --key FILE"),
        (["--key", "x.json"], "--key goes with --tally"),
        (["mixture", "--data", "BAND"], "compares two methods, and this is 1 (mixture)"),
        (["mixture", "mixtur", "--data", "BAND"], "unknown method 'mixtur'"),
        (["mixture", "mixture", "--data", "BAND"], "this is 1 (mixture)"),
        (["--tally", "none.json", "--key", "none.json"], "'none.json' cannot be read"),
    ],
)
def test_wrong_words_are_one_line_and_write_nothing(
    run, band: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("listen", *(band if word == "BAND" else word for word in words))
    assert done.code == 2 and not done.out
    assert message in done.err and done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
