"""Make phrases out of recordings, kept as people keep them: float, 16 bits, MP3 and AAC."""

import argparse
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from jaxtyping import Float, Float32, Float64
from scipy.signal import fftconvolve

from avsep.media.audio import read_audio
from avsep.sound.resampling import resample
from avsep.toyband.music.notes import SHIPPED_BANK

RECORDED_RATE_HZ = 44_100
ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
# Codec -> PyAV's names of encoder and container.
CODECS = {"MP3": ("libmp3lame", "mp3"), "AAC": ("aac", "adts")}
KINDS = ("float", "16 bits", *CODECS)
BIT_RATE = 96_000
LEAST_PEAK = 1e-3
# Of the estimates: share of the own source, share of the other, level of white noise.
LEAKS = ((0.7, 0.3, 0.01), (0.5, 0.5, 0.003), (0.9, 0.1, 0.001))


@dataclass(frozen=True)
class Recordings:
    """Sound files by folder; a phrase is played from the files of one folder."""

    groups: tuple[tuple[Path, ...], ...]

    @classmethod
    def read(cls, folder: Path | None = None) -> "Recordings":
        """List a folder of folders of sound files; None means the notes that avsep ships."""
        groups = [
            tuple(sorted(file for file in part.iterdir() if file.suffix.lower() in ENDINGS))
            for part in sorted((folder or SHIPPED_BANK).iterdir())
            if part.is_dir()
        ]
        groups = [group for group in groups if group]
        if not groups:
            raise SystemExit(f"--recordings {folder}: no folder in it has {', '.join(ENDINGS)}")
        return cls(tuple(groups))

    def phrase(self, rng: np.random.Generator, seconds: float) -> Float32[np.ndarray, " N"]:
        """Play sounds of one folder one after another at 44.1 kHz, with rests between them.

        Most phrases begin late, and most end early.
        """
        group = self.groups[int(rng.integers(len(self.groups)))]
        phrase = np.zeros(round(seconds * RECORDED_RATE_HZ), np.float32)
        longest_rest = min(1.0, seconds / 4)
        position = _samples(rng.uniform(0, longest_rest)) if rng.random() < 0.7 else 0
        end = len(phrase) - _samples(rng.uniform(0, longest_rest))
        while position < end:
            sound = read_sound(group[int(rng.integers(len(group)))])
            length = min(len(sound), end - position, _samples(rng.uniform(0.2, 1.5)))
            note = rng.uniform(0.4, 1) * sound[:length]
            fade = min(200, length)
            note[length - fade :] *= np.linspace(1, 0, fade)
            phrase[position : position + length] += note
            position += max(length, 1)
            if rng.random() < 0.4:
                position += _samples(rng.uniform(0, 0.5))
        peak = np.abs(phrase).max()
        # A recording may begin with silence that is longer than its note here.
        if peak < LEAST_PEAK:
            return self.phrase(rng, seconds)
        return phrase * np.float32(0.7 / peak)

    def pairs(
        self, num_pairs: int, num_sources: int, rate_hz: int, num_samples: int
    ) -> Float64[np.ndarray, "P S N"]:
        """Return mixtures' sources, a quarter of the mixtures kept in each of `KINDS`."""
        rng = np.random.default_rng(0)
        references = np.zeros((num_pairs, num_sources, num_samples))
        for index, source in np.ndindex(num_pairs, num_sources):
            peak = 0.0
            while peak < 0.01:  # coding may leave nothing of a phrase that is faint at this rate
                sound = self.phrase(rng, 1.05 * num_samples / rate_hz)
                stored = keep(sound, KINDS[index % len(KINDS)], rate_hz, rng)[:num_samples]
                peak = float(np.abs(stored).max())
            references[index, source, : len(stored)] = stored
        return references

    def song(self, seconds: float, num_stems: int) -> Float32[np.ndarray, "S 2 N"]:
        """Return stems at 44.1 kHz, each played in a room of its own to two microphones."""
        rng = np.random.default_rng(0)
        decay = np.exp(-np.arange(RECORDED_RATE_HZ // 4) / (0.05 * RECORDED_RATE_HZ))
        stems = []
        for _ in range(num_stems):
            phrase = self.phrase(rng, seconds)
            rooms = 0.1 * decay * rng.standard_normal((2, len(decay)))
            rooms[:, 0] = rng.uniform(0.3, 1, 2)  # the direct sound
            played = fftconvolve(phrase[None], rooms, axes=1)[:, : len(phrase)]
            stems.append((0.7 / np.abs(played).max() * played).astype(np.float32))
        return np.stack(stems)


def keep(
    phrase: Float32[np.ndarray, " N"], kind: str, rate_hz: int, rng: np.random.Generator
) -> Float32[np.ndarray, " M"]:
    """Resample a phrase of 44.1 kHz as one of `KINDS`: half are coded before, half after."""
    if kind in CODECS and rng.random() < 0.5:
        return _resampled(code(phrase, RECORDED_RATE_HZ, kind), rate_hz)
    sound = _resampled(phrase, rate_hz)
    if kind in CODECS:
        return code(sound, rate_hz, kind)
    return np.round(sound * 32768) / np.float32(32768) if kind == "16 bits" else sound


def code(
    waveform: Float32[np.ndarray, " N"], rate_hz: int, codec: str
) -> Float32[np.ndarray, " M"]:
    """Encode and decode a waveform in memory."""
    encoder, container = CODECS[codec]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(encoder, rate=rate_hz)
        assert isinstance(stream, AudioStream), "the encoder is one of audio"
        stream.bit_rate, stream.layout = BIT_RATE, "mono"
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.rate = rate_hz
        for part in (frame, None):  # None ends the stream
            output.mux(stream.encode(part))
    return read_audio(buffer.getvalue()).waveform[0]


def make_estimates(
    references: Float64[np.ndarray, "P S N"], num_estimates: int
) -> Float64[np.ndarray, "P Q S N"]:
    """Return leaky estimates: a share of the own source, one of the others, white noise."""
    rng = np.random.default_rng(1)
    mixture = references.sum(1, keepdims=True)
    estimates = [
        (share - leak) * references + leak * mixture + noise * rng.standard_normal(references.shape)
        for share, leak, noise in LEAKS[:num_estimates]
    ]
    return np.stack(estimates, axis=1)


def add_recordings_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for recordings of one's own."""
    parser.add_argument(
        "--recordings",
        type=Path,
        metavar="DIR",
        help="folder of folders of sound files, such as DIR/violin/*.wav (the notes of avsep)",
    )


@lru_cache(maxsize=512)
def read_sound(path: Path) -> Float32[np.ndarray, " N"]:
    """Read the mean of a file's channels at 44.1 kHz."""
    audio = read_audio(path)
    mono: Float[np.ndarray, "1 N"] = audio.waveform.mean(0, keepdims=True)
    return resample(mono, audio.sample_rate_hz, RECORDED_RATE_HZ)[0]


def _resampled(waveform: Float32[np.ndarray, " N"], rate_hz: int) -> Float32[np.ndarray, " M"]:
    return resample(waveform[None], RECORDED_RATE_HZ, rate_hz)[0]


def _samples(seconds: float) -> int:
    return int(seconds * RECORDED_RATE_HZ)
