"""CLIP: embeddings equal those of transformers; errors are one line."""

import logging
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from avsep.errors import InputError
from avsep.vision.clip_encoder import TEMPLATE, ClipImageEncoder, embed_words, load_clip
from vision.tiny_clip import TINY_IMAGE_SETTINGS, write_tiny_clip

WORDS = ("violin", "Photo of 2 violin", "lin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "tiny"
    write_tiny_clip(path)
    return path


@pytest.fixture(scope="module")
def published(folder: Path) -> Any:
    return transformers.CLIPModel.from_pretrained(folder).eval()


def pictures(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(3, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (255 * smooth).byte()


def vectors_of(output: Any) -> Tensor:
    """Return embeddings of transformers; up to version 4 the output is the vectors themselves."""
    return getattr(output, "pooler_output", output)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (90, 51), (37, 64), (20, 24)])
def test_pictures_are_embedded_as_by_its_package(
    folder: Path, published: Any, height: int, width: int
) -> None:
    images = pictures(height, width)
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    with torch.no_grad():
        expected = published.get_image_features(
            **processor(images=list(images), return_tensors="pt")
        )
    embeddings = load_clip(str(folder))(images)
    assert embeddings.shape == (3, 24)
    torch.testing.assert_close(embeddings, vectors_of(expected), rtol=1e-4, atol=1e-5)
    assert (embeddings[0] - embeddings[1]).norm() > 100 * 1e-5  # pictures are distinguished


@pytest.mark.slow
def test_words_are_embedded_as_by_its_package(folder: Path, published: Any) -> None:
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    sentences = [f"a photo of a {word}." for word in WORDS]
    with torch.no_grad():
        expected = published.get_text_features(
            **processor(text=sentences, return_tensors="pt", padding=True)
        )
    embeddings = embed_words(WORDS, str(folder))
    torch.testing.assert_close(embeddings, vectors_of(expected), rtol=1e-4, atol=1e-5)
    # One by one there is nothing to pad.
    alone = torch.cat([embed_words([word], str(folder)) for word in WORDS])
    torch.testing.assert_close(embeddings, alone, rtol=1e-4, atol=1e-5)
    assert (embeddings[0] - embeddings[2]).norm() > 1e-2
    bare = embed_words(["a photo of a violin."], str(folder), template="{}")
    torch.testing.assert_close(bare, embeddings[:1], rtol=1e-4, atol=1e-5)


def test_words_with_the_end_token_of_openais_files(tmp_path: Path, folder: Path) -> None:
    """Their config has 2 where the tokenizer has the last token; both read the same vector."""
    write_tiny_clip(tmp_path / "old", eos_token_id=2)
    torch.testing.assert_close(
        embed_words(WORDS, str(tmp_path / "old")), embed_words(WORDS, str(folder))
    )


def test_weights_in_half_precision_come_as_float32(tmp_path: Path, published: Any) -> None:
    shutil.copytree(published.config._name_or_path, tmp_path / "half")
    half = transformers.CLIPModel.from_pretrained(tmp_path / "half", dtype=torch.float16)
    half.save_pretrained(tmp_path / "half")
    encoder = load_clip(str(tmp_path / "half"))
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}
    assert embed_words(WORDS, str(tmp_path / "half")).dtype == torch.float32


def test_it_is_made_without_weights_and_filled_from_ours(folder: Path) -> None:
    loaded, built = load_clip(str(folder)), ClipImageEncoder(TINY_IMAGE_SETTINGS)
    assert loaded.settings == TINY_IMAGE_SETTINGS
    images = pictures(32, 32)
    assert not torch.allclose(built(images), loaded(images), atol=1e-2)
    built.load_state_dict(loaded.state_dict())
    assert torch.equal(built(images), loaded(images))


def test_other_activations_are_the_files_own(tmp_path: Path) -> None:
    shape = transformers.CLIPVisionConfig(
        image_size=32,
        patch_size=8,
        num_hidden_layers=1,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        projection_dim=24,
        hidden_act="gelu",
    )
    network = transformers.CLIPVisionModelWithProjection(shape).eval()
    network.save_pretrained(tmp_path)
    encoder = load_clip(str(tmp_path))
    assert encoder.settings == TINY_IMAGE_SETTINGS.model_copy(
        update={"activation": "gelu", "num_layers": 1}
    )
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = network(pixels).image_embeds
    torch.testing.assert_close(encoder.network(pixels).image_embeds, expected)
    with pytest.raises(InputError, match=r"is no CLIP: .* weights are missing, such as text_"):
        embed_words(WORDS, str(tmp_path))


def test_it_stays_frozen_in_training(folder: Path) -> None:
    encoder = load_clip(str(folder))
    holder = torch.nn.Sequential(encoder).train()
    assert holder.training and not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not holder(pictures(32, 32)).requires_grad


def test_vit_b_32_has_as_many_parameters_as_openais() -> None:
    with torch.device("meta"):
        encoder = ClipImageEncoder()
    assert sum(p.numel() for p in encoder.parameters()) == 87_849_216
    assert encoder.num_channels == 512


def test_it_loads_without_a_word(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    log.add_handler(handler)
    capfd.readouterr()
    embed_words(WORDS, str(folder))
    load_clip(str(folder))
    assert capfd.readouterr() == ("", "") and messages == []
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before
    transformers.CLIPVisionModelWithProjection.from_pretrained(folder)
    assert messages  # about the unused weights of the other network
    log.remove_handler(handler)


# Errors of one line


def refused(name: str | Path, match: str) -> None:
    for load in (lambda: load_clip(str(name)), lambda: embed_words(WORDS, str(name))):
        with pytest.raises(InputError, match=match) as stop:
            load()
        assert "\n" not in str(stop.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(folder, "CLIP needs a package: pip install transformers")
    with pytest.raises(InputError, match="CLIP needs a package: pip install transformers"):
        ClipImageEncoder()


@pytest.mark.slow
def test_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the hub's attempts
    refused("nobody/no-clip-here", r"cannot load CLIP 'nobody/no-clip-here' \(.*; give a folder")


@pytest.mark.parametrize("name", ["nowhere", "./folder/nowhere", "../nowhere", "imagenet"])
def test_neither_a_folder_nor_a_hub_id(name: str) -> None:
    refused(name, rf"cannot load CLIP '{name}': it is neither a folder nor a hub id")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    refused(
        tmp_path, r"cannot load CLIP '.* hub id that can be reached: openai/clip-vit-base-patch32"
    )


def test_weights_of_another_model(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    refused(tmp_path, "is no CLIP: .* of its weights are missing, such as")


def test_only_safetensors_are_read(tmp_path: Path, folder: Path, published: Any) -> None:
    shutil.copytree(folder, tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save(published.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    refused(tmp_path / "old", r"cannot load CLIP '.*model\.safetensors")


def test_damaged_weights(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"not what it was")
    refused(tmp_path / "damaged", r"cannot load CLIP '.*damaged' \(")


def test_words_without_a_tokenizer(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder, tmp_path / "mute")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / "mute" / name).unlink()
    with pytest.raises(
        InputError,
        match=r"has no tokenizer for its weights: it has 2 tokens .* put its tokenizer\.json",
    ) as stop:
        embed_words(WORDS, str(tmp_path / "mute"))
    assert "\n" not in str(stop.value)


def test_no_words_and_too_many(folder: Path) -> None:
    with pytest.raises(InputError, match="no words to embed"):
        embed_words([], str(folder))
    longest = 20 - len(("<s>", "a", "photo", "of", "a", ".", "<e>"))
    embed_words(["q" * longest], str(folder))
    with pytest.raises(InputError, match=r"'a photo of a q+.*' makes 21 tokens and CLIP reads 20"):
        embed_words(["lin", "q" * (longest + 1)], str(folder))
    assert TEMPLATE.format("violin") == "a photo of a violin."
