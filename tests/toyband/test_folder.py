"""Test the folder layout: order of stems, and errors for missing or malformed files."""

import json
from pathlib import Path

import pytest

from avsep.data.toyband import read_toyband
from avsep.errors import InputError
from avsep.toyband.folder import ClipPaths, read_record, stem_names

OBJECTS = [{"label": "violin", "box": [0, 0, 0.5, 1]}, {"label": "tuba", "box": [0.5, 0, 1, 1]}]


@pytest.fixture
def paths(tmp_path: Path) -> ClipPaths:
    """Write a clip of two performers and a noise, with empty files where only names matter."""
    paths = ClipPaths(tmp_path, "000001")
    paths.stems.mkdir(parents=True)
    for name in stem_names(["violin", "tuba"], ["rain"]):
        (paths.stems / name).touch()
    paths.objects.write_text(json.dumps(OBJECTS))
    paths.video.touch()
    return paths


def test_stems_belong_to_the_objects_in_their_order(paths: ClipPaths) -> None:
    (clip,) = read_toyband(paths.folder)
    assert clip.video == paths.folder / "000001.mp4"
    assert [source.category for source in clip.sources] == ["violin", "tuba"]
    assert [source.path.name for source in clip.sources] == ["01-violin.wav", "02-tuba.wav"]
    assert [source.visible and source.visible.box_at(0)[0] for source in clip.sources] == [0, 0.5]
    assert [path.name for path in clip.offscreen] == ["03-offscreen-rain.wav"]


def test_a_video_without_its_folder_is_an_error_that_names_it(paths: ClipPaths) -> None:
    (paths.folder / "000002.mp4").touch()
    with pytest.raises(InputError, match=r"000002/objects\.json"):
        read_toyband(paths.folder)


def test_a_malformed_score_is_an_error(paths: ClipPaths) -> None:
    # The file is missing.
    with pytest.raises(InputError, match=r"cannot read '.*score\.json' as a clip's score"):
        read_record(paths.score)
    # Not UTF-8 text.
    paths.score.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"cannot read '.*score\.json' as a clip's score"):
        read_record(paths.score)
