"""Find the files to separate: from files, folders, patterns and lists, in order and each once."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from avsep.errors import InputError
from avsep.separation.output_folder import is_result_folder

# Endings of the containers that hold video or sound; of a file that is named any ending is tried.
_ENDINGS = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".rm", ".rmvb", ".ts",
    ".vob", ".webm", ".wmv", ".wtv", ".y4m",
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".dts", ".eac3",
    ".flac", ".m4a", ".m4b", ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".tta",
    ".w64", ".wav", ".wma", ".wv",
})  # fmt: skip


@dataclass(frozen=True)
class InputFile:
    """A file to separate, and the folder of its result below the folder of all results.

    Attributes:
        path: the file.
        subfolder: its folder below the input folder in which it was found; else empty.
    """

    path: Path
    subfolder: PurePath


def find_inputs(inputs: Sequence[str | Path]) -> list[InputFile]:
    """Find the files of all inputs, in their order, each once; within a folder sorted by path.

    Args:
        inputs: files; folders, which are searched with all folders in them for files with the
            ending of a video or sound, except for hidden files, results of avsep, and the folder
            VIDEO/ with objects.json beside a video; patterns such as "clips/*.mp4" (`**`: any
            folders); and "@list.txt", a text file with a path a line, relative to its folder.

    Raises:
        InputError: a folder or a pattern without any file, or a list that cannot be read.
    """
    files: dict[Path, InputFile] = {}
    for name in inputs:
        for item in _expand(str(name)):
            # Not resolved: two links to one file are two names, which the user chose.
            files.setdefault(item.path.absolute(), item)
    return list(files.values())


def _expand(name: str) -> Iterator[InputFile]:
    """Yield the files of one input; a name that exists is never a pattern or a list."""
    if name.startswith("@") and not Path(name).exists():
        for path in _read_list(Path(name[1:])):
            yield from _expand_path(path)
    elif glob.has_magic(name) and not Path(name).exists():
        # Not Path.glob, which finds hidden files too.
        paths = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        if not paths:
            raise InputError(f"no file matches '{name}'; give files, a folder, or another pattern")
        for path in paths:
            yield from _expand_path(Path(path))
    else:
        yield from _expand_path(Path(name))


def _expand_path(path: Path) -> Iterator[InputFile]:
    if not path.is_dir():
        # Also one that does not exist: an error of its own, so that the others are separated.
        yield InputFile(path, PurePath())
        return
    files = [InputFile(file, file.parent.relative_to(path)) for file in _walk(path)]
    if not files:
        raise InputError(
            f"'{path}' contains no video: no file in it ends in .mp4, .mkv, .mov or the like; give "
            "a folder that does, or the files themselves"
        )
    yield from files


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the video and sound files of a folder and all folders in it, sorted."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"'{folder}' cannot be read: {error.strerror}") from error
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    files = [e for e in entries if e.suffix.lower() in _ENDINGS and e.is_file()]
    yield from files
    videos = {file.stem for file in files}
    for entry in entries:
        # A linked folder may contain itself.
        if not entry.is_dir() or entry.is_symlink() or is_result_folder(entry):
            continue
        # Beside a video: its objects and, in data sets, its true stems.
        if entry.name in videos and (entry / "objects.json").is_file():
            continue
        yield from _walk(entry)


def _read_list(path: Path) -> list[Path]:
    try:
        # Some editors begin a file with a byte order mark, which "utf-8-sig" removes.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(
            f"cannot read the list '{path}': {error.strerror}; give @FILE, a text file with a path "
            "a line"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the list '{path}' is no text in UTF-8: {error.reason}") from error
    paths = [path.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise InputError(f"the list '{path}' is empty; write a path a line")
    return paths
