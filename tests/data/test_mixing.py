"""Test mix-and-separate: sampling, windows, levels, sums and unreadable files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.data.clips import ClipFiles, SourceFile, read_sound
from avsep.data.mixing import (
    MixingSettings,
    MixtureItem,
    Waveform,
    crop,
    cut_windows,
    mix,
    mix_clip,
    mix_sampled,
    sample_centres,
    to_batch,
)
from avsep.data.mixture_sampler import MixtureSampler
from avsep.errors import InputError
from avsep.records import VisibleObject
from avsep.sound.front_end import FrontEndSettings

FRONT_END = FrontEndSettings(sample_rate_hz=8000, window_samples=4001)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[SourceFile]:
    """Ten clips of five categories, each another steady tone."""
    folder = tmp_path_factory.mktemp("sounds")
    sources = []
    for index in range(10):
        path = folder / f"{index}.wav"
        n = np.arange(12000)
        soundfile.write(path, 0.4 * np.sin(2 * np.pi * 100 * (index + 1) * n / 8000), 8000)
        category = ["cello", "flute", "harp", "piano", "tuba"][index % 5]
        sources.append(SourceFile(path, category, f"clip{index}", VisibleObject(label=category)))
    return sources


class Mixtures:
    """Mixtures of sound files: the steps of training's data set, without its cache and cues."""

    def __init__(
        self,
        sources: list[SourceFile],
        settings: MixingSettings | None = None,
        front_end: FrontEndSettings = FRONT_END,
        *,
        seed: int = 0,
    ) -> None:
        self.sources, self.front_end, self.seed = sources, front_end, seed
        self.settings = settings or MixingSettings()
        clips, categories = [s.clip for s in sources], [s.category for s in sources]
        self.sampler = MixtureSampler(clips, categories, self.settings)

    def __getitem__(self, index: int) -> MixtureItem:
        generator = np.random.default_rng([self.seed, index])
        sampled = self.sampler.sample(index % len(self.sources), generator)
        rate_hz, channels = self.front_end.sample_rate_hz, self.front_end.num_channels
        paths = [self.sources[place].path for place in sampled.audible]
        sounds = [Waveform(read_sound(path, rate_hz, channels)) for path in paths]
        num_samples = self.front_end.window_samples
        lengths = [sound.num_samples for sound in sounds]
        centres = sample_centres(sampled, lengths, num_samples, self.settings, generator)
        windows = cut_windows(sounds, centres, num_samples)
        return mix_sampled(sampled, windows, self.sources, self.settings, generator)


@pytest.mark.slow
def test_items_depend_on_seed_and_index_alone(sources: list[SourceFile]) -> None:
    first, second = (Mixtures(sources, seed=3) for _ in range(2))
    for index in (7, 2, 9):  # in any order
        assert np.array_equal(first[index].mixture, second[index].mixture)
    assert not np.array_equal(first[7].mixture, second[17].mixture)  # the next time of source 7
    assert not np.array_equal(first[7].mixture, Mixtures(sources, seed=4)[7].mixture)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(num_sources=st.integers(2, 4), distinct=st.booleans(), seed=st.integers(0, 99))
def test_clips_and_categories_differ(
    sources: list[SourceFile], num_sources: int, distinct: bool, seed: int
) -> None:
    chosen = MixingSettings(num_sources=num_sources, distinct_categories=distinct)
    item = Mixtures(sources, chosen, seed=seed)[seed % 10]
    assert len(set(item.names)) == num_sources
    assert not distinct or len(set(item.categories)) == num_sources
    assert item.sources.shape == (num_sources, 1, 4001)
    assert item.names[0] == f"clip{seed % 10}"


@pytest.mark.slow
def test_same_category_comes_up_when_allowed(sources: list[SourceFile]) -> None:
    data = Mixtures(sources, MixingSettings(distinct_categories=False))
    pairs = [data[index].categories for index in range(50)]
    assert any(a == b for a, b in pairs)


def test_rules_of_level() -> None:
    sounds = np.array([[0.4, -0.2], [0.2, 0.2], [0.0, 0.0]], dtype=np.float32)
    factors = {"mean": (0.5, 0.5), "sum": (1, 1), "mean-undivided": (0.5, 1)}
    for rule, (factor, target_factor) in factors.items():
        mixture, targets = mix(sounds, rule)  # the silent third does not count
        np.testing.assert_allclose(mixture, factor * np.array([0.6, 0.0]), atol=1e-7)
        np.testing.assert_allclose(targets, target_factor * sounds, atol=1e-7)


@pytest.mark.parametrize("rule", ["mean", "sum"])
def test_sources_sum_to_the_mixture(sources: list[SourceFile], rule: str) -> None:
    item = Mixtures(sources, MixingSettings(rule=rule, num_sources=4))[0]
    np.testing.assert_allclose(item.sources.sum(0), item.mixture, atol=1e-6)


@pytest.mark.slow
def test_gain_is_drawn_and_clipped(sources: list[SourceFile]) -> None:
    loud = MixingSettings(gain_range=(4.0, 4.0), rule="sum")
    item = Mixtures(sources, loud)[0]
    assert np.abs(item.sources).max() == 1.0
    plain = Mixtures(sources, MixingSettings(rule="sum"))
    peaks = [np.abs(plain[index].sources).max() / 0.4 for index in range(10)]
    assert 0.5 <= min(peaks) < max(peaks) <= 1.5 + 1e-3


@pytest.mark.slow
def test_silent_sources(sources: list[SourceFile]) -> None:
    data = Mixtures(sources, MixingSettings(silent_probability=0.9))
    num_silent = sum(int((~data[i].sources.any(axis=2)).sum()) for i in range(10))
    assert 5 <= num_silent <= 10  # of 20, and never both of a mixture
    assert all(data[i].sources.any() for i in range(10))


def test_extra_sources_are_silent_as_often_as_asked(sources: list[SourceFile]) -> None:
    for probability in (0.0, 0.5, 1.0):
        settings = MixingSettings(extra_sources=1, extra_silent_probability=probability)
        items = [Mixtures(sources, settings)[index] for index in range(10)]
        assert all(item.sources[:2].any(axis=(1, 2)).all() for item in items)
        share = np.mean([not item.sources[2].any() for item in items])
        assert 0.2 <= share <= 0.8 if probability == 0.5 else share == probability
        for item in items:
            np.testing.assert_allclose(item.sources.sum(0), item.mixture, atol=1e-6)


def test_an_equaliser_colours_each_sound_and_keeps_the_sum(tmp_path: Path) -> None:
    noises = []
    for index in range(2):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.random.default_rng(index).uniform(-0.4, 0.4, 8000), 8000)
        noises.append(SourceFile(path, str(index), str(index), VisibleObject()))
    plain = MixingSettings(rule="sum", gain_range=(0.5, 0.5), position="middle")
    coloured = plain.model_copy(update={"equaliser_db": 6.0})
    before, after, again = (
        Mixtures(noises, settings)[0] for settings in (plain, coloured, coloured)
    )
    np.testing.assert_array_equal(after.sources, again.sources)
    np.testing.assert_allclose(after.sources.sum(0), after.mixture, atol=1e-6)
    for coloured_source, other in zip(after.sources, before.sources, strict=True):
        assert np.square(coloured_source).mean() == pytest.approx(np.square(other).mean(), rel=1e-3)
        # Octaves 6 dB apart and more take white noise far from itself.
        assert np.corrcoef(coloured_source[0], other[0])[0, 1] < 0.98


@given(num_samples=st.integers(1, 60), centre=st.integers(0, 60), window_samples=st.integers(2, 41))
def test_crop_is_the_slice_with_zeros_beyond(
    num_samples: int, centre: int, window_samples: int
) -> None:
    waveform = np.arange(1, num_samples + 1, dtype=np.float32)
    window = crop(Waveform(waveform[None]), centre, window_samples)[0]
    half = window_samples // 2
    expected = np.zeros(window_samples)
    for offset in range(2 * half):
        if 0 <= centre - half + offset < num_samples:
            expected[offset] = waveform[centre - half + offset]
    assert window.tolist() == expected.tolist()
    assert window_samples % 2 == 0 or window[-1] == 0


def test_short_files_are_repeated(tmp_path: Path, sources: list[SourceFile]) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.full(500, 0.25), 8000)
    short = SourceFile(path, "violin", "short", VisibleObject())
    still = MixingSettings(gain_range=(1, 1), rule="sum", position="middle")
    item = Mixtures([short, *sources], still)[0]
    np.testing.assert_allclose(item.sources[0, 0, :-1], 0.25, atol=1e-4)


def test_a_broken_clip_is_an_error_that_names_it(tmp_path: Path, sources: list[SourceFile]) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(b"RIFF and nothing more")
    listed = [SourceFile(path, "violin", "broken", VisibleObject()), *sources]
    with pytest.raises(InputError, match=r"broken\.wav"):
        Mixtures(listed)[0]


@pytest.mark.parametrize("num_samples", [1, 2, 3999, 4000, 4001, 4002, 12000])
@pytest.mark.parametrize("position", ["random", "middle"])
def test_files_of_any_length_fill_the_window(
    tmp_path: Path, sources: list[SourceFile], num_samples: int, position: str
) -> None:
    path = tmp_path / "any.wav"
    soundfile.write(path, np.full(num_samples, 0.25), 8000)
    any_length = SourceFile(path, "violin", "any", VisibleObject())
    still = MixingSettings(gain_range=(1, 1), rule="sum", position=position)
    first = Mixtures([any_length, *sources], still)[0].sources[0, 0]
    np.testing.assert_allclose(first, [0.25] * 4000 + [0.0], atol=1e-4)


def test_a_file_of_which_nothing_is_left_is_broken(
    tmp_path: Path, sources: list[SourceFile]
) -> None:
    path = tmp_path / "click.wav"
    soundfile.write(path, np.ones(1), 44100)
    listed = [SourceFile(path, "violin", "click", VisibleObject()), *sources]
    with pytest.raises(InputError, match=r"click\.wav' is too short"):
        Mixtures(listed)[0]


def test_a_first_source_without_partners_gives_way(sources: list[SourceFile]) -> None:
    def listed(pairs: str) -> list[SourceFile]:
        paired = zip(sources, pairs.split(), strict=False)
        return [SourceFile(s.path, pair[1], pair[0], s.visible) for s, pair in paired]

    three = MixingSettings(num_sources=3)
    # Clip x with category a has one partner alone, (z, c): three cannot begin with it.
    data = Mixtures(listed("xa ya xb zc"), three)
    for item in (data[0], data[1]):
        assert sorted(zip(item.names, item.categories, strict=True)) == [
            ("x", "b"),
            ("y", "a"),
            ("z", "c"),
        ]
    # Three clips and three categories, and yet no three of which both differ.
    with pytest.raises(InputError, match="found no 3 sources of different clips and categories in"):
        Mixtures(listed("xa xb xc ya za"), three)[0]


def test_lists_that_cannot_be_mixed(sources: list[SourceFile]) -> None:
    with pytest.raises(InputError, match="3 sources need as many clips, and the list holds 2"):
        Mixtures(sources[:2], MixingSettings(num_sources=3))
    with pytest.raises(InputError, match="2 distinct categories cannot be made of 1; set distinct"):
        Mixtures([sources[0], sources[5]])
    one_clip = [
        SourceFile(s.path, s.category, "same" if i else "other", s.visible)
        for i, s in enumerate(sources[:3])
    ]
    with pytest.raises(InputError, match="3 sources need as many clips, and the list holds 2"):
        Mixtures(one_clip, MixingSettings(num_sources=3))[0]
    with pytest.raises(ValueError, match="must hold 0 < lowest <= highest"):
        MixingSettings(gain_range=(2.0, 1.0))


def test_two_ears_share_gain_and_colour(tmp_path: Path) -> None:
    """Their difference of level tells where a sound is: no draw may change it."""
    listed = []
    for index in range(2):
        noise = np.random.default_rng(index).uniform(-0.4, 0.4, 8000)
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.stack([noise, 0.25 * noise], axis=1), 8000, "FLOAT")
        listed.append(SourceFile(path, str(index), str(index), VisibleObject()))
    two_ears = FRONT_END.model_copy(update={"num_channels": 2})
    settings = MixingSettings(equaliser_db=6.0, gain_range=(0.5, 1.5))
    for item in (Mixtures(listed, settings, two_ears, seed=s)[0] for s in range(3)):
        assert item.mixture.shape == (2, 4001) and item.sources.shape == (2, 2, 4001)
        np.testing.assert_allclose(item.sources[:, 1], 0.25 * item.sources[:, 0], atol=1e-6)
        np.testing.assert_allclose(item.sources.sum(0), item.mixture, atol=1e-6)
    batch = to_batch([item, item])
    assert batch.mixture.shape == (2, 2, 4001) and batch.sources is not None
    assert batch.sources.shape == (2, 2, 2, 4001)


def test_a_silent_source_counts_once_whatever_its_channels() -> None:
    sounds = np.zeros((3, 2, 4), np.float32)
    sounds[0, 0], sounds[1, 1] = 0.4, 0.2  # each in one ear
    mixture, targets = mix(sounds, "mean")
    np.testing.assert_allclose(mixture, sounds.sum(0) / 2)
    np.testing.assert_allclose(targets, sounds / 2)


def test_batches(sources: list[SourceFile]) -> None:
    data = Mixtures(sources)
    batch = to_batch([data[0], data[1], data[2]])
    assert batch.mixture.shape == (3, 1, 4001) and batch.sources is not None
    assert batch.sources.shape == (3, 2, 1, 4001)
    assert batch.sources.sum(1).allclose(batch.mixture, atol=1e-6)


def test_a_whole_clip_is_the_sum_of_its_stems(tmp_path: Path, sources: list[SourceFile]) -> None:
    clip = ClipFiles("duet", tmp_path / "duet.mp4", tuple(sources[:2]), (sources[2].path,))
    item = mix_clip(clip, FRONT_END)
    stems = [read_sound(source.path, FRONT_END.sample_rate_hz) for source in sources[:3]]
    np.testing.assert_array_equal(item.sources, np.stack(stems[:2]))
    np.testing.assert_allclose(item.mixture, sum(stems), atol=1e-6)
    assert (item.names, item.categories) == (("duet",), ("cello", "flute"))
    soundfile.write(tmp_path / "short.wav", np.zeros(500), 8000)
    uneven = ClipFiles("duet", clip.video, clip.sources, (tmp_path / "short.wav",))
    with pytest.raises(InputError, match="stems of clip 'duet' differ in length: make the clip"):
        mix_clip(uneven, FRONT_END)
