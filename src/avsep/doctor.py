"""Check this machine for what avsep needs, and give the command to install what is missing."""

import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import avsep
from avsep.errors import InputError

# Distributions that may be missing, and the feature that needs each.
OPTIONAL = {"transformers": "detectors and CLIP", "mir_eval": "tests"}
# H.264 and AAC for previews that browsers play, FLAC for the lossless sound of toyband clips.
CODECS = ("libx264", "aac", "flac")


@dataclass(frozen=True)
class MachineCheck:
    """The result of one check; `remedy` is what to type if it failed."""

    name: str
    passed: bool
    detail: str
    remedy: str = ""


def check_machine() -> list[MachineCheck]:
    """Run all checks, most basic first. They change nothing, except for one temporary file."""
    return [_run_check(name, check) for name, check in CHECKS.items()]


def as_json(checks: list[MachineCheck]) -> dict[str, object]:
    """Return the results as JSON values."""
    return {
        "passed": all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def _run_check(name: str, check: Callable[[], MachineCheck]) -> MachineCheck:
    """Run one check; it fails, without a traceback, if a package it imports is missing."""
    try:
        return check()
    except ImportError as error:
        return MachineCheck(name, False, f"cannot check: {error}", "install the packages first")


def _python() -> MachineCheck:
    detail = f"avsep {avsep.__version__}, Python {platform.python_version()}, {platform.platform()}"
    return MachineCheck("system", True, detail)


def needed_packages() -> list[str]:
    """Return the distributions that avsep declares as dependencies, without extras."""
    declared = [line for line in requires("avsep") or [] if "extra ==" not in line]
    return [re.split(r"[^\w.-]", line)[0] for line in declared]


def _packages() -> MachineCheck:
    installed, missing = [], []
    try:
        names = needed_packages()
    except PackageNotFoundError:
        detail = "avsep runs from a folder and is not installed, so its dependencies are unknown"
        return MachineCheck("packages", False, detail, "pip install avsep")
    for name in names:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return MachineCheck(
        "packages",
        not missing,
        ", ".join(installed) + (f"; missing: {', '.join(missing)}" if missing else ""),
        f"pip install {' '.join(missing)}" if missing else "",
    )


def _extras() -> MachineCheck:
    parts = []
    for name, purpose in OPTIONAL.items():
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed ({purpose})")
    return MachineCheck("optional", True, ", ".join(parts))


def _device() -> MachineCheck:
    import torch

    from avsep.devices import available_cores

    # PyTorch before 2.6 has no torch.accelerator, and is reported here without a traceback.
    accelerator = getattr(torch, "accelerator", None)
    current = None
    if accelerator is not None and accelerator.is_available():
        current = accelerator.current_accelerator()
    device = current.type if current else "no accelerator, models run on the CPU"
    threads = f"{torch.get_num_threads()} threads on {available_cores()} cores"
    return MachineCheck("device", True, f"{device}; {threads}")


def _codecs() -> MachineCheck:
    import av

    missing = [name for name in CODECS if name not in av.codecs_available]
    libraries = ", ".join(
        f"{name} {'.'.join(map(str, number))}" for name, number in av.library_versions.items()
    )
    return MachineCheck(
        "FFmpeg",
        not missing,
        libraries + (f"; cannot write: {', '.join(missing)}" if missing else "; writes H.264"),
        "pip install --force-reinstall --only-binary :all: av" if missing else "",
    )


def _note_bank() -> MachineCheck:
    from avsep.toyband.music.notes import read_note_bank

    try:
        bank = read_note_bank()
    except InputError as error:
        return MachineCheck("note bank", False, str(error), "pip install --force-reinstall avsep")
    num_notes = sum(len(notes) for notes in bank.by_category.values())
    return MachineCheck(
        "note bank", True, f"{num_notes} notes of {len(bank.by_category)} instruments"
    )


def _weights() -> MachineCheck:
    from avsep.checkpoint import load_model, shipped_names
    from avsep.separation.separator import DEFAULT_MODEL
    from avsep.vision import efficientnet_lite, image_encoder

    try:
        image_encoder.load_image_encoder()
        efficientnet_lite.read_efficientnet_lite(efficientnet_lite.SHIPPED)
        # The default model is loaded even if its file is gone, so that this is an error.
        names = list(dict.fromkeys([DEFAULT_MODEL, *shipped_names()]))
        for name in names:
            load_model(name)
    except InputError as error:
        detail = " ".join(str(error).split())
        return MachineCheck("shipped weights", False, detail, "pip install --force-reinstall avsep")
    encoders = [image_encoder.SHIPPED.stem, efficientnet_lite.SHIPPED.stem]
    return MachineCheck("shipped weights", True, ", ".join([*names, *encoders]))


def _disk() -> MachineCheck:
    try:
        folder = tempfile.gettempdir()
        free_gib = shutil.disk_usage(folder).free / 2**30
        # The mode bits do not tell: a folder can be on a full or read-only disk.
        with tempfile.TemporaryFile() as file:
            file.write(b"avsep")
    except OSError as error:
        return MachineCheck("temporary files", False, str(error), "set TMPDIR to a folder")
    # A rule of thumb, not a measured need.
    is_enough = free_gib > 1
    return MachineCheck(
        "temporary files",
        is_enough,
        f"{free_gib:.1f} GiB free in {folder}",
        "" if is_enough else "free some space, or set TMPDIR to a folder with more",
    )


# Name -> check, in the order in which results are printed.
CHECKS: dict[str, Callable[[], MachineCheck]] = {
    "system": _python,
    "packages": _packages,
    "optional": _extras,
    "device": _device,
    "FFmpeg": _codecs,
    "note bank": _note_bank,
    "shipped weights": _weights,
    "temporary files": _disk,
}
