"""Random weights of a tiny CLAP, in the form in which published ones come."""

from pathlib import Path

import torch
import transformers


def write_tiny_clap(folder: Path) -> None:
    """Weights, settings and feature extractor, written by their own package."""
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 20,
        "projection_dim": 6,
    }
    audio = {
        "num_mel_bins": 64,
        "spec_size": 256,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 1, 1],
        "projection_dim": 6,
    }
    torch.manual_seed(0)
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=6)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(truncation="rand_trunc").save_pretrained(folder)
