"""The files of an evaluation: results.json, results.csv, tables.md, tables.tex."""

import json
from pathlib import Path

from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.results.result_tables import as_csv, as_latex, as_markdown, tables_of
from avsep.evaluation.results.results_json import as_json
from avsep.media.whole_file import make_folder, write_whole

RESULTS_NAME = "results.json"


def write_results(evaluation: Evaluation, folder: Path, data_name: str) -> None:
    """Write everything measured into a folder; the same evaluation is the same bytes."""
    make_folder(folder)
    found = as_json(evaluation, data_name)
    write_whole(folder / RESULTS_NAME, json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_whole(folder / "results.csv", as_csv(evaluation))
    tables = list(tables_of(evaluation, f"{len(evaluation.clips)} mixtures of {data_name}"))
    write_whole(folder / "tables.md", as_markdown(tables))
    write_whole(folder / "tables.tex", as_latex(tables))
