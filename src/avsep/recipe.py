"""Read recipes: TOML files with the settings of a run, checked field by field.

A recipe is given by the name of one in the package or by path. Its entry `command` names the avsep
command it is for; all other entries are settings of that command. `extends = "name"` starts from
another recipe and changes only the settings written in the file.
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
from typing import Any, TypeGuard, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from avsep.errors import InputError, unknown_name

Settings = TypeVar("Settings", bound=BaseModel)
_FOLDER = files("avsep") / "recipes"
# Where a name is looked up: the recipes of systems, then those of the rows of papers' tables.
_FOLDERS = (_FOLDER, _FOLDER / "ablations")
# The longest value that an error shows, in characters.
_MAX_VALUE_LENGTH = 300
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def load_recipe(
    name_or_path: str | Path, command: str, schema: type[Settings], overrides: Sequence[str] = ()
) -> Settings:
    """Read the settings of a recipe and apply overrides such as "mixing.num_sources=3".

    Raises:
        InputError: an unknown recipe or field (with the closest known name), a recipe of another
            command, a value of the wrong type, or a file that is not TOML.
    """
    values = read_recipe(name_or_path)
    recipe_command = values.pop("command", None)
    if recipe_command != command:
        problem = (
            f"is for `avsep {recipe_command}`, not for `avsep {command}`"
            if recipe_command
            else "has no entry `command`"
        )
        raise InputError(
            f"recipe '{name_or_path}' {problem}: write command = "
            f'"{command}" at its top, or use one of: {", ".join(recipe_names(command)) or "none"}'
        )
    for override in overrides:
        _apply(values, override)
    return check_settings(values, schema, f"recipe '{name_or_path}'")


def read_overrides(overrides: Sequence[str], schema: type[Settings]) -> Settings:
    """Apply overrides such as "num_sources=3" to the defaults; errors as in `load_recipe`."""
    values: dict[str, Any] = {}
    for override in overrides:
        _apply(values, override)
    return check_settings(values, schema, "--set")


def recipe_names(command: str | None = None) -> list[str]:
    """Return the names of the recipes in the package, for one command or all."""
    items = [item for folder in _FOLDERS for item in folder.iterdir()]
    names = sorted(i.name.removesuffix(".toml") for i in items if i.name.endswith(".toml"))
    return [name for name in names if command in (None, read_recipe(name).get("command"))]


def read_recipe(name_or_path: str | Path, children: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the entries of a recipe, merged over those of the recipe it extends.

    A path in `extends` is relative to the recipe's own folder.

    Args:
        children: the recipes that led here by `extends`, to detect a cycle.
    """
    source = str(name_or_path)
    if source in children:
        raise InputError(
            f"recipes extend each other in a circle: {' -> '.join([*children, source])}"
        )
    try:
        values = tomllib.loads(_read_text(source))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe '{source}' is not TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise InputError(f"recipe '{source}': extends must be a name or a path, given: {base!r}")
    if base.endswith(".toml"):
        # Resolved, so that a cycle is found however its paths are written.
        base = str((Path(source).parent / base).resolve())
    return merge(read_recipe(base, (*children, source)), values)


def write_recipe(settings: BaseModel, command: str) -> str:
    """Write all settings as TOML; `load_recipe` reads equal settings back."""
    lines = [f"command = {json.dumps(command)}"]
    lines += _toml_lines(settings.model_dump(mode="json", exclude_none=True), "")
    return "\n".join(lines) + "\n"


def check_settings(
    values: dict[str, Any], schema: type[Settings], where: str, kind: str = "setting"
) -> Settings:
    """Build settings from user input; the first error is reported with its field.

    Args:
        where: the source of the values, for errors: a file or a command.
        kind: the word for a field in errors.

    Raises:
        InputError: an unknown field or a value that does not fit, in one line.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise first_fault(error, schema, where, kind) from error


def first_fault(
    error: ValidationError, schema: type[BaseModel], where: str, kind: str = "setting"
) -> InputError:
    """Return the first error of a validation in one line: field, value given, values allowed."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "its settings"
    if first["type"] == "extra_forbidden":
        names = list(_known_fields(schema, first["loc"]))
        matches = difflib.get_close_matches(field, names, n=1)
        hint = f"did you mean '{matches[0]}'? " if matches else ""
        return InputError(f"{where}: unknown {kind} '{field}'; {hint}known: {', '.join(names)}")
    # pydantic puts this before the message of a ValueError from a validator of ours.
    message = first["msg"].removeprefix("Value error, ")
    # An array may be given, whose text has many lines.
    value = " ".join(repr(first["input"]).split())
    if len(value) > _MAX_VALUE_LENGTH:
        value = f"{value[:_MAX_VALUE_LENGTH]}..."
    return InputError(f"{where}: {field}: {message}; given: {value}")


def settings_group(annotation: object) -> type[BaseModel] | None:
    """Return the settings class in a field's type, also in `Settings | None`; else None.

    >>> settings_group(BaseModel | None) is BaseModel, settings_group(int | None)
    (True, None)
    """
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next(filter(_is_settings, kinds), None)


def _is_settings(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _read_text(source: str) -> str:
    """Return the text of a file, if the source ends in .toml, or of a recipe in the package."""
    path = Path(source)
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(
                f"recipe '{source}' is not a file; give a path or one of the names "
                f"{', '.join(recipe_names())}"
            )
        # Some editors write a byte order mark, which "utf-8-sig" skips and TOML does not allow.
        return path.read_text(encoding="utf-8-sig")
    # A name with a slash could otherwise read any file of the disk as a recipe of the package.
    places = [folder / f"{source}.toml" for folder in _FOLDERS] if path.name == source else []
    resource = next((place for place in places if place.is_file()), None)
    if resource is None:
        raise unknown_name("recipe", source, recipe_names())
    return resource.read_text(encoding="utf-8")


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one "a.b=c" in nested values; c is parsed as TOML, or else taken as text."""
    name, equals, text = override.partition("=")
    *groups, last = _split_name(name) or [""]
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


def _split_name(name: str) -> list[str]:
    """Split a dotted name as TOML splits keys; an invalid name has no parts.

    >>> _split_name('weights."objects.encoder"'), _split_name("a..b")
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


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the base with changes; nested groups are merged, lists are replaced."""
    merged = dict(base)
    for name, value in changes.items():
        base_value = merged.get(name)
        if isinstance(base_value, dict) and isinstance(value, dict):
            value = merge(base_value, value)
        merged[name] = value
    return merged


def _known_fields(schema: type[BaseModel], location: Sequence[int | str]) -> Iterator[str]:
    """Yield all field names, or within a list of settings (`takes.0.x`) those of its items."""
    group = ""
    for part, index in pairwise(location):
        if isinstance(part, str) and isinstance(index, int) and part in schema.model_fields:
            item_types = get_args(schema.model_fields[part].annotation)
            item_settings = next(filter(_is_settings, item_types), None)
            if item_settings is not None:
                schema, group = item_settings, f"{group}{part}.{index}."
    yield from _field_names(schema, group)


def _field_names(schema: type[BaseModel], group: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        inner = settings_group(field.annotation)
        if inner is None:
            yield f"{group}{name}"
        else:
            yield from _field_names(inner, f"{group}{name}.")


def _toml_lines(values: dict[str, Any], group: str) -> Iterator[str]:
    # Plain values first: after a [group] heading they would belong to that group.
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
    """Return a value as TOML on one line: as JSON, except where TOML differs."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml_key(k)} = {_toml_value(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # "inf", "nan"; JSON writes "Infinity"
    # ensure_ascii would write surrogate pairs, which TOML rejects, as it does a bare DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
