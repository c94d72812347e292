"""Load published networks through the package transformers: from a hub, or a folder in its layout.

Only weights in safetensors are read, and no code beside them is run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from avsep.errors import InputError, require_package

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class PublishedKind:
    """A kind of networks, in the words of errors.

    Attributes:
        noun: what they are called, such as "CLIP".
        example: the name of one on the hub.
    """

    noun: str
    example: str


def load_pretrained(loader: str, name_or_path: str, kind: PublishedKind) -> Any:
    """Load a network, frozen, in float32.

    Args:
        loader: a class of transformers that has `from_pretrained`.
        name_or_path: `owner/name` on the hub, or a folder.
        kind: of the network, for errors.

    Raises:
        InputError: transformers is not installed, no such folder, a network of another kind, or the
            hub cannot be reached and the weights are not in its local cache.
    """
    check_place(name_or_path, kind)
    with transformers_errors(name_or_path, kind) as transformers:
        # Only safetensors, and no trust_remote_code: no code beside the weights is run.
        network, report = getattr(transformers, loader).from_pretrained(
            name_or_path, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"'{name_or_path}' is no {kind.noun}: {len(missing)} of its weights are missing, such "
            f"as {missing[0]}; give a {kind.noun}, such as {kind.example}"
        )
    return network.requires_grad_(False).eval()


def check_place(name_or_path: str, kind: PublishedKind) -> None:
    """Check that a name is a folder or has the form of a hub id.

    Raises:
        InputError: it is neither.
    """
    if not Path(name_or_path).is_dir() and not _HUB_ID.fullmatch(name_or_path):
        raise InputError(
            f"cannot load {kind.noun} '{name_or_path}': it is neither a folder nor a hub id of the "
            f"form 'owner/name'; give one of them, such as {kind.example}"
        )


def check_tokenizer(tokenizer: Any, vocabulary_size: int, name_or_path: str) -> None:
    """Check that a tokenizer was read together with its vocabulary.

    Raises:
        InputError: its vocabulary has another size than the weights.
    """
    # Without its files transformers silently returns a tokenizer with an empty vocabulary.
    if len(tokenizer) != vocabulary_size:
        raise InputError(
            f"'{name_or_path}' has no tokenizer for its weights: it has {len(tokenizer)} tokens "
            f"instead of {vocabulary_size}; put its tokenizer.json, or vocab.json and merges.txt, "
            "beside the weights"
        )


@contextmanager
def transformers_errors(name_or_path: str, kind: PublishedKind) -> Iterator[ModuleType]:
    """Yield transformers with its log silenced; turn any error inside into an InputError."""
    transformers = require_package("transformers", kind.noun)
    log = transformers.utils.logging
    verbosity, shows_progress = log.get_verbosity(), log.is_progress_bar_enabled()
    # It warns that weights for other uses than this one are not read.
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield transformers
    # Broken folders, files and connections raise errors of many libraries, with no common base.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(" .")
        raise InputError(
            f"cannot load {kind.noun} '{name_or_path}' ({reason}); give a folder with config.json, "
            f"model.safetensors and tokenizer.json, or a hub id that can be reached: {kind.example}"
        ) from error
    finally:
        log.set_verbosity(verbosity)
        if shows_progress:
            log.enable_progress_bar()
