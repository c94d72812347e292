"""Test the tools that train the sound classifier, measure presence and store networks."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import measure_presence
import recorded_material
import train_sound_classifier
from avsep.data import open_dataset
from avsep.sound.classifier import SoundClassifier, SoundClassifierSettings, load_classifier
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.material import Material
from measure_presence import differ, level_db, sdr, with_one_sound
from recorded_material import find_files
from store_network import store_network
from train_sound_classifier import MixtureMaker, read_material

RATE_HZ = 11_025
TINY = SoundClassifierSettings(labels=("violin", "dog"), widths=(4, 4, 4, 4, 4))


def write(path: Path, seconds: float, hertz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    soundfile.write(path, sound, RATE_HZ)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes of a violin, barking dogs by recording and piece, and a background."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(12):
        write(folder / "notes" / "violin" / f"{60 + number}_{number}.wav", 0.5, 440 + 20 * number)
        for piece in "AB":
            write(folder / "sounds" / "dog_bark" / f"1-{number}q-{piece}.wav", 3, 150)
    write(folder / "noise" / "wind.wav", 4, 60)
    return folder


@pytest.fixture(autouse=True)
def one_instrument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shipped notes, those of the violin alone."""
    for module in (recorded_material, train_sound_classifier):
        monkeypatch.setattr(module, "CATEGORIES", ("violin",))


def test_the_material_is_read_by_word(folder: Path) -> None:
    files = find_files([folder / "notes"], [folder / "sounds"], held_out=False)
    material = read_material({word: files[word] for word in ("violin", "dog")}, RATE_HZ)
    assert {word: {is_note for _, is_note in items} for word, items in material.items()} == {
        "violin": {True}, "dog": {False},
    }  # fmt: skip
    # The shipped notes are among the folder's.
    assert len(material["violin"]) > 12
    assert all(waveform.ndim == 1 for items in material.values() for waveform, _ in items)


def test_a_mixture_has_the_sounds_that_it_says(folder: Path) -> None:
    tone = np.sin(2 * np.pi * 500 * np.arange(30_000) / RATE_HZ).astype(np.float32)
    maker = MixtureMaker({"dog": [(tone, False)]}, [np.zeros(40_000, np.float32)], TINY)
    generator = np.random.default_rng(0)
    items = []
    for _ in range(30):
        # Of one word, no more than one can be chosen.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_sound_classifier, "NUM_SOURCES", (0.5, 0.5))
            items.append(maker.make(generator))
    for window, targets in items:
        assert window.shape == (TINY.window_samples,) and targets[0] == 0
        assert (np.abs(window).max() > 1e-3) == bool(targets[1])
    assert 0 < sum(targets[1] for _, targets in items) < 30


@pytest.mark.filterwarnings("ignore")  # of Lightning, on workers and folders
def test_a_classifier_is_trained_stored_and_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(train_sound_classifier, "BATCH_WINDOWS", 2)
    monkeypatch.setattr(train_sound_classifier, "NUM_TESTS", 60)
    # Of two words, no more than two can be chosen.
    monkeypatch.setattr(train_sound_classifier, "NUM_SOURCES", (0.2, 0.4, 0.4))
    monkeypatch.setattr(train_sound_classifier, "DataLoader", lambda batches, **_: batches)
    out = tmp_path / "classifier.safetensors"
    words = ["--notes", folder / "notes", "--sounds", folder / "sounds", "--noise",
             folder / "noise", "--run", tmp_path / "run", "--out", out, "--steps", "1"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
    train_sound_classifier.main()
    lines = capsys.readouterr().out
    assert "mean average precision" in lines and "probability 0.5: " in lines
    classifier = load_classifier(out)
    assert {"violin", "dog"} <= set(classifier.settings.labels)
    assert classifier(torch.zeros(1, classifier.settings.window_samples)).isfinite().all()


def test_a_stored_network_is_in_float16_with_its_settings(tmp_path: Path) -> None:
    network = SoundClassifier(TINY)
    nn.init.constant_(network.linear.bias, 1 / 3)
    store_network(network, tmp_path / "a.safetensors", {"tool": "a test"})
    read = load_classifier(tmp_path / "a.safetensors")
    assert read.settings == TINY
    assert read.linear.bias.tolist() == [float(torch.tensor(1 / 3).half())] * 2


def test_levels_and_ratios() -> None:
    sound = np.sin(np.arange(8000) / 5)
    assert level_db(np.zeros(9)) == pytest.approx(-140) and level_db(np.ones(9)) == pytest.approx(0)
    assert sdr(sound * 0.9, sound) == pytest.approx(20) and sdr(sound, sound) == 60


def test_presence_is_measured_with_one_sound_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ToybandSettings(clip_seconds=2, num_performers=(2,))
    list(make_toyband(tmp_path, 1, 1, settings, Material.read(), num_workers=1))
    (files,) = open_dataset(tmp_path)
    clip = with_one_sound(files, 1)
    assert differ(files) and len(clip.objects) == 2 and len(clip.frames) == 20
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path)])
    measure_presence.main()
    first, below, ratio = capsys.readouterr().out.splitlines()[-3:]
    assert first.startswith("1 clips; the silent object is {'")
    assert below.startswith("its stem is 30 dB below the mixture: ") and "kept" in ratio
