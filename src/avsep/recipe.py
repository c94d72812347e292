"""Settings of a run: TOML files, named in the package or given by path, checked field by field.

A recipe says in `command` which avsep command it is for; the other entries are the settings of that
command. `extends = "name"` takes another recipe and changes only what is written.
"""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from avsep.errors import InputError, unknown_name

Settings = TypeVar("Settings", bound=BaseModel)
_FOLDER = files("avsep") / "recipes"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def load_recipe(
    name_or_path: str | Path, command: str, schema: type[Settings], overrides: Sequence[str] = ()
) -> Settings:
    """The settings of a recipe, with overrides such as "mixing.num_sources=3" applied.

    Raises InputError for an unknown recipe or field (with the nearest known name), a recipe of
    another command, a value of the wrong kind, or a file that is not TOML.
    """
    values = read_recipe(name_or_path)
    found = values.pop("command", None)
    if found != command:
        use = (
            f"is for `avsep {found}`, not for `avsep {command}`"
            if found
            else "does not say its command"
        )
        raise InputError(
            f"recipe '{name_or_path}' {use}: write command = "
            f'"{command}" at its top, or take one of: {", ".join(recipe_names(command)) or "none"}'
        )
    for override in overrides:
        _apply(values, override)
    return check_settings(values, schema, f"recipe '{name_or_path}'")


def read_overrides(overrides: Sequence[str], schema: type[Settings]) -> Settings:
    """Settings with overrides such as "num_sources=3" over their defaults; errors as above."""
    values: dict[str, Any] = {}
    for override in overrides:
        _apply(values, override)
    return check_settings(values, schema, "--set")


def recipe_names(command: str | None = None) -> list[str]:
    """Names of the recipes in the package, of one command or of all."""
    names = sorted(
        item.name.removesuffix(".toml") for item in _FOLDER.iterdir() if item.name.endswith(".toml")
    )
    return [name for name in names if command in (None, read_recipe(name).get("command"))]


def read_recipe(name_or_path: str | Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's entries as they stand in the file, over those of the recipe it extends.

    A path that it extends counts from its own folder.
    """
    source = str(name_or_path)
    if source in seen:
        raise InputError(f"recipes extend each other in a circle: {' -> '.join([*seen, source])}")
    try:
        values = tomllib.loads(_text(source))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe '{source}' is not TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise InputError(f"recipe '{source}': extends must be a name or a path, given: {base!r}")
    if base.endswith(".toml"):
        base = str((Path(source).parent / base).resolve())
    return _merge(read_recipe(base, (*seen, source)), values)


def write_recipe(settings: BaseModel, command: str) -> str:
    """The settings as TOML that `load_recipe` reads back to equal settings; nothing left out."""
    lines = [f"command = {json.dumps(command)}"]
    lines += _toml_lines(settings.model_dump(mode="json", exclude_none=True), "")
    return "\n".join(lines) + "\n"


def check_settings(
    values: dict[str, Any], schema: type[Settings], where: str, kind: str = "setting"
) -> Settings:
    """Values from outside as settings; the first thing wrong is told with its field.

    `kind` is what an error calls a field.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "its settings"
        if first["type"] == "extra_forbidden":
            known = list(_known_at(schema, first["loc"]))
            near = difflib.get_close_matches(field, known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise InputError(
                f"{where}: unknown {kind} '{field}'; {hint}known: {', '.join(known)}"
            ) from error
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {field}: {message}; given: {first['input']!r}") from error


def settings_group(annotation: object) -> type[BaseModel] | None:
    """The settings that a field of this type holds, or may hold; none for a plain value.

    >>> settings_group(BaseModel | None) is BaseModel, settings_group(int | None)
    (True, None)
    """
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    found = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
    return found[0] if found else None


def _text(source: str) -> str:
    """The text of a file, for a path that ends in .toml, or of a recipe of the package."""
    path = Path(source)
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(
                f"recipe '{source}' is not a file; give a path or one of the names "
                f"{', '.join(recipe_names())}"
            )
        # Some editors begin a file with a byte order mark, which "utf-8-sig" leaves out.
        return path.read_text(encoding="utf-8-sig")
    resource = _FOLDER / f"{source}.toml"
    if path.name != source or not resource.is_file():
        raise unknown_name("recipe", source, recipe_names())
    return resource.read_text(encoding="utf-8")


def _apply(values: dict[str, Any], override: str) -> None:
    """Write one "a.b=c" into nested values; c is read as TOML, and as text where it is not."""
    name, equals, text = override.partition("=")
    *groups, last = _parts_of(name) or [""]
    if not equals or not last:
        raise InputError(f"--set {override!r} must read name=value, such as mixing.num_sources=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise InputError(f"--set {override!r}: '{group}' is a value, not a group of settings")
    values[last] = value


def _parts_of(name: str) -> list[str]:
    """The parts of a dotted name, read as TOML's keys; none where it is no name.

    >>> _parts_of('weights."objects.encoder"'), _parts_of("a..b")
    (['weights', 'objects.encoder'], [])
    """
    try:
        value: Any = tomllib.loads(f"{name} = 0")
    except tomllib.TOMLDecodeError:
        return []
    parts = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return parts


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in change.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merge(below, value)
        merged[name] = value
    return merged


def _known_at(schema: type[BaseModel], place: Sequence[int | str]) -> Iterator[str]:
    """The fields known at a place: all of them, or those of the items of a list that it is in."""
    group = ""
    for part, index in pairwise(place):
        if isinstance(part, str) and isinstance(index, int) and part in schema.model_fields:
            items = get_args(schema.model_fields[part].annotation)
            found = [one for one in items if isinstance(one, type) and issubclass(one, BaseModel)]
            if found:
                schema, group = found[0], f"{group}{part}.{index}."
    yield from _fields(schema, group)


def _fields(schema: type[BaseModel], group: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        inner = settings_group(field.annotation)
        if inner is None:
            yield f"{group}{name}"
        else:
            yield from _fields(inner, f"{group}{name}.")


def _toml_lines(values: dict[str, Any], group: str) -> Iterator[str]:
    for name, value in values.items():
        if not isinstance(value, dict):
            yield f"{_toml_key(name)} = {_toml_value(value)}"
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"\n[{group}{_toml_key(name)}]"
            yield from _toml_lines(value, f"{group}{_toml_key(name)}.")


def _toml_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml_value(name)


def _toml_value(value: object) -> str:
    """A value on one line: JSON's notation but for what TOML writes in another way."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml_key(k)} = {_toml_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # TOML knows no pairs of surrogates, and takes no bare DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
