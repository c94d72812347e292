"""Present a separation: playback audio, report page and preview video, from the files of stems."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from threading import Event

import numpy as np
from jaxtyping import Float32, UInt8

from avsep.errors import InputError
from avsep.media.audio import iterate_audio
from avsep.media.audio_encoding import encodable_rate_hz
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.media.video_files import AudioTrack, VideoSettings, write_tracks, write_video
from avsep.pages.html_page import (
    EncodedSound,
    Section,
    Track,
    encode_sound,
    key_frame_jpeg,
    report_html,
)
from avsep.pages.spectrograms import gate_png
from avsep.records import Clip, VisibleObject
from avsep.separation.locating import describe_point
from avsep.separation.progress import Progress
from avsep.separation.result import Manifest, ObjectRecord, PromptKind
from avsep.separation.spans import describe_spans
from avsep.separation.video_input import VideoInput
from avsep.sound.resampling import resample_blocks

# Players differ in what they make of more channels than stereo has.
_MAX_CHANNELS = 2
# Audio is embedded in the report: hours of it would make a page too large to open.
MAX_REPORT_SECONDS = 600
_BLOCK_SECONDS = 1.0
# Ends of a gate's colour scale: percentiles, as single outliers would flatten all the rest.
_GATE_PERCENTILES = (2, 98)
# Gates that vary by less are drawn in one colour: stretched, they would show rounding errors.
_MIN_GATE_RANGE = 0.005
# Used where the frames are encoded again: arrays, and files whose packets cannot be copied.
_PREVIEW_RATE_HZ = 25.0
_PREVIEW_SIDE_PIXELS = 960
# All players support AAC; the exact audio is in the WAV files.
_PREVIEW_SETTINGS = VideoSettings(audio_codec="aac", num_threads=0)
# Hours of all tracks together up to which an MP4 has one index: 100 MB, held until the end.
_MOST_INDEXED_HOURS = 8
_CURVE_TEXT = "probability that it is heard, from 0 to 1, each second"
_PROMPT_CAPTIONS: dict[PromptKind, str] = {
    "text category": "text prompt only, as a category",
    "text embedding": "text prompt only, as a CLIP embedding",
}


# Playback audio


class CancelledError(Exception):
    """Raised in a thread whose work is not wanted any more."""


@dataclass(frozen=True)
class Playback:
    """Audio of a result folder as played in report and preview, read block by block.

    The files hold it unchanged. Players get two channels, a usual rate and no clipping: one gain
    for all keeps their levels comparable, and more than two channels become their mean.

    Attributes:
        folder: folder of the stems.
        manifest: manifest of the stems.
        stop: ends every reading by `CancelledError` once it is set.
    """

    folder: Path
    manifest: Manifest
    stop: Event

    @property
    def num_channels(self) -> int:
        """Channels that are played."""
        num_channels = self.manifest.num_channels
        return num_channels if num_channels <= _MAX_CHANNELS else 1

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the preview's codec, which every player supports."""
        return encodable_rate_hz("aac", self.manifest.sample_rate_hz)

    @cached_property
    def peak(self) -> float:
        """Largest absolute sample of mixture, stems and residual, as they are played."""
        is_converted = (self.num_channels, self.sample_rate_hz) != (
            self.manifest.num_channels,
            self.manifest.sample_rate_hz,
        )
        if not is_converted:
            return self.manifest.peak
        # Resampling may overshoot, and a mean is quieter than its channels.
        sounds = [(name,) for name in self.all_files]
        blocks = (block for names in (*sounds, self.all_files) for block in self._converted(names))
        return max(float(np.abs(block).max(initial=0.0)) for block in blocks)

    @property
    def all_files(self) -> tuple[str, ...]:
        """Names of the files whose sum is the mixture."""
        return (*(stem.file for stem in self.manifest.stems), self.manifest.residual)

    @property
    def note(self) -> str:
        """Changes made for playback, in words; empty without any."""
        notes = []
        if self.num_channels != self.manifest.num_channels:
            notes.append(f"{self.manifest.num_channels} channels are played as their mean")
        if self.sample_rate_hz != self.manifest.sample_rate_hz:
            notes.append(
                f"audio is resampled from {self.manifest.sample_rate_hz} to {self.sample_rate_hz} "
                "Hz for playback"
            )
        # Lossy decoders exceed full scale by a rounding error: no note on 0.0 dB.
        if self.peak > 1 and (reduction_db := f"{20 * np.log10(self.peak):.1f}") != "0.0":
            notes.append(f"all audio is played {reduction_db} dB quieter to avoid clipping")
        return "; ".join(notes)

    def blocks(
        self, files: Sequence[str], num_samples: int | None = None
    ) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Read the sum of some files as it is played; `num_samples` at most."""
        for block in self._converted(files):
            if self.peak > 1:
                block = block / np.float32(self.peak)
            # Lossy decoders exceed full scale by a rounding error.
            block = np.clip(block, -1, 1)
            if num_samples is not None:
                block = block[:, :num_samples]
                num_samples -= block.shape[1]
            yield block
            if num_samples == 0:
                return

    def _converted(self, files: Sequence[str]) -> Iterator[Float32[np.ndarray, "C n"]]:
        blocks: Iterable[Float32[np.ndarray, "C _"]] = self._sum(files)
        if self.num_channels != self.manifest.num_channels:
            blocks = (block.mean(axis=0, keepdims=True, dtype=np.float32) for block in blocks)
        return resample_blocks(
            blocks, self.num_channels, self.manifest.sample_rate_hz, self.sample_rate_hz
        )

    def _sum(self, files: Sequence[str]) -> Iterator[Float32[np.ndarray, "C n"]]:
        paths = [self.folder / name for name in files]
        for blocks in zip(*(iterate_audio(path, _BLOCK_SECONDS) for path in paths), strict=True):
            if self.stop.is_set():
                raise CancelledError
            total = blocks[0]
            for block in blocks[1:]:
                total = total + block
            yield total


# Report page: key frame with boxes, and audio, spectrogram and gate of every object


def encode_sounds(playback: Playback) -> list[EncodedSound]:
    """Encode mixture, stems and residual for the report, at most its longest length."""
    num_samples = round(report_seconds(playback.manifest) * playback.sample_rate_hz)
    files = [playback.all_files, *((name,) for name in playback.all_files)]
    return [
        encode_sound(
            playback.blocks(names, num_samples),
            playback.num_channels,
            num_samples,
            playback.sample_rate_hz,
        )
        for names in files
    ]


def report_page(
    playback: Playback,
    manifest: Manifest,
    sounds: Sequence[EncodedSound],
    gate: Float32[np.ndarray, "S h w"] | None,
    key_frame: bytes | None,
) -> str:
    """Build report.html: key frame, table of objects, and all sounds to play and to see.

    Args:
        playback: audio of the result for players.
        manifest: manifest as it is written.
        sounds: encoded mixture, stems and residual, in this order.
        gate: gate of each object, as long as the sounds; none for a model without one.
        key_frame: JPEG of the key frame; none: there are no pictures.
    """
    mixture, *stems, residual = sounds
    seconds = report_seconds(manifest)
    objects = []
    for stem, sound in zip(manifest.stems, stems, strict=True):
        object_track = Track(f"{stem.index + 1:02d} {stem.title}", sound, _caption(stem.record))
        heard_seconds = stem.record.presence_over_time[: ceil(seconds)]
        if heard_seconds:
            object_track = replace(object_track, curve=heard_seconds, curve_text=_CURVE_TEXT)
        if gate is not None:
            picture, text = _gate_picture(gate[stem.index], seconds)
            object_track = replace(object_track, picture=picture, picture_text=text)
        objects.append(object_track)
    share = f"mixture minus stems; {100 * manifest.residual_energy_share:.0f} % of its energy"
    notes = [*manifest.warnings, playback.note]
    if key_frame is None:
        notes.append("without pictures there is no key frame")
    if seconds < manifest.input.duration_seconds:
        notes.append(f"this page plays the first {MAX_REPORT_SECONDS} s; the files are complete")
    return report_html(
        manifest.input.name,
        None,
        key_frame,
        prompt_table(manifest),
        [
            Section("Mixture", [Track("mixture", mixture, "the video's own audio")]),
            Section("Objects", objects, " · ".join(filter(None, notes))),
            Section("Residual", [Track(manifest.residual_title, residual, share)]),
        ],
        _footer(manifest),
    )


def report_seconds(manifest: Manifest) -> float:
    """Return the length of the sounds in the report."""
    return min(manifest.num_samples / manifest.sample_rate_hz, MAX_REPORT_SECONDS)


def prompt_table(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table: how each object was given, when it sounds, and where."""
    rows = []
    for number, item in enumerate(manifest.objects, 1):
        sounds = describe_spans(item.spans) if item.spans else "throughout"
        sound_file = item.file or manifest.residual
        if item.is_excluded:
            sounds, sound_file = "not: excluded", f"{manifest.residual} (no stem)"
        name = f"{number:02d} {_signed_label(item)}"
        rows.append([name, _describe_prompt(item), sounds, _describe_presence(item), sound_file])
    return ["object", "given by", "sounds", "heard", "file"], rows


def _describe_presence(record: ObjectRecord) -> str:
    """Return in words whether an object is heard, and what its stem is if not the model's."""
    words = record.presence_state
    if record.presence_over_time:
        words += f" ({record.presence_probability:.2f})"
    kinds = {"rest": "; shares what the others leave", "silence": "; silent stem", "model": ""}
    return words + kinds[record.separated_as]


def _signed_label(record: ObjectRecord) -> str:
    return f"not {record.label}" if record.is_excluded else record.label


def _describe_prompt(record: ObjectRecord) -> str:
    """Return in words what an object was given by."""
    if record.prompt_kind in _PROMPT_CAPTIONS:
        return f"text '{record.prompt}'"
    if record.point is not None:
        return describe_point(record.point)
    if record.mask is not None:
        return f"mask {record.mask}"
    if not record.boxes:
        return "whole picture"
    return "box" if len(record.boxes) == 1 else f"{len(record.boxes)} boxes over time"


def _caption(record: ObjectRecord) -> str:
    """Return prompt, category and energy of an object in one line."""
    words = [f"{100 * record.energy_share:.0f} % of the mixture's energy"]
    if record.category is not None:
        words.insert(0, f"{record.category} ({record.category_from})")
    if record.prompt_kind in _PROMPT_CAPTIONS:
        words.insert(0, _PROMPT_CAPTIONS[record.prompt_kind])
    if record.spans:
        words.append(f"sounds {describe_spans(record.spans)}, silent elsewhere")
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


def draw_key_frame(video_input: VideoInput, manifest: Manifest) -> bytes:
    """Draw box and label of every object on the frame in the middle of the sound, as JPEG.

    The label of an excluded object begins with "not".
    """
    middle_seconds = manifest.input.duration_seconds / 2
    picture, seconds = video_input.key_frame(middle_seconds)
    objects = tuple(
        VisibleObject(label=_signed_label(item), boxes=item.boxes, prompt=item.prompt)
        for item in manifest.objects
    )
    # Boxes count from the start of the whole sound, of which this may be a part.
    times = np.array([seconds + video_input.sound.offset_seconds])
    silence = np.zeros((1, 1), np.float32)
    return key_frame_jpeg(Clip(silence, manifest.sample_rate_hz, picture[None], times, objects))


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


# preview.mp4: the video with one titled audio track for each sound


def write_preview(
    path: Path, video_input: VideoInput, playback: Playback, progress: Progress
) -> list[str]:
    """Write the preview; frames are copied without encoding, or encoded where that fails.

    Its tracks are the mixture, the objects and the residual. Of a part of a video it begins with
    the last key frame before the part.

    Returns:
        warnings: that frames of a file are encoded, that the index is in parts.

    Raises:
        InputError: the frames can be neither copied nor decoded.
    """
    manifest = playback.manifest
    sound, pictures = video_input.sound, video_input.pictures
    sounds = [
        ("mixture", playback.all_files),
        *((stem.title, (stem.file,)) for stem in manifest.stems),
        (manifest.residual_title, (manifest.residual,)),
    ]
    tracks = [
        AudioTrack(
            title,
            _reported(playback, files, f"{video_input.file_name}: preview", progress),
            playback.sample_rate_hz,
            0.0 if isinstance(pictures, Clip) else max(0.0, sound.start_seconds),
        )
        for title, files in sounds
    ]
    settings, warnings = _preview_settings(path, manifest, len(tracks))
    if isinstance(pictures, Clip):
        seconds = manifest.input.duration_seconds
        frames = _at_constant_rate(pictures, sound.offset_seconds, seconds)
        write_video(path, frames, _PREVIEW_RATE_HZ, tracks, settings)
        return warnings
    part = sound.selection
    try:
        write_tracks(
            path,
            pictures,
            tracks,
            settings,
            start_seconds=part.start_seconds,
            end_seconds=part.end_seconds,
        )
    except InputError as error:
        # Damaged packets cannot be copied, but the rest of them can be decoded.
        reason = str(error)
        timed = iterate_frames(
            pictures,
            _PREVIEW_RATE_HZ,
            FrameSettings(longest_side_pixels=_PREVIEW_SIDE_PIXELS, on_damage="skip"),
            start_seconds=part.start_seconds,
            end_seconds=part.end_seconds,
        )
        moved = [
            replace(
                track,
                waveform=playback.blocks(files),
                start_seconds=max(0.0, track.start_seconds - part.start_seconds),
            )
            for track, (_, files) in zip(tracks, sounds, strict=True)
        ]
        frames = (picture for _, picture in timed)
        write_video(path, frames, _PREVIEW_RATE_HZ, moved, settings)
        warnings.append(
            f"its pictures are not copied but encoded at {_PREVIEW_RATE_HZ:g} Hz, since {reason}"
        )
    return warnings


def _preview_settings(
    path: Path, manifest: Manifest, num_tracks: int
) -> tuple[VideoSettings, list[str]]:
    """Return the settings of a preview, and a warning where the index of its MP4 is in parts."""
    hours = num_tracks * manifest.input.duration_seconds / 3600
    if path.suffix != ".mp4" or hours <= _MOST_INDEXED_HOURS:
        return _PREVIEW_SETTINGS, []
    warning = (
        f"its index is in parts, as one of {hours:.1f} hours of tracks would fill the memory; "
        "for programs that cannot open it, --preview mkv"
    )
    return _PREVIEW_SETTINGS.model_copy(update={"is_fragmented": True}), [warning]


def _reported(
    playback: Playback, files: Sequence[str], stage: str, progress: Progress
) -> Iterator[Float32[np.ndarray, "C n"]]:
    """Read a sound for the preview; the mixture, which is the first, reports progress of all."""
    num_samples = 0
    all_seconds = playback.manifest.num_samples / playback.manifest.sample_rate_hz
    for block in playback.blocks(files):
        yield block
        num_samples += block.shape[1]
        if files == playback.all_files:
            progress(stage, min(num_samples / playback.sample_rate_hz, all_seconds), all_seconds)


def _at_constant_rate(
    clip: Clip, start_seconds: float, duration_seconds: float
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield a clip's frames at the preview's rate from a time on, for the length of its audio."""
    num_pictures = max(1, round(duration_seconds * _PREVIEW_RATE_HZ))
    times = start_seconds + np.arange(num_pictures) / _PREVIEW_RATE_HZ
    # The last frame that begins by each time; before the first one, the first.
    indices = np.searchsorted(clip.frame_times_seconds, times, side="right") - 1
    for index in indices.clip(0).tolist():
        yield clip.frames[index]
