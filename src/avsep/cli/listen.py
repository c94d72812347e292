"""avsep listen: a listening test of two separators, and its votes counted."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_json, print_line, print_table, working
from avsep.cli.options import Device, Labels, Pairs
from avsep.errors import InputError

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Two separators, as `avsep evaluate` takes them."),
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A folder of clips, of any data set.")
]
Page = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="FILE", help="The page; its key is written beside it."),
]
PairsCount = Annotated[
    int, typer.Option(min=1, metavar="N", help="Mixtures, each with a trial for every source.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of mixtures, their order, and who is A.")]
Tally = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE...", help="Count these votes instead; needs --key."),
]
Key = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The key of the test whose votes these are.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def listen(
    names: Names = None,
    data: Data = None,
    out: Page = Path("listen.html"),
    pairs: Pairs = None,
    pairs_count: PairsCount = 8,
    labels: Labels = "given",
    seed: Seed = 0,
    device: Device = "auto",
    tally: Tally = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a listening test of two separators as one page, or count the votes of one.

    For each trial listeners hear the true sound, see the frame with the object marked, and say
    which of two results is closer, as in section 4.3 of DAVIS. Which separator is A is drawn from
    the seed, and written into a key file that stays with you: listen.html has listen-key.json. The
    page is one file to send; it saves votes as a file that comes back to you.

    Example: `avsep listen dgfnet-mini ideal-ratio-mask --data band -o listen.html`

    Example: `avsep listen --tally votes-ann.json votes-ben.json --key listen-key.json`
    """
    if tally:
        if key is None:
            raise InputError("votes are counted with the key of their test: add --key FILE")
        _count(tally, key, as_json)
        return
    if key is not None:
        raise InputError("--key goes with --tally: give the files of votes, --tally FILE...")
    if data is None:
        raise InputError(
            "a listening test needs mixtures: add --data DIR, or count votes with --tally FILE..."
        )
    from avsep.data import open_dataset
    from avsep.devices import find_device
    from avsep.evaluation.batches import ClipReader
    from avsep.evaluation.listening.design import make_listening_test
    from avsep.evaluation.listening.page import write_listening_test
    from avsep.evaluation.methods import find_methods
    from avsep.evaluation.mixtures import choose_mixtures

    place = find_device(device)
    chosen = choose_mixtures(open_dataset(data), pairs=pairs, seed=seed)
    methods = find_methods(names or [], labels, ["all"], place, with_baselines=False)
    reader, data_name = ClipReader(chosen.mixtures), data.resolve().name
    with working("asking both separators"):
        test = make_listening_test(methods, reader, data_name, pairs_count, seed, place)
    key_path = write_listening_test(test, out)
    if as_json:
        files = {"page": str(out), "key": str(key_path)}
        print_json({"test": test.key.test, "num_trials": len(test.trials), **files})
        return
    print_line(
        f"{len(test.trials)} trials in {out}; {key_path} says which is which, keep it to yourself"
    )


def _count(files: list[Path], key: Path, as_json: bool) -> None:
    from avsep.evaluation.listening.votes import tally_files, tally_table

    result = tally_files(files, key)
    if as_json:
        print_json(result.as_json())
        return
    head, rows, warnings = tally_table(result)
    first, second = result.separators
    print_table(f"{first} preferred to {second}", head, rows)
    for remark in warnings:
        print_line(remark)
