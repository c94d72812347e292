"""Test the tool that makes solos of notes and everyday sounds: splits, lengths, pictures."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import make_solos
from avsep.data.prepared import read_prepared
from recorded_material import find_files, is_held_out, recording_hash

RATE_HZ = 22_050


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes of an oboe and a violin, recordings of dogs and of snoring, pictures of dogs."""
    folder = tmp_path_factory.mktemp("material")
    generator = np.random.default_rng(0)

    def write(path: Path, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, generator.uniform(-0.5, 0.5, round(seconds * RATE_HZ)), RATE_HZ)

    for number in range(15):
        write(folder / "notes" / "oboe" / f"{50 + 2 * number}_{number}.wav", 0.4)
        write(folder / "notes" / "violin" / f"{60 + number}_{number}.wav", 0.4)
    for number in range(20):
        for take in "AB":
            write(folder / "sounds" / "001 - Dog bark" / f"1-{number}-{take}.wav", 0.5)
            write(folder / "sounds" / "snoring" / f"1-{number}-{take}.wav", 9.0)
    (folder / "photos" / "dog").mkdir(parents=True)
    for number in range(10):
        picture = Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8))
        picture.save(folder / "photos" / "dog" / f"{number}.png")
    room = np.zeros(RATE_HZ)
    room[[0, 400]] = 1, 0.5
    (folder / "rooms").mkdir()
    soundfile.write(folder / "rooms" / "hall.wav", room, RATE_HZ)
    return folder


def material(folders: Path, *, held_out: bool) -> make_solos.Material:
    sounds = find_files([folders / "notes"], [folders / "sounds"], held_out=held_out)
    # The shipped notes of other instruments are left out, for the sake of time.
    words = ("dog", "oboe", "snoring", "violin")
    return make_solos.Material(
        {word: sounds[word] for word in words},
        make_solos.find_pictures([folders / "photos"], held_out=held_out),
        make_solos.read_rooms(folders / "rooms"),
    )


def test_recordings_are_in_one_split(folders: Path) -> None:
    """Takes of a recording are on one side, and toyband's notes where toyband has them."""
    training, held_out = (material(folders, held_out=part).sounds for part in (False, True))
    for word in ("dog", "snoring"):
        paths = [path for path, _ in held_out[word]]
        assert paths and all(map(is_held_out, paths))
        hashes = [{recording_hash(path) for path, _ in part[word]} for part in (training, held_out)]
        assert not hashes[0] & hashes[1]
        assert len(training[word]) + len(held_out[word]) == 40
    own = [path for path, _ in held_out["violin"] if folders in path.parents]
    # The third of every five notes in order of pitch.
    assert [path.name for path in own] == ["62_2.wav", "67_7.wav", "72_12.wav"]
    assert all(is_note for _, is_note in training["oboe"])


def test_utterances_of_a_speaker_are_one_recording() -> None:
    first, second, other = (
        Path("speech") / f"{name}.ogg" for name in ("103-1240-0000", "103-99-0012", "104-1-0000")
    )
    assert recording_hash(first) == recording_hash(second) != recording_hash(other)


def test_solos_are_a_prepared_folder(folders: Path, tmp_path: Path) -> None:
    training = material(folders, held_out=False)
    rows = make_solos.make_solos(tmp_path / "a", training, 3, held_out=False, seed=1)
    clips = read_prepared(tmp_path / "a")
    assert len(rows) == len(clips) == 12
    assert {clip.split for clip in clips} == {"train", "val"}
    # Whatever is not pictured is audio-only.
    assert {clip.name.split("/")[0]: clip.is_visible for clip in clips} == {
        "dog": True, "oboe": False, "snoring": False, "violin": False,
    }  # fmt: skip
    for clip in clips:
        sound, rate_hz = soundfile.read(clip.sources[0].path)
        assert rate_hz == RATE_HZ and len(sound) == 8 * RATE_HZ and 0 < np.abs(sound).max() <= 0.95
    with (tmp_path / "a" / "index.csv").open() as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == rows
    # The same command makes the same sounds, another seed others.
    make_solos.make_solos(tmp_path / "b", training, 3, held_out=False, seed=1)
    make_solos.make_solos(tmp_path / "c", training, 3, held_out=False, seed=2)
    a, b, c = (
        (tmp_path / name / "audio" / "dog" / "0001.flac").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b != c


def test_held_out_solos_are_to_test_with(folders: Path, tmp_path: Path) -> None:
    make_solos.make_solos(
        tmp_path / "test", material(folders, held_out=True), 1, held_out=True, seed=0
    )
    assert {clip.split for clip in read_prepared(tmp_path / "test")} == {"test"}


def test_short_sounds_are_repeated_and_long_ones_cut() -> None:
    generator = np.random.default_rng(0)
    short = make_solos.repeat(np.ones(1000, np.float32), 50_000, generator)
    assert len(short) == 50_000 and 0 < short.mean() < 1
    long = make_solos.repeat(np.arange(90_000, dtype=np.float32), 50_000, generator)
    assert len(long) == 50_000 and (np.diff(long) == 1).all()


def test_a_room_keeps_the_length() -> None:
    sound = np.zeros(100, np.float32)
    sound[10] = 1
    room = np.array([1, 0, 0.5])
    np.testing.assert_allclose(
        make_solos.reverberate(sound, room)[9:14], [0, 1, 0, 0.5, 0], atol=1e-6
    )


def test_a_solo_to_train_with_may_be_coded_clipped_or_of_several_voices(folders: Path) -> None:
    files = [(path, False) for path in sorted((folders / "sounds" / "snoring").iterdir())]
    time = np.arange(4 * RATE_HZ) / RATE_HZ
    tone = (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)

    def varied(word: str, number: int) -> list[np.ndarray]:
        generators = map(np.random.default_rng, range(number))
        return [make_solos.vary(tone, word, files, generator) for generator in generators]

    plain = varied("oboe", 160)
    same = [np.array_equal(sound, tone) for sound in plain]
    # Neither through a codec nor clipped: 0.75 x 15 / 16.
    assert 0.6 < np.mean(same) < 0.8
    for sound in plain:
        assert sound.shape == tone.shape and np.abs(sound).max() <= 0.951
        assert np.corrcoef(sound, tone)[0, 1] > 0.9  # in time with what it was
    voices = [np.corrcoef(sound, tone)[0, 1] < 0.9 for sound in varied("speech", 40)]
    assert 0.15 < np.mean(voices) < 0.55
    levels_db = [20 * np.log10(sound.std() / tone.std()) for sound in varied("ambience", 40)]
    assert -20.5 < min(levels_db) < -15 and -5 < max(levels_db) < 0.5


def test_ambience_is_for_mixtures_alone(folders: Path, tmp_path: Path) -> None:
    training = material(folders, held_out=False)
    files = {"dog": training.sounds["dog"], "ambience": training.sounds["snoring"]}
    both = make_solos.Material(files, training.pictures)
    rows = make_solos.make_solos(tmp_path / "a", both, 2, held_out=False, seed=0)
    assert [row[1] for row in rows] == ["ambience"] * 10 + ["dog"] * 2
