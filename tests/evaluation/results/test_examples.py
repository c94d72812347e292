"""Test examples of mixtures: estimates, sample rates and pictures of objects."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Generator

from avsep.data.clips import ClipFiles, SourceFile
from avsep.evaluation.baselines import BASELINES
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluation, Evaluator
from avsep.evaluation.methods import Method
from avsep.evaluation.mixtures import Mixture, MixturePart
from avsep.evaluation.results.examples import (
    PICTURE_PIXELS,
    make_example,
    make_examples,
    object_picture,
    source_mask,
)
from avsep.records import Batch, Separation, TimedBox, VisibleObject
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from evaluation.made_examples import SETTINGS

OTHER = FrontEndSettings(sample_rate_hz=4000, window_samples=4000)


def solo(folder: Path, name: str, frequency_hz: float) -> ClipFiles:
    """Two seconds of a tone, and four grey pictures of 1200 x 600, the left half the object's."""
    n = np.arange(2 * SETTINGS.sample_rate_hz)
    sound = 0.3 * np.sin(2 * np.pi * frequency_hz * n / SETTINGS.sample_rate_hz)
    pictures = folder / name
    pictures.mkdir()
    soundfile.write(folder / f"{name}.wav", sound, SETTINGS.sample_rate_hz, subtype="FLOAT")
    for number in range(4):
        Image.new("RGB", (1200, 600), (128, 128, 128)).save(pictures / f"{number + 1:06d}.jpg")
    visible = VisibleObject(boxes=(TimedBox(time_seconds=0, box=(0.0, 0.5, 0.4, 1.0)),))
    source = SourceFile(folder / f"{name}.wav", name, name, visible)
    sound_path = folder / f"{name}.wav"
    return ClipFiles(name, pictures, (source,), sound=sound_path, frame_rate_hz=2.0)


def method(name: str, settings: FrontEndSettings = SETTINGS) -> Method:
    front_end = FrontEnd(settings)
    return Method(f"{name} {settings.sample_rate_hz}", BASELINES[name](front_end), front_end, "")


@pytest.fixture
def reader(tmp_path: Path) -> ClipReader:
    """One mixture of two solos from different videos."""
    clips = [solo(tmp_path, "harp", 400.0), solo(tmp_path, "tuba", 1000.0)]
    return ClipReader([Mixture("harp + tuba", tuple(map(MixturePart, clips)), "mean")])


@pytest.mark.slow
def test_an_example_is_what_was_asked(reader: ClipReader) -> None:
    asked = [method("ideal-ratio-mask"), method("mixture")]
    scored = Evaluator(reader.mixtures, asked).score(0)
    result = make_example(asked, reader, 0, scored=scored)
    assert (result.name, result.categories) == ("harp + tuba", ("harp", "tuba"))
    np.testing.assert_allclose(result.mixture, result.sources.sum(axis=0), atol=1e-6)
    ideal, mixture = result.estimates.values()
    assert ideal.scores_db[:, 0].min() > 15 > abs(mixture.scores_db[:, 0]).max()
    np.testing.assert_allclose(ideal.waveforms, result.sources, atol=0.05)
    # A tone of 400 Hz stands in one row, and the ideal estimate has its mask there.
    rows = result.magnitude_rows(result.sources)
    tone_row = int(rows[0, 0].mean(axis=1).argmax())
    masks = source_mask(ideal.rows, result.magnitude_rows(result.mixture))
    assert masks[0, 0, tone_row].mean() > 0.9 > 0.1 > masks[1, 0, tone_row].mean()
    assert masks.min() >= 0 and masks.max() <= 1


def test_an_example_is_the_same_however_many_threads_there_are(reader: ClipReader) -> None:
    """A page is then the same file on every machine, and its sounds are those that were scored."""
    seen: list[int] = []

    class Counting:
        def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
            seen.append(torch.get_num_threads())
            return BASELINES["mixture"](FrontEnd(SETTINGS)).separate(batch, generator=generator)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        item = Method("counting", Counting(), FrontEnd(SETTINGS), "")
        make_example([item], reader, 0)
        assert seen == [1] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("mirrored", [False, True])
def test_examples_made_at_once_are_those_made_one_by_one(
    reader: ClipReader, mirrored: bool
) -> None:
    twice = ClipReader([*reader.mixtures, *reader.mixtures], mirrored=mirrored)
    asked = [method("ideal-ratio-mask"), method("mixture")]
    evaluator = Evaluator(twice, asked)
    evaluation = Evaluation(tuple(asked), tuple(map(evaluator.score, range(2))), 0)
    places = [(index, [item.name for item in asked]) for index in (1, 0)]
    with make_examples(evaluation, twice, places, torch.device("cpu")) as made:
        examples = list(made)
    for (index, _), result in zip(places, examples, strict=True):
        alone = make_example(asked, twice, index, scored=evaluation.mixtures[index])
        for name, estimate in result.estimates.items():
            np.testing.assert_array_equal(estimate.waveforms, alone.estimates[name].waveforms)
        np.testing.assert_array_equal(result.sources, alone.sources)


@pytest.mark.slow
def test_other_front_ends_come_to_one_rate_and_keep_their_scores(reader: ClipReader) -> None:
    asked = [method("mixture"), method("ideal-ratio-mask", OTHER)]
    scored = Evaluator(reader.mixtures, asked).score(0)
    both = make_example(asked, reader, 0, scored=scored)
    alone = make_example(asked[1:], reader, 0, scored=scored)
    own, other = both.estimates.values()
    assert both.sample_rate_hz == SETTINGS.sample_rate_hz and alone.sample_rate_hz == 4000
    assert own.waveforms.shape == other.waveforms.shape == both.sources.shape
    assert own.rows.shape == other.rows.shape
    (only,) = alone.estimates.values()
    np.testing.assert_array_equal(other.scores_db, only.scores_db)
    assert other.scores_db[:, 0].min() > 15 > abs(own.scores_db[:, 0]).max()
    np.testing.assert_allclose(
        other.waveforms[..., 1000:7000], both.sources[..., 1000:7000], atol=0.05
    )


def test_each_source_has_its_own_picture_marked_with_its_number(reader: ClipReader) -> None:
    result = make_example([method("mixture")], reader, 0)
    colours = []
    for jpeg in result.pictures:
        assert jpeg is not None
        picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
        assert picture.shape == (PICTURE_PIXELS // 2, PICTURE_PIXELS, 3)
        changed = np.abs(picture - 128).max(axis=-1) > 40
        assert changed[120:, :200].any() and not changed[:100].any() and not changed[:, 210:].any()
        colours.append(picture[-2, 100])  # on the lower edge of the box
    assert np.abs(colours[0] - colours[1]).max() > 80  # 01 and 02 are told apart


def test_a_clip_without_pictures_has_none(tmp_path: Path) -> None:
    clip = solo(tmp_path, "harp", 400.0)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert object_picture(ClipFiles("harp", broken, clip.sources), clip.sources[0]) is None
