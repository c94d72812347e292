"""The command `avsep models`: list models, baselines and ceilings by name."""

from importlib.util import find_spec
from typing import Annotated

import typer

from avsep.catalogue import read_catalogue
from avsep.cli.console import print_json, print_line, print_table


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List shipped weights, trainable systems, baselines and ceilings.

    `avsep evaluate` and `avsep listen` take shipped weights and baselines by name, `avsep separate`
    takes shipped weights. Systems are the networks of the papers, for `avsep train`; the number of
    parameters is that of the paper's size.
    """
    entries = read_catalogue().models
    if as_json:
        print_json([entry.as_json() for entry in entries])
        return
    shipped = [entry for entry in entries if entry.kind == "weights"]
    print_table(
        "Shipped weights",
        ["name", "description", "MB", "measured"],
        (
            [
                entry.name,
                entry.description,
                f"{entry.megabytes:.1f}",
                "; ".join(_score(*item) for item in (entry.measured or {}).items()),
            ]
            for entry in shipped
        ),
    )
    for entry in shipped:
        categories = ", ".join(entry.categories or ()) or "none, uses crops and boxes only"
        print_line(f"Categories of {entry.name}: {categories}")
    systems = [entry for entry in entries if entry.kind == "system"]
    print_table(
        "Systems, at the size of their papers",
        ["name", "description", "trained parameters, millions", "frozen"],
        (
            [
                entry.name,
                entry.description,
                _millions(entry.num_trained),
                _millions(entry.num_frozen),
            ]
            for entry in systems
        ),
    )
    for entry in systems:
        if entry.package and find_spec(entry.package) is None:
            print_line(f"{entry.name} needs a package: pip install {entry.package}")
    print_table(
        "Baselines and ceilings",
        ["name", "description"],
        ([entry.name, entry.description] for entry in entries if entry.kind == "baseline"),
    )


def _score(name: str, value: object) -> str:
    return f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}"


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.2f}"
