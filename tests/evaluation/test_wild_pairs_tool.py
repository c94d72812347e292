"""Test the tool that measures pairs of real videos, on two made ones."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import measure_wild_pairs
from measure_wild_pairs import ideal_binary, mean_sdr_db, pairs, read_wild, side_by_side
from media.making import Track, Video, make, noise

RATE_HZ = 11_025


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A low tone beside a dark picture, and noise of another length beside a bright one."""
    folder = tmp_path_factory.mktemp("wild")
    tone = 0.1 * np.sin(2 * np.pi * 300 * np.arange(32_000) / 16_000).astype(np.float32)[None]
    for name, sound, brightness in (("a", tone, 40), ("b", noise(1, 48_000), 200)):
        seconds = sound.shape[1] // 16_000
        pictures = [np.full((48, 64, 3), brightness, np.uint8)] * (5 * seconds)
        make(folder / f"{name}.mkv", [Video(pictures)], [Track(sound)])
    entries = [{"file": "a.mkv", "label": "dog", "box": [0, 0, 0.5, 1]},
               {"file": "b.mkv", "label": "violin", "box": [0, 0, 1, 1]},
               {"file": "b.mkv", "label": "violin", "box": [0, 0, 1, 1]}]  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def test_two_videos_become_one(folder: Path) -> None:
    videos = read_wild(folder, RATE_HZ)
    chosen = list(pairs(videos))
    assert [{item.label for item in pair} for pair in chosen] == [{"dog", "violin"}] * 2
    assert [pair[0].label for pair in chosen] == ["violin", "dog"]
    clip, sounds = side_by_side(chosen[1], RATE_HZ, with_labels=True)
    dog, violin = clip.objects
    assert (dog.label, violin.label) == ("dog", "violin")
    assert dog.boxes[0].box == (0, 0, 0.25, 1) and violin.boxes[0].box == (0.5, 0, 1, 1)
    # As long as the shorter one.
    assert sounds.shape == (2, 2 * RATE_HZ) and clip.frames.shape == (20, 240, 480, 3)
    assert clip.frames[:, :, :240].mean() < 60 < 180 < clip.frames[:, :, 240:].mean()
    np.testing.assert_allclose(clip.waveform[0], sounds.sum(axis=0))
    np.testing.assert_allclose(np.sqrt(np.square(sounds).mean(axis=1)), 0.1, rtol=0.2)
    bare, _ = side_by_side(chosen[0], RATE_HZ, with_labels=False)
    assert [item.label for item in bare.objects] == [None, None]


def test_figures_are_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(folder), "--limit", "1"])
    measure_wild_pairs.main()
    head, *lines = capsys.readouterr().out.splitlines()[-6:]
    assert head.endswith("1 pairs, dgfnet-mini, mean SDR in dB")
    values = {name.strip(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert float(values["mixture"]) < 5 < float(values["ideal binary mask"])
    assert {"labels given", "boxes alone"} <= set(values)
    # A dog is not one of the model's categories.
    assert "'labels given: rest': 1" in lines[-1] and "'labels given: model': 1" in lines[-1]


def test_silence_is_scored_as_the_mixture(folder: Path) -> None:
    clip, sounds = side_by_side(next(pairs(read_wild(folder, RATE_HZ))), RATE_HZ, with_labels=True)
    mixture = mean_sdr_db(sounds, clip.waveform[[0, 0]], clip)
    assert mean_sdr_db(sounds, np.zeros_like(sounds), clip) == pytest.approx(mixture)
    front_end = measure_wild_pairs.Separator("dgfnet-mini").model.front_end
    assert mean_sdr_db(sounds, ideal_binary(sounds, front_end), clip) > mixture + 5
