"""Test BSS Eval: golden values, mir_eval, the definition by orthogonal bases, bad inputs."""

from collections.abc import Callable

import mir_eval
import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import qr
from scipy.signal import butter, sosfilt

from avsep.errors import InputError
from avsep.evaluation.bss_eval import BssScores, bss_eval

# What the project promises: mir_eval's figures to a millionth of a decibel, below 100 dB.
TOLERANCE_DB = 1e-6


def table(scores: BssScores) -> np.ndarray:
    return np.stack([scores.sdr_db, scores.sir_db, scores.sar_db])


def assert_same_db(result: np.ndarray, expected: np.ndarray, tolerance_db: float) -> None:
    """Check that scores agree within the tolerance; above 100 dB both must be above 100."""
    perfect = expected > 100
    assert (result[perfect] > 100).all()
    np.testing.assert_allclose(result[~perfect], expected[~perfect], rtol=0, atol=tolerance_db)


def golden_signals() -> tuple[np.ndarray, np.ndarray]:
    """Return the sources and estimates of the golden values, 16,384 samples."""
    t = np.arange(16384) / 11025
    turn = 2 * np.pi
    s1 = 0.5 * np.sin(turn * (300 * t + 200 * t**2))
    s2 = 0.4 * np.sin(turn * 700 * t) * np.sin(turn * 3 * t)
    s2 = s2 + 0.1 * np.sin(turn * (1500 * t + 900 * t**3))
    e1 = s1 + 0.1 * s2 + 0.02 * np.sin(turn * 2500 * t + 0.3)
    e2 = s2 + 0.2 * s1 + 0.05 * np.sign(np.sin(turn * 111 * t))
    return np.stack([s1, s2]), np.stack([e1, e2])


GOLDEN = {
    "plain": lambda sources, estimates: estimates,
    "mix_as_both": lambda sources, estimates: np.stack([sources.sum(0)] * 2),
    "swapped_noperm": lambda sources, estimates: estimates[::-1],
    "delay100_roll": lambda sources, estimates: np.roll(estimates, 100, axis=-1),
    "scaled_half": lambda sources, estimates: 0.5 * estimates,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str, golden: dict) -> None:
    sources, estimates = golden_signals()
    *expected_db, order = golden["bss"][name]
    scores = bss_eval(sources, GOLDEN[name](sources, estimates))
    assert_same_db(table(scores), np.array(expected_db), TOLERANCE_DB)
    assert scores.permutation.tolist() == order


@pytest.mark.slow
def test_published_table() -> None:
    sources, estimates = golden_signals()
    scores = bss_eval(sources, estimates)
    half_digit_db = 5e-7 + TOLERANCE_DB  # the table has six decimals
    expected_db = [[22.871478, 7.887708], [24.416818, 9.608510], [28.124542, 13.191283]]
    np.testing.assert_allclose(table(scores), expected_db, rtol=0, atol=half_digit_db)
    delayed = bss_eval(sources, np.roll(estimates, 100, axis=-1))
    np.testing.assert_allclose(delayed.sdr_db, [18.479004, 7.779456], rtol=0, atol=half_digit_db)
    assert (table(bss_eval(sources, sources)) > 200).all()  # "identity about 260 dB"


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make one to four sources of one of five kinds, and estimates with leaks, delay and noise."""
    rng = np.random.default_rng(seed)
    num_sources = 4 if seed == 8 else (2, 2, 1, 2, 2, 2, 3)[seed % 7]
    sources = rng.standard_normal((num_sources, int(rng.integers(3000, 6000))))
    kind = ("white", "correlated", "coloured", "near silent", "float32")[seed % 5]
    if kind == "correlated":
        sources = sources + 0.7 * sources[0]
    if kind == "coloured":
        sources = sosfilt(butter(1, 0.4, output="sos"), sources) + 0.01 * sources
    if kind == "near silent":
        sources = sources * 10.0 ** -rng.uniform(0, 7, (num_sources, 1))
    leaks = np.eye(num_sources) + rng.uniform(-0.3, 0.3, (num_sources, num_sources))
    estimates = np.roll(leaks @ sources, int(rng.integers(0, 60)), axis=-1)
    noise = rng.standard_normal(sources.shape) * np.abs(estimates).mean(-1, keepdims=True)
    estimates = estimates + 10.0 ** -rng.uniform(0, 3) * noise
    if kind == "float32":
        return sources.astype(np.float32), estimates.astype(np.float32)
    return sources, estimates


def referee(sources: np.ndarray, estimates: np.ndarray, permute: bool = False) -> list[np.ndarray]:
    return mir_eval.separation.bss_eval_sources(
        sources.astype(np.float64), estimates.astype(np.float64), compute_permutation=permute
    )


# Seed 8 has four sources; 0 to 4 and 6 have every kind, and one to three sources.
@pytest.mark.slow
@pytest.mark.parametrize(
    "seed",
    [
        seed if seed in (0, 1, 2, 3, 4, 6, 8) else pytest.param(seed, marks=pytest.mark.slow)
        for seed in range(25)
    ],
)
def test_mir_eval_agrees(seed: int) -> None:
    sources, estimates = random_case(seed)
    *expected_db, _ = referee(sources, estimates)
    assert_same_db(table(bss_eval(sources, estimates)), np.array(expected_db), TOLERANCE_DB)


@pytest.mark.parametrize("seed", [pytest.param(104, marks=pytest.mark.slow), 105])
def test_mir_eval_agrees_on_permutations(seed: int) -> None:
    sources, estimates = random_case(seed)
    shuffled = np.roll(estimates, 1, axis=0)
    *expected_db, order = referee(sources, shuffled, permute=True)
    scores = bss_eval(sources, shuffled, permute=True)
    assert scores.permutation.tolist() == list(order)
    assert_same_db(table(scores), np.array(expected_db), TOLERANCE_DB)
    straight = bss_eval(sources, estimates)
    assert_same_db(table(scores), table(straight), TOLERANCE_DB)
    assert (bss_eval(sources, shuffled).sdr_db < straight.sdr_db).all()


@pytest.mark.slow
def test_equal_references_are_scored_like_mir_eval_does() -> None:
    """The system is singular; what the references explain together is still defined."""
    rng = np.random.default_rng(0)
    source = rng.standard_normal(3000)
    sources = np.stack([source, source])
    estimates = source + 0.3 * rng.standard_normal((2, 3000))
    *expected_db, _ = referee(sources, estimates)
    scores = bss_eval(sources, estimates)
    assert_same_db(table(scores), np.array(expected_db), TOLERANCE_DB)
    # Clicks one sample apart share all delays but one: singular in another way.
    clicks = np.zeros((2, 3000))
    clicks[[0, 1], [10, 11]] = 1.0
    noise = clicks + 0.1 * rng.standard_normal((2, 3000))
    scores = bss_eval(clicks, noise, filter_taps=64)
    assert_same_db(table(scores), by_definition(clicks, noise, 64), TOLERANCE_DB)


@pytest.mark.slow
@pytest.mark.parametrize("filter_taps", [2, 3, 7, 13])
def test_multiples_of_a_reference_are_never_certified_wrong(filter_taps: int) -> None:
    """A matrix that rounding leaves indefinite has no factor, and LAPACK returns numbers."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        source = rng.standard_normal(int(rng.integers(20, 300)))
        sources = np.stack([source, -rng.uniform(0.5, 3) * source])
        estimates = sources + 10.0 ** -rng.uniform(0, 2) * rng.standard_normal(sources.shape)
        scores = bss_eval(sources, estimates, filter_taps=filter_taps)
        expected_db = by_definition(sources, estimates, filter_taps)
        assert_same_db(table(scores), expected_db, TOLERANCE_DB)


@pytest.mark.slow
@pytest.mark.parametrize("level_db", [-70, -80, -90, -98])
def test_faint_parts_are_exact(level_db: float) -> None:
    """Between parts that correlations resolve and perfect ones: energies round at 1e-16."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        sources = rng.standard_normal((3, 300))
        noise = 10 ** (level_db / 20) * rng.standard_normal(sources.shape)
        estimates = sources + 0.1 * sources[::-1] + noise
        scores = bss_eval(sources, estimates, filter_taps=16)
        expected_db = by_definition(sources, estimates, 16)
        assert_same_db(table(scores), expected_db, TOLERANCE_DB)


def by_definition(sources: np.ndarray, estimates: np.ndarray, filter_taps: int) -> np.ndarray:
    """Compute scores by orthogonal bases of all delayed sources: slow, exact if near singular."""
    padded = np.pad(sources, ((0, 0), (0, filter_taps - 1)))
    delayed = np.stack([np.roll(padded, lag, axis=-1) for lag in range(filter_taps)], axis=1)

    def project(columns: np.ndarray, signal: np.ndarray) -> np.ndarray:
        columns = columns / np.linalg.norm(columns, axis=1, keepdims=True)
        basis, triangle, _ = qr(columns.T, mode="economic", pivoting=True)
        diagonal = np.abs(np.diag(triangle))
        basis = basis[:, diagonal > 1e-14 * diagonal[0]]
        first = basis @ (basis.T @ signal)
        return first + basis @ (basis.T @ (signal - first))

    rows = []
    for index, estimate in enumerate(np.pad(estimates, ((0, 0), (0, filter_taps - 1)))):
        own = project(delayed[index], estimate)
        whole = project(delayed.reshape(-1, padded.shape[-1]), estimate)
        ratios = (own, estimate - own), (own, whole - own), (whole, estimate - whole)
        rows.append([10 * np.log10((up**2).sum() / (down**2).sum()) for up, down in ratios])
    return np.array(rows).T


@pytest.mark.slow
@pytest.mark.parametrize("cutoff", [0.1, 0.3, 0.6])
def test_band_limited_sources_are_exact(cutoff: float) -> None:
    """Resampled sound has an empty band; normal equations alone are wrong there by up to 1 dB."""
    rng = np.random.default_rng(3)
    filtered = butter(8, cutoff, output="sos")
    sources = sosfilt(filtered, rng.standard_normal((2, 3000))).astype(np.float32)
    estimates = sources + 0.1 * sources[::-1]
    estimates += 0.01 * sosfilt(filtered, rng.standard_normal((2, 3000))).astype(np.float32)
    scores = bss_eval(sources, estimates, filter_taps=128)
    expected_db = by_definition(sources.astype(float), estimates.astype(float), 128)
    assert_same_db(table(scores), expected_db, TOLERANCE_DB)


@pytest.mark.parametrize("seed", [2, 3])
def test_gains_may_rise_twofold_before_they_converge(seed: int) -> None:
    """Refinement that stopped at the first rise of a step's gain would be off by 3e-4 dB here."""
    rng = np.random.default_rng(seed)
    filtered = butter(4, 0.05, output="sos")
    sources = sosfilt(filtered, rng.standard_normal((2, 1200)))
    noise = sosfilt(filtered, rng.standard_normal((2, 1200)))
    estimates = sources + 0.1 * sources[::-1] + 0.01 * noise
    scores = bss_eval(sources, estimates, filter_taps=48)
    assert_same_db(table(scores), by_definition(sources, estimates, 48), TOLERANCE_DB)


@pytest.mark.slow
def test_steps_end_before_they_add_up_to_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dark sources, resampled; hiss in the empty band; far more steps than are allowed."""
    monkeypatch.setattr("avsep.evaluation.projection.refinement._MAX_STEPS", 60)
    rng = np.random.default_rng(0)
    sources = soxr.resample(rng.standard_normal((6000, 2)), 1, 2, quality="VHQ").T
    sources = sources.astype(np.float32)
    sources = sosfilt(butter(1, 0.02, output="sos"), sources).astype(np.float32)
    hiss = rng.standard_normal(sources.shape)
    estimates = sources + 0.1 * sources[::-1] + 0.02 * sources.std() * hiss
    *expected_db, _ = referee(sources, estimates)
    assert_same_db(table(bss_eval(sources, estimates)), np.array(expected_db), TOLERANCE_DB)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    gains=st.lists(st.sampled_from([-1e9, -0.5, 1e-12, 1e-160, 3.0]), min_size=4, max_size=4),
    seed=st.integers(0, 99),
)
def test_gains_change_nothing(gains: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((2, 1000))
    estimates = sources + 0.2 * sources[::-1] + 0.1 * rng.standard_normal((2, 1000))
    scale = np.array(gains)[:, None]
    louder = bss_eval(sources * scale[:2], estimates * scale[2:], filter_taps=32)
    plain = bss_eval(sources, estimates, filter_taps=32)
    # Rounding alone, of figures near 20 dB.
    np.testing.assert_allclose(table(louder), table(plain), rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("permute", [False, True])
def test_a_batch_is_a_loop(permute: bool) -> None:
    rng = np.random.default_rng(1)
    sources = rng.standard_normal((2, 3, 2, 2000))
    estimates = sources[..., ::-1, :] + 2 * sources + rng.standard_normal(sources.shape)
    estimates[0, 1] = estimates[0, 1, ::-1]
    sources[1, 1, 1] = sources[1, 1, 0]  # one singular mixture must not touch the others
    estimates[1, 2, 0] = 0.0
    batch = bss_eval(sources, estimates, permute=permute, filter_taps=100)
    for index in np.ndindex(2, 3):
        single = bss_eval(sources[index], estimates[index], permute=permute, filter_taps=100)
        # Vector instructions may group sums in another way; no more than that.
        assert_same_db(table(batch)[:, *index], table(single), 1e-9)
        assert batch.permutation[index].tolist() == single.permutation.tolist()


def test_many_mixtures_pass_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    sources = rng.standard_normal((5, 2, 400))
    estimates = sources + rng.standard_normal(sources.shape)
    whole = bss_eval(sources, estimates, filter_taps=16)
    monkeypatch.setattr("avsep.evaluation.projection.energies._MAX_BYTES", 1)
    one_by_one = bss_eval(sources, estimates, filter_taps=16)
    np.testing.assert_allclose(table(one_by_one), table(whole), rtol=0, atol=1e-9)


def test_tensors_integers_and_views_give_the_same() -> None:
    rng = np.random.default_rng(4)
    sources = rng.integers(-9000, 9000, (2, 1200)).astype(np.int16)
    estimates = sources + rng.integers(-900, 900, (2, 1200)).astype(np.int16)
    expected_db = table(bss_eval(sources, estimates, filter_taps=16))
    tensors = torch.tensor(sources), torch.tensor(estimates, dtype=torch.float32).requires_grad_()
    np.testing.assert_array_equal(table(bss_eval(*tensors, filter_taps=16)), expected_db)
    views = sources[::-1], estimates[::-1]
    views[0].flags.writeable = False
    found_db = table(bss_eval(*views, filter_taps=16))
    np.testing.assert_allclose(found_db[:, ::-1], expected_db, rtol=0, atol=1e-9)
    assert found_db.dtype == np.float64


def test_lists_are_arrays_too() -> None:
    rng = np.random.default_rng(8)
    sources = rng.standard_normal((2, 600))
    estimates = sources + 0.1 * rng.standard_normal((2, 600))
    expected_db = table(bss_eval(sources, estimates, filter_taps=16))
    rows = list(sources), estimates.tolist()
    np.testing.assert_array_equal(table(bss_eval(*rows, filter_taps=16)), expected_db)
    halves = torch.tensor(sources).half(), torch.tensor(estimates).bfloat16()
    as_doubles = (half.double().numpy() for half in halves)
    np.testing.assert_array_equal(
        table(bss_eval(*halves, filter_taps=16)), table(bss_eval(*as_doubles, filter_taps=16))
    )


def test_settings_of_pytorch_change_nothing() -> None:
    rng = np.random.default_rng(11)
    sources = rng.standard_normal((2, 600))
    estimates = sources + 0.1 * rng.standard_normal((2, 600))
    sources[1] = sources[0]  # singular, so that the refinement runs too
    expected_db = table(bss_eval(sources, estimates, permute=True, filter_taps=16))
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        found_db = table(bss_eval(sources, estimates, permute=True, filter_taps=16))
    np.testing.assert_array_equal(found_db, expected_db)
    with torch.inference_mode():
        rows = [torch.tensor(row) for row in estimates]
        found_db = table(bss_eval(sources, rows, permute=True, filter_taps=16))
    np.testing.assert_array_equal(found_db, expected_db)
    rows = [torch.tensor(row, requires_grad=True) for row in estimates]
    found_db = table(bss_eval(sources, rows, permute=True, filter_taps=16))
    np.testing.assert_array_equal(found_db, expected_db)


def test_one_source_has_no_interference() -> None:
    rng = np.random.default_rng(5)
    source = rng.standard_normal((1, 700))  # shorter sound than two sources could have
    scores = bss_eval(source, source + 0.1 * rng.standard_normal((1, 700)))
    assert scores.sir_db.tolist() == [np.inf]
    np.testing.assert_array_equal(scores.sdr_db, scores.sar_db)


def test_a_silent_estimate_has_the_lowest_scores() -> None:
    rng = np.random.default_rng(6)
    sources = rng.standard_normal((2, 1500))
    estimates = np.stack([np.zeros(1500), sources[1] + 0.1 * sources[0]])
    scores = bss_eval(sources, estimates)
    assert table(scores)[:, 0].tolist() == [-np.inf] * 3
    assert scores.sdr_db[1] == pytest.approx(20, abs=2)  # 1024 taps fit some of the leak
    crossed = bss_eval(sources, estimates[::-1], permute=True)
    assert crossed.permutation.tolist() == [1, 0]
    assert bss_eval(sources[:1], estimates[:1]).sir_db.tolist() == [-np.inf]


NOISE = np.random.default_rng(7).standard_normal((3, 2, 1200))
BROKEN = NOISE.copy()
BROKEN[1, 0, 5] = np.nan
QUIET = NOISE.copy()
QUIET[2, 1] = 0.0


@pytest.mark.parametrize(
    ("references", "estimates", "message"),
    [
        (NOISE[0], NOISE[0, :, :-1], r"shape \[2, 1200\], estimates \[2, 1199\]; both must have"),
        (NOISE[0], NOISE[0, :1], r"shape \[2, 1200\], estimates \[1, 1200\]; both must have"),
        (NOISE[0, 0], NOISE[0, 0], r"have shape \[1200\], .* must be \[\.\.\., sources, samples\]"),
        (NOISE[:, :0], NOISE[:, :0], r"have shape \[3, 0, 1200\], .* at least one of each"),
        (NOISE[..., :0], NOISE[..., :0], r"have shape \[3, 2, 0\], .* at least one of each"),
        (NOISE[:0], NOISE[:0], r"have shape \[0, 2, 1200\], .* at least one of each"),
        (NOISE[0, :, :513], NOISE[0, :, :513], "513 samples are too short: .* 514 samples or more"),
        (BROKEN, NOISE, r"reference \[1, 0\] holds NaN or infinite samples; repair it"),
        (NOISE[1], BROKEN[1] / 0.1, "estimate 0 holds NaN or infinite samples; repair it"),
        (QUIET, NOISE, r"reference \[2, 1\] is silent: no score is defined against it; leave"),
        (QUIET[2], NOISE[2], "reference 1 is silent: no score is defined against it; leave"),
        ([NOISE[0, 0], NOISE[0, 1, 1:]], NOISE[0], "references are no array of numbers .*homogen"),
        ([["loud", "soft"]], NOISE[0], "references are no array of numbers .*convert string to fl"),
        (NOISE[0] + 0j, NOISE[0], "references are complex numbers; BSS Eval takes real"),
        (
            NOISE[0],
            np.zeros((2, 1200), "M8[s]"),
            r"estimates are no array .*datetime64\[s\] are no",
        ),
    ],
)
def test_what_has_no_score_says_so(
    references: np.ndarray, estimates: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bss_eval(references, estimates)
    if isinstance(references, np.ndarray) and estimates.dtype.kind != "M":
        with pytest.raises(InputError, match=message):
            bss_eval(torch.tensor(references), torch.tensor(estimates))


@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, lambda x: x.to("meta")])
def test_tensors_without_samples_at_hand_say_so(
    make: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    with pytest.raises(InputError, match="references are a tensor that is meta, quantized or spa"):
        bss_eval(make(torch.tensor(NOISE)), NOISE)


def test_filters_have_a_tap() -> None:
    with pytest.raises(
        InputError, match=r"filter_taps is 0; it must be a whole number, 1 or more \(the"
    ):
        bss_eval(NOISE, NOISE, filter_taps=0)
    # One tap forgives a gain and nothing else: a delay of one sample of noise loses nearly all.
    assert (bss_eval(NOISE, np.roll(NOISE, 1, axis=-1), filter_taps=1).sdr_db < -10).all()
    assert (bss_eval(NOISE, np.roll(NOISE, 1, axis=-1), filter_taps=2).sdr_db > 20).all()
