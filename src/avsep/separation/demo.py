"""Make the demo: synthesise a duet, separate it, score the stems and write a report page."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

import avsep
from avsep.data.clips import ClipFiles, load_clip
from avsep.data.mixing import MixtureItem, mix_clip, to_batch
from avsep.data.toyband import read_clip
from avsep.errors import InputError
from avsep.evaluation.baselines import BASELINES, DESCRIPTIONS, waveforms
from avsep.evaluation.bss_eval import BssScores, bss_eval
from avsep.evaluation.results.tables import decibels, scores_json
from avsep.media.atomic import make_folder, write_atomic
from avsep.media.audio_writing import write_audio
from avsep.pages.html_page import Section, Track, encode_sound, key_frame_jpeg, report_html
from avsep.pages.spectrograms import peak_magnitude, spectrogram_png
from avsep.recipe import load_recipe
from avsep.separation.separator import DEFAULT_MODEL, Separator
from avsep.separation.settings import SeparatorSettings
from avsep.sound.front_end import FrontEnd
from avsep.toyband.clip import ToybandSettings, make_clip
from avsep.toyband.folder import ClipPaths
from avsep.toyband.material import Material

CLIP_NAME = "duet"
CEILINGS = ("ideal-ratio-mask", "ideal-binary-mask")
MODEL_DESCRIPTION = "the shipped model, given the box and the category of each instrument"
# All names in the folder of a demo: an earlier demo is replaced, any other file is refused.
OUTPUT_NAMES = {
    CLIP_NAME, f"{CLIP_NAME}.mp4", "mixture.wav", "mixture.png", "key_frame.jpg", "scores.json",
    "report.html", DEFAULT_MODEL, *CEILINGS,
}  # fmt: skip


@dataclass(frozen=True)
class DemoResult:
    """Score table of a demo: one row for each method and source."""

    title: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class DemoEstimate:
    """Estimated stems of one method and their scores."""

    name: str
    estimates: Float32[np.ndarray, "S N"]
    scores: BssScores


def make_demo(folder: Path, seed: int) -> DemoResult:
    """Write video, stems, spectrograms, scores.json and report.html.

    An earlier demo in the folder is replaced.

    Raises:
        InputError: the folder contains anything else.
    """
    _prepare_folder(folder)
    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    paths = ClipPaths(folder, CLIP_NAME)
    make_clip(paths, seed, 1, settings, Material.read())
    clip = read_clip(paths)
    front_end = FrontEnd()
    item = mix_clip(clip, front_end.settings)
    estimates = list(_run_methods(paths.video, item, front_end))
    names = [source.path.stem for source in clip.sources]
    _write_audio_files(folder, estimates, names, front_end.settings.sample_rate_hz)
    result = _score_table(clip, estimates, names)
    _write_scores(folder, estimates, names)
    key_frame = key_frame_jpeg(load_clip(clip, [settings.clip_seconds / 2]))
    write_atomic(folder / "key_frame.jpg", key_frame)
    write_atomic(folder / "report.html", _report(clip, key_frame, item, estimates, result))
    return result


def _prepare_folder(folder: Path) -> None:
    """Make the folder, and check that it contains nothing but an earlier demo."""
    make_folder(folder)
    for item in sorted(folder.iterdir()):
        # Hidden files are those of file managers.
        if item.name not in OUTPUT_NAMES and not item.name.startswith("."):
            raise InputError(
                f"'{folder}' contains '{item.name}', which no demo wrote: give a new or empty "
                "folder"
            )


def _run_methods(video: Path, item: MixtureItem, front_end: FrontEnd) -> Iterator[DemoEstimate]:
    """Separate the duet by each method: unseparated mixture, shipped model, ideal masks."""
    batch = to_batch([item])
    for name in ("mixture", *CEILINGS):
        separation = BASELINES[name](front_end).separate(batch)
        yield _score(name, waveforms(separation, front_end)[0].numpy(), item)
        if name == "mixture":
            # Scored at the model's rate, as papers do; the ideal masks are made at it too.
            result = Separator(DEFAULT_MODEL, SeparatorSettings(rate="model")).separate(video)
            stems = np.stack([separated.stem for separated in result.objects])
            yield _score(DEFAULT_MODEL, stems, item)


def _score(name: str, stems: Float32[np.ndarray, "S 1 N"], item: MixtureItem) -> DemoEstimate:
    """Score estimated stems against the references."""
    # An inverse STFT ends with its last whole hop, the model's stems with the video.
    num_samples = min(stems.shape[-1], item.sources.shape[-1])
    estimates, references = stems[:, 0, :num_samples], item.sources[:, 0, :num_samples]
    return DemoEstimate(name, estimates, bss_eval(references, estimates))


def _write_audio_files(
    folder: Path, estimates: Sequence[DemoEstimate], names: Sequence[str], sample_rate_hz: int
) -> None:
    """Write the mixture, and the stems of each method to its own folder: WAV and spectrogram."""
    # The estimates of the method "mixture" are the mixture itself, once for each source.
    mixture = estimates[0].estimates[:1]
    sounds = {folder / "mixture": mixture}
    for estimate in estimates[1:]:
        target = folder / estimate.name
        shutil.rmtree(target, ignore_errors=True)
        make_folder(target)
        for name, stem in zip(names, estimate.estimates, strict=True):
            sounds[target / name] = stem[None]
    # All spectrograms share the mixture's scale, so that levels can be compared.
    reference = peak_magnitude(mixture, sample_rate_hz)
    for path, waveform in sounds.items():
        write_audio(path.with_suffix(".wav"), waveform, sample_rate_hz)
        picture = spectrogram_png(waveform, sample_rate_hz, reference)
        write_atomic(path.with_suffix(".png"), picture)


def _score_table(
    clip: ClipFiles, estimates: Sequence[DemoEstimate], names: Sequence[str]
) -> DemoResult:
    rows = [
        [estimate.name, name, *(decibels(value) for value in scores)]
        for estimate in estimates
        for name, scores in zip(names, estimate.scores.table_db.tolist(), strict=True)
    ]
    title = "A duet of " + " and ".join(source.category for source in clip.sources)
    return DemoResult(title, ["method", "source", "SDR", "SIR", "SAR"], rows)


def _write_scores(folder: Path, estimates: Sequence[DemoEstimate], names: Sequence[str]) -> None:
    scores = {
        estimate.name: {
            name: scores_json(row)
            for name, row in zip(names, estimate.scores.table_db.tolist(), strict=True)
        }
        for estimate in estimates
    }
    write_atomic(folder / "scores.json", json.dumps(scores, indent=1) + "\n")


def _report(
    clip: ClipFiles,
    key_frame: bytes,
    item: MixtureItem,
    estimates: Sequence[DemoEstimate],
    result: DemoResult,
) -> str:
    names = [source.path.stem for source in clip.sources]
    rate_hz = FrontEnd().settings.sample_rate_hz

    def track(name: str, waveform: Float32[np.ndarray, "C N"], note: str = "") -> Track:
        num_channels, num_samples = waveform.shape
        return Track(name, encode_sound([waveform], num_channels, num_samples, rate_hz), note)

    mixture = Section("Mixture", [track("mixture", item.mixture)])
    references = Section(
        "References",
        [track(name, stem) for name, stem in zip(names, item.sources, strict=True)],
        "The sources of the mixture, as toyband synthesised them.",
    )
    separated = [
        Section(
            estimate.name,
            [
                track(name, stem[None], f"SDR {sdr_db:.1f} dB")
                for name, stem, sdr_db in zip(
                    names, estimate.estimates, estimate.scores.sdr_db, strict=True
                )
            ],
            DESCRIPTIONS.get(estimate.name, MODEL_DESCRIPTION),
        )
        for estimate in estimates
        if estimate.name != "mixture"
    ]
    return report_html(
        result.title,
        clip.video.read_bytes(),
        key_frame,
        (result.head, result.rows),
        [mixture, references, *separated],
        f"avsep {avsep.__version__}; audio at {rate_hz} Hz, the sample rate of the papers.",
    )
