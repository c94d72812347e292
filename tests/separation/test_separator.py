"""Stems of the given objects, at the rate, channels and length of the video."""

import inspect
import io
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avsep.errors import InputError
from avsep.media.frames import read_frames
from avsep.media.video_files import AudioTrack, VideoSettings, write_video
from avsep.records import Clip, VisibleObject
from avsep.separation.inference import limit_to_mixture
from avsep.separation.result import Result
from avsep.separation.separator import Separator, separate
from avsep.separation.settings import SeparatorSettings
from avsep.separation.sound_input import binaural_input, mono_input, profile_sound
from avsep.sound.windows import window_starts
from media.making import noise
from separation.brightness import LEFT, RATE_HZ, RIGHT, Brightness, two_tone, video

# Frames are encoded with a small loss: brightness is right to one part in a hundred.
BRIGHT = 0.01


def run(path: object, objects: object = (LEFT, RIGHT), **settings: object) -> Result:
    separator = Separator(Brightness(), SeparatorSettings(**settings))  # type: ignore[arg-type]
    return separator.separate(path, objects)  # type: ignore[arg-type]


def energy(sound: np.ndarray) -> float:
    return float(np.square(sound, dtype=np.float64).sum())


def share(stem: np.ndarray, mixture: np.ndarray) -> float:
    """Compute the gain from mixture to stem by least squares."""
    return float((stem * mixture).sum() / (mixture**2).sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate_hz", "layout", "num_channels"),
    [(8000, "mono", 1), (16000, "stereo", 2), (44100, "stereo", 2), (48000, "5.1", 6)],
)
@pytest.mark.parametrize("num_samples", [1000, 30_001])
def test_stems_have_rate_channels_and_length_of_the_video_and_add_up(
    tmp_path: Path, rate_hz: int, layout: str, num_channels: int, num_samples: int
) -> None:
    sound = noise(num_channels, num_samples)
    result = run(video(tmp_path / "a.mkv", None, sound, rate_hz, layout))
    assert result.sample_rate_hz == rate_hz
    assert list(result.stems) == ["violin", "harp"]
    for item, bright in zip(result.objects, (0.25, 0.5), strict=True):
        assert item.stem.shape == sound.shape and item.stem.dtype == np.float32
        assert share(item.stem, sound) == pytest.approx(bright, abs=BRIGHT)
        # One factor for all cells: nothing but the level changes, at any time.
        error = item.stem - np.float32(item.presence) * sound
        assert np.abs(error).max() < 1e-4
        assert item.presence == pytest.approx(bright, abs=BRIGHT)
    assert (result.mixture == sound).all()
    total = sum(item.stem for item in result.objects) + result.residual
    # One rounding of float32 is 6e-8 of the sample.
    np.testing.assert_allclose(total, sound, atol=2e-7)


@pytest.mark.slow
def test_windows_see_what_is_shown_while_they_sound(tmp_path: Path) -> None:
    pictures = two_tone(1.0, 0.0, 25) + two_tone(0.0, 1.0, 25)
    sound = noise(1, 32_000)
    result = run(video(tmp_path / "a.mkv", pictures, sound, 16000))
    left, right = (item.stem for item in result.objects)
    early, late = (
        slice(0, 8000),
        slice(24_000, 32_000),
    )  # a window away from the change
    for stem, begins, ends in [(left, 1, 0), (right, 0, 1)]:
        assert share(stem[:, early], sound[:, early]) == pytest.approx(begins, abs=0.02)
        assert share(stem[:, late], sound[:, late]) == pytest.approx(ends, abs=0.02)
    gate = result.objects[0].gate
    assert gate is not None and gate.shape == (2, round(2 / (4095 / 8000) * 8))
    assert (gate[:, :8] > 0.98).all() and (gate[:, -8:] < 0.02).all()


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["native", "model"])
def test_objects_alike_share_what_one_would_have_and_the_residual_stays(
    tmp_path: Path, rate: str
) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 1.0), noise(2, 32_000), 16000, "stereo")
    alone, twice = run(path, [RIGHT], rate=rate), run(path, [RIGHT, RIGHT], rate=rate)
    for item in twice.objects:
        np.testing.assert_allclose(item.stem, alone.objects[0].stem / 2, atol=1e-5)
    np.testing.assert_allclose(twice.residual, alone.residual, atol=1e-5)
    assert not alone.warnings
    assert [warning.partition(" (")[0] for warning in twice.warnings] == [
        "objects 1 and 2 are the same to the model"
    ]
    assert share(alone.objects[0].stem, alone.mixture) == pytest.approx(1, abs=1e-4)
    # A quarter and one sum to five quarters: both are divided by that.
    both = run(path, rate=rate)
    for item, part in zip(both.objects, (0.2, 0.8), strict=True):
        assert share(item.stem, both.mixture) == pytest.approx(part, abs=BRIGHT)
    assert np.abs(both.residual).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["native", "model"])
def test_objects_together_take_no_more_than_there_is(tmp_path: Path, rate: str) -> None:
    # Each object has all of the mixture for a while, and they overlap between.
    pictures = two_tone(1, 0.2, 20) + two_tone(0.9, 0.9, 10) + two_tone(0, 1, 20)
    result = run(video(tmp_path / "a.mkv", pictures, noise(1, 32_000), 16000), rate=rate)
    assert energy(result.residual) < energy(result.mixture)
    # Up to rounding, nothing is left in the band of the model.
    assert share(result.residual, result.mixture) > -1e-6
    for item in result.objects:
        assert (result.residual * item.stem).sum() > -0.01 * energy(result.mixture)


def test_cells_are_shared_in_proportion_and_only_where_exceeds_is_taken() -> None:
    mixture = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(1))
    estimates = masks * mixture
    limited = limit_to_mixture(mixture, estimates)
    assert (limited.sum(dim=0) <= mixture * (1 + 1e-6)).all()
    exceeds = (masks.sum(dim=0) > 1).expand_as(limited)
    assert exceeds.any() and not exceeds.all()
    assert torch.equal(limited[~exceeds], estimates[~exceeds])
    shares = (masks / masks.sum(dim=0) * mixture)[exceeds]
    torch.testing.assert_close(limited[exceeds], shares, rtol=1e-5, atol=1e-6)
    # A single object is unchanged, and silence stays silence.
    torch.testing.assert_close(
        limit_to_mixture(mixture, estimates[:1]), estimates[:1], rtol=0, atol=0
    )
    silence = torch.zeros_like(mixture)
    assert not limit_to_mixture(silence, torch.zeros_like(estimates)).any()


@pytest.mark.slow
def test_exchanging_the_objects_exchanges_the_stems(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv")
    there, back = run(path), run(path, (RIGHT, LEFT))
    assert list(back.stems) == ["harp", "violin"]
    for name, stem in there.stems.items():
        np.testing.assert_allclose(back.stems[name], stem, atol=1e-6)
    np.testing.assert_allclose(back.residual, there.residual, atol=1e-6)


@pytest.mark.slow
def test_a_path_bytes_a_file_and_arrays_are_separated_alike(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv")
    expected = run(path)
    frames = read_frames(path, list(np.arange(50) / 25))
    sound = expected.mixture
    clip = Clip(sound, RATE_HZ, frames.pictures, frames.times_seconds, (), "some/../name")
    with path.open("rb") as file:
        for source in (str(path), path.read_bytes(), file, io.BytesIO(path.read_bytes()), clip):
            result = run(source)
            assert (result.mixture == sound).all()
            for name, stem in expected.stems.items():
                np.testing.assert_allclose(result.stems[name], stem, atol=1e-6)
    objects = (VisibleObject(label="tuba"), VisibleObject(label="tuba"))
    with_objects = Clip(sound, RATE_HZ, frames.pictures, frames.times_seconds, objects)
    assert list(run(with_objects, None).stems) == ["tuba", "tuba-2"]


@pytest.mark.slow
def test_the_picture_decides_once_where_no_label_is_known(tmp_path: Path) -> None:
    pictures = two_tone(0.2, 0.1, 10) + two_tone(0.9, 0.5, 40)  # dark in the first windows
    path = video(tmp_path / "a.mkv", pictures)
    result = run(path, ("Otto@0,0,0.5,1", "kazoo@0.5,0,1,1", "tuba@0.5,0,1,1"))
    assert [item.label for item in result.objects] == ["Otto", "kazoo", "tuba"]
    assert [item.category for item in result.objects] == ["violin", "tuba", "tuba"]
    sources = ["predicted", "predicted", "given"]
    assert [item.category_from for item in result.objects] == sources
    assert result.warnings == (
        "'Otto' is not a category of this model, so the category is predicted from the picture; "
        "known: harp, tuba, violin",
        "'kazoo' is not a category of this model, so the category is predicted from the picture; "
        "known: harp, tuba, violin",
        "objects 2 and 3 are the same to the model (tuba, same box) and cannot be distinguished; "
        'give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )
    records = result.manifest.objects
    assert [item.category_from for item in records] == sources
    assert [item.file for item in records] == ["01-Otto.wav", "02-kazoo.wav", "03-tuba.wav"]


@pytest.mark.slow
def test_at_the_models_rate_stems_are_one_channel_of_it(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", None, noise(2, 44_100), 44_100, "stereo")
    result = run(path, rate="model")
    assert result.sample_rate_hz == RATE_HZ and result.mixture.shape == (1, 8000)
    for item, bright in zip(result.objects, (0.25, 0.5), strict=True):
        assert share(item.stem, result.mixture) == pytest.approx(bright, abs=BRIGHT)
    total = sum(item.stem for item in result.objects) + result.residual
    np.testing.assert_allclose(total, result.mixture, atol=2e-7)
    assert result.manifest.settings.rate == "model" and result.manifest.num_channels == 1


@pytest.mark.slow
def test_where_channels_cancel_the_loudest_is_heard(tmp_path: Path) -> None:
    left = noise(1, 16_000)
    result = run(video(tmp_path / "a.mkv", None, np.concatenate([left, -left]), 16000, "stereo"))
    words = "channel 1 of 2, the loudest, as their mean cancels out"
    assert result.manifest.input_channels == words
    assert share(result.objects[1].stem, result.mixture) == pytest.approx(0.5, abs=BRIGHT)


def test_what_is_heard_of_several_channels() -> None:
    sound = noise(3, 1000)
    sound[1:] = 0
    mean, words = mixed_down(
        sound
    )  # only one channel has sound: their mean is quiet, not cancelled
    np.testing.assert_allclose(mean, sound[:1] / 3, rtol=1e-6)
    assert words == "the mean of 3 channels"
    assert mixed_down(np.zeros((2, 10), np.float32))[1] == "the mean of 2 channels"
    assert mixed_down(sound[:1]) == (pytest.approx(sound[:1]), "its one channel")


@pytest.mark.parametrize(("mean_energy", "is_mean"), [(0.11, True), (0.09, False)])
def test_channels_cancel_below_a_tenth_of_the_energy_of_uncorrelated_ones(
    mean_energy: float, is_mean: bool
) -> None:
    # With a and b orthogonal and equally loud, the mean of a and (-cos t) a + (sin t) b has
    # 1 - cos t of the energy that the mean of a and b has.
    angle = np.arccos(1 - mean_energy)
    phase = 2 * np.pi * np.arange(1000) / 100
    left, orthogonal = np.sin(phase), np.cos(phase)
    right = -np.cos(angle) * left + np.sin(angle) * orthogonal
    sound = np.stack([1.001 * left, right]).astype(np.float32)
    mono, words = mixed_down(sound)
    if is_mean:
        np.testing.assert_allclose(mono, sound.mean(axis=0, keepdims=True), atol=1e-6)
        assert words == "the mean of 2 channels"
    else:
        assert (mono == sound[:1]).all()
        assert words == "channel 1 of 2, the loudest, as their mean cancels out"


def test_of_channels_that_cancel_the_loudest_is_read() -> None:
    left = np.sin(np.arange(1000) / 16)
    quiet_first = np.stack([left, -1.1 * left]).astype(np.float32)
    mono, words = mixed_down(quiet_first)
    assert (mono == quiet_first[1:]).all()
    assert words == "channel 2 of 2, the loudest, as their mean cancels out"


@pytest.mark.parametrize(
    ("difference_db", "are_equal"), [(-50, False), (-59, False), (-61, True), (-70, True)]
)
def test_channels_are_equal_from_60_db_below(difference_db: float, are_equal: bool) -> None:
    left, difference = noise(1, 8000, seed=1), noise(1, 8000, seed=2)
    # Of the energy of both channels together.
    difference *= np.sqrt(2 * energy(left) / energy(difference) * 10 ** (difference_db / 10))
    channels = np.concatenate([left, left + difference])
    binaural, words, warnings = read_binaural(channels)
    assert (binaural == channels).all() and words == "its two channels, as left and right ear"
    assert warnings == (
        [
            "audio of two equal channels contains no direction: this binaural model separates by "
            "the pictures alone"
        ]
        if are_equal
        else []
    )


def test_one_channel_is_both_ears_and_more_than_two_are_refused() -> None:
    mono = noise(1, 8000)
    binaural, words, warnings = read_binaural(mono)
    assert (binaural == mono).all() and len(binaural) == 2
    assert words == "its one channel, for both ears"
    assert warnings == [
        "audio of one channel contains no direction: this binaural model separates by the pictures "
        "alone"
    ]
    with pytest.raises(InputError) as error:
        read_binaural(noise(3, 8000))
    assert str(error.value) == (
        "'clip' has 3 channels and this model reads two: give audio of two channels, left first, "
        "or choose another model with --model"
    )


def mixed_down(waveform: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the input of a model of one channel, and its description."""
    mix, words = mono_input(profile_sound([waveform], RATE_HZ))
    return mix(waveform), words


def read_binaural(waveform: np.ndarray) -> tuple[np.ndarray, str, list[str]]:
    """Return the input of a binaural model, its description, and the warnings."""
    mix, words, warning = binaural_input(profile_sound([waveform], RATE_HZ), "clip")
    return mix(waveform), words, [warning] if warning else []


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [16_000, 20_481, 20_480, 12_345])
def test_padding_of_a_codec_is_no_part_of_the_stems(tmp_path: Path, num_samples: int) -> None:
    # AAC has frames of 1024 samples; the edit list of MP4 gives the duration in milliseconds.
    path = tmp_path / "a.mp4"
    tracks = [AudioTrack("sound", noise(1, num_samples), 16000)]
    pictures = two_tone(0.25, 0.5, 25)
    write_video(path, pictures, 25, tracks, VideoSettings(audio_codec="aac"))
    result = run(path)
    assert result.mixture.shape[1] == num_samples == result.manifest.num_samples


@pytest.mark.slow
def test_a_silent_sound_is_separated_with_a_warning(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", None, np.zeros((1, 8000), np.float32))
    result = run(path)
    assert not any(stem.any() for stem in result.stems.values())
    assert [item.presence for item in result.objects] == [0, 0]
    assert [item.energy_share for item in result.manifest.objects] == [0, 0]
    assert result.manifest.residual_energy_share == 0
    assert result.warnings == ("the audio is silent throughout",)


def test_presence_is_weighted_by_the_energy_of_the_windows() -> None:
    # Loud while the left half is dark, quieter while it is bright, and silence between, so that
    # no window with sound shows both.
    sound = noise(1, 2 * RATE_HZ)
    sound[:, 3200:11_200] = 0
    sound[:, 11_200:] *= 0.5
    pictures = np.stack(two_tone(0.2, 0.5, 25) + two_tone(0.9, 0.5, 25))
    clip = Clip(sound, RATE_HZ, pictures, np.arange(50) / 25)
    starts = window_starts(sound.shape[1], 4095)
    energies = np.array([energy(sound[:, start : start + 4095]) for start in starts])
    presences = np.where(np.array(starts) < 3200, 0.2, 0.9)
    expected = np.average(presences, weights=energies)
    # Far from the plain mean, and from a weighting by amplitude.
    assert abs(expected - presences.mean()) > 0.1
    assert abs(expected - np.average(presences, weights=np.sqrt(energies))) > 0.05
    left = run(clip).objects[0]
    assert left.presence == pytest.approx(expected, abs=BRIGHT)


@pytest.mark.slow
def test_damaged_pictures_are_skipped_with_a_warning(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets]
    content = bytearray(path.read_bytes())
    for place, num_bytes in places[20:25]:
        # After the packet's header in the file.
        content[place + 8 : place + num_bytes] = bytes(num_bytes - 8)
    result = run(bytes(content))
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith("the video is damaged in 5 places, which are left out")
    assert share(result.objects[1].stem, result.mixture) == pytest.approx(0.5, abs=BRIGHT)


def test_a_model_that_needs_other_cues_is_refused() -> None:
    message = (
        "model 'brightness' requires embedding, which cannot be computed from a video; choose a "
        "model that requires only crops and crop motion, see `avsep models`"
    )
    with pytest.raises(InputError) as error:
        Separator(Brightness(["crops", "i3d_features", "embedding", "boxes"]))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": "x"}, "separate: rate: Input should be 'native' or 'model'; given: 'x'"),
        ({"quality": "good"}, "separate: quality: Input should be 'fast', 'balanced' or 'best'; "),
        ({"qualty": "best"}, "separate: unknown setting 'qualty'; did you mean 'quality'? known: "),
        ({"seed": 2**70}, "separate: seed: Input should be less than 9223372036854775808; given: "),
        ({"seed": -1}, "separate: seed: Input should be greater than or equal to 0; given: -1"),
        ({"i3d": 3}, "separate: i3d: "),
    ],
)
def test_settings_that_are_none_are_told(settings: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        separate("a.mp4", "harp", **settings)
    assert str(error.value).startswith(message)


def test_overrides_replace_single_settings_and_are_all_documented(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 10), noise(1, 3000), 16000)
    settings = SeparatorSettings(rate="model", seed=3)
    result = separate(path, LEFT, model=Brightness(), settings=settings, seed=4)
    assert (result.manifest.settings.rate, result.manifest.settings.seed) == ("model", 4)
    assert separate(path, LEFT, model=Brightness()).manifest.settings.rate == "native"
    documentation = inspect.getdoc(separate) or ""
    assert all(f"`{name}`" in documentation for name in SeparatorSettings.model_fields)


@pytest.mark.slow
def test_progress_counts_the_seconds_that_are_separated(tmp_path: Path) -> None:
    calls = []
    separate(
        video(tmp_path / "a.mkv"),
        [LEFT, RIGHT],
        model=Brightness(),
        progress=lambda *words: calls.append(words),
        sources_at_once=4,
    )
    # Before, the whole sound is listened to once, for presence.
    num_first = next(index for index, call in enumerate(calls) if call[0] == "a.mkv: separating")
    assert {call[0] for call in calls[:num_first]} == {"a.mkv: listening"}
    stages, done, total = zip(*calls[num_first:], strict=True)
    assert set(stages) == {"a.mkv: separating"} and set(total) == {2.0}
    # Seven windows: a block is final with each after the first, and one at the end.
    assert len(done) == 7 and list(done) == sorted(done) and done[-1] == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("as_clip", [False, True])
@pytest.mark.parametrize("whole_when_alone", [False, True])
def test_a_box_is_honoured_whatever_the_model_was_trained_on(
    tmp_path: Path, whole_when_alone: bool, as_clip: bool
) -> None:
    """Left has brightness 1/4 and right 1/2, the whole picture 3/8."""
    model = Brightness()
    crops = model.settings.crops.model_copy(update={"whole_when_alone": whole_when_alone})
    model.settings = model.settings.model_copy(update={"crops": crops})
    source: object = video(tmp_path / "a.mkv")
    if as_clip:
        pictures = np.stack(two_tone(0.25, 0.5))
        source = Clip(noise(1, 2 * RATE_HZ), RATE_HZ, pictures, np.arange(50) / 25)
    separator = Separator(model, SeparatorSettings())
    (alone,) = separator.separate(source, [LEFT]).objects
    assert alone.presence == pytest.approx(0.25, abs=BRIGHT)
    (whole,) = separator.separate(source, ["violin@"]).objects
    assert whole.presence == pytest.approx(0.375, abs=BRIGHT)
    both = separator.separate(source, [LEFT, RIGHT]).objects
    assert [item.presence for item in both] == pytest.approx([0.25, 0.5], abs=BRIGHT)
