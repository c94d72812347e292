"""Stems at the video's own rate, channels and length, of the objects that were asked for."""

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
from avsep.separation.settings import SeparatorSettings
from avsep.separation.result import Result
from avsep.separation.separator import Separator, downmix, separate
from media.making import noise
from separation.brightness import LEFT, RATE_HZ, RIGHT, Brightness, two_tone, video

# Pictures are written with a little loss: brightness is right to one part in a hundred.
BRIGHT = 0.01


def run(path: object, objects: object = (LEFT, RIGHT), **settings: object) -> Result:
    made = Separator(Brightness(), SeparatorSettings(**settings))  # type: ignore[arg-type]
    return made.separate(path, objects)  # type: ignore[arg-type]


def energy(sound: np.ndarray) -> float:
    return float(np.square(sound, dtype=np.float64).sum())


def share(stem: np.ndarray, mixture: np.ndarray) -> float:
    """The part of the mixture that a stem is, by least squares."""
    return float((stem * mixture).sum() / (mixture**2).sum())


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
    for found, bright in zip(result.objects, (0.25, 0.5), strict=True):
        assert found.stem.shape == sound.shape and found.stem.dtype == np.float32
        assert share(found.stem, sound) == pytest.approx(bright, abs=BRIGHT)
        # One factor for all cells: nothing but the level changes, anywhere in the sound.
        rest = found.stem - np.float32(found.presence) * sound
        assert np.abs(rest).max() < 1e-4
        assert found.presence == pytest.approx(bright, abs=BRIGHT)
    assert (result.mixture == sound).all()
    total = sum(found.stem for found in result.objects) + result.residual
    # One rounding of float32 is 6e-8 of the sample.
    np.testing.assert_allclose(total, sound, atol=2e-7)


def test_windows_see_what_is_shown_while_they_sound(tmp_path: Path) -> None:
    pictures = two_tone(1.0, 0.0, 25) + two_tone(0.0, 1.0, 25)
    sound = noise(1, 32_000)
    result = run(video(tmp_path / "a.mkv", pictures, sound, 16000))
    left, right = (found.stem for found in result.objects)
    early, late = slice(0, 8000), slice(24_000, 32_000)  # half a second, a window, off the change
    for stem, begins, ends in [(left, 1, 0), (right, 0, 1)]:
        assert share(stem[:, early], sound[:, early]) == pytest.approx(begins, abs=0.02)
        assert share(stem[:, late], sound[:, late]) == pytest.approx(ends, abs=0.02)
    gate = result.objects[0].gate
    assert gate is not None and gate.shape == (2, round(2 / (4095 / 8000) * 8))
    assert (gate[:, :8] > 0.98).all() and (gate[:, -8:] < 0.02).all()


@pytest.mark.parametrize("rate", ["native", "model"])
def test_objects_alike_share_what_one_would_have_and_the_residual_stays(
    tmp_path: Path, rate: str
) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 1.0), noise(2, 32_000), 16000, "stereo")
    alone, twice = run(path, [RIGHT], rate=rate), run(path, [RIGHT, RIGHT], rate=rate)
    for found in twice.objects:
        np.testing.assert_allclose(found.stem, alone.objects[0].stem / 2, atol=1e-5)
    np.testing.assert_allclose(twice.residual, alone.residual, atol=1e-5)
    assert not alone.warnings
    assert [remark.partition(",")[0] for remark in twice.warnings] == [
        "objects 1 and 2 are the same to the model"
    ]
    assert share(alone.objects[0].stem, alone.mixture) == pytest.approx(1, abs=1e-4)
    # A quarter and all are five quarters: both are made smaller alike.
    both = run(path, rate=rate)
    for found, part in zip(both.objects, (0.2, 0.8), strict=True):
        assert share(found.stem, both.mixture) == pytest.approx(part, abs=BRIGHT)
    assert np.abs(both.residual).max() < 1e-4


@pytest.mark.parametrize("rate", ["native", "model"])
def test_objects_together_take_no_more_than_there_is(tmp_path: Path, rate: str) -> None:
    # What changes over time: each object has it all for a while, and both meet.
    pictures = two_tone(1, 0.2, 20) + two_tone(0.9, 0.9, 10) + two_tone(0, 1, 20)
    result = run(video(tmp_path / "a.mkv", pictures, noise(1, 32_000), 16000), rate=rate)
    assert energy(result.residual) < energy(result.mixture)
    # Nothing is left where the model hears; rounding may fall on either side of that.
    assert share(result.residual, result.mixture) > -1e-6
    for found in result.objects:
        assert (result.residual * found.stem).sum() > -0.01 * energy(result.mixture)


def test_cells_are_shared_in_proportion_and_only_where_too_much_is_taken() -> None:
    heard = torch.rand(1, 5, 7, generator=torch.Generator().manual_seed(0))
    masks = torch.rand(3, 1, 5, 7, generator=torch.Generator().manual_seed(1))
    wanted = masks * heard
    given = limit_to_mixture(heard, wanted)
    assert (given.sum(dim=0) <= heard * (1 + 1e-6)).all()
    too_much = (masks.sum(dim=0) > 1).expand_as(given)
    assert too_much.any() and not too_much.all()
    assert torch.equal(given[~too_much], wanted[~too_much])
    shares = (masks / masks.sum(dim=0) * heard)[too_much]
    torch.testing.assert_close(given[too_much], shares, rtol=1e-5, atol=1e-6)
    # One object alone is left as it is, and silence stays silence.
    torch.testing.assert_close(limit_to_mixture(heard, wanted[:1]), wanted[:1], rtol=0, atol=0)
    silence = torch.zeros_like(heard)
    assert not limit_to_mixture(silence, torch.zeros_like(wanted)).any()


def test_exchanging_the_objects_exchanges_the_stems(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv")
    there, back = run(path), run(path, (RIGHT, LEFT))
    assert list(back.stems) == ["harp", "violin"]
    for name, stem in there.stems.items():
        np.testing.assert_allclose(back.stems[name], stem, atol=1e-6)
    np.testing.assert_allclose(back.residual, there.residual, atol=1e-6)


def test_a_path_bytes_a_file_and_arrays_are_separated_alike(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv")
    expected = run(path)
    frames = read_frames(path, list(np.arange(50) / 25))
    sound = expected.mixture
    clip = Clip(sound, RATE_HZ, frames.pictures, frames.times_seconds, (), "some/../name")
    with path.open("rb") as file:
        for given in (str(path), path.read_bytes(), file, io.BytesIO(path.read_bytes()), clip):
            found = run(given)
            assert (found.mixture == sound).all()
            for name, stem in expected.stems.items():
                np.testing.assert_allclose(found.stems[name], stem, atol=1e-6)
    objects = (VisibleObject(label="tuba"), VisibleObject(label="tuba"))
    known = Clip(sound, RATE_HZ, frames.pictures, frames.times_seconds, objects)
    assert list(run(known, None).stems) == ["tuba", "tuba-2"]


def test_the_picture_decides_once_where_no_label_is_known(tmp_path: Path) -> None:
    pictures = two_tone(0.2, 0.1, 10) + two_tone(0.9, 0.5, 40)  # dark in the first windows
    path = video(tmp_path / "a.mkv", pictures)
    result = run(path, ("@0,0,0.5,1", "kazoo@0.5,0,1,1", "tuba@0.5,0,1,1"))
    assert [found.label for found in result.objects] == ["violin", "kazoo", "tuba"]
    assert [found.category for found in result.objects] == ["violin", "tuba", "tuba"]
    assert [found.label_given for found in result.objects] == [False, False, True]
    assert result.warnings == (
        "'kazoo' is no category of this model, so the picture decides; known: harp, tuba, violin",
        "objects 2 and 3 are the same to the model, tuba in one place, and cannot be told apart; "
        'give each a box of its own, such as "violin@0.1,0.2,0.5,0.9"',
    )
    records = result.manifest.objects
    assert [one.category_from for one in records] == ["picture", "picture", "label"]
    assert [one.file for one in records] == ["01-violin.wav", "02-kazoo.wav", "03-tuba.wav"]


def test_at_the_models_rate_stems_are_one_channel_of_it(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", None, noise(2, 44_100), 44_100, "stereo")
    result = run(path, rate="model")
    assert result.sample_rate_hz == RATE_HZ and result.mixture.shape == (1, 8000)
    for found, bright in zip(result.objects, (0.25, 0.5), strict=True):
        assert share(found.stem, result.mixture) == pytest.approx(bright, abs=BRIGHT)
    total = sum(found.stem for found in result.objects) + result.residual
    np.testing.assert_allclose(total, result.mixture, atol=2e-7)
    assert result.manifest.settings.rate == "model" and result.manifest.num_channels == 1


def test_where_channels_cancel_the_loudest_is_heard(tmp_path: Path) -> None:
    one = noise(1, 16_000)
    result = run(video(tmp_path / "a.mkv", None, np.concatenate([one, -one]), 16000, "stereo"))
    heard = "channel 1 of 2, the loudest, as their mean cancels out"
    assert result.manifest.input_channels == heard
    assert share(result.objects[1].stem, result.mixture) == pytest.approx(0.5, abs=BRIGHT)


def test_what_is_heard_of_several_channels() -> None:
    sound = noise(3, 1000)
    sound[1:] = 0
    mean, words = downmix(sound)  # one channel of three sounds: its mean is soft, and no accident
    np.testing.assert_allclose(mean, sound[:1] / 3, rtol=1e-6)
    assert words == "the mean of 3 channels"
    assert downmix(np.zeros((2, 10), np.float32))[1] == "the mean of 2 channels"
    assert downmix(sound[:1]) == (pytest.approx(sound[:1]), "its one channel")


@pytest.mark.parametrize("num_samples", [16_000, 20_481, 20_480, 12_345])
def test_padding_of_a_codec_is_no_part_of_the_stems(tmp_path: Path, num_samples: int) -> None:
    # AAC works in frames of 1024 samples; MP4's edit list tells in milliseconds how long it is.
    path = tmp_path / "a.mp4"
    tracks = [AudioTrack("sound", noise(1, num_samples), 16000)]
    pictures = two_tone(0.25, 0.5, 25)
    write_video(path, pictures, 25, tracks, VideoSettings(audio_codec="aac"))
    result = run(path)
    assert result.mixture.shape[1] == num_samples == result.manifest.num_samples


def test_a_silent_sound_is_separated_and_remarked(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", None, np.zeros((1, 8000), np.float32))
    result = run(path)
    assert not any(stem.any() for stem in result.stems.values())
    assert [found.presence for found in result.objects] == [0, 0]
    assert [found.energy_share for found in result.manifest.objects] == [0, 0]
    assert result.manifest.residual_energy_share == 0
    assert result.warnings == ("its sound is silent from begin to end",)


def test_damaged_pictures_are_passed_over_with_a_remark(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets]
    content = bytearray(path.read_bytes())
    for place, num_bytes in places[20:25]:
        # Behind the packet's own header in the file.
        content[place + 8 : place + num_bytes] = bytes(num_bytes - 8)
    result = run(bytes(content))
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith("pictures that cannot be decoded were passed over: the gi")
    assert share(result.objects[1].stem, result.mixture) == pytest.approx(0.5, abs=BRIGHT)


def test_a_model_that_needs_other_cues_is_refused() -> None:
    message = (
        "model 'brightness' reads embedding, which is not computed from videos here; "
        "choose a model that reads crops and movement alone, see `avsep models`"
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
    # As a caller without our checks of types sees it.
    with pytest.raises(InputError) as error:
        inspect.unwrap(separate)("a.mp4", "harp", **settings)
    assert str(error.value).startswith(message)


def test_progress_is_handed_every_window(tmp_path: Path) -> None:
    totals, seen = [], []

    def watch(answers: object, total: int) -> object:
        totals.append(total)
        for answer in answers:  # type: ignore[attr-defined]
            seen.append(answer.start)
            yield answer

    made = Separator(Brightness(), SeparatorSettings(sources_at_once=4))
    made.separate(video(tmp_path / "a.mkv"), [LEFT, RIGHT], progress=watch)  # type: ignore[arg-type]
    assert len(seen) == totals[0] == 7 and seen == sorted(seen)


@pytest.mark.parametrize("as_clip", [False, True])
@pytest.mark.parametrize("whole_when_alone", [False, True])
def test_a_box_is_honoured_whatever_the_model_was_trained_on(
    tmp_path: Path, whole_when_alone: bool, as_clip: bool
) -> None:
    """A quarter left and half right: three eighths is how bright the whole picture is."""
    model = Brightness()
    object_crops = model.settings.crops.model_copy(update={"whole_when_alone": whole_when_alone})
    model.settings = model.settings.model_copy(update={"crops": object_crops})
    given: object = video(tmp_path / "a.mkv")
    if as_clip:
        pictures = np.stack(two_tone(0.25, 0.5))
        given = Clip(noise(1, 2 * RATE_HZ), RATE_HZ, pictures, np.arange(50) / 25)
    made = Separator(model, SeparatorSettings())
    (alone,) = made.separate(given, [LEFT]).objects
    assert alone.presence == pytest.approx(0.25, abs=BRIGHT)
    (whole,) = made.separate(given, ["violin"]).objects
    assert whole.presence == pytest.approx(0.375, abs=BRIGHT)
    both = made.separate(given, [LEFT, RIGHT]).objects
    assert [one.presence for one in both] == pytest.approx([0.25, 0.5], abs=BRIGHT)
