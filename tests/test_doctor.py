"""Test `avsep doctor`: every check runs, and a missing package is a failed check."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from avsep.doctor import CHECKS, as_json, check_machine, needed_packages

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_check_gives_one_result_of_its_name() -> None:
    checks = check_machine()
    assert [check.name for check in checks] == list(CHECKS)
    for check in checks:
        assert check.detail and check.passed == (not check.remedy)
    assert as_json(checks)["passed"] == all(check.passed for check in checks)


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["av", "torch"])
def test_a_missing_package_is_a_failed_check(missing: str) -> None:
    """Runs in a new Python process in which torch and PyAV cannot be imported or found."""
    code = (
        "import importlib.metadata as metadata, sys\n"
        "sys.modules['av'] = sys.modules['torch'] = None\n"
        "known = metadata.version\n"
        "def version(name):\n"
        f"    if name == {missing!r}: raise metadata.PackageNotFoundError(name)\n"
        "    return known(name)\n"
        "metadata.version = version\n"
        "sys.argv = ['avsep', 'doctor']\n"
        "from avsep.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stderr
    assert f"; missing: {missing}\n        pip install {missing}\n" in done.stdout
    for name in ("device", "FFmpeg", "note bank", "shipped weights"):
        assert f"MISSING {name}: cannot check: import of" in done.stdout


@pytest.mark.slow
def test_failed_checks_say_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    declared = ["torch>=2.6", "no-such-package>=1", 'for-tests>=2; extra == "dev"']
    monkeypatch.setattr("avsep.doctor.requires", lambda name: declared)
    failed = {check.name: check for check in check_machine() if not check.passed}
    assert "; missing: no-such-package" in failed["packages"].detail
    assert failed["packages"].remedy == "pip install no-such-package"
    assert f"'{tmp_path / 'gone'}'" in failed["temporary files"].detail
    assert failed["temporary files"].remedy == "set TMPDIR to a folder"


def test_the_packages_are_those_that_avsep_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert needed_packages() == [line.partition(">")[0] for line in project["dependencies"]]


SHIPPED = [
    "avsep-mini", "davis-flow-mini", "davis-mini", "dgfnet-mini", "efficientnet-lite0",
    "image-encoder-mini", "lavss-mini",
]  # fmt: skip


@pytest.mark.slow
def test_every_shipped_weights_file_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    intact = {check.name: check for check in check_machine()}["shipped weights"]
    assert intact.passed and sorted(intact.detail.split(", ")) == SHIPPED
    (tmp_path / "avsep-mini.safetensors").write_bytes(b"half a file")
    monkeypatch.setattr("avsep.checkpoint._SHIPPED", tmp_path)
    broken = {check.name: check for check in check_machine()}["shipped weights"]
    assert not broken.passed and "avsep-mini.safetensors' is no safetensors file" in broken.detail
    assert broken.remedy == "pip install --force-reinstall avsep"
    (tmp_path / "avsep-mini.safetensors").unlink()
    missing = {check.name: check for check in check_machine()}["shipped weights"]
    assert not missing.passed and "unknown model 'avsep-mini'" in missing.detail
    monkeypatch.setattr("avsep.vision.image_encoder.SHIPPED", tmp_path / "eyes.safetensors")
    no_encoder = {check.name: check for check in check_machine()}["shipped weights"]
    assert not no_encoder.passed and "eyes.safetensors' as an image encoder" in no_encoder.detail
