"""Count the source files and functions of avsep that one command enters.

Run `python tools/count_entered.py [--list] separate VIDEO -o OUT`: all modules are imported first,
so that only what the command runs is counted, worker threads included; worker processes are not
(give `--set workers=1` to `evaluate`).
"""

import importlib
import pkgutil
import sys
import threading
from pathlib import Path
from types import FrameType

import avsep

SOURCE = Path(avsep.__file__).parent


def main(arguments: list[str]) -> int:
    """Run a command of avsep and print what it entered; its exit code is returned."""
    is_listed = arguments[:1] == ["--list"]
    command = arguments[1:] if is_listed else arguments
    if not command:
        print(__doc__)
        return 2
    for module in pkgutil.walk_packages(avsep.__path__, "avsep."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    code, entered = run(command)
    files = sorted({name for name, _ in entered})
    if is_listed:
        print("\n".join(files))
    print(
        f"{command[0]}: {len(files)} files and {len(entered)} functions entered, exit code {code}"
    )
    return code


def run(command: list[str]) -> tuple[int, set[tuple[str, str]]]:
    """Run a command under a profiler; return its exit code and (file, function) pairs."""
    from avsep.cli import main as avsep_main

    entered: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(SOURCE)):
            name = Path(code.co_filename).relative_to(SOURCE).as_posix()
            entered.add((name, code.co_qualname))

    sys.argv = ["avsep", *command]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        avsep_main()
    except SystemExit as end:
        return int(end.code or 0), entered
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return 0, entered


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
