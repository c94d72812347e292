"""Many videos one after the other, each into its own folder; one that fails stops no other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsep.errors import InputError
from avsep.separation.folder import check_place, choose_folder, folder_name, write_result
from avsep.separation.manifest import Manifest, ObjectRecord
from avsep.separation.objects import Objects
from avsep.separation.separator import Progress, Separator


@dataclass(frozen=True)
class Outcome:
    """What became of one video: a manifest, or the reason why there is none."""

    video: Path
    folder: Path
    manifest: Manifest | None = None
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """For a program to read; `files` is empty where nothing was made."""
        head = {"video": str(self.video), "folder": str(self.folder)}
        if self.manifest is None:
            return {**head, "files": [], "error": self.error}
        manifest = self.manifest.model_dump(mode="json")
        return {**head, "files": sorted(self.manifest.files), "error": None, "manifest": manifest}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows: each object with its file, category and share of the energy."""
        assert self.manifest is not None, "a table needs a result"
        rows = [
            [
                found.file,
                found.category or "-",
                _how_known(found),
                f"{100 * found.energy_share:.0f}",
            ]
            for found in self.manifest.objects
        ]
        share = f"{100 * self.manifest.residual_energy_share:.0f}"
        rows.append([self.manifest.residual, "-", "-", share])
        return ["file", "category", "how known", "% of energy"], rows


def separate_files(
    videos: Sequence[Path],
    objects: Objects | None,
    out: Path,
    separator: Separator,
    progress: Callable[[Path], Progress],
    text: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Separate and write each video in turn, each into a folder of its name.

    A video whose folder holds the result of another one gets the next free name, NAME-2.

    Raises:
        InputError: nothing can be written to `out`; told before any work.
    """
    check_place(out)
    taken: set[Path] = set()
    for video in videos:
        folder = out / folder_name(video)
        try:
            folder = choose_folder(out, video, taken)
            taken.add(folder)
            result = separator.separate(video, objects, text=text, progress=progress(video))
            yield Outcome(video, folder, write_result(result, folder))
        except InputError as error:
            yield Outcome(video, folder, error=str(error))
        except OSError as error:
            # Of the machine: a full disk, no rights. The next video may lie elsewhere.
            where = error.filename or video
            yield Outcome(video, folder, error=f"'{where}': {error.strerror or error}")


def _how_known(found: ObjectRecord) -> str:
    """In a word: what told the model of an object."""
    if found.known_by != "picture":
        return found.known_by
    return "told" if found.category_from == "label" else "seen"
