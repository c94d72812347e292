"""One sound in many containers and codecs is read at one place and length, beside its flash.

The truth is the sound that was encoded: two sources that begin suddenly, three times, each time
with a white picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avsep import bss_eval
from avsep.media.audio import Audio, read_audio
from avsep.media.frames import iterate_frames

RATE_HZ, FRAME_RATE_HZ, SECONDS = 48000, 25, 3
ONSET_FRAMES = (12, 30, 55)
_FRAME_SAMPLES = RATE_HZ // FRAME_RATE_HZ


@dataclass(frozen=True)
class Case:
    """A container with codec; `surplus` samples of padding at the end are nowhere told in it."""

    format: str
    codec: str
    video: str | None = "libx264"
    surplus: int = 0
    lossless: bool = False
    options: dict[str, str] = field(default_factory=dict)
    place_frames: float = 0.0  # the place may be off by this many pictures
    is_scored: bool = True

    @property
    def name(self) -> str:
        return "-".join([self.format, self.codec, *self.options])


# What fills the last frame after priming and sound: frame and priming of each codec, in samples.
_AAC, _MP3, _AC3 = (
    -(SECONDS * RATE_HZ + priming) % frame
    for frame, priming in ((1024, 1024), (1152, 1105), (1536, 256))
)
CASES = [
    Case("mp4", "aac"),
    Case("mp4", "aac", options={"movflags": "frag_keyframe+empty_moov"}),
    Case("mp4", "aac", options={"movflags": "frag_keyframe+delay_moov"}),
    Case("mp4", "libopus"),
    Case("mp4", "libmp3lame"),
    Case("mov", "pcm_s16le", lossless=True),
    Case("mov", "alac", lossless=True),
    Case("matroska", "aac", surplus=_AAC),
    Case("matroska", "libopus"),
    # FFmpeg's own encoder for Vorbis is experimental: the second channel comes out 6 dB worse. That
    # of libvorbis is scored below.
    Case("matroska", "vorbis", is_scored=False),
    Case("matroska", "flac", lossless=True),
    Case("matroska", "libmp3lame"),
    Case("matroska", "ac3", surplus=_AC3),
    Case("webm", "libopus", "libvpx"),
    Case("webm", "vorbis", "libvpx", is_scored=False),
    Case("mpegts", "aac", surplus=_AAC),
    Case("mpegts", "libmp3lame", surplus=_MP3),
    Case("mpegts", "ac3", surplus=_AC3),
    # AVI counts whole pictures and whole packets of sound: see the test below.
    Case("avi", "libmp3lame", "mpeg4", surplus=_MP3, place_frames=1),
    Case("avi", "aac", "mpeg4", surplus=_AAC, place_frames=1),
    Case("avi", "ac3", "mpeg4", surplus=_AC3, place_frames=1),
    Case("avi", "pcm_s16le", "mpeg4", lossless=True),
    Case("adts", "aac", None, surplus=_AAC),
    Case("mp3", "libmp3lame", None),
    Case("mp3", "libmp3lame", None, surplus=_MP3, options={"write_xing": "0"}),
    Case("ogg", "vorbis", None, is_scored=False),
    Case("ogg", "libopus", None),
    Case("ogg", "flac", None, lossless=True),
    Case("flac", "flac", None, lossless=True),
    Case("wav", "pcm_s16le", None, lossless=True),
    Case("ipod", "aac", None),
]


def _plucks(seed: int) -> np.ndarray:
    """Twenty partials that begin at each onset and fade within 0.1 s, in whole 16-bit steps."""
    generator, waveform = np.random.default_rng(seed), np.zeros(SECONDS * RATE_HZ)
    times = np.arange(16000) / RATE_HZ
    for onset in ONSET_FRAMES:
        partials = np.sin(2 * np.pi * generator.uniform(100, 4000, (20, 1)) * times)
        begin = onset * _FRAME_SAMPLES
        waveform[begin : begin + 16000] = partials.sum(axis=0) * np.exp(-times / 0.1)
    steps = np.rint(waveform / np.abs(waveform).max() * 0.8 * 2**15)
    return (steps / 2**15).astype(np.float32)


@pytest.fixture(scope="module")
def sources() -> np.ndarray:
    """Two sources [S, N]; the left channel has the first, the right one the second."""
    return np.stack([_plucks(1), _plucks(2)])


def _write(path: Path, case: Case, sources: np.ndarray, late_samples: int = 0) -> None:
    experimental = {"strict": "experimental"} if case.codec == "vorbis" else {}
    with av.open(str(path), "w", format=case.format, options=case.options) as output:
        video = None
        if case.video is not None:
            fast = {"preset": "ultrafast"} if case.video == "libx264" else {}
            video = output.add_stream(case.video, rate=FRAME_RATE_HZ, options=fast)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = output.add_stream(case.codec, rate=RATE_HZ, layout="stereo", options=experimental)
        audio.bit_rate = 256_000 if case.codec in ("libopus", "vorbis") else 320_000
        audio.codec_context.time_base = Fraction(1, RATE_HZ)
        for number in range(SECONDS * FRAME_RATE_HZ):
            if video is not None:
                shade = 255 if number in ONSET_FRAMES else 0
                picture = np.full((48, 64, 3), shade, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture).reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE_HZ)
                output.mux(video.encode(frame))
            frame = _audio_frame(sources, number)
            frame.pts = frame.pts + late_samples
            output.mux(audio.encode(frame))
        for stream in filter(None, (video, audio)):
            output.mux(stream.encode(None))


def _audio_frame(sources: np.ndarray, number: int) -> av.AudioFrame:
    samples = sources[:, number * _FRAME_SAMPLES : (number + 1) * _FRAME_SAMPLES] * 2**15
    interleaved = np.ascontiguousarray(samples.astype(np.int16).T.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout="stereo")
    frame.sample_rate, frame.pts = RATE_HZ, number * _FRAME_SAMPLES
    frame.time_base = Fraction(1, RATE_HZ)
    return frame


def _lag_samples(waveform: np.ndarray, sources: np.ndarray) -> int:
    """How many samples later the sound is in what was read than in what was written."""
    size = 2 ** (max(waveform.shape[1], sources.shape[1]) * 2 - 1).bit_length()
    spectra = [np.fft.rfft(sound[0], size) for sound in (waveform, sources)]
    lag = int(np.argmax(np.fft.irfft(spectra[0] * spectra[1].conj(), size)))
    return lag if lag < size // 2 else lag - size


def _flash_seconds(path: Path) -> Iterator[float]:
    was_white = False
    for seconds, picture in iterate_frames(path):
        is_white = picture.mean() > 128
        if is_white and not was_white:
            yield seconds
        was_white = is_white


# One of each way to state priming; the others are slow only by their number.
QUICK = ("mp4-aac", "matroska-libopus", "mpegts-aac", "mp3-libmp3lame", "wav-pcm_s16le")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.name in QUICK else pytest.mark.slow)
        for case in CASES
    ],
)
def test_sound_is_where_it_was_in_every_container(
    tmp_path: Path, case: Case, sources: np.ndarray
) -> None:
    path = tmp_path / "a"
    _write(path, case, sources)
    sound = read_audio(path)
    assert (sound.sample_rate_hz, len(sound.warnings)) == (RATE_HZ, int(case.place_frames > 0))
    if case.lossless:
        assert np.array_equal(sound.waveform, sources)
    assert _lag_samples(sound.waveform, sources) == 0
    assert sound.waveform.shape[1] == sources.shape[1] + case.surplus
    if case.video is not None:
        onsets = np.array(ONSET_FRAMES) / FRAME_RATE_HZ + sound.start_seconds
        tolerance = 0.001 + case.place_frames / FRAME_RATE_HZ
        np.testing.assert_allclose(list(_flash_seconds(path)), onsets, atol=tolerance)
    if case.is_scored:
        _check_scores(sound, sources)


@pytest.mark.parametrize("codec", ["libmp3lame", "aac", "ac3", "mp2"])
def test_avi_cannot_tell_where_lossy_sound_is(
    tmp_path: Path, codec: str, sources: np.ndarray
) -> None:
    """Sounds 10 ms apart beside the same pictures make one file: either may be the true one."""
    case = Case("avi", codec, "mpeg4")
    contents = []
    for late_samples in (0, RATE_HZ // 100):
        _write(tmp_path / "a", case, sources, late_samples)
        contents.append((tmp_path / "a").read_bytes())
    assert contents[0] == contents[1]
    (warning,) = read_audio(tmp_path / "a").warnings
    assert "up to one picture (40 ms)" in warning


@pytest.mark.slow
@pytest.mark.parametrize("container", ["ogg", "matroska", "webm"])
def test_vorbis_is_scored_as_the_true_sound(
    tmp_path: Path, container: str, sources: np.ndarray
) -> None:
    """By libvorbis, which PyAV lacks: libsndfile writes it, and its packets are copied."""
    path = tmp_path / "a"
    soundfile.write(path, sources.T, RATE_HZ, format="OGG", subtype="VORBIS", compression_level=0)
    if container != "ogg":
        with av.open(str(path)) as ogg, av.open(str(tmp_path / "b"), "w", format=container) as copy:
            stream = copy.add_stream_from_template(ogg.streams.audio[0])
            for packet in ogg.demux(audio=0):
                if packet.size:
                    packet.stream = stream
                    copy.mux(packet)
        path = tmp_path / "b"
    sound = read_audio(path)
    assert sound.warnings == () and _lag_samples(sound.waveform, sources) == 0
    assert abs(sound.waveform.shape[1] - sources.shape[1]) <= RATE_HZ / 1000
    _check_scores(sound, sources)


def _check_scores(sound: Audio, sources: np.ndarray) -> None:
    """The estimate's SDR is the same against the encoded reference as against the true one."""
    # An estimate with leakage and noise, as separators make.
    noise = np.random.default_rng(3).standard_normal(sources.shape)
    estimates = sources + 0.3 * sources[::-1] + 0.01 * noise
    read = sound.waveform[:, : sources.shape[1]].astype(np.float64)
    scores = [bss_eval(truth, estimates).sdr_db for truth in (sources, read)]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.3)
