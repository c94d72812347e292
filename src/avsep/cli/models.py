"""avsep models: what can be named where a model is asked for."""

from typing import Annotated

import typer

from avsep.cli.console import say, say_json, say_table


def models(
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """List every separator that `avsep evaluate` can be given by name.

    Baselines and ceilings are what every model is measured between. Trained models join the list
    as they ship.
    """
    from avsep.evaluation.baselines import DESCRIPTIONS

    if as_json:
        say_json([{"name": name, "what": what} for name, what in DESCRIPTIONS.items()])
        return
    say_table("Separators", ["name", "what it is"], ([*item] for item in DESCRIPTIONS.items()))
    say("No trained model ships in this version yet.")
