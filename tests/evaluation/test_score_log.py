"""Test the log of a resumed evaluation: lines that were cut off are scored again."""

from contextlib import closing
from pathlib import Path

from avsep.evaluation.benchmark import MixtureScores
from avsep.evaluation.results.writing import mixture_json
from avsep.evaluation.run import ScoreLog

FACTS = {"seed": 0, "data": "two mixtures"}


def scored(name: str) -> MixtureScores:
    """Return scores of a mixture whose only method is left out, which keeps the line short."""
    return MixtureScores(name, ("harp", "tuba"), {}, left_out="one source only", videos=(name,))


def test_a_last_line_without_its_newline_is_scored_again(tmp_path: Path) -> None:
    """Its JSON may be whole, but the next line would be written behind it, on the same line."""
    mixtures = [scored("first"), scored("second")]
    with closing(ScoreLog(tmp_path, FACTS)) as log:
        for index, mixture in enumerate(mixtures):
            log.write(index, mixture)
        path = log.path
    whole = path.read_bytes()
    assert whole.endswith(b"}\n")
    path.write_bytes(whole[:-1])
    with closing(ScoreLog(tmp_path, FACTS)) as log:
        assert set(log.done) == {0}
        assert mixture_json(log.done[0]) == mixture_json(mixtures[0])
        assert path.read_bytes() == whole[: whole.rindex(b"\n", 0, -1) + 1]
        log.write(1, mixtures[1])
    assert path.read_bytes() == whole
    with closing(ScoreLog(tmp_path, FACTS)) as log:
        assert set(log.done) == {0, 1}
