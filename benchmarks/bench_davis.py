"""One evaluation of DAVIS' network at the paper's size: rate and memory against plain float32."""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

REQUIRED_RATE, REQUIRED_MEMORY, REQUIRED_SNR_DB = 1.8, 0.75, 40.0
RUNS = 5


def main() -> None:
    """Print seconds, peak memory and the distance of both outputs; exit 1 if less than required."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only)))  # noqa: T201 (to the process that asked)
        return
    plain, ours = (_in_own_process(name) for name in ("plain", "ours"))
    table = Table("network", "seconds", "GFLOP/s", "peak MB", "precision")
    for name, found in (("plain float32", plain), ("ours", ours)):
        rate = f"{found['gflop'] / found['seconds']:.0f}"
        table.add_row(
            name, f"{found['seconds']:.2f}", rate, f"{found['megabytes']:.0f}", found["precision"]
        )
    console = Console()
    console.print(table)
    rate = plain["seconds"] / ours["seconds"]
    memory = ours["megabytes"] / plain["megabytes"]
    console.print(
        f"{rate:.2f} times the rate (required {REQUIRED_RATE}), {memory:.2f} of the peak memory "
        f"(required at most {REQUIRED_MEMORY}), output {ours['snr_db']:.1f} dB from float32 "
        f"(required {REQUIRED_SNR_DB:.0f})"
    )
    good = rate >= REQUIRED_RATE and memory <= REQUIRED_MEMORY
    sys.exit(0 if good and ours["snr_db"] >= REQUIRED_SNR_DB else 1)


def _in_own_process(name: str) -> dict:
    """Peak memory is a process's, so each has its own."""
    words = [sys.executable, __file__, "--only", name]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)
