"""Match estimates with references in folders of stems, by file name."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avsep.errors import InputError
from avsep.media.names import distinct

# Files with these endings are stems; a video without sound is an error when it is read.
SOUND_ENDINGS = frozenset({
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".w64", ".caf",
    ".wma", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts",
})  # fmt: skip
# A file of this name among references is the mixture, as in MUSDB18.
_MIXTURE_NAMES = {"mixture", "mix"}
# A folder of this name holds the stems of the one above it, as in toyband.
_STEMS = "stems"
_MAX_LISTED = 12  # file names in one message, so that it stays readable


@dataclass(frozen=True)
class Song:
    """The references of one mixture and one tool's estimates of them.

    Attributes:
        tool: path of the folder of estimates, as the user typed it.
        name: name of the song's folder, "" if the references are not sorted by songs.
        sources: name of each source: its reference's name without a leading number; a second source
            of that name has `-2`.
        mixture: the file before separation, if there is one.
    """

    tool: str
    name: str
    sources: tuple[str, ...]
    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    mixture: Path | None
    warnings: tuple[str, ...]


def are_folders(references: Sequence[Path], estimates: Sequence[Path]) -> bool:
    """Return True if the estimates are folders to match by name, False if files in order.

    Raises:
        InputError: files and folders are mixed, or only the references are a folder.
    """
    folders = [path for path in estimates if path.is_dir()]
    files = [path for path in estimates if not path.is_dir()]
    if folders and files:
        raise InputError(
            f"'{folders[0]}' is a folder, '{files[0]}' is not; give files only, or folders only"
        )
    true_folder = next((path for path in references if path.is_dir()), None)
    if true_folder is not None and not folders:
        contrast = f", and '{files[0]}' is not a folder" if files else ""
        raise InputError(
            f"'{true_folder}' is a folder of references{contrast}; give --estimate a folder too"
        )
    return bool(folders)


def match_folders(
    references: Sequence[Path], tools: Sequence[Path], mixture: Path | None = None
) -> list[Song]:
    """Return the songs of each tool, tool by tool.

    Files match if their names without endings are equal: exactly, else ignoring case, else without
    a leading `NN-`. A file mixture.* or mix.* among the references is the mixture. If the folders
    of references and of every tool hold folders of sounds, each of these is a song, matched by name
    in the same way.

    Args:
        references: files, or one folder of sounds or of songs.
        tools: folders, each of sounds or of songs like the references.
        mixture: one file; for songs a folder with `SONG.*` or `SONG/mixture.*`.

    Raises:
        InputError: a reference without an estimate or with two, or no reference at all.
    """
    for path in references:
        if not path.exists():
            raise InputError(f"'{path}' does not exist")
    folder = references[0] if len(references) == 1 and references[0].is_dir() else None
    if folder is None:
        for path in references:
            if path.is_dir():
                raise InputError(
                    f"'{path}' is a folder: give one folder of references and nothing else, or "
                    "files only"
                )
    by_song = folder is not None and _has_songs(folder, tools)
    songs: list[Song] = []
    for tool in dict.fromkeys(tools):
        if by_song and folder is not None:
            songs += _match_songs(folder, tool, mixture)
        else:
            # A file that the user typed is a source, even if it is called mixture.wav.
            stems, mixtures = (references, []) if folder is None else _list_references(folder)
            song_mixture = mixture or next(iter(mixtures), None)
            song = _match_stems(stems, tool, tool, "", song_mixture)
            songs.append(_warn_of_mixtures(song, mixtures))
    return songs


def _has_songs(folder: Path, tools: Sequence[Path]) -> bool:
    """Return True if the references are songs: both sides have folders of sounds, or only those."""
    if not _song_folders(folder):
        return False
    return not _list_sounds(folder) or all(_song_folders(tool) for tool in tools)


def _match_songs(folder: Path, tool: Path, mixture: Path | None) -> list[Song]:
    """Return one tool's songs, in the order of the references'."""
    references, estimates = _song_folders(folder), _song_folders(tool)
    pairs = match_names(references, estimates, f"'{tool}'", "folder", _folder_name)
    unused = [path.name for path in estimates if path not in pairs.values()]
    songs = []
    for path in references:
        stems, mixtures = _list_references(path)
        song_mixture = _find_mixture(mixture, path.name) or next(iter(mixtures), None)
        song = _match_stems(stems, tool, pairs[path], path.name, song_mixture)
        songs.append(_warn_of_mixtures(song, mixtures))
    if unused:
        songs[0] = replace(songs[0], warnings=(_unused_warning(unused), *songs[0].warnings))
    return songs


def _match_stems(
    references: Sequence[Path], tool: Path, folder: Path, name: str, mixture: Path | None
) -> Song:
    """Match files of references with those in a folder of estimates."""
    estimates = _list_sounds(folder)
    if not references:
        raise InputError(
            f"there is no reference to score '{folder}' against: give --reference sound files, or "
            "a folder that holds some"
        )
    if not estimates:
        inside = [path for path in folder.iterdir() if path.is_dir()]
        raise InputError(
            f"'{folder}' holds no sound file; folders in it: {_join_names(inside)}; give the one "
            "whose files are named like the references"
        )
    pairs = match_names(references, estimates, f"'{folder}'", "file", _stem)
    unused = [path.name for path in estimates if path not in pairs.values()]
    return Song(
        tool=str(tool),
        name=name,
        sources=tuple(distinct(_without_number(_stem(path)) for path in references)),
        references=tuple(references),
        estimates=tuple(pairs[path] for path in references),
        mixture=mixture,
        warnings=(_unused_warning(unused),) if unused else (),
    )


def match_names(
    references: Sequence[Path],
    estimates: Sequence[Path],
    where: str,
    kind: str,
    name_of: Callable[[Path], str],
) -> dict[Path, Path]:
    """Return the estimate of each reference, by name: exactly, ignoring case, without number.

    Args:
        where: folder of the estimates, for the error.
        kind: "file" or "folder", for the error.
        name_of: function that returns the name to compare.

    Raises:
        InputError: an estimate is missing or ambiguous; the line lists what matched and what not.
    """
    pairs: dict[Path, Path] = {}
    # Exact names first, so that `Bass` and `bass` in one folder still match their own references.
    for key in (str, str.casefold, lambda name: _without_number(name).casefold()):
        unmatched = [path for path in references if path not in pairs]
        unused = [path for path in estimates if path not in pairs.values()]
        for path in unmatched:
            candidates = [other for other in unused if key(name_of(other)) == key(name_of(path))]
            rivals = [other for other in unmatched if key(name_of(other)) == key(name_of(path))]
            if len(candidates) == 1 and len(rivals) == 1:
                pairs[path] = candidates[0]
            elif candidates:
                raise InputError(
                    f"{_join_names(rivals)} may be {_join_names(candidates)} in {where}: each name "
                    "must match one file only; rename them alike, or give files in order by "
                    "--reference and --estimate"
                )
    missing = [path for path in references if path not in pairs]
    if missing:
        matched = [f"{name_of(path)} with '{other.name}'" for path, other in pairs.items()]
        unused = [path for path in estimates if path not in pairs.values()]
        raise InputError(
            f"{where} has no {kind} for {', '.join(map(name_of, missing[:_MAX_LISTED]))}"
            f"{_more(missing)}; matched: {', '.join(matched[:_MAX_LISTED]) or 'none'}"
            f"{_more(matched)}; not matched there: {_join_names(unused)}; name each like its "
            "reference"
        )
    return pairs


def _find_mixture(mixture: Path | None, song: str) -> Path | None:
    """Return a song's file in the folder of mixtures; None without such a folder.

    Raises:
        InputError: the folder has no mixture of the song, or is a single file.
    """
    if mixture is None:
        return None
    if not mixture.is_dir():
        raise InputError(
            f"--mixture is '{mixture}', one file, and the references are folders of songs: give "
            "the folder that has SONG.* or SONG/mixture.* for each"
        )
    beside = [path for path in _list_sounds(mixture) if _stem(path) == song]
    inside = [
        path for path in _sound_files(mixture / song) if path.stem.casefold() in _MIXTURE_NAMES
    ]
    if not (beside or inside):
        raise InputError(f"'{mixture}' has no mixture of '{song}': neither {song}.* nor in {song}/")
    return (beside or inside)[0]


# Names and listings


def _list_references(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the sources in a folder, and the files named as their mixture."""
    sounds = _list_sounds(folder)
    mixtures = [path for path in sounds if path.stem.casefold() in _MIXTURE_NAMES]
    return [path for path in sounds if path not in mixtures], mixtures


def _list_sounds(folder: Path) -> list[Path]:
    """Return a folder's sound files by name; those of its folder `stems` if it has none itself.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"'{folder}' is not a folder; give one that holds sound files")
    return _sound_files(folder) or _sound_files(folder / _STEMS)


def _sound_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SOUND_ENDINGS and not path.name.startswith(".") and path.is_file()
    )


def _song_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold sound files."""
    if not folder.is_dir():
        raise InputError(f"'{folder}' is not a folder; give one that holds sound files")
    inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in inside if path.name != _STEMS and _list_sounds(path))


def _stem(path: Path) -> str:
    """Return a file's name without its ending."""
    # macOS may store letters with accents decomposed (NFD): compare one normal form.
    return unicodedata.normalize("NFC", path.stem)


def _folder_name(path: Path) -> str:
    return unicodedata.normalize("NFC", path.name)


def _without_number(name: str) -> str:
    """Return a name without the number that `avsep separate` writes before it.

    >>> _without_number("01-violin"), _without_number("808-kick"), _without_number("1st violin")
    ('violin', '808-kick', '1st violin')
    """
    return re.sub(r"^[0-9]{2}-(?=.)", "", name)


def _warn_of_mixtures(song: Song, mixtures: Sequence[Path]) -> Song:
    warnings = (f"{path.name} is taken as the mixture, not as a source" for path in mixtures)
    return replace(song, warnings=(*song.warnings, *warnings))


def _unused_warning(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_LISTED]) + _more(names)
    return f"not scored, since no reference has such a name: {listed}"


def _join_names(paths: Iterable[Path]) -> str:
    """Join file names to a list in a sentence."""
    names = [f"'{path.name}'" for path in paths]
    return (", ".join(names[:_MAX_LISTED]) + _more(names)) or "none"


def _more(names: Sequence[object]) -> str:
    return f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
