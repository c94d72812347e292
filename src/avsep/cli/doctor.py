"""The command `avsep doctor`: report missing packages, codecs and files of this machine."""

from typing import Annotated

import typer

from avsep.cli.console import print_json, print_line


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, to paste into a bug report.")
    ] = False,
) -> None:
    """Check packages, device, codecs and shipped files. Exit with 2 if something is missing."""
    from avsep.doctor import as_json as checks_as_json
    from avsep.doctor import check_machine

    checks = check_machine()
    if as_json:
        print_json(checks_as_json(checks))
    else:
        for check in checks:
            print_line(f"{'ok     ' if check.passed else 'MISSING'} {check.name}: {check.detail}")
            if check.remedy:
                print_line(f"        {check.remedy}")
    if not all(check.passed for check in checks):
        raise typer.Exit(2)
