"""The doctor: looks at everything, and still answers where a package is missing."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from avsep.doctor import CHECKS, as_json, examine, needed_packages

ROOT = Path(__file__).resolve().parents[1]


def test_every_check_is_one_finding_of_its_name() -> None:
    findings = examine()
    assert [finding.name for finding in findings] == list(CHECKS)
    for finding in findings:
        assert finding.detail and finding.well == (not finding.remedy)
    assert as_json(findings)["well"] == all(finding.well for finding in findings)


@pytest.mark.parametrize("missing", ["av", "torch"])
def test_a_package_that_is_missing_is_a_finding(missing: str) -> None:
    """Told by a Python of its own, in which torch and PyAV cannot be imported or found."""
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
        assert f"MISSING {name}: cannot be looked at: import of" in done.stdout


def test_what_is_missing_is_told_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    declared = ["torch>=2.6", "no-such-package>=1", 'for-tests>=2; extra == "dev"']
    monkeypatch.setattr("avsep.doctor.requires", lambda name: declared)
    found = {finding.name: finding for finding in examine() if not finding.well}
    assert "; missing: no-such-package" in found["packages"].detail
    assert found["packages"].remedy == "pip install no-such-package"
    assert f"'{tmp_path / 'gone'}'" in found["temporary files"].detail
    assert found["temporary files"].remedy == "set TMPDIR to a folder"


def test_the_packages_are_those_that_avsep_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert needed_packages() == [line.partition(">")[0] for line in project["dependencies"]]


SHIPPED = ["davis-flow-mini", "davis-mini", "dgfnet-mini", "image-encoder-mini", "lavss-mini"]


def test_every_shipped_weights_file_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = {finding.name: finding for finding in examine()}["shipped weights"]
    assert found.well and sorted(found.detail.split(", ")) == SHIPPED
    (tmp_path / "dgfnet-mini.safetensors").write_bytes(b"half a file")
    monkeypatch.setattr("avsep.checkpoint._SHIPPED", tmp_path)
    ill = {finding.name: finding for finding in examine()}["shipped weights"]
    assert not ill.well and "dgfnet-mini.safetensors' is no safetensors file" in ill.detail
    assert ill.remedy == "pip install --force-reinstall avsep"
    (tmp_path / "dgfnet-mini.safetensors").unlink()
    gone = {finding.name: finding for finding in examine()}["shipped weights"]
    assert not gone.well and "unknown model 'dgfnet-mini'" in gone.detail
    monkeypatch.setattr("avsep.vision.image_encoder.SHIPPED", tmp_path / "eyes.safetensors")
    blind = {finding.name: finding for finding in examine()}["shipped weights"]
    assert not blind.well and "eyes.safetensors' as an image encoder" in blind.detail
