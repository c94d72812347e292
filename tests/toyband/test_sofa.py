"""Test reading SOFA files: angle convention, optional fields, and one error line per fault."""

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from avsep.errors import InputError
from avsep.sound.hrtf import Direction
from avsep.toyband.sofa import read_head

# SOFA counts azimuth to the left: ahead, left, right (as 270) and right above.
POSITIONS = np.array([[0, 0, 1.5], [90, 0, 1.5], [270, 0, 1.5], [330, 45, 1.5]], np.float64)
LEFT, RIGHT = [1.0, 1.0, 0.3, 0.5], [1.0, 0.3, 1.0, 0.9]


def write_sofa(path: Path) -> Path:
    """Write a head of four directions, with the attributes of published files."""
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_(b"SOFA")
        file.attrs["SOFAConventions"] = np.bytes_(b"SimpleFreeFieldHRIR")
        file.attrs["DataType"] = np.bytes_(b"FIR")
        responses = np.zeros((4, 2, 32))
        responses[:, 0, 5], responses[:, 1, 7] = LEFT, RIGHT
        file["Data.IR"] = responses
        file["Data.SamplingRate"] = np.array([48000.0])
        file["Data.SamplingRate"].attrs["Units"] = np.bytes_(b"hertz")
        file["Data.Delay"] = np.zeros((1, 2))
        file["SourcePosition"] = POSITIONS
        file["SourcePosition"].attrs["Type"] = np.bytes_(b"spherical")
        file["SourcePosition"].attrs["Units"] = np.bytes_(b"degree, degree, metre")
        # Exchanged, as in a published file whose responses are right: levels decide.
        file["ReceiverPosition"] = np.array([[0, -0.09, 0], [0, 0.09, 0]])[..., None]
    return path


@pytest.fixture
def sofa(tmp_path: Path) -> Path:
    return write_sofa(tmp_path / "dummy.sofa")


def replace(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        attributes = dict(file[name].attrs)
        del file[name]
        file[name] = value
        file[name].attrs.update(attributes)

    return change


def set_attribute(name: str, attribute: str, value: bytes) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__setitem__(attribute, np.bytes_(value))


def without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def exchange_ears(file: h5py.File) -> None:
    file["Data.IR"][...] = np.asarray(file["Data.IR"])[:, ::-1]


def spoil_one_sample(file: h5py.File) -> None:
    file["Data.IR"][2, 1, 3] = np.nan


def test_sofas_left_is_our_left(sofa: Path) -> None:
    head = read_head(sofa)
    assert repr(head) == "MeasuredHead('dummy')" and head.sample_rate_hz == 48000
    np.testing.assert_array_equal(head.angles_degrees, [[0, 0], [-90, 0], [90, 0], [30, 45]])
    # Between measured directions the nearest one is used.
    for azimuth_degrees, index in ((0, 0), (-80, 1), (100, 2)):
        ears = head.responses(Direction(azimuth_degrees), 48000)
        assert ears.max(axis=1).tolist() == [LEFT[index], RIGHT[index]]
    above = head.responses(Direction(35, 40), 48000)
    assert above.max(axis=1).tolist() == [0.5, 0.9]


def test_optional_fields_may_be_missing(sofa: Path) -> None:
    with h5py.File(sofa, "r+") as file:
        for name in ("Data.Delay", "ReceiverPosition"):
            del file[name]
        file["SourcePosition"].attrs["Units"] = "degree, degree, meter"  # text, not bytes
    assert len(read_head(sofa).impulse_responses) == 4
    with h5py.File(sofa, "r+") as file:
        file["Data.Delay"] = np.full((4, 2), 12.0)  # equal for all responses: ignored
    assert len(read_head(sofa).impulse_responses) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("Data.IR"), "holds no measured head: .* lacks Data.IR; needed is SimpleFree"),
        (without("Data.SamplingRate"), "lacks Data.SamplingRate"),
        (set_attribute("/", "SOFAConventions", b"GeneralFIR"), "'GeneralFIR' and it lacks nothing"),
        (set_attribute("SourcePosition", "Type", b"cartesian"), "positions are cartesian, in deg"),
        (set_attribute("SourcePosition", "Type", b"polar"), "are polar, in degree, degree, metre"),
        (
            set_attribute("SourcePosition", "Units", b"radian, radian, metre"),
            "reach 18907.6 degree",
        ),
        (
            set_attribute("SourcePosition", "Units", b"metre"),
            "are spherical, in metre, metre, metre",
        ),
        (
            set_attribute("SourcePosition", "Units", b"degree, degree"),
            "are spherical, in degree, de",
        ),
        (
            replace("SourcePosition", np.radians(POSITIONS)),
            "beyond 5.75959 degrees; if they are radi",
        ),
        (
            replace("SourcePosition", POSITIONS * [1, 3, 1]),
            "degrees of azimuth and 135 of elevation",
        ),
        (replace("Data.IR", np.ones((4, 1, 32))), r"\[4, 1, 32\] responses at \[4, 3\] positions"),
        (replace("Data.IR", np.ones((0, 2, 32))), r"\[0, 2, 32\] responses at \[4, 3\] positions"),
        (replace("Data.IR", np.ones((4, 3, 32))), r"\[4, 3, 32\] responses at \[4, 3\] positions"),
        (replace("Data.IR", np.ones((4, 2))), r"\[4, 2\] responses"),
        (replace("Data.IR", np.ones((4, 2, 0))), r"\[4, 2, 0\] responses"),
        (replace("Data.IR", np.ones((5, 2, 32))), r"\[5, 2, 32\] responses at \[4, 3\] positions"),
        (replace("SourcePosition", POSITIONS[:, :2]), r"at \[4, 2\] positions"),
        (spoil_one_sample, "holds NaN or infinite numbers"),
        (replace("SourcePosition", np.full((4, 3), np.inf)), "holds NaN or infinite"),
        (replace("Data.SamplingRate", [0.0]), r"Data.SamplingRate \[0.\] is not one rate in hertz"),
        (replace("Data.SamplingRate", [44.1]), "is not one rate in hertz from 1000 to 1000000"),
        (replace("Data.SamplingRate", [44100.0, 48000.0]), "is not one rate in hertz"),
        (
            replace("Data.Delay", np.zeros((3, 2))),
            r"Data.Delay has shape \[3, 2\]; needed is \[1, 2",
        ),
        (
            replace("Data.Delay", [[0.0, 5000.0]]),
            "differs by 5000 samples, more than 0.1 s: it mus",
        ),
        (replace("Data.Delay", [[0.0, np.nan]]), "holds NaN or infinite numbers"),
        (replace("Data.IR", np.zeros((4, 2, 32))), "the ears are exchanged or silent"),
        (exchange_ears, "the first ear is not louder for sources on the left"),
        (replace("SourcePosition", POSITIONS * [-1, 1, 1]), "or count azimuth to the left"),
        (replace("Data.IR", b"words"), "cannot read '.*' as a SOFA file"),
    ],
)
def test_each_fault_is_one_line(
    sofa: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(sofa, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message) as error:
        read_head(sofa)
    assert re.search("dummy.sofa", str(error.value)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "units", "positions"),
    [
        ("spherical", "degree", POSITIONS),
        ("spherical", "Degrees, Degrees, Meters", POSITIONS),
        ("spherical", "radian, radian, metre", POSITIONS * [np.pi / 180, np.pi / 180, 1]),
        ("spherical", "degree, radian, metre", POSITIONS * [1, np.pi / 180, 1]),
        (
            "spherical",
            "degree, degree, metre",
            POSITIONS - [[0] * 3, [0] * 3, [360, 0, 0], [0] * 3],
        ),
        ("cartesian", "metre", "xyz"),
        ("Cartesian", "metre, metre, metre", "xyz"),
        ("cartesian", "millimetre", "xyz"),
    ],
)
def test_positions_of_any_kind_are_the_same_directions(
    sofa: Path, kind: str, units: str, positions: np.ndarray | str
) -> None:
    expected = read_head(sofa).angles_degrees
    if isinstance(positions, str):
        azimuth, elevation = np.radians(POSITIONS[:, :2]).T
        # SOFA's axes: ahead, to the left, up.
        x, y = np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation)
        positions = 1.5 * np.stack([x, y, np.sin(elevation)], axis=1)
    with h5py.File(sofa, "r+") as file:
        file["SourcePosition"][...] = positions
        file["SourcePosition"].attrs.update(Type=np.bytes_(kind), Units=np.bytes_(units))
    np.testing.assert_allclose(read_head(sofa).angles_degrees, expected, atol=1e-9)


def test_a_position_in_the_head_has_no_direction(sofa: Path) -> None:
    with h5py.File(sofa, "r+") as file:
        file["SourcePosition"][...] = POSITIONS * [[1], [1], [0], [1]]
        file["SourcePosition"].attrs.update(Type=np.bytes_("cartesian"), Units=np.bytes_("metre"))
    with pytest.raises(InputError, match="a position is the centre of the head: it has no directi"):
        read_head(sofa)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (4, 2)])
def test_delays_in_whole_samples_are_written_into_the_responses(
    sofa: Path, shape: tuple[int, ...]
) -> None:
    before = read_head(sofa).impulse_responses
    delays = np.random.default_rng(0).integers(3, 20, shape)
    with h5py.File(sofa, "r+") as file:
        del file["Data.Delay"]
        file["Data.Delay"] = delays.astype(float)
    after = read_head(sofa).impulse_responses
    shifts = np.broadcast_to(delays - delays.min(), (4, 2))
    for position, ear in np.ndindex(4, 2):
        start = shifts[position, ear]
        np.testing.assert_array_equal(
            after[position, ear, start : start + 32], before[position, ear]
        )
        assert after[position, ear].sum() == before[position, ear].sum()


def test_delays_of_parts_of_samples_are_delays_of_each_frequency(sofa: Path) -> None:
    before = read_head(sofa).impulse_responses
    with h5py.File(sofa, "r+") as file:
        del file["Data.Delay"]
        file["Data.Delay"] = np.array([[10.0, 13.25]])
    after = read_head(sofa).impulse_responses
    # Up to 17 kHz of 24: the sinc of 32 samples a side falls off above.
    spectra = np.fft.rfft(after, 1024)[..., :360] / np.fft.rfft(before, 1024)[..., :360]
    np.testing.assert_allclose(np.abs(spectra), 1, atol=0.01)
    phase = np.unwrap(np.angle(spectra[:, 1] / spectra[:, 0]))
    delay = -phase[:, 1:] * 1024 / (2 * np.pi * np.arange(1, 360))
    np.testing.assert_allclose(delay, 3.25, atol=0.01)


def test_one_rate_for_each_position_is_one_rate(sofa: Path) -> None:
    with h5py.File(sofa, "r+") as file:
        replace("Data.SamplingRate", np.full(4, 44100.0))(file)
    assert read_head(sofa).sample_rate_hz == 44100


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_other_files_are_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.sofa"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read '.*other.sofa' as a SOFA file"):
        read_head(path)


def test_a_truncated_file_is_an_error(sofa: Path) -> None:
    content = sofa.read_bytes()
    for share in (0.2, 0.6, 0.95):
        sofa.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match="cannot read"):
            read_head(sofa)
