"""Test the sound classifier: its filters, windows of any length, and shipped notes."""

from pathlib import Path

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.sound.classifier import classify_windows, load_classifier, mel_filters
from avsep.sound.resampling import resample


def test_filters_cover_all_bins_above_the_lowest_frequency() -> None:
    filters = mel_filters(64, 512, 11_025)
    bins_hz = np.linspace(0, 11_025 / 2, 257)
    covered = filters.sum(axis=0) > 0
    assert covered[(bins_hz > 80) & (bins_hz < 5400)].all() and not covered[0]
    assert (np.diff(filters.argmax(axis=1)) >= 0).all()


def test_windows_of_any_length_have_probabilities_and_silence_has_none() -> None:
    classifier = load_classifier()
    length = classifier.settings.window_samples
    generator = np.random.default_rng(0)
    windows = [
        np.zeros(length, np.float32),
        generator.normal(0, 0.1, length // 3).astype(np.float32),
        generator.normal(0, 0.1, length + 500).astype(np.float32),
    ]
    probabilities = classify_windows(classifier, windows)
    assert probabilities.shape == (3, len(classifier.settings.labels))
    assert not probabilities[0].any() and ((probabilities >= 0) & (probabilities <= 1)).all()


def test_a_level_changes_nothing() -> None:
    classifier = load_classifier()
    window = np.random.default_rng(1).normal(0, 1, 22_050).astype(np.float32)
    loud, soft = (classify_windows(classifier, [window * level]) for level in (0.5, 0.01))
    np.testing.assert_allclose(loud, soft, atol=1e-3)


def test_shipped_notes_are_heard() -> None:
    from avsep.toyband.music.notes import read_note_bank

    classifier, bank = load_classifier(), read_note_bank()
    labels = classifier.settings.labels
    for word in ("drums", "flute", "guitar", "trumpet"):
        notes = bank.notes(word, True)[:6]
        rate_hz = classifier.settings.sample_rate_hz
        sounds = [resample(note.waveform[None], 44_100, rate_hz)[0][:6000] for note in notes]
        phrase = np.concatenate(sounds).astype(np.float32)[: classifier.settings.window_samples]
        (probabilities,) = classify_windows(classifier, [phrase])
        assert word in [labels[index] for index in np.argsort(-probabilities)[:3]], word


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read '.*' as a sound classifier: "):
        load_classifier(path)
