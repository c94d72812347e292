"""LAVSS cross-modal fusion: token counts, attention, the rows of Table 4, box positions."""

import json
import math
from pathlib import Path

import pytest
import torch

from avsep.layers.cross_modal import (
    AudioFusion,
    CrossModalAttention,
    CrossModalSettings,
    PositionNetwork,
    VisionPosition,
    box_positions,
)
from avsep.layers.cross_modal_released import ReleasedAudioFusion, ReleasedVisionPosition

GOLDEN = Path(__file__).parents[1] / "golden" / "reference.json"

SMALL = CrossModalSettings(num_heads=2, num_layers=2, hidden_width=16)
SIZES = [(8, 8), (4, 4), (2, 2)]  # of the paper's three deepest maps


def maps(num_ears: int = 1, width: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(num_ears, width, *size, generator=generator) for size in SIZES]


def visual_maps(num: int = 2, width: int = 8) -> torch.Tensor:
    return torch.randn(num, width, 7, 7, generator=torch.Generator().manual_seed(1))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_token_counts_and_shapes_of_the_paper() -> None:
    fusion = AudioFusion(512, SIZES, CrossModalSettings())
    assert fusion.project_visual.in_channels == 49 and fusion.project_visual.out_channels == 84
    result = fusion(maps(2, 512), visual_maps(4, 512))
    assert result.shape == (4, 1024, 2, 2)


def test_parameters_against_the_released_code() -> None:
    """REFERENCE 8.1: the same MLP and point-wise convolution; attention is counted by layer."""
    assert count(PositionNetwork(512, 16, 256)) == 148_224
    without = CrossModalSettings(vision_position=False)
    assert count(VisionPosition(512, without)) == 525_824
    # One layer: four projections of 512 with biases, two norms, and the feed-forward layer.
    layer = 4 * (512 * 512 + 512) + 2 * 2 * 512 + 512 * 1024 + 1024 + 1024 * 512 + 512
    assert count(CrossModalAttention(512, CrossModalSettings(num_layers=1))) == layer == 2_102_784


def test_released_blocks_have_the_released_parameters() -> None:
    """REFERENCE 8.1, without the norms and the convolution that the code never uses."""
    settings = CrossModalSettings(blocks="released", num_layers=1)
    assert count(ReleasedVisionPosition(512)) == 2 * 1_313_280 + 525_824
    never_used = 2 * 2 * 512 + 512 * 512 * 9 + 512
    assert count(ReleasedAudioFusion(512, SIZES, settings)) == 6_580_413 - never_used


def test_released_blocks_take_several_sources_of_an_ear() -> None:
    settings = CrossModalSettings(blocks="released", num_layers=1, num_heads=2, hidden_width=16)
    fusion = ReleasedAudioFusion(8, SIZES, settings)
    audio_maps, visual = maps(num_ears=2), visual_maps(num=4)
    result = fusion(audio_maps, visual)
    assert result.shape == (4, 16, 2, 2)
    for source in range(4):
        ear = slice(source // 2, source // 2 + 1)
        alone = fusion([scale[ear] for scale in audio_maps], visual[source : source + 1])
        # Batches of another size: sums in another order, values around 1.
        torch.testing.assert_close(result[source : source + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"num_layers": 1, "audio": False}])
def test_released_blocks_have_no_switches(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"one layer .* and no switches of Table 4"):
        CrossModalSettings.model_validate({"blocks": "released", **changes})


@pytest.mark.parametrize(
    ("changes", "num_tokens"),
    [({}, 84), ({"multi_scale": False}, 4), ({"audio": False}, 84), ({"fusion": "tile"}, 0)],
)
def test_rows_of_table_4(changes: dict[str, object], num_tokens: int) -> None:
    settings = SMALL.model_copy(update=changes)
    fusion = AudioFusion(8, SIZES, settings).eval()
    result = fusion(maps(), visual_maps())
    assert result.shape == (2, 16, 2, 2)
    if num_tokens:
        assert fusion.to_bottom.in_channels == num_tokens
    # The output depends on the visual features in every row.
    other = fusion(maps(), visual_maps().flip(0))
    torch.testing.assert_close(other, result.flip(0))
    assert not torch.allclose(other, result, atol=1e-4)


def test_without_many_scales_the_others_do_not_matter() -> None:
    settings = SMALL.model_copy(update={"multi_scale": False})
    fusion = AudioFusion(8, SIZES, settings).eval()
    changed = [maps()[0] + 1, maps()[1] - 1, maps()[2]]
    assert torch.equal(fusion(changed, visual_maps()), fusion(maps(), visual_maps()))
    whole = AudioFusion(8, SIZES, SMALL).eval()
    assert not torch.allclose(whole(changed, visual_maps()), whole(maps(), visual_maps()))


def test_attention_reads_its_memory_and_layers_follow_each_other() -> None:
    attention = CrossModalAttention(8, SMALL).eval()
    tokens, memory = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    result = attention(tokens, memory)
    assert result.shape == tokens.shape
    # The order of the memory does not matter: no positions are added.
    torch.testing.assert_close(attention(tokens, memory.flip(1)), result, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(attention(tokens, memory + 1), result, atol=1e-3)
    first, second = attention.layers
    zeros = (torch.zeros(1, 5, 8), torch.zeros(1, 3, 8))
    by_hand = first(tokens, zeros[0], memory, zeros[1])
    torch.testing.assert_close(second(by_hand, zeros[0], memory, zeros[1]), result)


def test_visual_and_position_features_both_count() -> None:
    for vision_position in (True, False):
        network = VisionPosition(8, SMALL.model_copy(update={"vision_position": vision_position}))
        network.eval()
        visual, position = visual_maps(), visual_maps().flip(1)
        result = network(visual, position)
        assert result.shape == visual.shape
        assert not torch.allclose(network(visual + 1, position), result, atol=1e-3)
        assert not torch.allclose(network(visual, position + 1), result, atol=1e-3)


def test_equation_3_by_hand() -> None:
    """Both blocks read F_v and F_p; the released code hands the second the output of the first."""
    network = VisionPosition(8, SMALL).eval()
    visual, position = visual_maps(), visual_maps().flip(1)
    tokens, places = visual.flatten(2).mT, position.flatten(2).mT
    first, second = network.blocks
    both = torch.cat([first(tokens, places), second(places, tokens)], dim=2)
    expected = network.join(both.mT.unflatten(2, (7, 7)))
    torch.testing.assert_close(network(visual, position), expected)


def test_equations_5_and_6_by_hand() -> None:
    """Tokens of the deepest map first; two sources of each of two ears."""
    fusion = AudioFusion(8, SIZES, SMALL).eval()
    audio_maps, visual = maps(num_ears=2), visual_maps(num=4)
    result = fusion(audio_maps, visual)
    for source in range(4):
        ear = source // 2
        deepest_first = [audio_maps[k][ear : ear + 1].flatten(2).mT for k in (2, 1, 0)]
        audio, objects = torch.cat(deepest_first, dim=1), visual[source : source + 1].flatten(2).mT
        f_1 = fusion.project_visual(fusion.to_visual(objects, audio))
        both = torch.cat([fusion.to_audio(audio, objects), f_1], dim=2)
        expected = fusion.to_bottom(both).mT.unflatten(2, (2, 2))
        # Batches of another size: sums in another order, values around 1.
        torch.testing.assert_close(result[source : source + 1], expected, atol=1e-5, rtol=1e-5)


def gamma(x: torch.Tensor, y: torch.Tensor, num_octaves: int) -> torch.Tensor:
    """Equation 1 as printed, in float64; the last axis has 4 entries an octave."""
    angles = [2.0**k * math.pi * v.double() for k in range(num_octaves) for v in (x, y)]
    waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.stack(waves, dim=-1)


def test_equation_1_to_the_golden_values() -> None:
    """A box of one pixel: column 800 of 1280 is x = 0.25, row 180 of 720 is y = -0.5."""
    expected = torch.tensor(json.loads(GOLDEN.read_text())["lavss_gamma(0.25,-0.5)"])
    box = torch.tensor([[800 / 1280, 180 / 720, 801 / 1280, 181 / 720]], dtype=torch.float64)
    encoding = box_positions(box, 16, 7)
    assert encoding.shape == (1, 64, 7, 7)
    for cell in encoding[0].flatten(1).T:
        torch.testing.assert_close(cell[: len(expected)], expected, atol=1e-5, rtol=0)


def test_a_box_is_encoded_as_its_pixels_pooled() -> None:
    """Pooling rows and columns separately equals pooling the encoding of all pixels."""
    box = torch.tensor([[0.25, 0.5, 0.5, 0.75]])  # 320..640 of 1280, 360..540 of 720
    x = 2 * torch.arange(320, 640, dtype=torch.float64) / 1280 - 1
    y = 2 * torch.arange(360, 540, dtype=torch.float64) / 720 - 1
    pixels = gamma(x.expand(180, -1), y[:, None].expand(-1, 320), 16).permute(2, 0, 1)
    pooled = torch.nn.functional.adaptive_max_pool2d(pixels.float(), 7)
    torch.testing.assert_close(box_positions(box, 16, 7)[0], pooled)


def test_boxes_of_any_size_have_an_encoding() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.999, 0.999, 1, 1], [0.5, 0.5, 0.5001, 0.5001]])
    result = box_positions(boxes, 16, 7)
    assert result.shape == (3, 64, 7, 7) and result.isfinite().all() and (result.abs() <= 1).all()
    left, right = (
        box_positions(torch.tensor([[x, 0.2, x + 0.2, 0.8]]), 16, 7)[0] for x in (0.1, 0.7)
    )
    assert not torch.allclose(left[:2], right[:2], atol=0.1)
