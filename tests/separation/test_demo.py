"""The demo: every file is written, scores agree, and foreign files stay."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsep.errors import InputError
from avsep.evaluation.results.tables import decibels
from avsep.media.audio import read_audio
from avsep.media.probe import probe
from avsep.separation.demo import OUTPUT_NAMES, DemoResult, make_demo

MASKS = ["ideal-ratio-mask", "ideal-binary-mask"]
METHODS = ["avsep-mini", *MASKS]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoResult]:
    """Make a demo in the folder of an incomplete earlier one."""
    folder = tmp_path_factory.mktemp("demos") / "new" / "démo"
    (folder / MASKS[0]).mkdir(parents=True)
    (folder / MASKS[0] / "09-old.wav").touch()
    (folder / ".hidden").touch()
    (folder / "scores.json").write_text("old")
    return folder, make_demo(folder, 5)


@pytest.mark.slow
def test_every_file_is_there_and_none_is_left_over(demo: tuple[Path, DemoResult]) -> None:
    folder = demo[0]
    assert {path.name for path in folder.iterdir()} == {*OUTPUT_NAMES, ".hidden"}
    stems = [path.stem for path in sorted((folder / "duet" / "stems").iterdir())]
    assert len(stems) == 2
    for method in METHODS:
        names = sorted(path.name for path in (folder / method).iterdir())
        assert names == [f"{stem}.{ending}" for stem in stems for ending in ("png", "wav")]
    assert not list(folder.rglob("*.part"))
    info = probe(folder / "duet.mp4")
    with Image.open(folder / "key_frame.jpg") as picture:
        assert picture.size == (info.video[0].width, info.video[0].height)


@pytest.mark.slow
def test_the_table_is_what_the_files_say(demo: tuple[Path, DemoResult]) -> None:
    folder, result = demo
    scores = json.loads((folder / "scores.json").read_text())
    assert list(scores) == ["mixture", *METHODS]
    written = [
        [method, name, *(decibels(value) for value in values.values())]
        for method, by_source in scores.items()
        for name, values in by_source.items()
    ]
    assert result.rows == written and result.head[2:] == ["SDR", "SIR", "SAR"]
    for name in scores["mixture"]:
        assert scores["ideal-ratio-mask"][name]["sdr_db"] > scores["mixture"][name]["sdr_db"] + 3


@pytest.mark.slow
def test_the_stems_add_up_to_the_mixture(demo: tuple[Path, DemoResult]) -> None:
    folder = demo[0]
    mixture = read_audio(folder / "mixture.wav")
    stems = [read_audio(p).waveform for p in sorted((folder / MASKS[0]).glob("*.wav"))]
    assert mixture.sample_rate_hz == 11025 and all(s.shape == mixture.waveform.shape for s in stems)
    # Ratio masks sum to one; magnitudes of sources that cancel exceed the mixture.
    residual = np.sum(stems, axis=0) - mixture.waveform
    assert 0 < np.abs(mixture.waveform).max() <= 1
    assert (residual**2).sum() < 0.05 * (mixture.waveform**2).sum()


@pytest.mark.slow
def test_the_page_tells_and_plays_it_all(demo: tuple[Path, DemoResult]) -> None:
    folder, result = demo
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 1 + 2 + 2 * len(METHODS) and page.count("<video") == 1
    assert f"<h1>{result.title}</h1>" in page
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert cells == [cell.replace(">", "&gt;") for row in result.rows for cell in row]


@pytest.mark.parametrize("name", ["notes.txt", "duets", "thesis"])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "duet").mkdir()
    (tmp_path / "duet" / "mine.wav").touch()
    (tmp_path / name).touch()
    with pytest.raises(
        InputError, match=f"contains '{name}', which no demo wrote: give a new or emp"
    ):
        make_demo(tmp_path, 0)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["duet", "mine.wav", name])
