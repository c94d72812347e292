"""Present a separation: playback audio, report page and preview video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from avsep.errors import InputError
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.media.video_files import AudioTrack, VideoSettings, write_tracks, write_video
from avsep.pages.html_page import Section, Track, key_frame_jpeg, report_html
from avsep.pages.spectrograms import gate_png
from avsep.records import Clip
from avsep.separation.result import Manifest, ObjectRecord, PromptKind, Result
from avsep.sound.resampling import resample

# Sample rates of AAC, the codec of the preview; every player supports them.
_PLAYABLE_RATES_HZ = (
    8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000,
)  # fmt: skip
_FALLBACK_RATE_HZ = 48000
# Players differ in what they make of more channels than stereo has.
_MAX_CHANNELS = 2
# Audio is embedded in the report: hours of it would make a page too large to open.
_MAX_REPORT_SECONDS = 600
# Ends of a gate's colour scale: percentiles, as single outliers would flatten all the rest.
_GATE_PERCENTILES = (2, 98)
# Gates that vary by less are drawn in one colour: stretched, they would show rounding errors.
_MIN_GATE_RANGE = 0.005
# Used where the frames are encoded again: arrays, and files whose packets cannot be copied.
_PREVIEW_RATE_HZ = 25.0
_PREVIEW_SIDE_PIXELS = 960
# All players support AAC; the exact audio is in the WAV files.
_PREVIEW_SETTINGS = VideoSettings(audio_codec="aac", num_threads=0)
_PROMPT_CAPTIONS: dict[PromptKind, str] = {
    "text category": "text prompt only, as a category",
    "text embedding": "text prompt only, as a CLIP embedding",
}


# Playback audio


@dataclass(frozen=True)
class Playback:
    """Audio of a result as played in report and preview; the files hold it unchanged.

    Attributes:
        mixture: audio of the video.
        objects: stem of each object.
        residual: mixture minus stems.
        sample_rate_hz: a rate that players support.
        note: changes made for playback, in words; empty without any.
    """

    mixture: Float32[np.ndarray, "C N"]
    objects: tuple[Float32[np.ndarray, "C N"], ...]
    residual: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    note: str


def playback_audio(result: Result) -> Playback:
    """Convert mixture, stems and residual for players: two channels, usual rate, no clipping.

    One gain for all keeps their levels comparable. More than two channels become their mean.
    """
    waveforms = [result.mixture, *(item.stem for item in result.objects), result.residual]
    rate_hz, notes = result.sample_rate_hz, []
    if len(result.mixture) > _MAX_CHANNELS:
        waveforms = [w.mean(axis=0, keepdims=True, dtype=np.float32) for w in waveforms]
        notes.append(f"{len(result.mixture)} channels are played as their mean")
    if rate_hz not in _PLAYABLE_RATES_HZ:
        waveforms = [resample(w, rate_hz, _FALLBACK_RATE_HZ) for w in waveforms]
        notes.append(f"audio is resampled from {rate_hz} to {_FALLBACK_RATE_HZ} Hz for playback")
        rate_hz = _FALLBACK_RATE_HZ
    # After resampling, which may overshoot.
    peak = max(float(np.abs(w).max(initial=0.0)) for w in waveforms)
    if peak > 1:
        waveforms = [np.clip(w / np.float32(peak), -1, 1) for w in waveforms]
        # Lossy decoders exceed full scale by a rounding error: no note on 0.0 dB.
        if (reduction_db := f"{20 * np.log10(peak):.1f}") != "0.0":
            notes.append(f"all audio is played {reduction_db} dB quieter to avoid clipping")
    mixture, *objects, residual = waveforms
    return Playback(mixture, tuple(objects), residual, rate_hz, "; ".join(notes))


# Report page: key frame with boxes, and audio, spectrogram and gate of every object


def report_page(
    result: Result, manifest: Manifest, playback: Playback, titles: Sequence[str]
) -> str:
    """Build report.html: key frame, then mixture, objects and residual to play and to see.

    Args:
        result: objects with their gates, and the video.
        manifest: manifest as it is written.
        playback: audio of the result for players.
        titles: title of each object.
    """
    all_samples = len(playback.mixture[0])
    all_seconds = all_samples / playback.sample_rate_hz
    num_samples = min(all_samples, _MAX_REPORT_SECONDS * playback.sample_rate_hz)
    fraction = num_samples / all_samples

    def track(title: str, waveform: Float32[np.ndarray, "C N"], caption: str) -> Track:
        return Track(title, waveform[:, :num_samples], playback.sample_rate_hz, caption)

    objects = []
    for index, (item, record) in enumerate(zip(result.objects, manifest.objects, strict=True)):
        title = f"{index + 1:02d} {titles[index]}"
        object_track = track(title, playback.objects[index], _caption(record))
        if item.gate is not None:
            num_columns = max(1, round(item.gate.shape[1] * fraction))
            picture, text = _gate_picture(item.gate[:, :num_columns], all_seconds * fraction)
            object_track = replace(object_track, picture=picture, picture_text=text)
        objects.append(object_track)
    share = f"mixture minus stems; {100 * manifest.residual_energy_share:.0f} % of its energy"
    notes = [*manifest.warnings, playback.note]
    if all_seconds > _MAX_REPORT_SECONDS:
        notes.append(f"this page plays the first {_MAX_REPORT_SECONDS} s; the files are complete")
    return report_html(
        manifest.input.name,
        None,
        _key_frame(result),
        None,
        [
            Section("Mixture", [track("mixture", playback.mixture, "the video's own audio")]),
            Section("Objects", objects, " · ".join(filter(None, notes))),
            Section("Residual", [track("residual", playback.residual, share)]),
        ],
        _footer(manifest),
    )


def _caption(record: ObjectRecord) -> str:
    """Return prompt, category and energy of an object in one line."""
    words = [f"{100 * record.energy_share:.0f} % of the mixture's energy"]
    if record.category is not None:
        words.insert(0, f"{record.category} ({record.category_from})")
    if record.prompt_kind in _PROMPT_CAPTIONS:
        words.insert(0, _PROMPT_CAPTIONS[record.prompt_kind])
    return "; ".join(words)


def _gate_picture(gate: Float32[np.ndarray, "h w"], duration_seconds: float) -> tuple[bytes, str]:
    """Draw a gate on a colour scale from its own lowest to its highest values, and describe it.

    A trained gate stays within a few hundredths of its mean: on a scale from 0 to 1 it would be
    one colour.
    """
    low, high = np.percentile(gate, _GATE_PERCENTILES).tolist()
    mean = f"gate, mean {float(gate.mean()):.2f}, "
    if high - low < _MIN_GATE_RANGE:
        flat = np.full_like(gate, 0.5)
        return gate_png(flat, duration_seconds), mean + "constant"
    stretched = ((gate - low) / (high - low)).clip(0, 1).astype(np.float32)
    # Equation 5 of DGFNet: gate * (audio x visual product) + (1 - gate) * audio.
    return gate_png(stretched, duration_seconds), mean + (
        f"drawn from {low:.2f}, dark, to {high:.2f}, bright (its {_GATE_PERCENTILES[0]}nd and "
        f"{_GATE_PERCENTILES[1]}th percentile): bright where the model weights the features fused "
        "with the object's picture more, dark where it weights the audio features alone more"
    )


def _key_frame(result: Result) -> bytes:
    """Return the frame in the middle of the video with box and label of every object, as JPEG."""
    picture, time = result.video_input.key_frame(result.video_input.duration_seconds / 2)
    labelled = tuple(
        item.visible.model_copy(update={"label": item.label}) for item in result.objects
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
            f"; quality {manifest.settings.quality}: sampler {sampling.sampler}, network passes "
            f"per window {sampling.evaluations}, seed {manifest.settings.seed}"
        )
    return (
        f"avsep {manifest.versions['avsep']}, model {model.name}{system} on "
        f"{manifest.input_channels}{drawn}; audio at {manifest.sample_rate_hz} Hz"
    )


# preview.mp4: the video with one titled audio track for each object


def write_preview(path: Path, result: Result, playback: Playback, titles: Sequence[str]) -> None:
    """Write the preview; frames are copied without encoding, or encoded where that fails.

    Raises:
        InputError: the frames can be neither copied nor decoded.
    """
    video_input = result.video_input
    start_seconds = max(0.0, video_input.sound.start_seconds)
    tracks = [
        AudioTrack(title, waveform, playback.sample_rate_hz, start_seconds)
        for title, waveform in zip(titles, playback.objects, strict=True)
    ]
    if isinstance(video_input.pictures, Clip):
        pictures = _at_constant_rate(video_input.pictures, video_input.duration_seconds)
        write_video(path, pictures, _PREVIEW_RATE_HZ, tracks, _PREVIEW_SETTINGS)
        return
    try:
        write_tracks(path, video_input.pictures, tracks, _PREVIEW_SETTINGS)
    except InputError:
        # Damaged packets cannot be copied, but the rest of them can be decoded.
        settings = FrameSettings(longest_side_pixels=_PREVIEW_SIDE_PIXELS, on_damage="skip")
        frames = iterate_frames(video_input.pictures, _PREVIEW_RATE_HZ, settings)
        pictures = (picture for _, picture in frames)
        write_video(path, pictures, _PREVIEW_RATE_HZ, tracks, _PREVIEW_SETTINGS)


def _at_constant_rate(clip: Clip, duration_seconds: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield a clip's frames at the preview's rate for the length of its audio."""
    num_pictures = max(1, round(duration_seconds * _PREVIEW_RATE_HZ))
    times = np.arange(num_pictures) / _PREVIEW_RATE_HZ
    # The last frame that begins by each time; before the first one, the first.
    indices = np.searchsorted(clip.frame_times_seconds, times, side="right") - 1
    for index in indices.clip(0).tolist():
        yield clip.frames[index]
