"""Tell whether a result is complete and what the same command would write again."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avsep.devices import find_device
from avsep.separation.output_folder import result_files
from avsep.separation.result import MANIFEST_NAME, Manifest, ModelRecord
from avsep.separation.separator import read_record
from avsep.separation.settings import OutputSettings, SeparatorSettings


@dataclass(frozen=True)
class ResumeCheck:
    """Model and settings, as manifests record them, with which results are to be made."""

    model: ModelRecord
    settings: SeparatorSettings

    @classmethod
    def of_model(cls, model: str | os.PathLike[str], settings: SeparatorSettings) -> "ResumeCheck":
        """Return the check for a model by name or path, which is not loaded.

        Raises:
            InputError: an unknown model or device.
        """
        recorded = settings.as_recorded(find_device(settings.device))
        return cls(read_record(model, settings.i3d), recorded)

    def complete_manifest(
        self,
        folder: Path,
        sha256: Callable[[], str | None],
        objects_sha256: str,
        output: OutputSettings,
    ) -> Manifest | None:
        """Return the manifest of a complete result of this file, model, settings and objects.

        None if anything differs or cannot be told, as with a model that was made in memory.
        """
        try:
            text = (folder / MANIFEST_NAME).read_text(encoding="utf-8")
            manifest = Manifest.model_validate_json(text)
        except (OSError, ValueError):
            # Also the manifest of another version, whose fields differ.
            return None
        model = manifest.model
        is_same = (
            manifest.is_complete
            and manifest.objects_sha256 == objects_sha256
            and model.sha256 is not None
            and (model.sha256, model.i3d_sha256) == (self.model.sha256, self.model.i3d_sha256)
            and manifest.settings == self.settings
            and manifest.output == output
            and all((folder / name).is_file() for name in result_files(manifest))
            # The checksum last, since it reads the whole file.
            and manifest.input.sha256 is not None
            and manifest.input.sha256 == sha256()
        )
        return manifest if is_same else None
