"""The report of a result: what was seen, heard and taken apart, on one self-contained page."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from avsep.pages.key_frame import key_frame_jpeg
from avsep.pages.report import Section, Track, report_html
from avsep.pages.spectrogram_picture import gate_png
from avsep.records import Clip
from avsep.separation.listening import Listening
from avsep.separation.manifest import Manifest, ObjectRecord
from avsep.separation.result import Result

# A page of hours would be too large to open.
_LONGEST_SECONDS = 600
_GATE_PERCENTILES = (2, 98)
# Gates that differ by less are drawn in one colour: stretched, they would show rounding.
_FLAT = 0.005


def result_page(
    result: Result, manifest: Manifest, sounds: Listening, titles: Sequence[str]
) -> str:
    """The page: key frame with boxes, and sound and spectrogram of all that was heard and made."""
    whole = len(sounds.mixture[0]) / sounds.sample_rate_hz
    num_samples = min(len(sounds.mixture[0]), _LONGEST_SECONDS * sounds.sample_rate_hz)
    played = num_samples / len(sounds.mixture[0])

    def track(title: str, waveform: Float32[np.ndarray, "C N"], remark: str) -> Track:
        return Track(title, waveform[:, :num_samples], sounds.sample_rate_hz, remark)

    objects = []
    for index, (found, record) in enumerate(zip(result.objects, manifest.objects, strict=True)):
        title = f"{index + 1:02d} {titles[index]}"
        one = track(title, sounds.objects[index], _words(record))
        if found.gate is not None:
            num_columns = max(1, round(found.gate.shape[1] * played))
            picture, words = _gate(found.gate[:, :num_columns], whole * played)
            one = replace(one, picture=picture, picture_text=words)
        objects.append(one)
    share = f"mixture minus stems; {100 * manifest.residual_energy_share:.0f} % of its energy"
    remarks = [*manifest.remarks, sounds.remark]
    if whole > _LONGEST_SECONDS:
        remarks.append(f"this page plays the first {_LONGEST_SECONDS} s; the files hold all")
    return report_html(
        manifest.input.name,
        None,
        _key_frame(result),
        None,
        [
            Section("What is heard", [track("mixture", sounds.mixture, "the video's own sound")]),
            Section("Objects", objects, " · ".join(remark for remark in remarks if remark)),
            Section("What is left", [track("residual", sounds.residual, share)]),
        ],
        _footer(manifest),
    )


def _words(record: ObjectRecord) -> str:
    """What is known of an object, in one line."""
    words = [f"{100 * record.energy_share:.0f} % of the sound's energy"]
    if record.category is not None:
        source = "as told" if record.category_from == "label" else "by its picture"
        words.insert(0, f"{record.category}, {source}")
    if record.known_by != "picture":
        words.insert(0, f"by its word alone, {record.known_by}")
    return "; ".join(words)


def _gate(gate: Float32[np.ndarray, "h w"], duration_seconds: float) -> tuple[bytes, str]:
    """The gate's heat map from its own lowest to its highest values, and what they are.

    A trained gate stays within a few hundredths of its mean: on one scale for all it is one colour.
    """
    low, high = (float(value) for value in np.percentile(gate, _GATE_PERCENTILES))
    words = f"gate, mean {float(gate.mean()):.2f}, "
    if high - low < _FLAT:
        even = np.full_like(gate, 0.5)
        return gate_png(even, duration_seconds), words + "the same everywhere"
    stretched = ((gate - low) / (high - low)).clip(0, 1).astype(np.float32)
    return gate_png(stretched, duration_seconds), words + (
        f"drawn from {low:.2f}, dark, to {high:.2f}, bright (its {_GATE_PERCENTILES[0]}nd and "
        f"{_GATE_PERCENTILES[1]}th percentile): bright where more of the object's picture went "
        "into what the model heard, dark where the sound alone counted for more"
    )


def _key_frame(result: Result) -> bytes:
    """The picture in the middle, with the box and label of every object."""
    picture, time = result.scene.key_frame(result.scene.duration_seconds / 2)
    labelled = tuple(
        found.visible.model_copy(update={"label": found.label}) for found in result.objects
    )
    clip = Clip(
        result.mixture[:, :1], result.sample_rate_hz, picture[None], np.array([time]), labelled
    )
    return key_frame_jpeg(clip)


def _footer(manifest: Manifest) -> str:
    model, sampling = manifest.model, manifest.sampling
    system = f" ({model.system})" if model.system else ""
    drawn = ""
    if sampling is not None:
        drawn = (
            f", {manifest.settings.quality}: sampler {sampling.sampler}, passes a window "
            f"{sampling.evaluations}, seed {manifest.settings.seed}"
        )
    return (
        f"avsep {manifest.versions['avsep']}, model {model.name}{system}, which heard "
        f"{manifest.heard}{drawn}; sounds at {manifest.sample_rate_hz} Hz"
    )
