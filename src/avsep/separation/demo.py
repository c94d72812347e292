"""The demo: a duet made, separated by the shipped model and ideal masks, scored, shown."""

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
from avsep.media.audio import write_audio
from avsep.pages.figures import key_frame_jpeg
from avsep.pages.html_page import Section, Track, report_html
from avsep.pages.spectrograms import peak_magnitude, spectrogram_png
from avsep.recipe import load_recipe
from avsep.separation.manifest import SeparatorSettings
from avsep.separation.separator import DEFAULT_MODEL, Separator
from avsep.sound.front_end import FrontEnd
from avsep.toyband.clip import ToybandSettings, make_clip
from avsep.toyband.folder import ClipPaths
from avsep.toyband.material import Material

CLIP_NAME = "duet"
CEILINGS = ("ideal-ratio-mask", "ideal-binary-mask")
ABOUT_MODEL = "the shipped model, told which instrument stands in each box"
# All that a demo writes: what may stand in its folder, and is replaced.
OWN_NAMES = {
    CLIP_NAME, f"{CLIP_NAME}.mp4", "mixture.wav", "mixture.png", "key_frame.jpg", "scores.json",
    "report.html", DEFAULT_MODEL, *CEILINGS,
}  # fmt: skip


@dataclass(frozen=True)
class DemoResult:
    """The table of a demo: a row for each separator and source."""

    title: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Answer:
    """What one separator made of the duet."""

    name: str
    estimates: Float32[np.ndarray, "S N"]
    scores: BssScores


def make_demo(folder: Path, seed: int) -> DemoResult:
    """Write video, stems, spectrograms, scores.json and report.html.

    What an earlier demo left is replaced; a folder with anything else in it is an InputError.
    """
    _begin(folder)
    settings = load_recipe("toyband-duets", "toyband", ToybandSettings)
    paths = ClipPaths(folder, CLIP_NAME)
    make_clip(paths, seed, 1, settings, Material.read())
    clip = read_clip(paths)
    front_end = FrontEnd()
    item = mix_clip(clip, front_end.settings)
    answers = list(_separate(paths.video, item, front_end))
    names = [source.path.stem for source in clip.sources]
    _write_sounds(folder, answers, names, front_end.settings.sample_rate_hz)
    result = _table(clip, answers, names)
    _write_scores(folder, answers, names)
    key_frame = key_frame_jpeg(load_clip(clip, [settings.clip_seconds / 2]))
    write_atomic(folder / "key_frame.jpg", key_frame)
    write_atomic(folder / "report.html", _page(clip, key_frame, item, answers, result))
    return result


def _begin(folder: Path) -> None:
    """Make the folder, or see that nothing in it is somebody else's."""
    make_folder(folder)
    for item in sorted(folder.iterdir()):
        if item.name not in OWN_NAMES and not item.name.startswith("."):
            raise InputError(
                f"'{folder}' holds '{item.name}', which is of no demo: give a new or empty folder"
            )


def _separate(video: Path, item: MixtureItem, front_end: FrontEnd) -> Iterator[Answer]:
    """The mixture as it is, the shipped model's answer to the video, then the ideal masks'."""
    batch = to_batch([item])
    for name in ("mixture", *CEILINGS):
        answer = BASELINES[name](front_end).separate(batch)
        yield _scored(name, waveforms(answer, front_end)[0].numpy(), item)
        if name == "mixture":
            result = Separator(DEFAULT_MODEL, SeparatorSettings(rate="model")).separate(video)
            stems = np.stack([one.stem for one in result.objects])
            yield _scored(DEFAULT_MODEL, stems, item)


def _scored(name: str, estimates: Float32[np.ndarray, "S 1 N"], item: MixtureItem) -> Answer:
    """Estimates and their scores over what both they and the truth cover, but for a frame."""
    num_samples = min(estimates.shape[-1], item.sources.shape[-1])
    estimates, truth = estimates[:, 0, :num_samples], item.sources[:, 0, :num_samples]
    return Answer(name, estimates, bss_eval(truth, estimates))


def _write_sounds(
    folder: Path, answers: Sequence[Answer], names: Sequence[str], sample_rate_hz: int
) -> None:
    """The mixture, and each separator's stems in a folder of its name: WAV and spectrogram.

    All spectrograms are on the mixture's scale.
    """
    mixture = answers[0].estimates[:1]
    sounds = {folder / "mixture": mixture}
    for answer in answers[1:]:
        target = folder / answer.name
        shutil.rmtree(target, ignore_errors=True)
        make_folder(target)
        for name, estimate in zip(names, answer.estimates, strict=True):
            sounds[target / name] = estimate[None]
    reference = peak_magnitude(mixture, sample_rate_hz)
    for path, waveform in sounds.items():
        write_audio(path.with_suffix(".wav"), waveform, sample_rate_hz)
        picture = spectrogram_png(waveform, sample_rate_hz, reference)
        write_atomic(path.with_suffix(".png"), picture)


def _table(clip: ClipFiles, answers: Sequence[Answer], names: Sequence[str]) -> DemoResult:
    rows = [
        [answer.name, name, *(decibels(value) for value in scores)]
        for answer in answers
        for name, scores in zip(names, answer.scores.table_db.tolist(), strict=True)
    ]
    title = "A duet of " + " and ".join(source.category for source in clip.sources)
    return DemoResult(title, ["separator", "source", "SDR", "SIR", "SAR"], rows)


def _write_scores(folder: Path, answers: Sequence[Answer], names: Sequence[str]) -> None:
    scores = {
        answer.name: {
            name: scores_json(row)
            for name, row in zip(names, answer.scores.table_db.tolist(), strict=True)
        }
        for answer in answers
    }
    write_atomic(folder / "scores.json", json.dumps(scores, indent=1) + "\n")


def _page(
    clip: ClipFiles,
    key_frame: bytes,
    item: MixtureItem,
    answers: Sequence[Answer],
    result: DemoResult,
) -> str:
    names = [source.path.stem for source in clip.sources]
    rate_hz = FrontEnd().settings.sample_rate_hz
    heard = Section("What is heard", [Track("mixture", item.mixture, rate_hz)])
    truth = Section(
        "The truth",
        [Track(name, stem, rate_hz) for name, stem in zip(names, item.sources, strict=True)],
        "What each performer played: toyband knows.",
    )
    separated = [
        Section(
            answer.name,
            [
                Track(name, estimate[None], rate_hz, f"SDR {sdr_db:.1f} dB")
                for name, estimate, sdr_db in zip(
                    names, answer.estimates, answer.scores.sdr_db, strict=True
                )
            ],
            DESCRIPTIONS.get(answer.name, ABOUT_MODEL),
        )
        for answer in answers
        if answer.name != "mixture"
    ]
    return report_html(
        result.title,
        clip.video.read_bytes(),
        key_frame,
        (result.head, result.rows),
        [heard, truth, *separated],
        f"avsep {avsep.__version__}; sounds at {rate_hz} Hz, the rate the field's models work at.",
    )
