"""Train the shipped sound classifier on mixtures of notes and everyday sounds.

    python tools/train_sound_classifier.py --notes NOTES NOTES2 --sounds SOUNDS SOUNDS2 \
        --noise AMBIENCE --run runs/sound --out src/avsep/weights/sound-classifier.safetensors

NOTES holds <instrument>/<note>.ogg, SOUNDS <sound>/<fold>-<recording>.ogg; shipped notes of all
toyband instruments are added. Each mixture has up to three sounds, each at its own level: notes
are strung to phrases, sounds are cut at random, some are put into a room by a filter, and most get
background noise. What recorded_material.py holds out, no mixture to train on has. It
prints the average precision of each sound on held-out mixtures, and the thresholds of presence.
A run that was stopped goes on from its last checkpoint.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, IterableDataset

from avsep.sound.classifier import SoundClassifier, SoundClassifierSettings
from avsep.toyband.categories import CATEGORIES
from recorded_material import Waveform, WordFiles, cut, find_files, make_phrase, read
from store_network import store_network

NUM_SOURCES = (0.06, 0.34, 0.38, 0.22)  # how often 0, 1, 2, 3 sounds
LEVEL_SPREAD_DB = 12.0
BATCH_WINDOWS = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
NUM_TESTS = 3000


def main() -> None:
    """Train, write and test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--notes", type=Path, nargs="+", required=True)
    parser.add_argument("--sounds", type=Path, nargs="+", required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5000, help=f"of {BATCH_WINDOWS} windows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lightning.seed_everything(given.seed)
    torch.set_num_threads(given.threads)
    parts = [find_files(given.notes, given.sounds, held_out=part) for part in (False, True)]
    labels = (*CATEGORIES, *sorted(word for word in parts[0] if word not in CATEGORIES))
    settings = SoundClassifierSettings(labels=labels)
    rate_hz = settings.sample_rate_hz
    noise = [read(path, rate_hz) for path in sorted(given.noise.iterdir())]
    makers = [MixtureMaker(read_material(files, rate_hz), noise, settings) for files in parts]
    training = ClassifierTraining(settings, given.steps)
    batches = DataLoader(
        Mixtures(makers[0], given.steps, given.seed), batch_size=None, num_workers=1
    )
    trainer = lightning.Trainer(
        max_steps=given.steps,
        precision="bf16-mixed",
        accelerator="cpu",
        callbacks=[ModelCheckpoint(given.run, save_last=True, every_n_train_steps=500)],
        default_root_dir=given.run,
    )
    last = given.run / "last.ckpt"
    trainer.fit(training, batches, ckpt_path=str(last) if last.exists() else None)
    facts = {"tool": "train_sound_classifier.py", "steps": str(given.steps)}
    store_network(training.classifier, given.out, facts)
    report(training.classifier.eval(), makers[1])


# Material


def read_material(files: WordFiles, rate_hz: int) -> Mapping[str, list[tuple[Waveform, bool]]]:
    """Return the waveforms of each word, and whether each is a single note."""
    return {
        word: [(read(path, rate_hz), is_note) for path, is_note in paths]
        for word, paths in files.items()
    }


# Mixtures


class MixtureMaker:
    """Make windows of mixtures with the sounds that are heard in each."""

    def __init__(
        self,
        material: Mapping[str, list[tuple[Waveform, bool]]],
        noise: Sequence[Waveform],
        settings: SoundClassifierSettings,
    ) -> None:
        self.settings, self._noise = settings, noise
        self._material = material
        self._words = [word for word in settings.labels if word in material]

    def make(self, generator: np.random.Generator) -> tuple[Waveform, np.ndarray]:
        """Return a window and 0 or 1 for each sound."""
        length, labels = self.settings.window_samples, self.settings.labels
        mixture = np.zeros(length, np.float32)
        targets = np.zeros(len(labels), np.float32)
        number = int(generator.choice(len(NUM_SOURCES), p=NUM_SOURCES))
        words = generator.choice(self._words, number, replace=False)
        for word in words.tolist():
            sound = self._sound(word, generator)
            rms = float(np.sqrt(np.mean(np.square(sound))))
            if rms < 1e-4:
                continue
            level_db = -float(generator.uniform(0, LEVEL_SPREAD_DB))
            mixture += sound * np.float32(0.1 * 10 ** (level_db / 20) / rms)
            targets[labels.index(word)] = 1
        if generator.random() < 0.7 or not number:
            noise = self._noise[generator.integers(len(self._noise))]
            piece = cut(noise, length, generator)
            rms = float(np.sqrt(np.mean(np.square(piece)))) + 1e-6
            level_db = -float(generator.uniform(12, 40))
            mixture += piece * np.float32(0.1 * 10 ** (level_db / 20) / rms)
        return _filtered(mixture, generator), targets

    def _sound(self, word: str, generator: np.random.Generator) -> Waveform:
        items, length = self._material[word], self.settings.window_samples
        waveform, is_note = items[generator.integers(len(items))]
        if not is_note:
            return cut(waveform, length, generator)
        rate_hz = self.settings.sample_rate_hz
        notes = [item for item, is_note in items if is_note]
        return make_phrase(notes, length, rate_hz, generator)


def _filtered(waveform: Waveform, generator: np.random.Generator) -> Waveform:
    """Tilt the spectrum, as rooms, microphones and codecs do."""
    if generator.random() < 0.5:
        return waveform
    spectrum = np.fft.rfft(waveform)
    place = np.linspace(0, 1, len(spectrum))
    tilt_db = generator.uniform(-12, 6) * place + generator.uniform(-6, 6) * np.sin(
        2 * np.pi * (place * generator.uniform(0.5, 2) + generator.random())
    )
    return np.fft.irfft(spectrum * 10 ** (tilt_db / 20), len(waveform)).astype(np.float32)


class Mixtures(IterableDataset):
    """Batches of windows and what is heard in them."""

    def __init__(self, maker: MixtureMaker, num_batches: int, seed: int) -> None:
        self.maker, self.num_batches, self.seed = maker, num_batches, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # Other mixtures after a resumption.
        start = int(np.random.SeedSequence().entropy) % 2**32
        for number in range(self.num_batches):
            generator = np.random.default_rng([self.seed, start, number])
            items = [self.maker.make(generator) for _ in range(BATCH_WINDOWS)]
            windows, targets = (
                torch.from_numpy(np.stack(part)) for part in zip(*items, strict=True)
            )
            yield windows, targets


class ClassifierTraining(lightning.LightningModule):
    """Loss and optimiser; bands and stretches of time are hidden at random."""

    def __init__(self, settings: SoundClassifierSettings, num_steps: int) -> None:
        super().__init__()
        self.classifier = SoundClassifier(settings)
        self.num_steps = num_steps

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the cross-entropy of each sound, with the soft targets of mixed-up windows."""
        windows, targets = batch
        maps = self.classifier.spectrogram(windows)
        for axis in (2, 3):
            width = int(torch.randint(1, maps.shape[axis] // 6, ()))
            first = int(torch.randint(0, maps.shape[axis] - width, ()))
            maps.narrow(axis, first, width).fill_(float(maps.mean()))
        logits = self.classifier.classify(maps)
        loss = binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict:
        """Return AdamW with a learning rate that rises and falls once."""
        optimiser = torch.optim.AdamW(
            self.classifier.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, self.num_steps + 1)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def report(classifier: SoundClassifier, maker: MixtureMaker) -> None:
    """Print average precisions, and how often sounds are heard above some probabilities."""
    generator = np.random.default_rng(7)
    items = [maker.make(generator) for _ in range(NUM_TESTS)]
    windows, targets = (np.stack(part) for part in zip(*items, strict=True))
    with torch.inference_mode():
        parts = torch.from_numpy(windows).split(64)
        scores = torch.cat([classifier(part).sigmoid() for part in parts]).numpy()
    precisions = {}
    for index, word in enumerate(classifier.settings.labels):
        if targets[:, index].sum() >= 5:
            precisions[word] = average_precision_score(targets[:, index], scores[:, index])
    print(f"mean average precision {np.mean(list(precisions.values())):.3f}")
    print(
        ", ".join(
            f"{word} {value:.2f}" for word, value in sorted(precisions.items(), key=lambda p: p[1])
        )
    )
    for threshold in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5):
        above = scores >= threshold
        print(f"probability {threshold}: {above[targets == 1].mean():.3f} of what sounds, "
              f"{above[targets == 0].mean():.4f} of what does not")  # fmt: skip


if __name__ == "__main__":
    main()
