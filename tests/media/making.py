"""Make test media with PyAV alone, and pictures whose brightness is their number."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

GREY_STEP = 5
LARGEST_NUMBER = 240 // GREY_STEP


def numbered(num_pictures: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Make grey pictures; picture k has the brightness that `number_of` reads as k."""
    assert num_pictures <= LARGEST_NUMBER, "more numbers than shades"
    return [np.full((height, width, 3), 8 + GREY_STEP * k, np.uint8) for k in range(num_pictures)]


def number_of(picture: np.ndarray) -> int:
    """Read the number of a picture from its brightness."""
    return round((float(picture.mean()) - 8) / GREY_STEP)


def noise(num_channels: int, num_samples: int, seed: int = 0) -> np.ndarray:
    """Make noise of whole 16-bit steps, which 16-bit codecs keep exactly."""
    steps = np.random.default_rng(seed).integers(-(2**14), 2**14, (num_channels, num_samples))
    return (steps / 2**15).astype(np.float32)


@dataclass(frozen=True)
class Track:
    waveform: np.ndarray
    rate: int = 16000
    layout: str = "mono"
    codec: str = "pcm_s16le"
    start_seconds: float = 0.0
    is_default: bool = True
    sample_format: str | None = None  # none: the codec's first


@dataclass(frozen=True)
class Video:
    pictures: Sequence[np.ndarray]
    rate: Fraction = Fraction(25)
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    start_seconds: float = 0.0
    pixel_aspect: Fraction | None = None
    rotation: tuple[float, bool, bool] | None = None  # counter-clockwise degrees, then flips
    is_default: bool = True
    options: dict[str, str] = field(default_factory=lambda: {"preset": "ultrafast", "crf": "4"})


def make(
    path: Path,
    videos: Sequence[Video] = (),
    tracks: Sequence[Track] = (),
    container: dict[str, str] | None = None,
    cover: bytes | None = None,
) -> Path:
    """Write streams in the order given, videos first."""
    with av.open(str(path), "w", options=container or {}) as output:
        streams = [_add_video(output, video) for video in videos]
        audio_streams = [_add_track(output, track) for track in tracks]
        if cover is not None:
            output.add_attachment("cover.png", "image/png", cover)
        for stream, video in zip(streams, videos, strict=True):
            for index, picture in enumerate(video.pictures):
                form = "rgba" if picture.shape[2] == 4 else "rgb24"
                frame = av.VideoFrame.from_ndarray(picture, format=form)
                frame = frame.reformat(format=video.pix_fmt)
                frame.pts = index + round(video.start_seconds * video.rate)
                frame.time_base = 1 / video.rate
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        for stream, track in zip(audio_streams, tracks, strict=True):
            encode(output, stream, track)
    return path


def _add_video(output: av.container.OutputContainer, video: Video) -> av.VideoStream:
    stream = output.add_stream(video.codec, rate=video.rate, options=video.options)
    stream.height, stream.width = video.pictures[0].shape[:2]
    stream.pix_fmt = video.pix_fmt
    stream.codec_context.time_base = 1 / video.rate
    if video.pixel_aspect is not None:
        stream.codec_context.sample_aspect_ratio = video.pixel_aspect
    if video.rotation is not None:
        stream.set_display_rotation(*video.rotation)
    stream.disposition = Disposition.default if video.is_default else Disposition(0)
    return stream


def _add_track(output: av.container.OutputContainer, track: Track) -> av.AudioStream:
    stream = output.add_stream(track.codec, rate=track.rate, layout=track.layout)
    stream.codec_context.time_base = Fraction(1, track.rate)
    if track.sample_format is not None:
        stream.codec_context.format = track.sample_format
    stream.disposition = Disposition.default if track.is_default else Disposition(0)
    return stream


def encode(
    output: av.container.OutputContainer, stream: av.AudioStream, track: Track, is_last: bool = True
) -> None:
    """Encode a track from its start time on, and flush the encoder after the last piece."""
    # Interleaved, which the encoder changes to what it takes: PyAV cannot fill eight planes.
    is_float = stream.codec_context.format.name.startswith("flt")
    samples = track.waveform if is_float else track.waveform * 2**15
    samples = samples.astype(np.float32 if is_float else np.int16)
    first = round(track.start_seconds * track.rate)
    for begin in range(0, samples.shape[1], 1600):
        piece = np.ascontiguousarray(samples[:, begin : begin + 1600].T.reshape(1, -1))
        name = "flt" if is_float else "s16"
        frame = av.AudioFrame.from_ndarray(piece, format=name, layout=track.layout)
        frame.sample_rate, frame.pts = track.rate, first + begin
        frame.time_base = Fraction(1, track.rate)
        output.mux(stream.encode(frame))
    if is_last:
        output.mux(stream.encode(None))
