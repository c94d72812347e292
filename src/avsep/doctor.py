"""A look at this machine: what avsep stands on, what is missing, and what to type about it."""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import avsep
from avsep.errors import InputError

# Distributions that may be missing, and what is done with them.
OPTIONAL = {"transformers": "detectors and CLIP", "mir_eval": "tests"}
CODECS = ("libx264", "aac", "flac")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` says what to type where it is not well."""

    name: str
    well: bool
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Every finding, most basic first. Nothing is changed but a file written to see if one can."""
    return [_look(name, check) for name, check in CHECKS.items()]


def as_json(findings: list[Finding]) -> dict[str, object]:
    """The findings for a program, or to paste into a report."""
    return {"well": all(f.well for f in findings), "findings": [asdict(f) for f in findings]}


def _look(name: str, check: Callable[[], Finding]) -> Finding:
    """What a check finds, also where what it needs is the very thing that is missing."""
    try:
        return check()
    except ImportError as error:
        return Finding(name, False, f"cannot be looked at: {error}", "install the packages first")


def _python() -> Finding:
    detail = f"avsep {avsep.__version__}, Python {platform.python_version()}, {platform.platform()}"
    return Finding("system", True, detail)


def needed_packages() -> list[str]:
    """The distributions that avsep declares it needs, extras left out."""
    declared = [line for line in requires("avsep") or [] if "extra ==" not in line]
    return [re.split(r"[^\w.-]", line)[0] for line in declared]


def _packages() -> Finding:
    found, missing = [], []
    try:
        needed = needed_packages()
    except PackageNotFoundError:
        detail = "avsep runs from a folder and is not installed: what it needs is not known"
        return Finding("packages", False, detail, "pip install avsep")
    for name in needed:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return Finding(
        "packages",
        not missing,
        ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else ""),
        f"pip install {' '.join(missing)}" if missing else "",
    )


def _extras() -> Finding:
    parts = []
    for name, purpose in OPTIONAL.items():
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed ({purpose})")
    return Finding("optional", True, ", ".join(parts))


def _device() -> Finding:
    import torch

    # PyTorch before 2.6 does not tell accelerators under one name.
    accelerator = getattr(torch, "accelerator", None)
    found = None
    if accelerator is not None and accelerator.is_available():
        found = accelerator.current_accelerator()
    device = found.type if found else "no accelerator, the CPU will do"
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    return Finding("device", True, f"{device}; {threads}")


def _codecs() -> Finding:
    import av

    missing = [name for name in CODECS if name not in av.codecs_available]
    libraries = ", ".join(
        f"{name} {'.'.join(map(str, number))}" for name, number in av.library_versions.items()
    )
    return Finding(
        "FFmpeg",
        not missing,
        libraries + (f"; cannot write: {', '.join(missing)}" if missing else "; writes H.264"),
        "pip install --force-reinstall --only-binary :all: av" if missing else "",
    )


def _notes() -> Finding:
    from avsep.toyband.music.notes import read_note_bank

    try:
        bank = read_note_bank()
    except InputError as error:
        return Finding("note bank", False, str(error), "pip install --force-reinstall avsep")
    num_notes = sum(len(notes) for notes in bank.by_category.values())
    return Finding("note bank", True, f"{num_notes} notes of {len(bank.by_category)} instruments")


def _weights() -> Finding:
    from avsep.checkpoint import load_model, shipped_names
    from avsep.separation.separator import DEFAULT_MODEL
    from avsep.vision.image_encoder import SHIPPED, load_image_encoder

    try:
        load_image_encoder()
        names = list(dict.fromkeys([DEFAULT_MODEL, *shipped_names()]))
        for name in names:
            load_model(name)
    except InputError as error:
        detail = " ".join(str(error).split())
        return Finding("shipped weights", False, detail, "pip install --force-reinstall avsep")
    return Finding("shipped weights", True, ", ".join([*names, SHIPPED.stem]))


def _disk() -> Finding:
    try:
        folder = tempfile.gettempdir()
        free_gib = shutil.disk_usage(folder).free / 2**30
        with tempfile.TemporaryFile() as file:
            file.write(b"avsep")
    except OSError as error:
        return Finding("temporary files", False, str(error), "set TMPDIR to a folder")
    well = free_gib > 1
    return Finding(
        "temporary files",
        well,
        f"{free_gib:.1f} GiB free in {folder}",
        "" if well else "free some space, or set TMPDIR to a folder with more",
    )


CHECKS: dict[str, Callable[[], Finding]] = {
    "system": _python,
    "packages": _packages,
    "optional": _extras,
    "device": _device,
    "FFmpeg": _codecs,
    "note bank": _notes,
    "shipped weights": _weights,
    "temporary files": _disk,
}
