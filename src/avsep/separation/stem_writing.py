"""Write stems and residual in any format, all of the stems or some."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np

from avsep.errors import InputError
from avsep.media.audio import iterate_audio
from avsep.media.audio_encoding import AudioCodec, check_channels, encodable_rate_hz
from avsep.media.audio_writing import AudioWriter, Subtype
from avsep.media.names import distinct, plain_name
from avsep.separation.progress import Progress, StageClock
from avsep.separation.result import (
    RESIDUAL_STEM,
    Manifest,
    ObjectInfo,
    SeparatedObject,
    SeparationTotals,
    StemBlock,
    stem_files,
)
from avsep.separation.settings import OutputSettings, StemFormat
from avsep.sound.resampling import resample_blocks

_FLOAT_FOLDER = "float"


@dataclass(frozen=True)
class _FileFormat:
    """A format of stems: file ending, subtype, and the codec where it is not WAV."""

    ending: str
    subtype: Subtype | None = None
    codec: AudioCodec | None = None


_FORMATS: dict[StemFormat, _FileFormat] = {
    "wav32": _FileFormat(".wav", "float"),
    "wav24": _FileFormat(".wav", "pcm24"),
    "wav16": _FileFormat(".wav", "pcm16"),
    "flac": _FileFormat(".flac", "pcm24", "flac"),
    "opus": _FileFormat(".opus", None, "opus"),
    "aac": _FileFormat(".m4a", None, "aac"),
}


@dataclass(frozen=True)
class StemPlan:
    """The sound files of one video.

    Attributes:
        indices: objects whose stems are written, counted from 0.
        files: names of their files.
        residual: name of the file of all else.
        num_channels, sample_rate_hz: of the stems.
        output: settings of the files.
    """

    indices: tuple[int, ...]
    files: tuple[str, ...]
    residual: str
    num_channels: int
    sample_rate_hz: int
    output: OutputSettings

    @classmethod
    def build(
        cls,
        objects: Sequence[ObjectInfo | SeparatedObject],
        video: str,
        num_channels: int,
        sample_rate_hz: int,
        output: OutputSettings,
    ) -> "StemPlan":
        """Choose the objects and name the files, before anything is separated.

        Raises:
            InputError: an object that there is not or that is excluded, or more channels than the
                format holds.
        """
        check_format(output, num_channels, video)
        sound_format = _FORMATS[output.format]
        indices = tuple(k for k, item in enumerate(objects) if not item.visible.is_excluded)
        residual = RESIDUAL_STEM
        if output.only or output.all_but:
            indices = _choose(objects, output.only or output.all_but, video)
        if output.all_but:
            labels = "-".join(objects[index].label for index in indices)
            residual = f"all-but-{plain_name(labels, 'object')}"
        names = stem_files(objects, video, output.name, sound_format.ending)
        return cls(
            indices,
            tuple(names[index] for index in indices),
            f"{residual}{sound_format.ending}",
            num_channels,
            sample_rate_hz,
            output,
        )

    @property
    def all_files(self) -> tuple[str, ...]:
        """Names of all files, which sum to the mixture."""
        return (*self.files, self.residual)

    def select(self, block: StemBlock) -> StemBlock:
        """Return a block with the stems that are written, and all else in its residual."""
        if len(self.indices) == len(block.stems):
            return block
        return StemBlock.build(block.mixture, block.stems[list(self.indices)])


def check_format(output: OutputSettings, num_channels: int, video: str) -> None:
    """Raise an InputError if the format holds fewer channels than the stems have."""
    codec = _FORMATS[output.format].codec
    if codec:
        check_channels(codec, num_channels, f"the sound of '{video}'")


def _choose(
    objects: Sequence[ObjectInfo | SeparatedObject], words: Sequence[str], video: str
) -> tuple[int, ...]:
    """Return the objects with these labels or numbers; a label means all that have it."""
    names = distinct(item.label for item in objects)
    chosen = set[int]()
    for word in words:
        key = word.strip().casefold()
        matches = [k for k, item in enumerate(objects) if item.label.casefold() == key]
        # Of two violins the second is violin-2 in Python and in the preview.
        matches = matches or [k for k, name in enumerate(names) if name.casefold() == key]
        matches = matches or [k for k in range(len(objects)) if str(k + 1) == key.lstrip("0")]
        if not matches:
            listed = ", ".join(f"{k} {item.label}" for k, item in enumerate(objects, 1))
            raise InputError(
                f"'{video}': no object is called '{word}'; there are {listed}: give a label or a "
                "number with --only or --except"
            )
        if any(objects[k].visible.is_excluded for k in matches):
            raise InputError(
                f"'{video}': '{word}' is excluded, and has no stem to write or to leave out; leave "
                "out --not, or --only and --except"
            )
        chosen.update(matches)
    return tuple(sorted(chosen))


def write_stems(
    folder: Path,
    plan: StemPlan,
    blocks: Iterable[StemBlock],
    clock: StageClock,
    progress: Progress,
) -> "WrittenStems":
    """Write stems and residual block by block.

    Raises:
        InputError: the files cannot be written; and all that the blocks raise.
    """
    totals = SeparationTotals(len(plan.indices))
    is_float = plan.output.format == "wav32"
    # The gain of the other formats depends on the loudest sample, which is known at the end.
    first_folder = folder if is_float else folder / _FLOAT_FOLDER
    first_folder.mkdir(exist_ok=True)
    # An ending of their own: WAV, whatever the format.
    names = plan.all_files if is_float else [f"{name}.wav" for name in plan.all_files]
    num_samples = 0
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                AudioWriter(first_folder / name, plan.num_channels, plan.sample_rate_hz, "float")
            )
            for name in names
        ]
        for block in blocks:
            with clock.measure("writing"):
                selected = plan.select(block)
                totals.add_block(selected)
                for writer, sound in zip(
                    writers, (*selected.stems, selected.residual), strict=True
                ):
                    writer.write(sound)
            num_samples += block.mixture.shape[1]
    if is_float:
        return WrittenStems(plan, totals, plan.sample_rate_hz, num_samples)
    with clock.measure("writing"):
        return _convert(folder, plan, totals, num_samples, progress)


def _convert(
    folder: Path, plan: StemPlan, totals: SeparationTotals, num_all: int, progress: Progress
) -> "WrittenStems":
    """Convert the files of float samples, one after another, with one gain for all."""
    sound_format = _FORMATS[plan.output.format]
    rate_hz = plan.sample_rate_hz
    if sound_format.codec:
        rate_hz = encodable_rate_hz(sound_format.codec, rate_hz)
    gain = 1 / max(1.0, totals.peak)
    num_samples = 0
    for name in plan.all_files:
        path, num_samples = folder / _FLOAT_FOLDER / f"{name}.wav", 0
        stage = f"{name}: writing {plan.output.format}"
        blocks = resample_blocks(
            iterate_audio(path), plan.num_channels, plan.sample_rate_hz, rate_hz
        )
        with AudioWriter(folder / name, plan.num_channels, rate_hz, sound_format.subtype) as file:
            for block in blocks:
                scaled = block if gain == 1 else block * np.float32(gain)
                # In PCM rounding may exceed full scale by a trace.
                file.write(scaled.clip(-1, 1) if sound_format.subtype else scaled)
                num_samples += block.shape[1]
                progress(stage, num_samples / rate_hz, num_all / plan.sample_rate_hz)
        path.unlink()
    (folder / _FLOAT_FOLDER).rmdir()
    return WrittenStems(plan, totals, rate_hz, num_samples, gain)


@dataclass(frozen=True)
class WrittenStems:
    """The sound files of one video as they were written.

    Attributes:
        plan: what was to be written.
        totals: energies and peak of what is written.
        sample_rate_hz, num_samples: of the files.
        gain: factor of all samples, at most 1.
    """

    plan: StemPlan
    totals: SeparationTotals
    sample_rate_hz: int
    num_samples: int
    gain: float = 1.0

    def describe(self, manifest: Manifest) -> Manifest:
        """Return the manifest with files, format, peak and energies as written; with warnings."""
        plan = self.plan
        files = dict(zip(plan.indices, plan.files, strict=True))
        objects = tuple(
            item.model_copy(update={"file": files.get(index)})
            for index, item in enumerate(manifest.objects)
        )
        gain_db = 20 * log10(self.gain)
        return manifest.model_copy(
            update={
                "objects": objects,
                "output": plan.output,
                "residual": plan.residual,
                "residual_energy_share": self.totals.energy_shares[-1],
                "peak": self.totals.peak * self.gain,
                "gain_db": gain_db,
                "sample_rate_hz": self.sample_rate_hz,
                "num_samples": self.num_samples,
                "warnings": (*manifest.warnings, *self._warnings(gain_db)),
            }
        )

    def _warnings(self, gain_db: float) -> list[str]:
        plan, warnings = self.plan, list[str]()
        if self.gain < 1:
            warnings.append(
                f"stems and residual are {-gain_db:.2g} dB quieter than the video's sound, since "
                f"{plan.output.format} would clip them; wav32 does not"
            )
        if self.sample_rate_hz != plan.sample_rate_hz:
            warnings.append(
                f"stems and residual are resampled from {plan.sample_rate_hz} to "
                f"{self.sample_rate_hz} Hz, which {plan.output.format} takes"
            )
        return warnings
