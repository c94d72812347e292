"""Test synchrony: sound and picture change at the onsets of the score and are still in rests."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from avsep.data.toyband import read_toyband
from avsep.media.frames import iterate_frames
from avsep.toyband.build import make_toyband
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import ToybandSettings, draw_cast, play
from avsep.toyband.folder import ClipPaths, read_record
from avsep.toyband.material import Material
from avsep.toyband.music.score import ScorePart
from avsep.toyband.pictures.performers import PictureSettings

RATE_HZ = 20
STEP_SECONDS = 0.01
SETTINGS = ToybandSettings(
    clip_seconds=4,
    num_performers=(2,),
    offscreen_player_probability=0,
    pictures=PictureSettings(width_pixels=160, height_pixels=96, frame_rate_hz=RATE_HZ),
)
MATERIAL = Material.read()
# The sound of these instruments rises for 50 ms and more after its onset.
SLOW_ATTACK = {"accordion", "cello", "trombone", "tuba", "violin"}
# Longer before and after a note, a player does not move: motion prepares and ends each note.
BEFORE_SECONDS, AFTER_SECONDS = 0.35, 0.45


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make three duets at the default frame rate."""
    folder = tmp_path_factory.mktemp("in step")
    list(make_toyband(folder, 3, 8, SETTINGS, MATERIAL, num_workers=1))
    return folder


def loudness(sound: Float[np.ndarray, "*stems N"]) -> Float[np.ndarray, "*stems steps"]:
    """Compute the RMS around each hundredth of a second, over 30 ms."""
    samples = round(STEP_SECONDS * 44_100)
    steps = sound.shape[-1] // samples
    power = (sound[..., : steps * samples].reshape(*sound.shape[:-1], steps, samples) ** 2).mean(-1)
    # A running mean can fall below zero by rounding.
    return np.sqrt(np.maximum(uniform_filter1d(power, 3), 0))


def lag(onsets_seconds: list[float], activity: Float[np.ndarray, " K"], step_seconds: float) -> int:
    """Return the shift in steps at which the activity at the onsets is greatest."""
    steps = np.ceil(np.array(onsets_seconds) / step_seconds).astype(int)
    # Centred, so that onsets which a shift moves out of the clip count as average activity.
    centred = activity - activity.mean()
    lags = range(-8, 9)
    fits = [centred[[s + lag for s in steps if 0 <= s + lag < len(centred)]].sum() for lag in lags]
    return lags[int(np.argmax(fits))]


def onsets(part: ScorePart) -> list[float]:
    return [event.onset_seconds for event in part.events]


@pytest.mark.slow
@pytest.mark.parametrize("category", sorted(set(CATEGORIES) - SLOW_ATTACK))
def test_stems_rise_at_the_onsets_of_the_score(category: str) -> None:
    settings = SETTINGS.model_copy(update={"num_performers": (1,)})
    for seed in range(3):
        generator = np.random.default_rng(seed)
        cast = draw_cast(settings, (category,), generator)
        music = play(cast, settings, MATERIAL, False, generator)
        rises = np.maximum(np.diff(loudness(music.stems[0, 0] / 32768)), 0)
        assert abs(lag(onsets(music.score.parts[0]), rises, STEP_SECONDS)) * STEP_SECONDS <= 0.03


@pytest.mark.slow
def test_the_middle_six_seconds_hold_every_player() -> None:
    """Check the window that evaluation takes of ten seconds: 65535 samples at 11025 Hz."""
    settings = ToybandSettings()
    first, num_samples = round(2.03 * 44_100), round(5.94 * 44_100)
    for index in range(15):
        generator = np.random.default_rng([0, index])
        cast = draw_cast(settings, CATEGORIES, generator)
        music = play(cast, settings, MATERIAL, False, generator)
        levels = loudness(music.stems[:, 0] / 32768)
        audible = levels > 0.01 * levels.max(axis=1, keepdims=True)  # 40 dB below the loudest
        steps = slice(round(first / 441), round((first + num_samples) / 441))
        assert audible[:, steps].mean(axis=1).min() > 0.15, index


def test_pictures_change_in_a_box_at_its_onsets_and_rest_in_its_rests(band: Path) -> None:
    num_resting = 0
    for clip in read_toyband(band):
        pictures = np.stack([picture for _, picture in iterate_frames(clip.video, RATE_HZ)])
        grey = pictures.astype(np.int16).mean(axis=3)
        changes = np.abs(np.diff(grey, axis=0))  # [K - 1, H, W], the first at the time of frame 1
        record = read_record(ClipPaths(band, clip.name).score)
        for source, part in zip(clip.sources, record.score.parts, strict=True):
            assert source.visible is not None
            x1, y1, x2, y2 = np.array(source.visible.box_at(0)) * [160, 96, 160, 96]
            inside = changes[:, round(y1) : round(y2), round(x1) : round(x2)].mean(axis=(1, 2))
            # Sticks and bows move towards the note one or two frames before the onset.
            assert -2 <= lag(onsets(part), np.r_[0.0, inside], 1 / RATE_HZ) <= 0, clip.name
            times = (np.arange(len(inside)) + 1) / RATE_HZ
            resting = np.ones(len(times), dtype=bool)
            for event in part.events:
                start = event.onset_seconds - BEFORE_SECONDS
                stop = event.onset_seconds + event.duration_seconds + AFTER_SECONDS
                resting &= (times < start) | (times > stop)
            num_resting += int(resting.sum())
            if resting.any():
                assert inside[resting].mean() < 0.15 * inside[~resting].mean()
    assert num_resting >= 5
