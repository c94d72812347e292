"""Test the material of benchmarks, and the referee on a case with a known answer."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import referee
from avsep.evaluation.bss_eval import bss_eval
from bench_bss_eval import differences, failures, group_judged
from recordings import KINDS, Recordings, code, make_estimates


def test_pairs_of_each_kind() -> None:
    pairs = Recordings.read().pairs(4, 2, 11_025, 20_000)
    assert pairs.shape == (4, 2, 20_000) and (np.abs(pairs).max(-1) > 0.01).all()
    steps = pairs * 32768
    assert [bool((row == row.round()).all()) for row in steps] == [
        kind == "16 bits" for kind in KINDS
    ]
    np.testing.assert_array_equal(pairs, Recordings.read().pairs(4, 2, 11_025, 20_000))
    # Phrases differ, and most begin late: what makes recordings near singular.
    assert (pairs[:, :, :50] == 0).any()
    assert not (pairs[0, 0] == pairs[0, 1]).all()


def test_recordings_of_a_folder(tmp_path: Path) -> None:
    for name in ("bird", "empty"):
        (tmp_path / name).mkdir()
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 2))
    soundfile.write(tmp_path / "bird" / "a.wav", sound, 16_000)
    recordings = Recordings.read(tmp_path)
    assert [[path.name for path in group] for group in recordings.groups] == [["a.wav"]]
    assert np.abs(recordings.phrase(np.random.default_rng(0), 2)).max() == pytest.approx(0.7)
    with pytest.raises(SystemExit, match="no folder in it has"):
        Recordings.read(tmp_path / "bird")


@pytest.mark.parametrize("codec", ["MP3", "AAC"])
@pytest.mark.parametrize("rate_hz", [11_025, 44_100])
def test_codecs_change_little(codec: str, rate_hz: int) -> None:
    seconds = np.arange(rate_hz) / rate_hz
    tone = np.sin(2 * np.pi * 440 * seconds).astype(np.float32)
    coded = code(tone, rate_hz, codec)
    assert len(coded) >= 0.95 * len(tone) and not (coded[: len(tone)] == tone[: len(coded)]).all()
    middle = coded[len(tone) // 3 : len(tone) // 2]
    assert np.abs(middle).max() == pytest.approx(1, abs=0.1)


def test_estimates_leak() -> None:
    references = np.random.default_rng(0).standard_normal((2, 2, 4000))
    estimates = make_estimates(references, 3)
    assert estimates.shape == (2, 3, 2, 4000)
    rest = estimates[:, 0] - 0.7 * references - 0.3 * references[:, ::-1]
    assert rest.std() == pytest.approx(0.01, rel=0.05)


@pytest.mark.skipif(not referee.HAS_EXTENDED, reason="long double is double here")
def test_the_referee() -> None:
    rng = np.random.default_rng(0)
    references = rng.standard_normal((2, 1500))
    noise = rng.standard_normal((3, 2, 1500))
    estimates = references + 0.3 * references[::-1] + 0.1 * noise
    expected_db = bss_eval(references[None], estimates[None], filter_taps=32).table_db[0]
    judged_db = referee.score(references, estimates, 32)
    assert judged_db is not None
    np.testing.assert_allclose(judged_db, expected_db, rtol=0, atol=1e-9)
    # A source and its delayed copy, whose filters are not unique.
    references[:, -40:] = 0
    twins = np.stack([references[0], np.roll(references[0], 1)])
    assert referee.score(twins, estimates, 32) is None


def test_mixtures_are_grouped_by_what_the_referee_says() -> None:
    by_mir_eval = np.full((4, 3, 2, 3), 20.0)
    judged_db = {index: by_mir_eval[index].copy() for index in (0, 2, 3)}
    judged_db[2][1, 0, 2] += 1e-5
    judged_db[3][:] = np.nan
    groups = group_judged(np.array([0, 2, 3]), judged_db, by_mir_eval)
    assert [group.tolist() for group in groups.values()] == [[0], [2], [3]]


def test_failures_are_counted() -> None:
    expected_db = np.full((4, 1, 2, 3), 20.0)
    expected_db[3] = 150
    found_db = expected_db + 1e-4
    found_db[1, 0, 0, 0] = np.nan
    found_db[2, 0, 1, 2] += 0.02
    found_db[3] = 140  # rounding decides
    assert failures(found_db, expected_db).tolist() == [False, True, True, False]
    assert differences(found_db, expected_db)[0] == pytest.approx(1e-4)
