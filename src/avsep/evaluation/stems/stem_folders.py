"""Folders of stems: which estimate belongs to which reference, by the names of the files."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avsep.errors import InputError
from avsep.media.names import distinct

# Files with these endings are stems; whether there is sound in one, reading it tells.
SOUND_ENDINGS = frozenset({
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".w64", ".caf",
    ".wma", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts",
})  # fmt: skip
# A file of such a name among references is what was separated, as in MUSDB18.
_MIXTURE_NAMES = {"mixture", "mix"}
# A folder of this name holds the stems of the one above it, as in toyband.
_STEMS = "stems"
_MOST_NAMED = 12


@dataclass(frozen=True)
class Song:
    """The references of one mixture and one tool's estimates of them.

    Attributes:
        tool: the folder of estimates, as it was given.
        name: of the folder of the song, "" where the references are not sorted by songs.
        sources: what each source is called: its reference's name without a leading number, a second
            of that name with `-2`.
        mixture: the file that was separated, if there is one.
    """

    tool: str
    name: str
    sources: tuple[str, ...]
    references: tuple[Path, ...]
    estimates: tuple[Path, ...]
    mixture: Path | None
    warnings: tuple[str, ...]


def are_folders(references: Sequence[Path], estimates: Sequence[Path]) -> bool:
    """Whether the estimates are folders, to be matched by name, rather than files in order.

    Raises:
        InputError: files and folders are mixed, or only the references are a folder.
    """
    folders = [path for path in estimates if path.is_dir()]
    files = [path for path in estimates if not path.is_dir()]
    if folders and files:
        raise InputError(
            f"'{folders[0]}' is a folder, '{files[0]}' is none; give files only, or folders only"
        )
    true_folder = next((path for path in references if path.is_dir()), None)
    if true_folder is not None and not folders:
        wrong = f", and '{files[0]}' is none" if files else ""
        raise InputError(
            f"'{true_folder}' is a folder of references{wrong}; give --estimate a folder too"
        )
    return bool(folders)


def match_folders(
    references: Sequence[Path], tools: Sequence[Path], mixture: Path | None = None
) -> list[Song]:
    """The songs of each tool, tool by tool.

    Files belong together that have one name: exactly, else in other letters' case, else without a
    leading `NN-`; endings do not matter. A file mixture.* or mix.* among the references is the
    mixture. Where the references' folder holds folders of sounds and the tools' folders too, each
    is a song, and matched by name in the same way.

    Args:
        references: files, or one folder: of sounds, or of songs.
        tools: folders, each of sounds or of songs as the references.
        mixture: one file; for songs a folder with `SONG.*` or `SONG/mixture.*`.

    Raises:
        InputError: a reference without an estimate, or with two; nothing to match.
    """
    for path in references:
        if not path.exists():
            raise InputError(f"'{path}' does not exist")
    folder = references[0] if len(references) == 1 and references[0].is_dir() else None
    if folder is None:
        for path in references:
            if path.is_dir():
                raise InputError(
                    f"'{path}' is a folder: give one folder of references and no file beside, or "
                    "files only"
                )
    by_song = folder is not None and _has_songs(folder, tools)
    found: list[Song] = []
    for tool in dict.fromkeys(tools):
        if by_song and folder is not None:
            found += _songs(folder, tool, mixture)
        else:
            # A file that is named is a source, whatever its name.
            stems, mixtures = (references, []) if folder is None else _references(folder)
            heard = mixture or next(iter(mixtures), None)
            found.append(_with_remarks(_song(stems, tool, tool, "", heard), mixtures))
    return found


def _has_songs(folder: Path, tools: Sequence[Path]) -> bool:
    """Whether folders of sounds are to be compared: both sides have such, or only they."""
    own = _song_folders(folder)
    if not own:
        return False
    return not _sounds(folder) or all(_song_folders(tool) for tool in tools)


def _songs(folder: Path, tool: Path, mixture: Path | None) -> list[Song]:
    """One tool's songs, in the order of the references'."""
    wanted, given = _song_folders(folder), _song_folders(tool)
    pairs = match_names(wanted, given, f"'{tool}'", "folder", _folder_name)
    unused = [path.name for path in given if path not in pairs.values()]
    songs = []
    for place in wanted:
        stems, mixtures = _references(place)
        heard = _mixture_of_song(mixture, place.name) or next(iter(mixtures), None)
        song = _song(stems, tool, pairs[place], place.name, heard)
        songs.append(_with_remarks(song, mixtures))
    if unused:
        songs[0] = replace(songs[0], warnings=(_unused_remark(unused), *songs[0].warnings))
    return songs


def _song(wanted: Sequence[Path], tool: Path, place: Path, name: str, mixture: Path | None) -> Song:
    """Files of references matched with those in a folder of estimates."""
    given = _sounds(place)
    if not wanted:
        raise InputError(
            f"there is no reference to score '{place}' against: give --reference sound files, or a "
            "folder that holds some"
        )
    if not given:
        inside = [path for path in place.iterdir() if path.is_dir()]
        raise InputError(
            f"'{place}' holds no sound file; folders in it: {_listed(inside)}; give the one whose "
            "files are named like the references"
        )
    pairs = match_names(wanted, given, f"'{place}'", "file", _stem)
    unused = [path.name for path in given if path not in pairs.values()]
    return Song(
        tool=str(tool),
        name=name,
        sources=tuple(distinct(_without_number(_stem(path)) for path in wanted)),
        references=tuple(wanted),
        estimates=tuple(pairs[path] for path in wanted),
        mixture=mixture,
        warnings=(_unused_remark(unused),) if unused else (),
    )


def match_names(
    wanted: Sequence[Path],
    given: Sequence[Path],
    where: str,
    kind: str,
    name_of: Callable[[Path], str],
) -> dict[Path, Path]:
    """What is given for each that is wanted, by name: as it is, in any case, without its number.

    Raises:
        InputError: one is missing, or two would do; the line lists what was matched and what not.
    """
    found: dict[Path, Path] = {}
    for key in (str, str.casefold, lambda name: _without_number(name).casefold()):
        open_ones = [path for path in wanted if path not in found]
        free = [path for path in given if path not in found.values()]
        for path in open_ones:
            near = [other for other in free if key(name_of(other)) == key(name_of(path))]
            rivals = [other for other in open_ones if key(name_of(other)) == key(name_of(path))]
            if len(near) == 1 and len(rivals) == 1:
                found[path] = near[0]
            elif near:
                raise InputError(
                    f"{_listed(rivals)} may be {_listed(near)} in {where}: names must tell which "
                    "belong together; rename them alike, or give files in order by --reference "
                    "and --estimate"
                )
    missing = [path for path in wanted if path not in found]
    if missing:
        matched = [f"{name_of(path)} with '{other.name}'" for path, other in found.items()]
        unused = [path for path in given if path not in found.values()]
        raise InputError(
            f"{where} has no {kind} for {', '.join(map(name_of, missing[:_MOST_NAMED]))}"
            f"{_more(missing)}; matched: {', '.join(matched[:_MOST_NAMED]) or 'none'}"
            f"{_more(matched)}; not matched there: {_listed(unused)}; name each like its reference"
        )
    return found


def _mixture_of_song(mixture: Path | None, song: str) -> Path | None:
    """A song's mixture in the folder of them; none where no folder was given.

    Raises:
        InputError: it is not there, or a file was given for many songs.
    """
    if mixture is None:
        return None
    if not mixture.is_dir():
        raise InputError(
            f"--mixture is '{mixture}', one file, and the references are folders of songs: give "
            "the folder that has SONG.* or SONG/mixture.* for each"
        )
    beside = [path for path in _sounds(mixture) if _stem(path) == song]
    inside = [path for path in _listing(mixture / song) if path.stem.casefold() in _MIXTURE_NAMES]
    if not (beside or inside):
        raise InputError(f"'{mixture}' has no mixture of '{song}': neither {song}.* nor in {song}/")
    return (beside or inside)[0]


# Names and listings.


def _references(folder: Path) -> tuple[list[Path], list[Path]]:
    """The sources in a folder, and what is named as their mixture."""
    sounds = _sounds(folder)
    mixtures = [path for path in sounds if path.stem.casefold() in _MIXTURE_NAMES]
    return [path for path in sounds if path not in mixtures], mixtures


def _sounds(folder: Path) -> list[Path]:
    """The sound files of a folder, or of `stems` in it where it has none itself, by name.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder; give one that holds sound files")
    return _listing(folder) or _listing(folder / _STEMS)


def _listing(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SOUND_ENDINGS and not path.name.startswith(".") and path.is_file()
    )


def _song_folders(folder: Path) -> list[Path]:
    """Folders in a folder in which there are sound files."""
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder; give one that holds sound files")
    inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(path for path in inside if path.name != _STEMS and _sounds(path))


def _stem(path: Path) -> str:
    """A file's name without its ending; letters with accents are written in more than one way."""
    return unicodedata.normalize("NFC", path.stem)


def _folder_name(path: Path) -> str:
    return unicodedata.normalize("NFC", path.name)


def _without_number(name: str) -> str:
    """A name without the number that avsep writes before it.

    >>> _without_number("01-violin"), _without_number("808-kick"), _without_number("1st violin")
    ('violin', '808-kick', '1st violin')
    """
    return re.sub(r"^[0-9]{2}-(?=.)", "", name)


def _with_remarks(song: Song, mixtures: Sequence[Path]) -> Song:
    more = (f"{path.name} is taken as the mixture, not as a source" for path in mixtures)
    return replace(song, warnings=(*song.warnings, *more))


def _unused_remark(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED]) + _more(names)
    return f"not scored, since no reference has such a name: {shown}"


def _listed(paths: Iterable[Path]) -> str:
    """File names as a list in a sentence."""
    names = [f"'{path.name}'" for path in paths]
    return (", ".join(names[:_MOST_NAMED]) + _more(names)) or "none"


def _more(names: Sequence[object]) -> str:
    return f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
