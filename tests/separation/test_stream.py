"""The stream of blocks: what the whole array gives, bounded, of a part, cancelled at any time."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.checkpoint import save_checkpoint
from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.probe import probe
from avsep.models.base import SeparationModel
from avsep.records import Batch, Clip, Separation, VisibleObject
from avsep.separation.many_files import StageProgress, ThisProcess, separate_files
from avsep.separation.output import write_stream
from avsep.separation.result import StemBlock
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings
from interruptible import accept_sigint
from media.making import Track, Video, make, noise, numbered
from separation.brightness import LEFT, RATE_HZ, RIGHT, Brightness, two_tone, video
from separation.whole import separate_whole
from tiny_models import TINY, tiny_model

SHIPPED = ("dgfnet-mini", "lavss-mini", "davis-mini", "davis-flow-mini")
BOXES = ("violin@0,0,0.5,1", "harp@0.5,0,1,1")
SOURCE = Path(__file__).resolve().parents[2] / "src"


class Identity(Brightness):
    """Gives the first object all of the mixture, and the others nothing."""

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        magnitude, phase = self.front_end.spectrogram(batch.mixture)
        assert batch.cues.category is not None
        is_first = torch.zeros(batch.cues.category.shape)
        is_first[:, 0] = 1
        magnitudes = magnitude[:, None] * is_first[..., None, None, None]
        return Separation(magnitudes, is_first, phase, {"category": batch.cues.category})


def chord(num_channels: int, num_samples: int, rate_hz: int) -> np.ndarray:
    """Make notes with a fade, a little different in every channel."""
    times = np.arange(num_samples) / rate_hz
    channels = [
        sum(np.sin(2 * np.pi * hertz * times + number * hertz) for hertz in (221, 331, 554))
        for number in range(num_channels)
    ]
    fades = 0.1 * (1.2 + np.sin(2 * np.pi * 0.7 * times))
    return (np.stack(channels) * fades).astype(np.float32)


def clip(
    seconds: float, rate_hz: int = 22_050, num_channels: int = 2, waveform: np.ndarray | None = None
) -> Clip:
    """Make a clip of a chord and of noise pictures, five a second."""
    sound = chord(num_channels, round(seconds * rate_hz), rate_hz)
    pictures = np.random.default_rng(0).integers(0, 256, (int(5 * seconds), 24, 48, 3), np.uint8)
    times = np.arange(len(pictures)) / 5
    return Clip(sound if waveform is None else waveform, rate_hz, pictures, times)


def blocks_of(source: object, objects: object = BOXES, **settings: object) -> list[StemBlock]:
    separator = Separator(Brightness(), SeparatorSettings(**settings))  # type: ignore[arg-type]
    with separator.stream(source, objects) as stream:  # type: ignore[arg-type]
        return list(stream.blocks())


def matched(prompts: tuple[str, ...], model: SeparationModel) -> list[VisibleObject]:
    """Return the prompts as the separator resolves them."""
    with Separator(model).stream(clip(1), prompts) as stream:
        return [item.visible for item in stream.objects]


# Equality with the whole array


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_streams_what_the_whole_array_gives(name: str) -> None:
    # Four windows and a rest, at a rate at which windows begin between two samples of the model.
    video_clip = clip(15.3, 16_000)
    # All windows in one batch: convolutions of other batch sizes sum in another order.
    separator = Separator(name, SeparatorSettings(sources_at_once=16, device="cpu"))
    model, result = separator.model, separator.separate(video_clip, BOXES)
    expected = separate_whole(video_clip, matched(BOXES, model), model)
    stems = np.stack([item.stem for item in result.objects])
    assert np.abs(stems).max() > 1e-3
    np.testing.assert_allclose(stems, expected.stems, atol=1e-6)
    presence = [item.presence for item in result.objects]
    np.testing.assert_allclose(presence, expected.presence, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in TINY if name != "davis"])
def test_every_system_streams_what_the_whole_array_gives(name: str) -> None:
    model, video_clip = tiny_model(name), clip(1.7, 11_025)
    settings = SeparatorSettings(sources_at_once=32)
    result = Separator(model, settings).separate(video_clip, BOXES)
    expected = separate_whole(video_clip, matched(BOXES, model), model)
    stems = np.stack([item.stem for item in result.objects])
    assert np.abs(stems).max() > 1e-3
    np.testing.assert_allclose(stems, expected.stems, atol=1e-6)


def test_blocks_follow_each_other_and_are_no_longer_than_a_window() -> None:
    source = clip(3.1, RATE_HZ, 1)
    blocks = blocks_of(source)
    assert len(blocks) > 10 and max(block.mixture.shape[1] for block in blocks) <= 4095
    mixture = np.concatenate([block.mixture for block in blocks], axis=1)
    assert np.array_equal(mixture, source.waveform)
    total = np.concatenate([block.stems.sum(axis=0) + block.residual for block in blocks], axis=1)
    np.testing.assert_allclose(total, mixture, atol=2e-7)


# Identity: a model that takes everything returns the input


@pytest.mark.parametrize("num_channels", [1, 2, 6, 8])
@pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_100, 48_000, 96_000])
def test_the_identity_gives_back_the_input(rate_hz: int, num_channels: int) -> None:
    for num_samples in (rate_hz + 7, rate_hz // 3 | 1, 1):
        source = clip(1, rate_hz, waveform=chord(num_channels, num_samples, rate_hz))
        if num_samples == 1 and rate_hz > 2 * RATE_HZ:
            continue  # less than half a sample at the model's rate
        result = Separator(Identity()).separate(source, BOXES)
        stem, nothing = (item.stem for item in result.objects)
        np.testing.assert_allclose(stem, source.waveform, atol=1e-6)
        np.testing.assert_allclose(result.residual, 0 * source.waveform, atol=1e-6)
        assert not nothing.any()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize("rate_hz", [8000, 44_100, 96_000])
def test_the_identity_of_a_file_is_in_its_stems(tmp_path: Path, rate_hz: int, layout: str) -> None:
    num_channels = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}[layout]
    sound = noise(num_channels, rate_hz + 13)
    path = video(tmp_path / "a.mkv", two_tone(0.2, 0.4, 25), sound, rate_hz, layout)
    (outcome,) = separate_files([path], BOXES, tmp_path / "out", ThisProcess(Separator(Identity())))
    assert not outcome.error and outcome.manifest is not None
    stem = read_audio(outcome.folder / "01-violin.wav")
    assert stem.sample_rate_hz == rate_hz
    np.testing.assert_allclose(stem.waveform, sound, atol=1e-6)


# Level and offset


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_sound_of_any_level_separates_alike(name: str) -> None:
    source = clip(7, 16_000)
    separator = Separator(name)

    def stems(gain: float) -> np.ndarray:
        changed = clip(7, 16_000, waveform=(source.waveform * np.float32(gain)))
        result = separator.separate(changed, BOXES)
        return np.stack([item.stem for item in result.objects]) / np.float32(gain)

    usual = stems(1)
    assert np.abs(usual).max() > 1e-3
    # Powers of two, which round no sample: the model of two ears reads phases, those of cells that
    # hold nothing but rounding too.
    for gain in (2.0**-10, 2.0**-5, 8.0):
        np.testing.assert_allclose(stems(gain), usual, atol=1e-4 * np.abs(usual).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dgfnet-mini", "davis-flow-mini"])
@pytest.mark.parametrize("gain", [1e-3, 10.0])
def test_a_gain_that_rounds_changes_next_to_nothing(name: str, gain: float) -> None:
    source, separator = clip(7, 16_000), Separator(name)
    usual = separator.separate(source, BOXES).objects[0].stem
    changed = clip(7, 16_000, waveform=source.waveform * np.float32(gain))
    stem = separator.separate(changed, BOXES).objects[0].stem / np.float32(gain)
    assert np.square(stem - usual).sum() < 1e-8 * np.square(usual).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dgfnet-mini", "davis-flow-mini"])
@pytest.mark.parametrize("offset", [0.01, 0.3])
def test_an_offset_goes_to_the_residual_and_costs_nothing(name: str, offset: float) -> None:
    source, separator = clip(7, 16_000), Separator(name)
    source.waveform[:] -= source.waveform.mean(axis=1, keepdims=True)
    usual = separator.separate(source, BOXES)
    moved = clip(7, 16_000, waveform=source.waveform + np.float32(offset))
    result = separator.separate(moved, BOXES)
    for item, other in zip(result.objects, usual.objects, strict=True):
        error = np.square(item.stem - other.stem).sum() / np.square(other.stem).sum()
        assert error < 1e-6  # 60 dB
    np.testing.assert_allclose(result.residual, usual.residual + offset, atol=1e-3)
    assert result.manifest.removed_offset == pytest.approx((offset, offset), rel=1e-3)
    assert "constant offset" in result.warnings[0]
    assert not usual.warnings and usual.manifest.removed_offset == (0, 0)


# Channels and offset are judged by the first minute that is not silent


def test_channels_are_judged_by_the_first_minute_with_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("avsep.separation.sound_input.PROFILED_SECONDS", 2.0)
    sound = np.repeat(chord(1, 8 * RATE_HZ, RATE_HZ), 2, axis=0)
    sound[1] *= -1
    # The noise of a pause, then channels that cancel, then equal ones.
    sound[:, : 3 * RATE_HZ] = 5e-5 * noise(2, 3 * RATE_HZ)
    sound[:, 6 * RATE_HZ :] = sound[:1, 6 * RATE_HZ :]
    result = Separator(Brightness()).separate(clip(8, RATE_HZ, waveform=sound), BOXES)
    assert result.manifest.input_channels == (
        "channel 1 of 2, the loudest, as their mean cancels out"
    )
    assert result.manifest.judged_seconds == 2
    later = clip(2, RATE_HZ, waveform=sound[:, 6 * RATE_HZ :])
    manifest = Separator(Brightness()).separate(later, BOXES).manifest
    assert manifest.input_channels == "the mean of 2 channels"


# A part of the video


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["mkv", "mp4", "mov"])
def test_a_part_is_the_same_piece_of_sound_and_pictures(tmp_path: Path, ending: str) -> None:
    sound = noise(2, 6 * RATE_HZ)
    path = tmp_path / f"a.{ending}"
    pictures = numbered(30)
    codec = "pcm_s16le" if ending != "mp4" else "flac"
    make(path, [Video(pictures, rate=Fraction(5))], [Track(sound, RATE_HZ, "stereo", codec)])
    start, end = 2.5, 4.25
    result = Separator(
        Brightness(), SeparatorSettings(start_seconds=start, end_seconds=end)
    ).separate(path, ["Otto@"])
    piece = sound[:, round(start * RATE_HZ) : round(end * RATE_HZ)]
    np.testing.assert_allclose(result.mixture, piece, atol=1e-6)
    manifest = result.manifest
    assert manifest.input.start_seconds == start and manifest.input.duration_seconds == 1.75
    assert (manifest.settings.start_seconds, manifest.settings.end_seconds) == (start, end)
    # Its pictures are numbered 12 to 21: the share of their brightness is the stem's.
    gains = [
        float((s * m).sum() / (m * m).sum())
        for s, m in (
            (result.objects[0].stem[:, part], piece[:, part])
            for part in (slice(0, 2000), slice(-2000, None))
        )
    ]
    assert 60 / 255 < gains[0] < 80 / 255 and 95 / 255 < gains[1] < 120 / 255


@pytest.mark.slow
def test_a_part_has_a_preview_and_boxes_of_its_time(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 150), noise(1, 6 * RATE_HZ))
    separator = Separator(Brightness(), SeparatorSettings(start_seconds=3, end_seconds=5))
    (outcome,) = separate_files([path], [LEFT, RIGHT], tmp_path / "out", ThisProcess(separator))
    assert outcome.manifest is not None and not outcome.manifest.warnings
    info = probe(outcome.folder / "preview.mp4")
    # It begins with the last key frame before the part, of a video with one: its start.
    assert info.video[0].duration_seconds == pytest.approx(5, abs=0.2)
    # The mixture, two objects, the residual.
    assert [track.start_seconds for track in info.audio] == pytest.approx([3] * 4, abs=0.01)
    assert read_audio(outcome.folder / "residual.wav").waveform.shape == (1, 2 * RATE_HZ)


def test_boxes_of_a_part_count_from_the_start_of_the_video() -> None:
    pictures = np.stack(two_tone(0.2, 0.8, 40))
    source = Clip(noise(1, 8 * RATE_HZ), RATE_HZ, pictures, np.arange(40) / 5)
    sides = {"time_seconds": 0, "box": (0, 0, 0.5, 1)}, {"time_seconds": 4, "box": (0.5, 0, 1, 1)}
    moving = VisibleObject.model_validate(
        {
            "label": "violin",
            "boxes": [
                *sides,
            ],
        }
    )
    for start, bright in ((0, 0.2), (4, 0.8), (6, 0.8)):
        settings = SeparatorSettings(start_seconds=start, end_seconds=start + 0.3)
        presence = Separator(Brightness(), settings).separate(source, moving).objects[0].presence
        assert presence == pytest.approx(bright, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"start_seconds": 9.0},
            "clip 'clip' has no sound from 9 s to its end; its sound begins at 0 s and is 2 s "
            "long: change --start or --end",
        ),
        ({"start_seconds": 2.0, "end_seconds": 1.0}, "the part ends at 1 s and starts at 2 s"),
    ],
)
def test_a_part_that_is_empty_is_an_error(settings: dict, message: str) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        blocks_of(clip(2), **settings)


# Cancelling


@pytest.mark.parametrize("stage", ["separating", "preview"])
def test_an_exception_of_the_callback_cancels(tmp_path: Path, stage: str) -> None:
    class StopError(Exception):
        pass

    calls = []

    def watch(event: object) -> None:
        calls.append(event)
        if isinstance(event, StageProgress) and event.stage == stage and event.done_seconds > 0.4:
            raise StopError

    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 25))
    runner = ThisProcess(Separator(Brightness()))
    with pytest.raises(StopError):
        list(separate_files([path], [LEFT], tmp_path / "out", runner, watch=watch))
    assert calls
    folders = [item.name for item in (tmp_path / "out").iterdir()] if stage == "preview" else []
    # Stems that are complete stay, without anything half-written beside them.
    assert folders == (["a"] if stage == "preview" else [])
    names = {item.name for item in (tmp_path / "out").rglob("*")} - {"a"}
    assert names == (
        {"01-violin.wav", "residual.wav", "manifest.json"} if stage == "preview" else set()
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_half_written(tmp_path: Path, number: int) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 50), noise(1, 240 * RATE_HZ))
    model = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet"), model, model_name="dgfnet", metadata={})
    words = ["separate", str(path), "--object", "harp@", "--model", str(model), "-o", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "avsep", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        preexec_fn=accept_sigint,
    )
    out = tmp_path / "out"
    until = time.monotonic() + 60
    while not list(out.glob(".*.part/*")) and process.poll() is None:
        assert time.monotonic() < until, "no stem was begun"
        time.sleep(0.01)
    assert process.poll() is None, process.stderr and process.stderr.read()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert not out.exists() or not list(out.iterdir())


# Memory and the record of the run


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    # The padding at the end of MP4 is dropped block by block too.
    rate_hz, peaks = 48_000, []
    for seconds in (12, 48):
        path = tmp_path / f"{seconds}.mp4"
        track = Track(noise(2, seconds * rate_hz), rate_hz, "stereo", "flac")
        make(path, [Video(two_tone(0.2, 0.4, 2 * seconds), rate=Fraction(2))], [track])
        with Separator(Brightness()).stream(path, [LEFT, RIGHT]) as stream:
            tracemalloc.start()
            for _ in stream.blocks():
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    # The sound alone is 14 MB longer.
    assert peaks[1] < peaks[0] + 2e6


def test_what_is_held_does_not_grow_with_the_length(tmp_path: Path) -> None:
    held = []
    for seconds in (6, 24):
        source = video(
            tmp_path / f"{seconds}.mkv",
            two_tone(0.2, 0.4, 25 * seconds),
            noise(1, seconds * RATE_HZ),
        )
        separator = Separator(Brightness())
        with separator.stream(source, [LEFT, RIGHT], max_gate_seconds=1) as stream:
            largest = 0
            for _ in stream.blocks():
                samples = stream._target.end - stream._target.start
                crops = stream._crops
                assert crops is not None
                rows = sum(len(item._rows) for item in crops._rows.values())
                largest = max(largest, samples + stream._mixture.end - stream._mixture.start + rows)
            held.append(largest)
            assert stream.gate is not None and stream.gate.shape[-1] <= 16
    assert held[1] == pytest.approx(held[0], rel=0.5)


def test_the_manifest_records_stages_speed_and_memory(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 25))
    with_stream = Separator(Brightness()).stream(path, [LEFT])
    run = write_stream(with_stream, tmp_path / "a").run
    assert set(run.seconds) == {
        "decoding", "presence", "vision", "network", "masks", "writing", "presentation"
    }  # fmt: skip
    assert all(seconds >= 0 for seconds in run.seconds.values())
    assert run.total_seconds >= run.seconds["presentation"] + run.seconds["network"]
    assert run.real_time_factor == pytest.approx(run.total_seconds / 2, rel=0.01)
    assert run.peak_megabytes is None or run.peak_megabytes > 50


@pytest.mark.slow
def test_damaged_sound_is_an_error_or_silence_with_a_warning(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", two_tone(0.25, 0.5, 50), noise(1, 2 * RATE_HZ))
    flac = make(
        tmp_path / "b.mkv",
        [Video(two_tone(0.25, 0.5, 50))],
        [Track(noise(1, 2 * RATE_HZ), RATE_HZ, codec="flac")],
    )
    import av

    with av.open(str(flac)) as container:
        places = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    content = bytearray(flac.read_bytes())
    place, num_bytes = places[len(places) // 2]
    content[place + 8 : place + num_bytes] = bytes(num_bytes - 8)
    with pytest.raises(InputError, match="the sound is damaged"):
        Separator(Brightness()).separate(bytes(content), [LEFT])
    settings = SeparatorSettings(on_damage="skip")
    result = Separator(Brightness(), settings).separate(bytes(content), [LEFT])
    assert [w.partition(",")[0] for w in result.warnings] == ["the sound is damaged in one place"]
    whole = Separator(Brightness(), settings).separate(path, [LEFT])
    assert not whole.warnings and result.mixture.shape == whole.mixture.shape
