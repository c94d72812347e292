"""Test list options: every way of writing a list gives the same values."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from avsep.cli.options import ListCommand, expand_lists


@pytest.fixture
def app() -> typer.Typer:
    """A command that prints its arguments."""
    app = typer.Typer()

    def show(
        place: Annotated[str, typer.Argument()] = "none",
        left: Annotated[list[str] | None, typer.Option("--left", "-l")] = None,
        right: Annotated[list[str] | None, typer.Option()] = None,
        loud: bool = False,
        number: int = 0,
    ) -> None:
        typer.echo(f"{place} {left or []} {right or []} {loud} {number}")

    app.command(cls=ListCommand)(show)
    return app


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--left a b --right c", "none ['a', 'b'] ['c'] False 0"),
        ("--left a --left b --right=c", "none ['a', 'b'] ['c'] False 0"),
        ("--left=a b --right=c", "none ['a', 'b'] ['c'] False 0"),
        ("-l a b --loud --right c", "none ['a', 'b'] ['c'] True 0"),
        ("--left a --number 3 --left=-b", "none ['a', '-b'] [] False 3"),
        ("here --left a b", "here ['a', 'b'] [] False 0"),
        ("--left a b -- here", "here ['a', 'b'] [] False 0"),
        ("--left a - b", "none ['a', '-', 'b'] [] False 0"),
        ("", "none [] [] False 0"),
    ],
)
def test_lists(app: typer.Typer, line: str, shown: str) -> None:
    result = CliRunner().invoke(app, line.split())
    assert (result.exit_code, result.output.strip()) == (0, shown)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--left", "'--left' requires an argument"),
        ("--left a --rigth b", "No such option: --rigth"),
    ],
)
def test_wrong_usage_is_an_error_as_without_lists(
    app: typer.Typer, line: str, message: str
) -> None:
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 2
    assert message in result.output


def test_what_is_no_list_stays() -> None:
    words = ["--fast", "a", "--to", "--", "b", "c"]
    assert expand_lists(words, {"--to"}) == words
