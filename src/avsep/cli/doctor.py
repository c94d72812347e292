"""avsep doctor: what this machine has, what is missing, what to type."""

from typing import Annotated

import typer

from avsep.cli.console import say, say_json


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="To paste into a report.")] = False,
) -> None:
    """Look at this machine: packages, device, codecs, shipped files. Exit 2 when one is missing."""
    from avsep.doctor import as_json as findings_as_json
    from avsep.doctor import examine

    findings = examine()
    if as_json:
        say_json(findings_as_json(findings))
    else:
        for finding in findings:
            say(f"{'ok     ' if finding.well else 'MISSING'} {finding.name}: {finding.detail}")
            if finding.remedy:
                say(f"        {finding.remedy}")
    if not all(finding.well for finding in findings):
        raise typer.Exit(2)
