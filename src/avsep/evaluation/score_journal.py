"""What a benchmark has scored so far, a line a mixture, so that a stopped run goes on."""

import json
import shlex
from pathlib import Path
from typing import IO, Any

from avsep.errors import InputError
from avsep.evaluation.benchmark import ScoredClip
from avsep.evaluation.results.results_json import clip_json, clip_of

JOURNAL_NAME = "journal.jsonl"
# What decides the figures, each part in words or as a digest.
Facts = dict[str, Any]


class ScoreJournal:
    """The journal in a folder of results: its first line says what is scored, by its facts.

    Every line is flushed as it is written. What a run that was ended by force left half written is
    cut off; figures are read back to the bit.
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        """Open the journal of a folder, or begin one.

        Raises:
            InputError: it is of another evaluation, or cannot be written.
        """
        self.path = folder / JOURNAL_NAME
        self.done: dict[int, ScoredClip] = {}
        head = (json.dumps(facts, allow_nan=False) + "\n").encode()
        try:
            text = self.path.read_bytes() if self.path.exists() else b""
            kept = self._read(text, head)
            self._file: IO[bytes] = self.path.open("r+b" if text else "xb")
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._put(head)
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be used: {error.strerror or error}") from error

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    def write(self, index: int, scored: ScoredClip) -> None:
        """Note the mixture of an index as done."""
        line = json.dumps({"index": index, **clip_json(scored)}, allow_nan=False)
        try:
            self._put(line.encode() + b"\n")
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be written: {error.strerror}") from error
        self.done[index] = scored

    def _put(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()

    def _read(self, text: bytes, head: bytes) -> int:
        """Take in what is done; how many bytes of the text are whole lines of this evaluation."""
        lines = text.splitlines(keepends=True)
        if not lines or not lines[0].endswith(b"\n"):
            if head.startswith(text):
                return 0  # nothing, or a first line that was never finished
            raise self._of_another("")
        if lines[0] != head:
            differing = _differing(lines[0], head)
            if differing and len(lines) == 1:
                return 0  # begun and never gone on with
            raise self._of_another(f" (other {', '.join(differing)})" if differing else "")
        kept = len(lines[0])
        for line in lines[1:]:
            try:
                found = json.loads(line)
                index, scored = int(found["index"]), clip_of(found)
            except (ValueError, KeyError, TypeError, RecursionError):
                break
            if not line.endswith(b"\n"):
                break
            self.done[index] = scored
            kept += len(line)
        return kept

    def _of_another(self, what: str) -> InputError:
        return InputError(
            f"'{self.path.parent}' holds results of another evaluation{what}: give a new folder to "
            f"-o, or begin anew there with rm {shlex.quote(str(self.path))}"
        )


def _differing(line: bytes, head: bytes) -> list[str]:
    """Which facts of a first line are others, as the options name them; none of no such line."""
    try:
        before, now = json.loads(line), json.loads(head)
        if before.keys() != now.keys():
            return []
        return [name for name in now if before[name] != now[name]]
    except (ValueError, AttributeError):
        return []
