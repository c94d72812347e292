"""Test the architecture rules: layers of imports, docstrings, sizes, types, repeated lines."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "avsep"
FILES = sorted(SOURCE.rglob("*.py"))

# Lowest first; a file may import its own folder and every layer below. avsep/__init__.py is not in
# a layer: it imports nothing while it loads.
LAYERS = [
    {
        "errors",
        "labels",
        "catalogue",
        "registry",
        "recipe",
        "records",
        "released",
        "devices",
        "parallel",
        "published_weights",
    },
    {"sound", "media"},
    {"vision", "layers", "diffusion", "toyband"},
    {"data"},
    {"cues"},
    {"models"},
    {"checkpoint", "conversion"},
    {"pages"},
    {"evaluation"},
    {"training", "separation", "doctor"},
    {"cli", "app", "__main__"},
]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def offences(rule: Callable[[Path], Iterator[str]]) -> list[str]:
    """Return what a rule says of every file: one test a rule costs less than one a file."""
    return [f"{path.relative_to(SOURCE)}: {fault}" for path in FILES for fault in rule(path)]


def layer(name: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if name in names)


def top_module(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return every module of avsep that a file imports, inside functions too."""
    imported = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import; write it in full"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        imported |= {name for name in names if name.split(".")[0] == "avsep"}
    return imported


def faults_of_imports(path: Path) -> Iterator[str]:
    if path == SOURCE / "__init__.py":
        return
    for name in imports(path):
        parts = name.split(".")
        if len(parts) < 2 or parts[1].startswith("__"):
            continue  # the version
        if layer(parts[1]) > layer(top_module(path)):
            yield f"{top_module(path)} imports {name}, which is above"
        same_level = layer(parts[1]) == layer(top_module(path))
        in_a_folder = len(path.relative_to(SOURCE).parts) > 1
        if same_level and in_a_folder and parts[1] != top_module(path):
            yield f"{top_module(path)} imports {name}, its neighbour"


def test_imports_go_down() -> None:
    assert offences(faults_of_imports) == []


def test_a_short_module_has_several_importers() -> None:
    """A module of less than 60 lines with a single importer is part of that importer."""
    names = {
        path: ".".join(("avsep", *path.relative_to(SOURCE).with_suffix("").parts)) for path in FILES
    }
    importers: dict[Path, set[Path]] = {path: set() for path in FILES}
    for importer in FILES:
        for imported in imports(importer):
            for path, name in names.items():
                if imported == name or imported.startswith(f"{name}."):
                    importers[path].add(importer)
    for path in FILES:
        # Commands are entries of a registry, as are packages of their parts.
        if top_module(path) == "cli" or path.stem.startswith("__"):
            continue
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        assert num_lines >= 60 or len(importers[path]) != 1, f"{path}: belongs to its importer"


def public_parts(
    node: ast.AST,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield public classes, functions and methods, but none that are local to a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)) and not child.name.startswith("_"):
            yield child
        if not isinstance(child, FUNCTIONS):
            yield from public_parts(child)


def faults_of_docstrings(path: Path) -> Iterator[str]:
    text = ast.get_docstring(tree(path)) or ""
    if not re.fullmatch(r".{15,100}\.", text.splitlines()[0] if text else ""):
        yield "the docstring needs a first line of 15 to 100 characters with a period"
    for node in public_parts(tree(path)):
        if not ast.get_docstring(node):
            yield f"{node.name} (line {node.lineno}) has no docstring"


def test_docstrings() -> None:
    assert offences(faults_of_docstrings) == []


def faults_of_sizes_and_types(path: Path) -> Iterator[str]:
    if len(path.read_text(encoding="utf-8").splitlines()) > 500:
        yield "longer than 500 lines"
    for node in ast.walk(tree(path)):
        if not isinstance(node, FUNCTIONS):
            continue
        where = f"{node.name}, line {node.lineno}"
        if (node.end_lineno or 0) - node.lineno >= 75:
            yield f"{where}: too long"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments = [item for item in arguments if item.arg not in ("self", "cls")]
        # The arguments of a command are its options; elsewhere use a settings object for more.
        if len(arguments) > 7 and top_module(path) != "cli":
            yield f"{where}: too many arguments"
        if not all(item.annotation for item in arguments):
            yield f"{where}: untyped argument"
        if not node.returns and node.name != "__init__":
            yield f"{where}: untyped result"


def test_sizes_and_types() -> None:
    assert offences(faults_of_sizes_and_types) == []


def faults_of_habits(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Assert) and node.msg is None:
            yield f"line {node.lineno}: assert without a message"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):  # noqa: SIM102
            if node.func.id in ("print", "eval", "exec"):
                yield f"line {node.lineno}: {node.func.id}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):  # noqa: SIM102
            if node.value.startswith("cuda"):
                yield f"line {node.lineno}: a fixed device"
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"line {node.lineno}: bare except"
            if all(isinstance(item, ast.Pass) for item in node.body):
                yield f"line {node.lineno}: an error is dropped"
    if "pickle" in path.read_text(encoding="utf-8"):
        yield "pickle"


def test_habits() -> None:
    assert offences(faults_of_habits) == []


def test_repeated_lines_stay_rare() -> None:
    """Runs of six lines that are in two places: the most common fault of research code."""
    places: dict[tuple[str, ...], set[tuple[Path, int]]] = {}
    num_lines = 0
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        num_lines += len(lines)
        for row in range(len(lines) - 5):
            run = tuple(lines[row : row + 6])
            if not all(line.startswith(("import ", "from ")) or len(line) < 4 for line in run):
                places.setdefault(run, set()).add((path, row))
    repeated = {
        (path, row + step)
        for locations in places.values()
        if len(locations) > 1
        for path, row in locations
        for step in range(6)
    }
    assert len(repeated) / num_lines <= 0.03


def test_importing_avsep_is_light() -> None:
    heavy = "{'torch', 'numpy', 'av', 'pydantic'}"
    code = f"import sys, avsep; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    import avsep

    for name in avsep.__all__:
        assert getattr(avsep, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'separate_all'; it has"):
        getattr(avsep, "separate_all")  # noqa: B009 (a constant name is what is tested)


def test_declared_dependencies_are_the_imported_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[>=<\[; ]", line)[0] for line in project["dependencies"]}
    names = {"pillow": "PIL", "scikit-learn": "sklearn"}
    imported = set()
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
                if node.module == "torch.utils.tensorboard":
                    imported.add("tensorboard")  # torch.utils.tensorboard imports it
            elif isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
    third_party = imported - set(sys.stdlib_module_names) - {"avsep"}
    assert third_party == {names.get(name, name) for name in declared}


def load_tool(name: str) -> ModuleType:
    path = ROOT / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_architecture_page_is_in_step() -> None:
    drawing = load_tool("draw_architecture")
    written = drawing.PAGE.read_text(encoding="utf-8")
    assert written == drawing.page(), "run: python tools/draw_architecture.py"


def test_tables_of_settings_are_in_step() -> None:
    tables = load_tool("draw_settings")
    for name in tables.TABLES:
        written = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert written == tables.redrawn(name), "run: python tools/draw_settings.py"
        assert "None |" not in written, "a setting without a description"
