"""avsep doctor: what this machine has, what is missing, what to type."""

from typing import Annotated

import typer

from avsep.cli.console import print_json, print_line


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="To paste into a report.")] = False,
) -> None:
    """Look at this machine: packages, device, codecs, shipped files. Exit 2 when one is missing."""
    from avsep.doctor import as_json as findings_as_json
    from avsep.doctor import examine

    findings = examine()
    if as_json:
        print_json(findings_as_json(findings))
    else:
        for finding in findings:
            print_line(
                f"{'ok     ' if finding.well else 'MISSING'} {finding.name}: {finding.detail}"
            )
            if finding.remedy:
                print_line(f"        {finding.remedy}")
    if not all(finding.well for finding in findings):
        raise typer.Exit(2)
