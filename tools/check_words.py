"""Check that names and first lines of docstrings are in plain words, and count what is not.

Run `python tools/check_words.py` for a count per folder, with `--list` for every place.
"""

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "avsep"

# Names that say nothing of the thing, or make a person of a program: whole words of identifiers
# that are defined (variables, arguments, attributes, functions, classes), underscores left out.
BANNED_NAMES = frozenset({
    "found", "one", "given", "own", "asked", "ask", "told", "heard", "hears", "seen",
    "said", "says", "known", "knows", "shown", "kept", "made", "taken", "wanted", "held", "here",
    "there", "few", "many", "contender", "contenders", "remark", "remarks", "passage", "looks",
    "look", "nobody", "whoever", "strangers", "untold", "unrepresent", "unpictured", "pictured",
    "answer", "answers", "reading", "reads", "hangs", "rests", "careful", "account",
})  # fmt: skip
# A first line is a verb or a noun phrase, not a clause.
BANNED_FIRST_WORDS = frozenset({
    "What", "Who", "Whoever", "Whose", "Which", "How", "Of", "Whether", "Where", "When", "Itself",
    "Nobody", "Everything", "Whatever", "All",
})  # fmt: skip
BANNED_PHRASES = (
    "hangs on", "hang on", "so many", "nobody", "whoever", "as many as there are",
    "all the same", "anew", "goes by", "is told", "are told", "is asked", "are asked",
    "the house", "stands for itself", "in vain",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """One name or sentence that is not in plain words."""

    path: Path
    line: int
    kind: str
    word: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.word}"


def check_source(text: str, path: Path) -> Iterator[Problem]:
    """Yield the problems of one file."""
    for node in ast.walk(ast.parse(text)):
        for name in _defined_names(node):
            if name.strip("_").lower() in BANNED_NAMES:
                yield Problem(path, node.lineno, "name", name)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _check_docstring(node, path)


def _defined_names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node defines: never those that it only uses."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name


def _check_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, path: Path
) -> Iterator[Problem]:
    text = ast.get_docstring(node) or ""
    if not text:
        return
    line = getattr(node, "lineno", 1)
    first_word = re.match(r"\w*", text)
    assert first_word is not None, "the pattern matches the empty text too"
    if first_word[0] in BANNED_FIRST_WORDS:
        yield Problem(path, line, "first word", first_word[0])
    for phrase in BANNED_PHRASES:
        if re.search(rf"\b{phrase}\b", " ".join(text.split()), flags=re.I):
            yield Problem(path, line, "phrase", phrase)


def check_folder(folder: Path) -> list[Problem]:
    """Return the problems of all files of a folder, and of classes that share a name."""
    problems: list[Problem] = []
    classes: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for file in sorted(folder.rglob("*.py")):
        text, path = file.read_text(encoding="utf-8"), file.relative_to(folder)
        problems += check_source(text, path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append((path, node.lineno))
    for name, places in classes.items():
        if len(places) > 1:
            problems += [Problem(path, line, "class of two", name) for path, line in places]
    return problems


def counts(problems: list[Problem]) -> dict[str, Counter[str]]:
    """Return folder -> kind -> number of problems; files outside folders count as "."."""
    result: dict[str, Counter[str]] = defaultdict(Counter)
    for problem in problems:
        folder = problem.path.parts[0] if len(problem.path.parts) > 1 else "."
        result[folder][problem.kind] += 1
    return dict(sorted(result.items()))


def main(arguments: list[str]) -> int:
    """Print the counts, or with --list every problem; exit with 1 if there is one."""
    problems = check_folder(SOURCE)
    if arguments == ["--list"]:
        print("\n".join(map(str, problems)))
    for folder, kinds in counts(problems).items():
        listed = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        print(f"{folder:12} {sum(kinds.values()):4}  {listed}")
    print(f"{'all':12} {len(problems):4}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
