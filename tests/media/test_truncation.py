"""Files that were cut off: as much as there is with one warning that says so, or one error."""

import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from avsep.errors import InputError
from avsep.media.audio import Audio, read_audio
from avsep.media.frames import Frames, FrameSettings, read_frames
from media.making import Track, Video, make, noise

RATE_HZ, NUM_SAMPLES = 16000, 2 * 16000
NUM_PLACES = 20
# Name -> ending, codec, codec of the pictures, and options of the container.
FILES: dict[str, tuple[str, str, str | None, dict[str, str]]] = {
    "mp4": (".mp4", "aac", "libx264", {}),
    "mp4, index first": (".mp4", "aac", "libx264", {"movflags": "+faststart"}),
    "fragmented mp4": (".mp4", "aac", "libx264", {"movflags": "+frag_keyframe+empty_moov"}),
    "mov": (".mov", "pcm_s16le", "libx264", {"movflags": "+faststart"}),
    "mkv": (".mkv", "flac", "libx264", {}),
    "live mkv": (".mkv", "aac", "libx264", {"live": "1"}),
    "webm": (".webm", "libopus", "libvpx", {}),
    "avi": (".avi", "pcm_s16le", "mpeg4", {}),
    "avi, mp3": (".avi", "libmp3lame", "mpeg4", {}),
    "wav": (".wav", "pcm_s16le", None, {}),
    "flac": (".flac", "flac", None, {}),
    "mp3": (".mp3", "libmp3lame", None, {}),
    "ogg": (".ogg", "libopus", None, {"page_duration": "100000"}),
    "adts": (".aac", "aac", None, {}),
    "ts": (".ts", "mp2", "libx264", {}),
    "aiff": (".aiff", "pcm_s16be", None, {}),
}


def _sound(rate_hz: int) -> np.ndarray:
    return noise(1, 2 * rate_hz)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Two seconds of noise in each container, with noisy pictures where it holds any."""
    folder = tmp_path_factory.mktemp("whole")
    shades = np.random.default_rng(0).integers(0, 256, (16, 48, 64, 3), dtype=np.uint8)
    contents: dict[str, bytes] = {}
    for name, (ending, codec, picture_codec, options) in FILES.items():
        rate_hz = 48000 if codec in ("libopus", "mp2") else RATE_HZ
        videos = []
        if picture_codec is not None:
            fast = {"preset": "ultrafast", "g": "4"} if picture_codec == "libx264" else {"g": "4"}
            videos = [Video(list(shades), Fraction(8), picture_codec, options=fast)]
        track = Track(_sound(rate_hz), rate_hz, codec=codec)
        path = make(folder / f"{len(contents)}{ending}", videos, [track], options)
        contents[name] = path.read_bytes()
    return contents


def _places(content: bytes) -> list[int]:
    """Twenty places, the last ones in the very end, most of them inside of a packet."""
    return [len(content) * k // NUM_PLACES + 3 * k for k in range(1, NUM_PLACES - 1)] + [
        len(content) - 100,
        len(content) - 1,
    ]


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read_without_a_warning(whole: dict[str, bytes], name: str) -> None:
    assert _of_cutting(read_audio(whole[name])) == []
    if FILES[name][2] is not None:
        assert read_frames(whole[name], [9.0]).warnings == ()


QUICK = ("mp4, index first", "mkv", "wav", "flac", "ogg", "adts")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FILES],
)
def test_sound_that_was_cut_off_is_never_shorter_without_a_word(
    whole: dict[str, bytes], name: str
) -> None:
    content = whole[name]
    full = read_audio(content)
    for place in _places(content):
        sound = _try_audio(content[:place])
        if sound is None:
            continue
        if np.array_equal(sound.waveform, full.waveform):
            continue  # nothing is lost with the last byte of an index or a checksum
        (warning,) = _of_cutting(sound)
        assert "the sound ends after" in warning and "where the file is cut off" in warning
        with pytest.raises(InputError, match="where the file is cut off"):
            read_audio(content[:place])


def _of_cutting(sound: Audio) -> list[str]:
    """All warnings but that on the place of lossy sound in AVI, which is of whole files too."""
    return [text for text in sound.warnings if "AVI cannot tell" not in text]


def _try_audio(content: bytes) -> Audio | None:
    try:
        return read_audio(content, on_damage="skip")
    except InputError as error:
        assert "\n" not in str(error)
        return None


@pytest.mark.parametrize("name", [name for name, kinds in FILES.items() if kinds[2] is not None])
def test_pictures_that_were_cut_off_are_told(whole: dict[str, bytes], name: str) -> None:
    content = whole[name]
    skip = FrameSettings(on_damage="skip", longest_side_pixels=32)
    for place in _places(content)[::4]:
        try:
            frames: Frames = read_frames(content[:place], [9.0], skip)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        assert "the video ends after" in frames.warnings[-1]
        assert "where the file is cut off" in frames.warnings[-1]


@pytest.mark.parametrize("name", ["mov", "mp4, index first", "wav", "flac", "avi", "mp3", "aiff"])
def test_what_is_missing_is_told_in_seconds(whole: dict[str, bytes], name: str) -> None:
    content = whole[name]
    full = read_audio(content)
    sound = read_audio(content[: len(content) // 2], on_damage="skip")
    missing = (full.waveform.shape[1] - sound.waveform.shape[1]) / sound.sample_rate_hz
    words = sound.warnings[0].split()
    seconds = [float(a) for a, b in pairwise(words) if b == "s"]
    # Within two packets, since priming and padding are packets too.
    assert seconds[-1] == pytest.approx(missing, abs=0.15)


def test_sizes_that_stand_for_unknown_are_no_truncation() -> None:
    """WAV and Matroska that were written into a pipe have no total."""
    file = io.BytesIO()
    soundfile.write(file, noise(1, 8000).T, 8000, format="WAV", subtype="PCM_16")
    content = bytearray(file.getvalue())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = b"\xff" * 4
    sound = read_audio(bytes(content))
    assert (sound.waveform.shape, sound.warnings) == ((1, 8000), ())


def test_ogg_without_its_end_mark_is_a_warning_and_no_error(whole: dict[str, bytes]) -> None:
    content = bytearray(whole["ogg"])
    last = content.rindex(b"OggS")
    content[last + 5] &= ~4
    # The checksum of a page is of no interest to what reads the flags, but to FFmpeg it is.
    content[last + 22 : last + 26] = _ogg_checksum(bytes(content[last:]))
    sound, expected = read_audio(bytes(content)), read_audio(whole["ogg"]).waveform
    # Without the mark FFmpeg does not take the padding off.
    assert np.array_equal(sound.waveform[:, : expected.shape[1]], expected)
    assert "where the file may be cut off: its last page is not marked" in sound.warnings[0]


def _ogg_checksum(page: bytes) -> bytes:
    """CRC-32 of a page with polynomial 0x04C11DB7, computed with its own field at zero."""
    remainder = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder >> 31 else 0)) & 0xFFFFFFFF
    return remainder.to_bytes(4, "little")


def test_tags_behind_the_last_frame_are_no_truncation(whole: dict[str, bytes]) -> None:
    for tag in (b"TAG" + bytes(125), b"APETAGEX" + bytes(24)):
        assert read_audio(whole["mp3"] + tag).warnings == ()


def test_data_missing_from_the_middle_of_a_header_is_told(tmp_path: Path) -> None:
    """A FLAC that states more samples than it has, although its last frame is whole."""
    path = make(tmp_path / "a.flac", tracks=[Track(noise(1, NUM_SAMPLES), codec="flac")])
    with av.open(str(path)) as source:
        last = [packet for packet in source.demux() if packet.size][-1]
    content = path.read_bytes()[: -last.size]
    (warning,) = read_audio(content, on_damage="skip").warnings
    assert last.duration is not None and last.time_base is not None
    missing = float(last.duration * last.time_base)
    assert f"{missing:.2f} s of what its header states are missing" in warning
