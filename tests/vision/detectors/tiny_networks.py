"""Random weights of tiny open-vocabulary detectors, saved by transformers as published ones are."""

import string
from pathlib import Path

import torch
import transformers

from vision.tiny_clip import write_tokenizer

WORDPIECES = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?",
    *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase),
    "violin", "guitar", "electric", "acoustic", "drum", "##rum",
)  # fmt: skip
PICTURE_PIXELS = 64


def write_grounding_dino(folder: Path, max_text_len: int = 32, kind: str = "GroundingDino") -> None:
    """Write a Grounding DINO of a few layers, with a tokenizer like BERT's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDPIECES) + "\n", encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), model_max_length=64)
    size = {"shortest_edge": PICTURE_PIXELS, "longest_edge": 2 * PICTURE_PIXELS}
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessor(size=size), tokenizer
    )
    backbone = transformers.SwinConfig(
        image_size=PICTURE_PIXELS,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )
    text = transformers.BertConfig(
        vocab_size=len(WORDPIECES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_text_len=max_text_len,
    )
    torch.manual_seed(0)
    getattr(transformers, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def write_owl(folder: Path, version: int) -> None:
    """Write an OWL-ViT (version 1) or OWLv2 of a few layers, with a tokenizer like CLIP's."""
    tokens = write_tokenizer(folder)
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=24
    )
    name = {1: "OwlViT", 2: "Owlv2"}[version]
    square = {"height": PICTURE_PIXELS, "width": PICTURE_PIXELS}
    processor = getattr(transformers, f"{name}Processor")(
        getattr(transformers, f"{name}ImageProcessor")(size=square), tokenizer
    )
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 32}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": 0}
    text = shape | ends | {"vocab_size": len(tokens), "max_position_embeddings": 24}
    config = getattr(transformers, f"{name}Config")(
        text_config=text,
        vision_config=shape | {"image_size": PICTURE_PIXELS, "patch_size": 16},
        projection_dim=32,
    )
    torch.manual_seed(version)
    network = getattr(transformers, f"{name}ForObjectDetection")(config)
    with torch.no_grad():
        # As drawn, all boxes would be without width or height.
        for weight in network.box_head.parameters():
            weight *= 0.02
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
