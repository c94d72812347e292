"""Sound is placed by its time stamps: late and early, with gaps, bursts, overlaps and drift."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avsep.media.audio import Audio, read_audio
from media.making import Track, Video, make, noise, numbered

RATE_HZ = 16000
PACKET_SAMPLES = 320  # 20 ms


def stamped(path: Path, waveform: np.ndarray, stamp: Callable[[int], float | None]) -> Path:
    """Write PCM in packets of 20 ms to Matroska; `stamp` gives the seconds of packet k, or None."""
    num_packets = waveform.shape[1] // PACKET_SAMPLES
    stamps = [stamp(number) for number in range(num_packets)]
    given = [seconds for seconds in stamps if seconds is not None]
    is_rising = given == sorted(given)
    payloads = [
        np.rint(waveform[0, k * PACKET_SAMPLES : (k + 1) * PACKET_SAMPLES] * 2**15)
        .astype(np.int16)
        .tobytes()
        for k in range(num_packets)
    ]
    # One cluster, so that stamps can be changed below.
    options = {"cluster_time_limit": "32000", "cluster_size_limit": "9000000"}
    with av.open(str(path), "w", options={} if is_rising else options) as output:
        stream = output.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        stream.time_base = Fraction(1, 1000)
        for number, (seconds, payload) in enumerate(zip(stamps, payloads, strict=True)):
            if seconds is None:
                continue
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = round(seconds * 1000) if is_rising else 20 * number
            packet.duration = 20
            output.mux(packet)
    if not is_rising:
        # The muxer refuses stamps that go back: they are two bytes before the flags of a block.
        content = bytearray(path.read_bytes())
        for seconds, payload in zip(stamps, payloads, strict=True):
            assert seconds is not None and content.count(payload) == 1
            place = content.index(payload) - 3
            content[place : place + 2] = round(seconds * 1000).to_bytes(2, "big", signed=True)
        path.write_bytes(content)
    return path


def read(tmp_path: Path, waveform: np.ndarray, stamp: Callable[[int], float | None]) -> Audio:
    return read_audio(stamped(tmp_path / "a.mkv", waveform, stamp))


@pytest.mark.parametrize("stamps", ["exact", "jitter", "bursts", "one wrong", "one late at last"])
def test_continuous_sound_stays_as_it_is(tmp_path: Path, stamps: str) -> None:
    waveform = noise(1, 3 * RATE_HZ)
    jitter = np.random.default_rng(0).uniform(-0.008, 0.008, 150)
    stamp: dict[str, Callable[[int], float]] = {
        "exact": lambda k: 0.02 * k,
        "jitter": lambda k: 0.1 + 0.02 * k + jitter[k],
        "bursts": lambda k: 0.02 * (k - k % 8),
        "one wrong": lambda k: 0.02 * k + 0.3 * (k == 60),
        "one late at last": lambda k: 0.02 * k + 0.002 * (k == 149),
    }
    sound = read(tmp_path, waveform, stamp[stamps])
    assert np.array_equal(sound.waveform, waveform)
    assert sound.warnings == ()


@pytest.mark.parametrize("num_missing", [1, 2, 25])
def test_missing_packets_are_silence(tmp_path: Path, num_missing: int) -> None:
    waveform = noise(1, 3 * RATE_HZ)
    missing = range(50, 50 + num_missing)
    sound = read(tmp_path, waveform, lambda k: None if k in missing else 0.02 * k)
    waveform[:, 50 * PACKET_SAMPLES : (50 + num_missing) * PACKET_SAMPLES] = 0
    assert np.array_equal(sound.waveform, waveform)
    (warning,) = sound.warnings
    seconds = f"{0.02 * num_missing:.3f} s in one place, after 1.00 s"
    assert f"gaps between its time stamps are filled with silence: {seconds}" in warning


def test_hiccups_do_not_add_up(tmp_path: Path) -> None:
    """Each second the stamps jump ahead by 30 ms, and back 10 packets later."""
    waveform = noise(1, 8 * RATE_HZ)
    sound = read(tmp_path, waveform, lambda k: 0.02 * k + 0.03 * (20 <= k % 50 < 30))
    assert np.array_equal(sound.waveform, waveform)


def test_overlap_is_left_out(tmp_path: Path) -> None:
    waveform = noise(1, 4 * RATE_HZ)
    sound = read(tmp_path, waveform, lambda k: 0.02 * k - 0.2 * (k >= 100))
    expected = np.delete(waveform, np.s_[2 * RATE_HZ : 2 * RATE_HZ + 3200], axis=1)
    assert np.array_equal(sound.waveform, expected)
    assert "overlapping time stamps are left out: 0.200 s in one place" in sound.warnings[0]


def test_clock_that_is_set_back_loses_nothing(tmp_path: Path) -> None:
    waveform = noise(1, 4 * RATE_HZ)
    path = stamped(tmp_path / "a.mkv", waveform, lambda k: 30 + 0.02 * k - 25 * (k >= 100))
    sound = read_audio(path)
    assert np.array_equal(sound.waveform, waveform)
    assert (
        "its clock jumps, and what follows is joined without a gap: 25.000 s" in (sound.warnings[0])
    )


@pytest.mark.slow
@pytest.mark.parametrize("drift", [0.001, -0.001])
def test_drift_is_followed_and_told(tmp_path: Path, drift: float) -> None:
    waveform = noise(1, 60 * RATE_HZ)
    sound = read(tmp_path, waveform, lambda k: 0.02 * k * (1 + drift))
    stated_samples = waveform.shape[1] * (1 + drift)
    assert sound.waveform.shape[1] == pytest.approx(stated_samples, abs=0.008 * RATE_HZ)
    # The last second is where its stamps put it, to 8 ms.
    place = np.correlate(sound.waveform[0], waveform[0, -RATE_HZ:]).argmax()
    assert place == pytest.approx(stated_samples - RATE_HZ, abs=0.008 * RATE_HZ)
    (warning,) = sound.warnings
    kind = "0.1 % longer than its samples; sound is repeated, cross-faded, to"
    if drift < 0:
        kind = "0.1 % shorter than its samples; sound is left out, cross-faded, to"
    assert f"its time stamps drift, they state {kind}" in warning


def test_drift_is_followed_without_a_click(tmp_path: Path) -> None:
    """Steps of a slow sine stay as small as they were where 5 ms are repeated."""
    times = np.arange(12 * RATE_HZ) / RATE_HZ
    waveform = (np.sin(2 * np.pi * 50 * times)[None] / 2).astype(np.float32)
    for drift in (0.001, -0.001):
        sound = read(tmp_path, waveform, lambda k, drift=drift: 0.02 * k * (1 + drift))
        assert sound.waveform.shape != waveform.shape
        steps = [np.abs(np.diff(wave[0])).max() for wave in (sound.waveform, waveform)]
        assert steps[0] < 2 * steps[1]


def test_drift_too_small_to_follow_is_told(tmp_path: Path) -> None:
    waveform = noise(1, 6 * RATE_HZ)
    sound = read(tmp_path, waveform, lambda k: 0.02 * k * 1.001)
    assert abs(sound.waveform.shape[1] - waveform.shape[1] * 1.001) < 0.008 * RATE_HZ
    assert "0.1 % longer than its samples" in sound.warnings[0]


TRACKS: Sequence[tuple[str, str]] = ((".mkv", "flac"), (".mp4", "flac"), (".mov", "pcm_s16le"))


@pytest.mark.parametrize(("ending", "codec"), TRACKS)
def test_late_sound_follows_silence_when_it_starts_with_the_picture(
    tmp_path: Path, ending: str, codec: str
) -> None:
    track = Track(noise(1, 8000), RATE_HZ, codec=codec, start_seconds=0.75)
    path = make(tmp_path / f"a{ending}", [Video(numbered(25))], [track])
    assert read_audio(path).start_seconds == pytest.approx(0.75, abs=0.001)
    sound = read_audio(path, align="picture")
    assert (sound.start_seconds, sound.warnings) == (0.0, ())
    expected = np.concatenate([np.zeros((1, 12000), np.float32), track.waveform], axis=1)
    assert np.array_equal(sound.waveform, expected)


@pytest.mark.parametrize(("ending", "codec"), [*TRACKS, (".ts", "aac")])
def test_early_sound_is_cut_when_it_starts_with_the_picture(
    tmp_path: Path, ending: str, codec: str
) -> None:
    track = Track(noise(1, RATE_HZ), RATE_HZ, codec=codec)
    path = make(tmp_path / f"a{ending}", [Video(numbered(25), start_seconds=0.2)], [track])
    whole = read_audio(path)
    assert whole.start_seconds == 0.0
    sound = read_audio(path, align="picture")
    assert sound.start_seconds == pytest.approx(0.2, abs=0.001)
    cut = whole.waveform.shape[1] - sound.waveform.shape[1]
    assert cut == pytest.approx(0.2 * RATE_HZ, abs=0.001 * RATE_HZ)
    assert np.array_equal(sound.waveform, whole.waveform[:, cut:])
    assert "the sound starts 0.200 s before the picture; what precedes" in sound.warnings[0]


def test_without_a_picture_sound_starts_with_itself(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mka", tracks=[Track(noise(1, 8000), start_seconds=0.5)])
    sound = read_audio(path, align="picture")
    assert np.array_equal(sound.waveform, read_audio(path).waveform)


@pytest.mark.parametrize(
    ("ending", "codec"), [(".mkv", "aac"), (".ts", "aac"), (".mkv", "libopus")]
)
def test_packets_lost_from_a_coded_stream_are_silence(
    tmp_path: Path, ending: str, codec: str
) -> None:
    """The sound after the loss stays beside its picture."""
    rate_hz = 48000
    times = np.arange(4 * rate_hz) / rate_hz
    chirp = np.sin(2 * np.pi * (200 + 400 * times) * times)[None].astype(np.float32) / 2
    whole = make(tmp_path / f"whole{ending}", tracks=[Track(chirp, rate_hz, codec=codec)])
    path = tmp_path / f"a{ending}"
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(source.streams.audio[0], opaque=True)
        for number, packet in enumerate(source.demux(source.streams.audio[0])):
            if packet.size and number not in range(60, 75):
                packet.stream = copy
                output.mux(packet)
    before, after = read_audio(whole), read_audio(path)
    # Matroska counts milliseconds, so that silence is right to one of them.
    assert after.waveform.shape[1] == pytest.approx(before.waveform.shape[1], abs=48)
    tails = [sound.waveform[0, -rate_hz:-2048] for sound in (before, after)]
    lag = np.correlate(tails[1], tails[0][200:-200]).argmax() - 200
    assert abs(lag) <= 48
    assert "gaps between its time stamps are filled with silence: 0.3" in after.warnings[0]
