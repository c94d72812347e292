"""The material of clips: notes, photographs, noises and chorales, shipped or from the user."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avsep.errors import InputError
from avsep.sound.hrtf import Head
from avsep.toyband.music.harmony import VoiceGrid, read_chorales
from avsep.toyband.music.notes import NoteBank, read_note_bank
from avsep.toyband.music.performance import read_noise_folder
from avsep.toyband.pictures.photographs import Photographs, read_photographs
from avsep.toyband.sofa import read_head


@dataclass(frozen=True)
class Material:
    """The notes, pictures and sounds that clips are made of.

    Attributes:
        bank: single notes of each instrument.
        photographs: photographs of instruments; None means drawings.
        noises: sound files for noise without a visible object.
        chorales: four-part scores; empty means generated harmony.
        origin: the folders as text, for the first line of toyband.toml.
        head: a measured head for binaural clips; None means a sphere drawn for each clip.
    """

    bank: NoteBank
    photographs: Photographs | None = None
    noises: tuple[Path, ...] = ()
    chorales: tuple[VoiceGrid, ...] = ()
    origin: str = "the shipped notes and drawings"
    head: Head | None = None

    @classmethod
    def read(
        cls,
        sounds: Path | None = None,
        photos: Path | None = None,
        noise: Path | None = None,
        chorales: Path | None = None,
        head: Path | None = None,
    ) -> "Material":
        """Read material from folders and files; None means the shipped material, or none.

        Raises:
            InputError: a folder or file cannot be read or is not in the expected layout.
        """
        paths = {
            "sounds": sounds,
            "photos": photos,
            "noise": noise,
            "chorales": chorales,
            "head": head,
        }
        # Names without their folders, so that a data set can be moved and then still be extended.
        options = [f"--{name} {path.name}" for name, path in paths.items() if path]
        return cls(
            read_note_bank(sounds),
            read_photographs(photos) if photos else None,
            read_noise_folder(noise) if noise else (),
            read_chorales(chorales) if chorales else (),
            " ".join(options) or cls.origin,
            read_head(head) if head else None,
        )

    def categories(self, held_out: bool, selected: Sequence[str]) -> tuple[str, ...]:
        """Return the selected instruments that have both notes and pictures; empty selects all.

        Raises:
            InputError: there is no such instrument.
        """
        playable = self.bank.playable(held_out)
        drawable = self.photographs.categories_in_split(held_out) if self.photographs else playable
        categories = tuple(
            name for name in playable if name in drawable and name in (selected or playable)
        )
        if not categories:
            raise InputError(
                f"no instrument has both notes and pictures: notes of {', '.join(playable)}; "
                f"pictures of {', '.join(drawable) or 'none'}; selected: "
                f"{', '.join(selected) or 'any'}; add files to --sounds or --photos, or change "
                "categories"
            )
        return categories

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence per problem of the folders that does not stop the run."""
        return self.bank.warnings()
