"""What clips are made of: notes, photographs, noises and chorales, shipped or from the user."""

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
    """What clips are made of: the shipped bank and drawings, or folders of the user's."""

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
        """Material from folders; what is not given is the shipped one, or none."""
        given = {
            "sounds": sounds,
            "photos": photos,
            "noise": noise,
            "chorales": chorales,
            "head": head,
        }
        options = [f"--{name} {path.name}" for name, path in given.items() if path]
        return cls(
            read_note_bank(sounds),
            read_photographs(photos) if photos else None,
            read_noise_folder(noise) if noise else (),
            read_chorales(chorales) if chorales else (),
            " ".join(options) or cls.origin,
            read_head(head) if head else None,
        )

    def categories(self, held_out: bool, wanted: Sequence[str]) -> tuple[str, ...]:
        """Instruments that can be both heard and seen, of those wanted; an InputError if none."""
        heard = self.bank.playable(held_out)
        seen = self.photographs.categories_in_split(held_out) if self.photographs else heard
        found = tuple(name for name in heard if name in seen and name in (wanted or heard))
        if not found:
            raise InputError(
                "no instrument can be both heard and seen: notes of "
                f"{', '.join(heard)}; pictures of {', '.join(seen) or 'none'}; "
                f"wanted: {', '.join(wanted) or 'any'}"
            )
        return found

    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the folders given."""
        return self.bank.warnings()
