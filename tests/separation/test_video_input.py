"""Validation of a clip's arrays: converted, or refused with a one-line error."""

from dataclasses import fields

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.records import Clip
from avsep.separation.separator import Separator
from avsep.separation.video_input import validate_clip
from media.making import noise
from separation.brightness import LEFT, RATE_HZ, RIGHT, Brightness, two_tone


def clip(**changes: object) -> Clip:
    """Make a clip with any values in its fields, as a caller without type checks may."""
    values = {
        "waveform": noise(2, 4000),
        "sample_rate_hz": RATE_HZ,
        "frames": np.stack(two_tone(0.25, 0.5, 2)),
        "frame_times_seconds": np.array([0.0, 0.25]),
        "objects": (),
        "name": "c",
    } | changes
    written = Clip.__new__(Clip)
    for field in fields(Clip):
        object.__setattr__(written, field.name, values[field.name])
    return written


def test_a_clip_as_it_should_be_is_left_as_it_is() -> None:
    original = clip()
    validated = validate_clip(original)
    for field in fields(Clip):
        assert np.array_equal(getattr(validated, field.name), getattr(original, field.name))
    # Nothing large is copied.
    assert validated.waveform is original.waveform and validated.frames is original.frames
    assert validate_clip(clip(name="")).name == "clip"


def test_lists_and_other_floats_are_separated_as_the_same_arrays() -> None:
    plain = clip()
    expected = Separator(Brightness()).separate(plain, [LEFT, RIGHT])
    changes = [
        {"waveform": plain.waveform.astype(np.float64)},
        {"waveform": plain.waveform.tolist(), "frame_times_seconds": [0, 0.25]},
        {"frames": list(plain.frames), "sample_rate_hz": np.int64(RATE_HZ)},
        {"frames": plain.frames.astype(np.int64), "sample_rate_hz": float(RATE_HZ)},
    ]
    for change in changes:
        result = Separator(Brightness()).separate(clip(**change), [LEFT, RIGHT])
        assert (result.residual == expected.residual).all()
        for sound in (result.mixture, result.residual, *result.stems.values()):
            assert sound.dtype == np.float32


FLOATS = np.zeros((2, 4, 4, 3), np.float32)
NO_CHANNELS = "must be [channels, samples]"
NO_FRAMES = "they must be [frames, height, width, 3], RGB"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"waveform": np.ones(100, np.float32)}, f"waveform has shape [100], it {NO_CHANNELS};"
         " write waveform[None] for one channel"),
        ({"waveform": np.float32(1)}, f"waveform has shape [], it {NO_CHANNELS}"),
        ({"waveform": None}, f"waveform has shape [], it {NO_CHANNELS}"),
        ({"waveform": [[0.0], [0.0, 1.0]]}, "clip 'c': waveform: a list of 2 cannot be converted"),
        ({"waveform": np.ones((1, 9), np.int16)}, "clip 'c': waveform is of int16, it must be float"
         "32 in -1..1; write waveform.astype('float32') / 32768"),
        ({"waveform": np.ones((1, 9), complex)}, "waveform is of complex128, it must be float32"),
        ({"waveform": np.ones((100, 2), np.float32)}, "clip 'c': waveform has shape [100, 2], which"
         " is 100 channels, and may have 64; if it is [samples, channels], write waveform.T"),
        ({"waveform": np.zeros((1, 0), np.float32)}, "waveform of shape [1, 0]; give at least"),
        ({"waveform": np.full((1, 9), np.nan, np.float32)}, "samples that are not finite"),
        ({"waveform": np.full((1, 9), 1e300)}, "has samples that are not finite; give floa"),
        ({"sample_rate_hz": 0}, "clip 'c': sample_rate_hz is 0, it must be a whole number"),
        ({"sample_rate_hz": 44.1}, "sample_rate_hz is 44.1, it must be a whole number of Hz"),
        ({"sample_rate_hz": None}, "sample_rate_hz is None, it must be a whole number of Hz"),
        ({"frames": FLOATS}, "clip 'c': frames are of float32, they must be uint8, 0..255; write (f"
         "rames * 255).round().astype('uint8')"),
        ({"frames": np.full((2, 4, 4, 3), 256)}, "frames are of int64, they must be uint8, 0..255"),
        ({"frames": FLOATS[..., 0]}, f"c': frames have shape [2, 4, 4], {NO_FRAMES}; for grey"),
        ({"frames": np.zeros((2, 4, 4, 4), np.uint8)}, f"{NO_FRAMES}; write frames[..., :3]"),
        ({"frames": np.zeros((2, 0, 4, 3), np.uint8)}, f"shape [2, 0, 4, 3], {NO_FRAMES}"),
        ({"frames": [FLOATS[0], FLOATS[0, 1:]]}, "frames: a list of 2 cannot be converted to"),
        ({"frames": np.zeros((0, 4, 4, 3), np.uint8)}, "clip 'c' has 0 frames and 2 times"),
        ({"frames": []}, "clip 'c' has 0 frames and 2 times"),
        ({"frame_times_seconds": [0.0]}, "clip 'c' has 2 frames and 1 times; give one time"),
        ({"frame_times_seconds": [1.0, 0.0]}, "clip 'c': frame_times_seconds must be finite"),
        ({"frame_times_seconds": [0.0, np.nan]}, "must be finite and must not decrease"),
        ({"frame_times_seconds": ["a", "b"]}, "shape [2], they must be one number for each frame"),
        ({"frame_times_seconds": 0.0}, "are of float64 and shape [], they must be one number for"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_clip_are_told(changes: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        validate_clip(clip(**changes))
    assert message in str(error.value) and "\n" not in str(error.value)
