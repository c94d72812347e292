"""Recipes: names and paths, extension, overrides, round trip, and errors that tell the way."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from avsep.data.mixing import MixingSettings
from avsep.errors import InputError
from avsep.recipe import check_settings, load_recipe, read_recipe, recipe_names, write_recipe


class RunSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: int = 3
    title: str = 'a "quoted" name'
    mixing: MixingSettings = MixingSettings()


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_path_with_extension_and_overrides(tmp_path: Path) -> None:
    text = 'command = "train"\n[mixing]\nnum_sources = 3\nrule = "sum"'
    base = write(tmp_path, "base.toml", text)
    path = write(tmp_path, "child.toml", f'extends = "{base}"\n[mixing]\nrepeats = 5')
    settings = load_recipe(path, "train", RunSettings, ["mixing.rule=mean", "num_steps=9"])
    assert settings.mixing == MixingSettings(num_sources=3, rule="mean", repeats=5)
    assert settings.num_steps == 9


def test_there_and_back(tmp_path: Path) -> None:
    settings = RunSettings(num_steps=7, mixing=MixingSettings(gain_range=(0.25, 2.0)))
    path = write(tmp_path, "kept.toml", write_recipe(settings, "train"))
    assert load_recipe(path, "train", RunSettings) == settings


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("num_step = 1", [], "unknown setting 'num_step'; did you mean 'num_steps'\\? known: num_"),
        ("num_steps = 'many'", [], "num_steps: Input should be a valid integer.*given: 'many'"),
        ("", ["mixing.num_sources=9"], "mixing.num_sources: Input should be less than or equal"),
        ("", ["mixing.rule=median"], "mixing.rule: Input should be 'mean', 'sum' or 'mean-"),
        ("", ["num_steps"], "--set 'num_steps' must read name=value"),
        ("", ["num_steps.a=3", "num_steps=1"], "num_steps"),
        ("num_steps = = 1", [], "is not TOML: "),
    ],
)
def test_errors(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    path = write(tmp_path, "run.toml", f'command = "train"\n{text}')
    if overrides[:1] == ["num_steps.a=3"]:
        path = write(tmp_path, "run.toml", 'command = "train"\nnum_steps = 4')
    with pytest.raises(InputError, match=message):
        load_recipe(path, "train", RunSettings, overrides)


def test_names_and_commands(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown recipe 'toybend'; did you mean 'toyband'"):
        read_recipe("toybend")
    with pytest.raises(InputError, match=r"unknown recipe '\.\./toyband'"):
        read_recipe("../toyband")
    with pytest.raises(InputError, match=r"recipe '.*nowhere.toml' is not a file; give a path or"):
        read_recipe(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="is for `avsep toyband`, not for `avsep train`"):
        load_recipe("toyband", "train", RunSettings)
    path = write(tmp_path, "a.toml", f'extends = "{tmp_path / "a.toml"}"')
    with pytest.raises(InputError, match="extend each other in a circle"):
        read_recipe(path)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load(name: str) -> None:
    from avsep.data.toyband.clip import ToybandSettings

    schemas = {"toyband": ToybandSettings}
    command = read_recipe(name)["command"]
    settings = load_recipe(name, command, schemas[command])
    assert check_settings(settings.model_dump(), schemas[command], name) == settings
