"""The command `avsep listen`: make a listening test of two methods, or count its votes."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_json, print_line, print_table, spinner
from avsep.cli.options import Device, Labels, Pairs
from avsep.errors import InputError

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Two methods: names from `avsep models` or checkpoint files.",
    ),
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of clips, of any data set.")]
Page = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="FILE", help="The page to write; its key is written beside it."
    ),
]
PairsCount = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of mixtures; each source is one trial.")
]
Seed = Annotated[
    int, typer.Option(min=0, help="Random seed of the mixtures, their order and which one is A.")
]
Tally = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...", help="Count these votes instead of making a test; needs --key."
    ),
]
Key = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Key file of the test, for --tally.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the files written, or the tally, as JSON.")
]


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
    """Make a listening test of two methods as one HTML page, or count the votes of one.

    In each trial listeners hear the true sound, see the frame with the object marked, and choose
    the closer of two results, as in section 4.3 of the DAVIS paper. The seed decides which method
    is A; this is written to a key file for the organiser: listen.html has listen-key.json. Send the
    page to the listeners; it saves their votes as a file that they send back.

    Example: `avsep listen dgfnet-mini ideal-ratio-mask --data band -o listen.html`

    Example: `avsep listen --tally votes-ann.json votes-ben.json --key listen-key.json`
    """
    if tally:
        if key is None:
            raise InputError("votes are counted with the key of their test: add --key FILE")
        _count_votes(tally, key, as_json)
        return
    if key is not None:
        raise InputError("--key goes with --tally: add the files of votes, --tally FILE...")
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

    torch_device = find_device(device)
    chosen = choose_mixtures(open_dataset(data), pairs=pairs, seed=seed)
    # Ceilings and floors would be rated too: a test compares exactly the two methods named.
    methods = find_methods(names or [], labels, ["all"], torch_device, with_baselines=False)
    reader, data_name = ClipReader(chosen.mixtures), data.resolve().name
    with spinner("separating with both methods"):
        test = make_listening_test(methods, reader, data_name, pairs_count, seed, torch_device)
    key_path = write_listening_test(test, out)
    if as_json:
        files = {"page": str(out), "key": str(key_path)}
        print_json({"test": test.key.test, "num_trials": len(test.trials), **files})
        return
    print_line(
        f"{len(test.trials)} trials in {out}; {key_path} names the methods, keep it to yourself"
    )


def _count_votes(files: list[Path], key: Path, as_json: bool) -> None:
    from avsep.evaluation.listening.votes import tally_files, tally_table

    result = tally_files(files, key)
    if as_json:
        print_json(result.as_json())
        return
    head, rows, notes = tally_table(result)
    first, second = result.methods
    print_table(f"{first} preferred to {second}", head, rows)
    for note in notes:
        print_line(note)
