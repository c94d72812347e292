"""The small image encoder: shapes, freezing, files, and categories of drawn musicians."""

import numpy as np
import pytest
import torch
from PIL import Image

from avsep.errors import InputError
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.pictures.stage import Role, StageSettings, make_stage
from avsep.vision.image_encoder import SmallImageEncoder, load_image_encoder, save_image_encoder

SMALL = SmallImageEncoder.Settings(
    categories=("duck", "goose"), widths=(4, 8, 12), picture_pixels=32
)


def some_crops(height, width):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def shipped():
    return load_image_encoder()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (91, 40), (8, 20)])
def test_crops_of_any_size_give_one_size_of_maps(height, width):
    encoder = SmallImageEncoder(SMALL).freeze()
    maps = encoder(some_crops(height, width))
    assert maps.shape == (3, 12, 4, 4)
    assert (maps >= 0).all()
    assert encoder.num_channels == 12
    assert encoder.logits(maps).shape == (3, len(SMALL.categories))


def test_crops_do_not_depend_on_each_other(shipped):
    crops = some_crops(112, 112)
    torch.testing.assert_close(shipped(crops)[1:2], shipped(crops[1:2]))


def test_shrinking_does_not_alias(shipped):
    stripes = torch.zeros(1, 3, 448, 448, dtype=torch.uint8)
    stripes[..., ::4] = 255  # at a quarter of the size: an even grey, 255 / 4
    grey = torch.full((1, 3, 448, 448), 64, dtype=torch.uint8)
    white = torch.full((1, 3, 448, 448), 255, dtype=torch.uint8)  # what every fourth column shows
    # Away from the edges, where the filter is cut off and the columns do not balance.
    maps = [shipped(picture)[:, :, 3, 3] for picture in (stripes, grey, white)]
    # A quarter of a grey step and the edges leave some hundredths of what white would change;
    # resizing without a filter changes more than white does.
    assert (maps[0] - maps[1]).norm() < 0.1 * (maps[2] - maps[1]).norm()


def test_frozen_stays_as_it_is():
    encoder = SmallImageEncoder(SMALL).freeze()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    holder = torch.nn.Sequential(encoder).train()
    encoder(some_crops(32, 32))
    assert holder.training and not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_training_moves_every_parameter():
    encoder = SmallImageEncoder(SMALL).train()
    encoder.logits(encoder(some_crops(32, 32))).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_what_is_saved_comes_back(tmp_path):
    encoder = SmallImageEncoder(SMALL).eval()
    save_image_encoder(encoder, tmp_path / "small.safetensors", {"seed": "1"})
    read = load_image_encoder(tmp_path / "small.safetensors")
    assert read.settings == SMALL
    assert read.head.weight.dtype == torch.float32
    crops = some_crops(32, 32)
    # Weights are stored in float16, to about one part in 2,000.
    torch.testing.assert_close(read(crops), encoder(crops), atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("content", [b"", b"no weights at all", None])
def test_other_files_are_one_clear_line(tmp_path, content):
    path = tmp_path / "other.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read '.*other\.safetensors' as an image encoder"):
        load_image_encoder(path)


def test_weights_of_another_size_are_one_clear_line(tmp_path):
    path = tmp_path / "wide.safetensors"
    encoder = SmallImageEncoder(SMALL)
    encoder.settings = SMALL.model_copy(update={"widths": (4, 8, 16)})
    save_image_encoder(encoder, path, {})
    with pytest.raises(InputError, match="as an image encoder: Error"):
        load_image_encoder(path)


def test_the_shipped_encoder_fits(shipped):
    assert shipped.settings.categories == CATEGORIES
    assert shipped(some_crops(112, 112)).shape == (3, shipped.num_channels, 7, 7)


@pytest.mark.slow
def test_drawn_musicians_are_recognised_by_their_instrument(shipped):
    settings = StageSettings(width_pixels=448, height_pixels=252, duration_seconds=0.5)
    crops = []
    for number, category in enumerate(CATEGORIES):
        cast = [Role(category, (), np.full(settings.num_frames, 0.5))]
        stage = make_stage(cast, settings, np.random.default_rng(1000 + number))
        x1, y1, x2, y2 = stage.objects()[0].box_at(0.0)
        area = (round(x1 * 448), round(y1 * 252), round(x2 * 448), round(y2 * 252))
        crop = Image.fromarray(stage.frame(0.0)).crop(area).resize((112, 112))
        crops.append(np.array(crop))
    pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    predicted = shipped.logits(shipped(pictures)).argmax(dim=1).tolist()
    right = [predicted[number] == number for number in range(len(CATEGORIES))]
    assert right[CATEGORIES.index("violin")]
    assert sum(right) >= len(CATEGORIES) - 1
