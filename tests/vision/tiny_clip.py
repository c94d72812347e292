"""Random weights of a tiny CLIP in the layout of published ones."""

import json
import string
from pathlib import Path
from typing import Any

import torch
import transformers

from avsep.vision.clip_encoder import ClipImageSettings

TINY_IMAGE_SETTINGS = ClipImageSettings(
    picture_pixels=32,
    patch_pixels=8,
    num_layers=2,
    width=32,
    num_heads=4,
    feed_forward_width=48,
    num_channels=24,
)
# As in CLIP's vocabulary: letters, letters that end a word, then merged pairs in their order.
MERGES = ("p h", "ph o", "t o</w>", "pho to</w>", "o f</w>", "i n</w>", "l in</w>", "v i")


def write_tiny_clip(folder: Path, **text: Any) -> None:
    """Write weights and settings by transformers, and tokenizer files like published ones."""
    tokens = write_tokenizer(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"intermediate_size": 48, "projection_dim": 24}
    start, end = len(tokens) - 2, len(tokens) - 1
    words = {"vocab_size": len(tokens), "max_position_embeddings": 20}
    words |= {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    pictures = {"image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config=shape | words | text, vision_config=shape | pictures, projection_dim=24
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(
        folder
    )


def write_tokenizer(folder: Path) -> list[str]:
    """Write vocab.json, merges.txt and the tokenizer's class; return the tokens in order."""
    letters = [*string.ascii_lowercase, *string.digits, "."]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [pair.replace(" ", "") for pair in MERGES] + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *MERGES, ""])
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    kind = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")
    return tokens
