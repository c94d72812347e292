"""Present a separation: report page, playback audio and preview video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from avsep.errors import InputError
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.media.video_files import AudioTrack, VideoSettings, write_tracks, write_video
from avsep.pages.figures import key_frame_jpeg
from avsep.pages.html_page import Section, Track, report_html
from avsep.pages.spectrograms import gate_png
from avsep.records import Clip
from avsep.separation.manifest import Manifest, ObjectRecord
from avsep.separation.result import Result
from avsep.sound.resampling import resample

# Sounds of a result as players take them: no louder than full scale, at a usual rate


# What AAC, and with it every player, takes.
_USUAL_RATES_HZ = (
    8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000,
)  # fmt: skip
_OTHERWISE_HZ = 48000
_MOST_CHANNELS = 2


@dataclass(frozen=True)
class Listening:
    """All sounds of a result to listen to; the files hold them as they are.

    Attributes:
        objects: one sound an object.
        remark: what was changed, in words; empty when nothing was.
    """

    mixture: Float32[np.ndarray, "C N"]
    objects: tuple[Float32[np.ndarray, "C N"], ...]
    residual: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    remark: str


def listening(result: Result) -> Listening:
    """Mixture, stems and residual made quieter by one factor where any goes beyond -1..1.

    One factor for all keeps them comparable. More than two channels become their mean.
    """
    sounds = [result.mixture, *(found.stem for found in result.objects), result.residual]
    rate_hz, warnings = result.sample_rate_hz, []
    if len(result.mixture) > _MOST_CHANNELS:
        sounds = [sound.mean(axis=0, keepdims=True, dtype=np.float32) for sound in sounds]
        warnings.append(f"{len(result.mixture)} channels are played as their mean")
    if rate_hz not in _USUAL_RATES_HZ:
        sounds = [resample(sound, rate_hz, _OTHERWISE_HZ) for sound in sounds]
        warnings.append(f"{rate_hz} Hz are played at {_OTHERWISE_HZ} Hz")
        rate_hz = _OTHERWISE_HZ
    peak = max(float(np.abs(sound).max(initial=0.0)) for sound in sounds)
    if peak > 1:
        sounds = [np.clip(sound / np.float32(peak), -1, 1) for sound in sounds]
        if (words := f"{20 * np.log10(peak):.1f}") != "0.0":  # decoders overshoot by a rounding
            warnings.append(f"all sounds are played {words} dB quieter, so that none is cut off")
    mixture, *objects, residual = sounds
    return Listening(mixture, tuple(objects), residual, rate_hz, "; ".join(warnings))


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
    warnings = [*manifest.warnings, sounds.remark]
    if whole > _LONGEST_SECONDS:
        warnings.append(f"this page plays the first {_LONGEST_SECONDS} s; the files hold all")
    return report_html(
        manifest.input.name,
        None,
        _key_frame(result),
        None,
        [
            Section("What is heard", [track("mixture", sounds.mixture, "the video's own sound")]),
            Section("Objects", objects, " · ".join(remark for remark in warnings if remark)),
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
    picture, time = result.video_input.key_frame(result.video_input.duration_seconds / 2)
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
        f"avsep {manifest.versions['avsep']}, model {model.name}{system}, which read "
        f"{manifest.input_channels}{drawn}; sounds at {manifest.sample_rate_hz} Hz"
    )


# preview.mp4: the video with one titled audio track an object, to switch between


_RATE_HZ = 25.0
_LONGEST_SIDE_PIXELS = 960
# AAC, as every player knows it; what must be exact is in the WAV files.
_SETTINGS = VideoSettings(audio_codec="aac", num_threads=0)


def write_preview(path: Path, result: Result, sounds: Listening, titles: Sequence[str]) -> None:
    """Write the preview; pictures are copied as they are, or encoded anew where that fails.

    Raises:
        InputError: the pictures can be neither copied nor decoded.
    """
    video_input = result.video_input
    start_seconds = max(0.0, video_input.sound.start_seconds)
    tracks = [
        AudioTrack(title, waveform, sounds.sample_rate_hz, start_seconds)
        for title, waveform in zip(titles, sounds.objects, strict=True)
    ]
    if isinstance(video_input.pictures, Clip):
        pictures = _steady(video_input.pictures, video_input.duration_seconds)
        write_video(path, pictures, _RATE_HZ, tracks, _SETTINGS)
        return
    try:
        write_tracks(path, video_input.pictures, tracks, _SETTINGS)
    except InputError:
        # Damaged packets cannot be copied, but what is left of them can be decoded.
        settings = FrameSettings(longest_side_pixels=_LONGEST_SIDE_PIXELS, on_damage="skip")
        frames = iterate_frames(video_input.pictures, _RATE_HZ, settings)
        write_video(path, (picture for _, picture in frames), _RATE_HZ, tracks, _SETTINGS)


def _steady(clip: Clip, duration_seconds: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The clip's pictures at a steady rate, each from its time on, while the sound lasts."""
    num_pictures = max(1, round(duration_seconds * _RATE_HZ))
    times = np.arange(num_pictures) / _RATE_HZ
    shown = np.searchsorted(clip.frame_times_seconds, times, side="right") - 1
    for index in shown.clip(0).tolist():
        yield clip.frames[index]
