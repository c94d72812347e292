"""Test recipes: names and paths, extension, overrides, round trip, and error messages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from avsep.data.mixing import MixingSettings
from avsep.errors import InputError
from avsep.recipe import check_settings, load_recipe, read_recipe, recipe_names, write_recipe


class RunSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    num_steps: int = 3
    title: str = 'a "quoted" name'
    mixing: MixingSettings = MixingSettings()


class AnySettings(BaseModel):
    """A field of every kind that a recipe may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = ""
    level_db: float = 0.0
    is_loud: bool = False
    weights: dict[str, float] = {}
    takes: tuple[MixingSettings, ...] = ()
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
    from avsep.toyband.clip import ToybandSettings
    from avsep.training.recipe import TrainRecipe

    schemas = {"toyband": ToybandSettings, "train": TrainRecipe}
    command = read_recipe(name)["command"]
    settings = load_recipe(name, command, schemas[command])
    assert check_settings(settings.model_dump(), schemas[command], name) == settings


@pytest.mark.slow
@given(
    settings=st.builds(
        AnySettings,
        title=st.text(),
        level_db=st.floats(allow_nan=False),
        is_loud=st.booleans(),
        weights=st.dictionaries(st.text(max_size=8), st.floats(allow_nan=False), max_size=3),
        takes=st.lists(st.builds(MixingSettings, repeats=st.integers(1, 9)), max_size=2).map(tuple),
    )
)
def test_any_settings_come_back(
    tmp_path_factory: pytest.TempPathFactory, settings: AnySettings
) -> None:
    path = write(tmp_path_factory.mktemp("any"), "any.toml", write_recipe(settings, "train"))
    assert load_recipe(path, "train", AnySettings) == settings


def test_what_a_recipe_extends_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    write(
        tmp_path,
        "base.toml",
        'command = "train"\nnum_steps = 1\ntitle = "base"\n[mixing]\nrepeats = 4',
    )
    write(
        tmp_path / "runs",
        "short.toml",
        'extends = "../base.toml"\nnum_steps = 2\n[mixing]\nnum_sources = 3',
    )
    write(tmp_path / "runs", "own.toml", 'extends = "short.toml"\ntitle = "🎻"')
    for folder in (tmp_path, tmp_path / "runs"):
        monkeypatch.chdir(folder)
        settings = load_recipe(tmp_path / "runs" / "own.toml", "train", RunSettings)
        assert (settings.num_steps, settings.title) == (2, "🎻")
        assert (settings.mixing.num_sources, settings.mixing.repeats) == (3, 4)


def test_a_circle_is_found_however_the_names_are_written(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    write(tmp_path, "a.toml", 'extends = "x/b.toml"')
    write(tmp_path / "x", "b.toml", 'extends = "../x/../a.toml"')
    with pytest.raises(InputError, match=r"in a circle: .*a\.toml -> .*b\.toml -> .*a\.toml"):
        read_recipe(tmp_path / "x" / ".." / "a.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfec\x00", "is not TOML: 'utf-8' codec can't decode byte 0xff"),
        (b"", "has no entry `command`: write command = .* or use one of: avsep, avsep-mini"),
        (b"command = 3", "is for `avsep 3`, not for `avsep train`"),
        (b"extends = ['a', 'b']", r"extends must be a name .*given: \['a', 'b'\]"),
        (b"extends = 'toyband-dets'", "'toyband-dets'; did you mean 'toyband-duets'"),
        (b"extends = 'gone.toml'", r"gone\.toml' is not a file; give a path or one of the names"),
        (b"command = 'train'\nmixing = 3", "mixing: Input should be a valid dict.*given: 3"),
        (b"command = 'train'\n[[mixing]]\nrepeats = 1", "mixing: Input should be a valid dict"),
        (b"command = 'train'\n[mixing]\nrule = ['sum']", r"mixing\.rule: Input should be 'mean'"),
    ],
)  # fmt: skip
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(tmp_path / "run.toml", "train", RunSettings)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfcommand = 'train'\nnum_steps = 8")
    assert load_recipe(tmp_path / "a.toml", "train", RunSettings).num_steps == 8


@pytest.mark.parametrize("override", ["=3", ".=3", "mixing.=3", "mixing..rule=sum", " = 3", "a"])
def test_overrides_need_whole_names(tmp_path: Path, override: str) -> None:
    path = write(tmp_path, "run.toml", 'command = "train"')
    with pytest.raises(InputError, match=r"must read name=value, such as mixing\.num_sources=3"):
        load_recipe(path, "train", RunSettings, [override])


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("title=a=b", "title", "a=b"),
        ("title=", "title", ""),
        (" title = two words", "title", " two words"),
        ('title="5"', "title", "5"),
        ("num_steps=1_000", "num_steps", 1000),
        ("mixing.gain_range=[1, 2]", "mixing", MixingSettings(gain_range=(1, 2))),
        ("mixing={rule = 'sum'}", "mixing", MixingSettings(rule="sum")),
    ],
)
def test_overrides_are_toml_or_text(
    tmp_path: Path, override: str, field: str, value: object
) -> None:
    path = write(tmp_path, "run.toml", 'command = "train"')
    assert getattr(load_recipe(path, "train", RunSettings, [override]), field) == value
