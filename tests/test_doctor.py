"""The doctor: looks at everything, and still answers where a package is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from avsep.doctor import CHECKS, NEEDED, as_json, examine


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
    for name in ("device", "FFmpeg", "note bank"):
        assert f"MISSING {name}: cannot be looked at: import of" in done.stdout


def test_what_is_missing_is_told_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr("avsep.doctor.NEEDED", (*NEEDED, "no-such-package"))
    found = {finding.name: finding for finding in examine() if not finding.well}
    assert "; missing: no-such-package" in found["packages"].detail
    assert found["packages"].remedy == "pip install no-such-package"
    assert f"'{tmp_path / 'gone'}'" in found["temporary files"].detail
    assert found["temporary files"].remedy == "set TMPDIR to a folder"
