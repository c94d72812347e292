"""avsep models: what can be named where a model is asked for."""

from typing import Annotated

import typer

from avsep.cli.console import print_json, print_line, print_table


def models(
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """List every separator: shipped weights, systems to train, baselines and ceilings.

    Shipped weights and baselines can be given to `avsep evaluate` by name, shipped weights to
    `avsep separate`. Systems are the papers' networks, which `avsep train` trains; their numbers of
    parameters are those at the paper's size.
    """
    from avsep.evaluation.model_info import list_models

    entries = list(list_models())
    if as_json:
        print_json([entry.as_json() for entry in entries])
        return
    shipped = [entry for entry in entries if entry.kind == "weights"]
    print_table(
        "Shipped weights",
        ["name", "what it is", "MB", "measured"],
        (
            [
                entry.name,
                entry.description,
                f"{entry.megabytes:.1f}",
                "; ".join(_figure(*item) for item in (entry.measured or {}).items()),
            ]
            for entry in shipped
        ),
    )
    for entry in shipped:
        words = ", ".join(entry.categories or ()) or "none, it goes by pictures and places alone"
        print_line(f"Categories of {entry.name}: {words}")
    systems = [entry for entry in entries if entry.kind == "system"]
    print_table(
        "Systems, at the size of their papers",
        ["name", "what it is", "trained, millions", "frozen"],
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
        if entry.missing:
            print_line(f"{entry.name}: {entry.missing}")
    print_table(
        "Baselines and ceilings",
        ["name", "what it is"],
        ([entry.name, entry.description] for entry in entries if entry.kind == "baseline"),
    )


def _figure(what: str, value: object) -> str:
    return f"{what} {value:.2f}" if isinstance(value, float) else f"{what} {value}"


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.2f}"
