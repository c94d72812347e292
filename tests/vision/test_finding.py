"""Finding objects in videos: their boxes over time, words, awkward videos, stored detections."""

import json
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import avsep
from avsep.errors import InputError
from avsep.media.objects_file import format_objects, read_objects
from avsep.records import VisibleObject
from avsep.vision.detectors.base import Detections
from avsep.vision.detectors.settings import DetectorSettings
from avsep.vision.finding import FindSettings, FoundObjects, find_objects_by
from avsep.vision.sampling import cache_folder
from media.making import Track, Video, make, noise
from vision.toy_detector import ColourDetector, draw, make_video, moving

# As often as the times in these tests take.
RATE = {"sample_rate_hz": 2.0}
TWICE = FindSettings(**RATE)
UNSTORED = FindSettings(uses_cache=False, **RATE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def crossing(tmp_path: Path) -> Path:
    """Six seconds: red goes to the right, blue to the left, green stands below."""
    things = [("red", moving(0.05, 0.1, 0.12)), ("blue", moving(0.8, 0.4, -0.12)),
              ("green", moving(0.4, 0.75))]  # fmt: skip
    return make_video(tmp_path / "crossing.mkv", [draw(things, k / 5) for k in range(30)])


def find(video: object, *words: str, **settings: object) -> FoundObjects:
    chosen = FindSettings(uses_cache=False, **(RATE | settings))
    return find_objects_by(ColourDetector(), video, words, settings=chosen)


def centre(item: VisibleObject, seconds: float) -> tuple[float, float]:
    x1, y1, x2, y2 = item.box_at(seconds)
    return ((x1 + x2) / 2, (y1 + y2) / 2)


def test_boxes_over_time(crossing: Path) -> None:
    result = find(crossing)
    assert sorted(item.label or "" for item in result.objects) == ["blue", "green", "red"]
    assert not result.warnings and len(result.times_seconds) == 12
    by_label = {item.label: item for item in result.objects}
    for seconds in (0.5, 2.0, 3.0, 5.0):
        # A picture is shown from its time on, a fifth of a second.
        expected = 0.05 + 0.05625 + 0.12 * seconds
        assert centre(by_label["red"], seconds)[0] == pytest.approx(expected, abs=0.03)
        assert centre(by_label["blue"], seconds)[0] == pytest.approx(
            0.856 - 0.12 * seconds, abs=0.03
        )
    order = [item.confidence for item in result.objects]
    assert order == sorted(order, reverse=True) and order[0] > 0.9


def test_two_of_one_colour_that_cross(tmp_path: Path) -> None:
    things = [("red", moving(0.05, 0.3, 0.12, 0.15)), ("red", moving(0.8, 0.5, -0.12, 0.15))]
    video = make_video(tmp_path / "pair.mkv", [draw(things, k / 5) for k in range(30)])
    first, second = sorted(find(video).objects, key=lambda item: centre(item, 0.3)[0])
    assert centre(first, 5.5)[0] > 0.65 and centre(second, 5.5)[0] < 0.3
    assert centre(first, 5.5)[1] < centre(second, 5.5)[1]


def test_one_that_leaves_and_a_cut(tmp_path: Path) -> None:
    leaving = ("green", lambda t: moving(0.1, 0.1)(t) if t < 2 else None)
    before = [draw([("red", moving(0.1, 0.6)), leaving], k / 5, grey=40) for k in range(20)]
    after = [draw([("red", moving(0.7, 0.2))], k / 5, grey=200) for k in range(20)]
    red, green = sorted(
        find(make_video(tmp_path / "cut.mkv", before + after)).objects,
        key=lambda o: o.label != "red",
    )
    assert green.box_at(7) == green.boxes[-1].box and green.boxes[-1].time_seconds < 2
    # The cut is at 4 s, between the samples at 3.75 and 4.25 s.
    assert centre(red, 3.98)[0] == pytest.approx(0.156, abs=0.02)
    assert centre(red, 4.02)[0] == pytest.approx(0.756, abs=0.02)


def test_times_count_from_the_first_sample_of_the_sound(tmp_path: Path) -> None:
    pictures = [draw([("red", moving(0.1, 0.1, 0.1))], k / 5) for k in range(20)]
    late = make_video(tmp_path / "late.mkv", pictures, sound_start_seconds=1.0)
    silent = make_video(tmp_path / "silent.mkv", pictures, has_sound=False)
    by_sound = UNSTORED.model_copy(update={"align": "sound"})
    late_found = find_objects_by(ColourDetector(), late, settings=by_sound)
    assert late_found.sound_seconds == pytest.approx(1.0, abs=0.05)
    # Stems begin with the picture by default, and so do times.
    assert find(late).sound_seconds == pytest.approx(0.0, abs=0.05)
    first, second = late_found.objects[0], find(silent).objects[0]
    assert centre(first, 1.0)[0] == pytest.approx(centre(second, 2.0)[0], abs=0.02)
    part = find_objects_by(
        ColourDetector(), late, settings=by_sound, start_seconds=2.0, end_seconds=3.0
    )
    assert [round(t, 2) for t in part.times_seconds] == [1.25, 1.75]
    for start, end in ((9.0, None), (3.0, 2.0)):
        with pytest.raises(InputError, match=r"has no picture from \d s to .*; it is 4 s long"):
            find_objects_by(ColourDetector(), late, start_seconds=start, end_seconds=end)


# Words


def test_each_word_is_one_object(tmp_path: Path) -> None:
    things = [("red", moving(0.1, 0.1)), ("red", moving(0.6, 0.1)), ("blue", moving(0.3, 0.6))]
    video = make_video(tmp_path / "x.mkv", [draw(things, 0)] * 10)
    one = find(video, "red")
    assert [item.label for item in one.objects] == ["red"]
    assert one.warnings == (
        "2 objects are 'red', of which the 1 surest is taken; repeat the word for more",
    )
    both = find(video, "red", "red", "blue")
    assert sorted(item.label or "" for item in both.objects) == ["blue", "red", "red"]
    assert not both.warnings
    three = find(video, "red", "red", "red")
    assert len(three.objects) == 2 and three.warnings[0].startswith("only 2 of 3 'red' found")
    missing = find(video, "green", "blue")
    assert [item.label for item in missing.objects] == ["blue"]
    assert missing.warnings[0].startswith("no 'green' found by detector 'avsep-detector': try")


def test_wrong_words_are_told() -> None:
    for words, message in ((["violin"], "unknown label"), (["  "], "is no word to look for"),
                           ("red", "words are a list"), (["a\nb\x00"], "is no word")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            find_objects_by(ColourDetector(), picture_bytes(), words, settings=UNSTORED)


def test_a_detector_may_call_the_thing_otherwise(tmp_path: Path) -> None:
    class Renaming(ColourDetector):
        def detect(self, pictures, times_seconds, words=()) -> tuple[Detections, ...]:
            return super().detect(pictures, times_seconds, ["red"])

    video = make_video(tmp_path / "x.mkv", [draw([("red", moving(0.1, 0.1))], 0)] * 5)
    (item,) = find_objects_by(Renaming(), video, ["crimson"], settings=UNSTORED).objects
    assert item.label == "crimson"


def test_two_spellings_are_two_objects(tmp_path: Path) -> None:
    class AnyCase(ColourDetector):
        def detect(self, pictures, times_seconds, words=()) -> tuple[Detections, ...]:
            return super().detect(pictures, times_seconds, ["red"])

    things = [("red", moving(0.1, 0.1)), ("red", moving(0.6, 0.1))]
    video = make_video(tmp_path / "x.mkv", [draw(things, 0)] * 5)
    result = find_objects_by(AnyCase(), video, ["Red", "red"], settings=UNSTORED)
    assert {item.label for item in result.objects} == {"Red", "red"} and not result.warnings


def test_other_names_of_an_instrument_are_one_word(tmp_path: Path) -> None:
    class Naming(ColourDetector):
        def detect(self, pictures, times_seconds, words=()) -> tuple[Detections, ...]:
            names = {"red": "saxophone", "blue": "violin"}
            return tuple(
                Detections(item.boxes, tuple(map(names.__getitem__, item.labels)), item.scores)
                for item in super().detect(pictures, times_seconds, ["red", "blue"])
            )

    things = [("red", moving(0.1, 0.1)), ("blue", moving(0.6, 0.1))]
    video = make_video(tmp_path / "x.mkv", [draw(things, 0)] * 5)
    result = find_objects_by(Naming(), video, ["sax", "fiddle"], settings=UNSTORED)
    places = {item.label: item.boxes[0].box[0] for item in result.objects}
    assert places == {"sax": pytest.approx(0.1, abs=0.02), "fiddle": pytest.approx(0.6, abs=0.02)}


def test_most_objects_and_the_smallest(tmp_path: Path) -> None:
    things = [("red", moving(0.1 * k, 0.1, size=0.1)) for k in range(10)]
    things.append(("blue", moving(0.5, 0.7, size=0.05)))
    video = make_video(tmp_path / "x.mkv", [draw(things, 0)] * 5)
    assert len(find(video).objects) == 8
    assert len(find(video, most_objects=20).objects) == 10
    assert len(find(video, most_objects=20, smallest_share=0.0005).objects) == 11


def test_what_is_much_less_sure_than_the_surest_is_left_out(tmp_path: Path) -> None:
    rarely = ("blue", lambda t: moving(0.5, 0.5)(t) if t % 2.5 < 0.4 else None)
    things = [("red", moving(0.1, 0.1)), rarely]
    video = make_video(tmp_path / "x.mkv", [draw(things, k / 4) for k in range(60)], rate=4)
    assert [item.label for item in find(video).objects] == ["red"]
    assert len(find(video, least_share=0.0, least_confidence=0.0).objects) == 2
    assert len(find(video, least_share=0.0, least_confidence=0.9).objects) == 1
    assert [item.label for item in find(video, "blue").objects] == ["blue"]


# Awkward videos


def picture_bytes() -> bytes:
    import io

    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        frame = av.VideoFrame.from_ndarray(draw([("red", moving(0.1, 0.1))], 0), format="rgb24")
        output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def test_a_video_of_one_picture() -> None:
    (item,) = find(picture_bytes()).objects
    assert item.label == "red" and len(item.boxes) == 1


def test_nothing_in_a_black_video(tmp_path: Path) -> None:
    result = find(make_video(tmp_path / "x.mkv", [np.zeros((90, 160, 3), np.uint8)] * 10))
    assert result.objects == () and len(result.warnings) == 1
    assert "finds no object: name what to look for (--find violin)" in result.warnings[0]


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    things = [("red", moving(0.1, 0.1, 0.05))]
    whole = make_video(tmp_path / "x.mkv", [draw(things, k / 5) for k in range(60)])
    (tmp_path / "cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = find(tmp_path / "cut.mkv")
    assert [item.label for item in result.objects] == ["red"]
    assert 2 < len(result.times_seconds) < 20
    (tmp_path / "none.mp4").write_bytes(b"not a video")
    for broken in (tmp_path / "none.mp4", tmp_path / "missing.mp4"):
        with pytest.raises(InputError, match=broken.name):
            find(broken)
    sound = make(tmp_path / "sound.mka", [], [Track(noise(1, 16000))])
    with pytest.raises(InputError, match="has no video"):
        find(sound)


def test_a_portrait_video_is_upright(tmp_path: Path) -> None:
    stored = draw([("red", lambda t: (0.1, 0.1, 0.3, 0.5))], 0, 90, 160)
    video = make_video(tmp_path / "x.mp4", [stored] * 10, rotation=(90.0, False, False))
    detector = ColourDetector()
    (item,) = find_objects_by(detector, video, settings=UNSTORED).objects
    assert detector.sizes[0][:2] == (160, 90)
    x1, y1, x2, y2 = item.boxes[0].box
    assert x2 - x1 == pytest.approx(0.4, abs=0.03) and y2 - y1 == pytest.approx(0.2, abs=0.03)


def test_large_pictures_are_shrunk_and_memory_does_not_grow(tmp_path: Path) -> None:
    picture = draw([("red", moving(0.1, 0.1))], 0, 2160, 3840)
    video = make_video(tmp_path / "4k.mkv", [picture] * 3, rate=1)
    detector = ColourDetector()
    (item,) = find_objects_by(detector, video, settings=UNSTORED).objects
    assert item.label == "red" and set(detector.sizes) == {(90, 160, 3)}
    peaks = []
    for number in (25, 250):
        small = make_video(
            tmp_path / f"{number}.mkv", [draw([("red", moving(0.1, 0.1))], 0)] * number
        )
        tracemalloc.start()
        find(small)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e6


def test_a_long_video_costs_no_more(tmp_path: Path) -> None:
    video = make_video(tmp_path / "x.mkv", [draw([("red", moving(0.1, 0.1))], 0)] * 600, rate=2)
    detector, seen = ColourDetector(), []
    result = find_objects_by(
        detector, video, settings=FindSettings(most_samples=10, uses_cache=False),
        progress=lambda stage, done, total: seen.append((stage, round(done), round(total or 0))),
    )  # fmt: skip
    assert len(detector.times) == len(result.times_seconds) == 10
    assert np.allclose(np.diff(result.times_seconds), 30)
    assert seen[0] == ("finding objects", 105, 300) and seen[-1][1:] == (300, 300)


# Stored detections


def test_the_second_time_nothing_is_detected(crossing: Path, tmp_path: Path) -> None:
    detector = ColourDetector()
    first = find_objects_by(detector, crossing, settings=TWICE)
    num_detected = len(detector.times)
    copied = tmp_path / "copy.mkv"
    copied.write_bytes(crossing.read_bytes())
    assert find_objects_by(detector, copied, settings=TWICE) == first
    assert find_objects_by(detector, copied.read_bytes(), settings=TWICE) == first
    # What comes after detection changes nothing that is stored.
    fewer = find_objects_by(detector, crossing, settings=FindSettings(most_objects=1, **RATE))
    assert len(fewer.objects) == 1 and len(detector.times) == num_detected
    find_objects_by(detector, crossing, ["red"], settings=TWICE)
    assert len(detector.times) == 2 * num_detected
    find_objects_by(detector, crossing, settings=FindSettings(sample_rate_hz=1))
    assert len(detector.times) > 2 * num_detected
    other = ColourDetector("colours 2")
    find_objects_by(other, crossing, settings=TWICE)
    assert len(other.times) == num_detected


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"samples": []}', b"[" * 10_000,
                         b'{"samples": [{"time_seconds": 0, "change": 0, "detections": [{"label": '
                         b'"x", "score": 2, "box": [0, 0, 1, 1]}]}]}'])  # fmt: skip
def test_a_broken_file_is_detected_again(crossing: Path, content: bytes) -> None:
    first = find_objects_by(ColourDetector(), crossing, settings=TWICE)
    (stored,) = cache_folder().iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(content)
    detector = ColourDetector()
    assert find_objects_by(detector, crossing, settings=TWICE) == first
    assert detector.times and stored.read_bytes() == whole


def test_a_folder_that_cannot_be_written_only_costs_time(
    crossing: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(find_objects_by(ColourDetector(), crossing, settings=TWICE).objects) == 3


def test_the_oldest_are_removed(crossing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avsep.vision.sampling._MOST_FILES", 3)
    for number in range(5):
        find_objects_by(ColourDetector(f"colours {number}"), crossing, settings=TWICE)
    assert len(list(cache_folder().iterdir())) == 3
    detector = ColourDetector("colours 4")
    find_objects_by(detector, crossing, settings=TWICE)
    assert not detector.times


# The public function, and what is passed on


def test_the_public_function_loads_a_detector(
    crossing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load_detector(name: str, device: str = "auto", *settings: object) -> ColourDetector:
        loads.append((name, device, *settings))
        return ColourDetector()

    monkeypatch.setattr("avsep.vision.detectors.registry.load_detector", load_detector)
    result = avsep.find_objects(crossing, ["red"], device="cpu")
    assert [item.label for item in result.objects] == ["red"]
    assert loads == [("avsep-detector", "cpu")]
    # A detector with a least score gets the half of it, which continues an object.
    loads.clear()
    avsep.find_objects(crossing, ["red"], settings=FindSettings(detector="owlv2", least_score=0.1))
    avsep.find_objects(crossing, settings=FindSettings(least_score=0.1))
    halved = DetectorSettings(least_score=0.05)
    assert loads == [("owlv2", "auto", halved), ("avsep-detector", "auto", halved)]


def test_times_count_from_the_audio_track_that_is_read(tmp_path: Path) -> None:
    tracks = [Track(noise(1, 48_000)), Track(noise(1, 32_000), start_seconds=1.0)]
    pictures = [draw([("red", moving(0.1, 0.1))], k / 5) for k in range(20)]
    video = make(tmp_path / "two.mkv", [Video(pictures, Fraction(5))], tracks)
    for track, seconds in (("1", 0.0), ("2", 1.0)):
        settings = FindSettings(audio_track=track, align="sound", uses_cache=False)
        result = find_objects_by(ColourDetector(), video, settings=settings)
        assert result.sound_seconds == pytest.approx(seconds, abs=0.05)
    settings = FindSettings(audio_track="3", uses_cache=False)
    with pytest.raises(InputError, match="has no audio track '3'; there are"):
        find_objects_by(ColourDetector(), video, settings=settings)


def test_a_frame_rate_reaches_files_that_count_frames_and_no_other(
    crossing: Path, tmp_path: Path
) -> None:
    rows = [[frame, 0, 0.9, 20, 20, 60, 60] for frame in range(1, 9)]
    np.save(tmp_path / "rows.npy", np.array(rows, float))
    (tmp_path / "rows.labels.txt").write_text("violin\n")
    settings = FindSettings(detector=str(tmp_path / "rows.npy"), uses_cache=False)
    with pytest.raises(InputError, match=r"their rate is not given: give frame_rate_hz \(--fr"):
        avsep.find_objects(crossing, settings=settings)
    rated = settings.model_copy(update={"frame_rate_hz": 2.0})
    (violin,) = avsep.find_objects(crossing, settings=rated).objects
    assert violin.label == "violin" and violin.boxes[-1].time_seconds > 2
    (tmp_path / "objects.json").write_text('[{"label": "violin"}]')
    for name in ("avsep-detector", str(tmp_path / "objects.json")):
        wrong = FindSettings(detector=name, frame_rate_hz=2.0)
        with pytest.raises(InputError, match="counts no frames, so that a frame rate has no mean"):
            avsep.find_objects(crossing, settings=wrong)


def test_objects_are_read_back_as_they_are_written(crossing: Path, tmp_path: Path) -> None:
    objects = find(crossing).objects
    path = tmp_path / "objects.json"
    path.write_text(format_objects(objects), encoding="utf-8")
    assert read_objects(path) == objects
    assert {"label", "boxes", "confidence"} == set(json.loads(path.read_text())[0])


def test_the_overview_is_where_most_objects_are_seen(tmp_path: Path) -> None:
    late = ("blue", lambda t: moving(0.5, 0.5)(t) if t > 4.5 else None)
    things = [("red", moving(0.1, 0.1)), late]
    result = find(make_video(tmp_path / "x.mkv", [draw(things, k / 5) for k in range(30)]))
    assert result.overview_seconds == pytest.approx(4.75) and len(result.objects) == 2
    assert result.numbers_at(1.0) == [
        result.objects.index(o) for o in result.objects if o.label == "red"
    ]
