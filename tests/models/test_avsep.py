"""Test avsep's separator: joint masks, the error of the spectra, presence, missing cues."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from avsep.layers.audio_unet import UNetSettings
from avsep.models.avsep.model import AVSep, is_sounding, power
from avsep.models.avsep.network import column_level, predicted_category
from avsep.records import Batch
from avsep.sound.front_end import stft
from tiny_models import FRONT_END, TINY, tiny_batch, tiny_model


def make(**changes: object) -> AVSep:
    model = tiny_model("avsep", **changes)
    assert isinstance(model, AVSep)
    return model


def separate(model: AVSep, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model.separate(batch).magnitudes


def test_stems_and_the_rest_share_the_mixture() -> None:
    """In each cell the masks of any number of objects add up to one with the rest's."""
    model = make()
    for num_sources in (1, 2, 4):
        batch = tiny_batch(1, num_sources)
        rows = model.to_network(model.front_end.magnitude(batch.mixture[:, 0]))
        with torch.no_grad():
            masks = model.network(rows, rows, model._object_cues(batch.cues)).masks
        assert masks.shape == (1, num_sources + 1, 32, 32)
        torch.testing.assert_close(masks.sum(1), torch.ones(1, 32, 32))
        mixture = model.front_end.magnitude(batch.mixture)
        assert (separate(model, batch).sum(1) <= mixture * (1 + 1e-5)).all()


def test_two_objects_with_equal_cues_get_equal_halves() -> None:
    """Never the same sound twice: what cannot be told apart is shared."""
    model, batch = make(), tiny_batch(1, 1)
    twice = {
        name: None if value is None else torch.cat([value, value], dim=1)
        for name, value in vars(batch.cues).items()
    }
    stems = separate(model, replace(batch, cues=replace(batch.cues, **twice)))
    torch.testing.assert_close(stems[:, 0], stems[:, 1])
    mixture = model.front_end.magnitude(batch.mixture)
    assert (stems[:, 0] <= mixture / 2 * (1 + 1e-5)).all()


@pytest.mark.parametrize("stride", [1, 2])
def test_the_error_is_that_of_the_masked_spectra(stride: int) -> None:
    """Against the sum over all cells of the complex error, with each column's mask repeated."""
    # One halving less, for half as many columns.
    unet = UNetSettings(channels=(8, 16, 16, 16), num_features=8, num_layers_after_middle=2)
    model = make(time_stride=stride, unet=unet)
    generator = torch.Generator().manual_seed(1)
    batch = tiny_batch(2, 3)
    assert batch.sources is not None
    mixture, spectra = (
        stft(sound, FRONT_END.stft) for sound in (batch.mixture[:, 0], batch.sources[:, :, 0])
    )
    masks = torch.rand(2, 3, FRONT_END.num_rows, 32 // stride, generator=generator)
    on_bins = model.front_end.to_bins(masks).repeat_interleave(stride, dim=-1)
    error = power(on_bins * mixture[:, None] - spectra).sum((2, 3))
    floor = 1e-3 * power(mixture).sum((1, 2))[:, None]
    energy = power(spectra).sum((2, 3))
    expected = 10 * torch.log10((error + floor) / (energy + floor))
    torch.testing.assert_close(
        model._error_db(masks, mixture, spectra), expected, rtol=1e-3, atol=1e-3
    )


def test_a_silent_object_has_an_error_and_silence_has_none() -> None:
    model = make()
    mixture = stft(tiny_batch(1).mixture[:, 0], FRONT_END.stft)
    silence = torch.zeros_like(mixture)[:, None]
    ones = torch.ones(1, 1, FRONT_END.num_rows, 32)
    # All of the mixture in the stem of what is silent: 30 dB above the floor.
    assert model._error_db(ones, mixture, silence).item() == pytest.approx(30, abs=0.1)
    assert model._error_db(0 * ones, mixture, silence).item() == pytest.approx(0, abs=1e-3)
    # Rows and bins are not exactly inverse of each other, but a mask of ones is.
    assert model._error_db(ones, mixture, mixture[:, None]).item() == pytest.approx(-30, abs=0.1)
    assert model._error_db(ones, 0 * mixture, silence).item() == 0


def test_a_column_sounds_within_30_db_of_the_loudest() -> None:
    mixture = torch.full((1, 4, 3), 1.0)
    source = mixture[:, None] * torch.tensor([1.0, 0.04, 0.02])  # 0, -28 and -34 dB
    assert is_sounding(source, mixture).tolist() == [[[True, True, False]]]
    assert column_level(torch.zeros(4, 3)).isfinite().all()


def test_a_hidden_category_leaves_the_picture_and_a_hidden_picture_the_category() -> None:
    model, batch = make(category_dropout=0.7, picture_dropout=0.7), tiny_batch(8, 8)
    seen = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) < 0.8
    cues = model._object_cues(replace(batch.cues, is_visible=seen))
    torch.manual_seed(0)
    hidden = model._hide_cues(cues)
    assert (hidden.has_picture | (hidden.category >= 0)).all()
    assert not (hidden.has_picture & ~seen).any()
    # Unseen objects keep their category; of the others both are hidden often.
    assert (hidden.category[~seen] == cues.category[~seen]).all()
    assert 0.5 < (hidden.category[seen] < 0).float().mean() < 0.9
    assert 0.05 < (~hidden.has_picture[seen]).float().mean() < 0.5
    is_still = (hidden.crop_motion == hidden.crop_motion[:, :, :1]).all(dim=(2, 3, 4))
    assert 0.05 < is_still.float().mean() < 0.4


def test_pictures_of_what_is_not_visible_are_not_read() -> None:
    """Text prompts: black crops are put in their place, or any others."""
    model, batch = make(), tiny_batch(1)
    unseen = torch.tensor([[True, False]])
    given = replace(batch.cues, is_visible=unseen)
    plain = separate(model, replace(batch, cues=given))
    for name in ("crops", "crop_motion"):
        pictures = getattr(given, name).clone()
        pictures[:, 1] = 0
        changed = replace(batch, cues=replace(given, **{name: pictures}))
        assert torch.equal(separate(model, changed), plain), name
    assert not torch.allclose(separate(model, batch), plain, atol=1e-4)


def test_words_alone_are_enough() -> None:
    """A sound without pictures: what black crops of unseen objects give."""
    model, batch = make(), tiny_batch(1)
    unseen = replace(batch.cues, is_visible=torch.zeros(1, 2, dtype=torch.bool))
    words = replace(unseen, crops=None, crop_motion=None)
    stems = separate(model, replace(batch, cues=words))
    torch.testing.assert_close(stems, separate(model, replace(batch, cues=unseen)))
    other = replace(words, category=(batch.cues.category + 1) % 3)
    assert not torch.allclose(separate(model, replace(batch, cues=other)), stems, atol=1e-4)


def test_a_category_comes_before_the_picture() -> None:
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]])
    assert predicted_category(torch.tensor([[2, -1]]), logits).tolist() == [[2, 0]]


def test_the_shared_encoder_is_no_part_of_the_weights() -> None:
    model = make()
    encoder = model.frozen_encoder
    assert encoder is make().frozen_encoder
    own = {id(parameter) for parameter in model.parameters()}
    assert own.isdisjoint(map(id, encoder.parameters()))
    assert all(name.startswith("network.") for name in model.state_dict())


def test_the_width_fits_heads_and_positions() -> None:
    with pytest.raises(ValidationError, match="multiple of 4 and of num_heads, 3"):
        AVSep.Settings(**TINY["avsep"] | {"num_heads": 3})


@pytest.mark.slow
def test_it_learns_who_makes_the_low_and_who_the_high_sound() -> None:
    """Two categories, bands of noise; after some steps each label gets its own band."""
    torch.manual_seed(0)
    # The pictures say nothing here, so that hiding a category would leave no cue.
    model = make(category_dropout=0.0, picture_dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)

    def batch(seed: int, num_items: int = 4) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        noise = tiny_batch(num_items, 2, seed).sources
        assert noise is not None
        spectra = torch.fft.rfft(noise)
        is_low = torch.arange(spectra.shape[-1]) < spectra.shape[-1] // 4
        category = torch.stack([torch.randperm(2, generator=generator) for _ in range(num_items)])
        kept = torch.where((category == 0)[..., None, None], is_low, ~is_low)
        sources = torch.fft.irfft(spectra * kept, noise.shape[-1])
        cues = replace(tiny_batch(num_items, 2, seed).cues, category=category)
        return Batch(sources.sum(1), sources, cues)

    def error(model: AVSep) -> float:
        with torch.no_grad():
            return float(model.losses(batch(1000, 8))["error_db"])

    before = error(model.eval())
    model.train()
    for step in range(60):
        optimizer.zero_grad()
        model.losses(batch(step))["total"].backward()
        optimizer.step()
    # The mean over two sources and the silent rest, of which no separation is near 0 dB.
    assert before > -3 and error(model.eval()) < -8
