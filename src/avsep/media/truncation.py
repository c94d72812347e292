"""Find out from its own structure whether a file was cut off: sizes of boxes, chunks and pages."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from avsep.media.opening import BinaryFile, MediaSource, open_binary, source_name

# Sizes from here on stand for "unknown" in WAV and AVI that were written into a pipe.
_UNKNOWN_RIFF_BYTES = 0x7FFFF000
_TAIL_BYTES = 2**17  # two pages of Ogg, which hold 65 kB at most, and many frames of AAC and MP3
# Boxes, elements and chunks looked at: a day of fragments of a second.
_MOST_PARTS = 200_000
_MPEGTS_SIZES = (188, 192, 204)

_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MP3_KBITS = {  # (is MPEG-1, layer) -> kbit/s by index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = (44100, 48000, 32000)
_AC3_KBITS = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160),
    *(192, 224, 256, 320, 384, 448, 512, 576, 640),
)
# Also of Ogg from servers that were stopped.
_NO_END_MARK = "its last page is not marked as the end"
_LARGEST_AIFF_BYTES = 2**32 + 8


@dataclass(frozen=True)
class Truncation:
    """The sign by which a file shows that it was cut off.

    Attributes:
        problem: for messages: "1958 bytes that it states are missing".
        missing_share: bytes missing, over those there; None if the file does not tell.
        is_certain: False for a mark that writers also forget.
    """

    problem: str
    missing_share: float | None = None
    is_certain: bool = True


def find_truncation(source: MediaSource, format_name: str) -> Truncation | None:
    """Return how a file shows that it was cut off; None where it does not.

    Reads headers only: sizes of boxes, chunks and elements, the last page of Ogg, the last tag of
    FLV, the last packets of MPEG-TS, ADTS, MP3 and AC-3. A file cut between two packets of these
    does not show it.

    Args:
        source: the file.
        format_name: FFmpeg's name of its container.
    """
    family = format_name.split(",")[0]
    with open_binary(source, source_name(source)) as file:
        num_bytes = file.seek(0, io.SEEK_END)
        if family in _ENDS:
            num_missing = _ENDS[family](file, num_bytes) - num_bytes
            problem = f"{num_missing} bytes that it states are missing"
            return Truncation(problem, num_missing / num_bytes) if num_missing > 0 else None
        tail = _read_at(file, max(0, num_bytes - _TAIL_BYTES), _TAIL_BYTES)
    problem = None
    if family == "ogg":
        problem = _ogg_problem(tail)
    elif family == "mpegts":
        problem = _mpegts_problem(tail, num_bytes)
    elif family == "flv":
        problem = _flv_problem(tail)
    elif family in _FRAME_LENGTHS:
        problem = _frames_problem(tail, _FRAME_LENGTHS[family], len(tail) == num_bytes)
    return None if problem is None else Truncation(problem, is_certain=problem != _NO_END_MARK)


def _read_at(file: BinaryFile, position: int, num_bytes: int) -> bytes:
    file.seek(position)
    return file.read(num_bytes)


def _end_of_boxes(file: BinaryFile, num_bytes: int) -> int:
    """Return where the last box of an MP4 or MOV file ends by its size."""
    position = 0
    for _ in range(_MOST_PARTS):
        if position >= num_bytes:
            break
        header = _read_at(file, position, 16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if len(header) < 8:
            return position + 8
        # Size 0 reaches to the end of the file; other bytes behind the last box are no box.
        if size < 8 or not kind.isalnum():
            break
        position += size
    return position


def _end_of_avi(file: BinaryFile, num_bytes: int) -> int:
    """Return where the last RIFF chunk ends by its size; many gigabytes are several chunks."""
    position = 0
    while position < num_bytes:
        header = _read_at(file, position, 8)
        size = int.from_bytes(header[4:], "little")
        if header[:4] != b"RIFF" or size == 0 or size >= _UNKNOWN_RIFF_BYTES:
            break
        position += 8 + size
    # Writers disagree on whether the byte that makes a size even has to be there.
    return position if position > num_bytes + 1 else min(position, num_bytes)


def _end_of_wav(file: BinaryFile, num_bytes: int) -> int:
    """Return where the samples end by the size of their chunk; 0 where it is not stated."""
    position, large_bytes = 12, 0
    while position < num_bytes:
        header = _read_at(file, position, 24)
        size = int.from_bytes(header[4:8], "little")
        if header[:4] == b"ds64":
            large_bytes = int.from_bytes(header[16:24], "little")
        if header[:4] == b"data":
            is_large = large_bytes and size == 2**32 - 1
            size = large_bytes if is_large else size
            return 0 if size >= _UNKNOWN_RIFF_BYTES and not is_large else position + 8 + size
        position += 8 + size + size % 2
    return 0


def _end_of_aiff(file: BinaryFile, num_bytes: int) -> int:
    """Return where the one chunk of AIFF ends by its size."""
    return min(8 + int.from_bytes(_read_at(file, 4, 4), "big"), _LARGEST_AIFF_BYTES)


def _end_of_caf(file: BinaryFile, num_bytes: int) -> int:
    """Return where the last chunk of a CAF file ends by its size; -1 stands for the rest."""
    position = 8
    while position < num_bytes:
        header = _read_at(file, position, 12)
        size = int.from_bytes(header[4:], "big", signed=True)
        if size < 0 or len(header) < 12:
            break
        position += 12 + size
    return position


def _end_of_matroska(file: BinaryFile, num_bytes: int) -> int:
    """Return where the segment ends by its size, or else its last cluster or block."""
    position = 0
    for _ in range(_MOST_PARTS):
        if position >= num_bytes:
            break
        header = _read_at(file, position, 12)
        identity, id_bytes = _variable_length(header, keep_marker=True)
        size, size_bytes = _variable_length(header[id_bytes:], keep_marker=False)
        if not id_bytes or not size_bytes:
            # Fewer bytes than a header needs are one that was cut; anything else is no element.
            return position + 12 if num_bytes - position < 12 else position
        position += id_bytes + size_bytes
        is_unknown = size == 2 ** (7 * size_bytes) - 1
        if is_unknown and identity in (_SEGMENT, _CLUSTER):
            continue  # its children follow
        position += size
    return position


def _variable_length(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """Return a number of Matroska's variable length and its bytes; 0 bytes where there is none."""
    if not data or not data[0]:
        return 0, 0
    num_bytes = 9 - data[0].bit_length()
    if len(data) < num_bytes:
        return 0, 0
    value = int.from_bytes(data[:num_bytes], "big")
    return value if keep_marker else value & (2 ** (7 * num_bytes) - 1), num_bytes


def _ogg_problem(tail: bytes) -> str | None:
    """Return a problem of the last page of an Ogg file."""
    start = tail.rfind(b"OggS")
    if start < 0:
        return None
    header = tail[start : start + 27]
    table = tail[start + 27 : start + 27 + header[26]] if len(header) == 27 else b""
    if (
        len(header) < 27
        or len(table) < header[26]
        or start + 27 + len(table) + sum(table) > len(tail)
    ):
        return "its last page is incomplete"
    is_last = bool(header[5] & 4)
    return None if is_last else _NO_END_MARK


def _mpegts_problem(tail: bytes, num_bytes: int) -> str | None:
    """Return a problem of the last packet of MPEG-TS, whose packets have one size."""
    for size in _MPEGTS_SIZES:
        whole = tail[: len(tail) - num_bytes % size]
        sync = 4 if size == 192 else 0  # BDAV writes the time before each packet
        if len(whole) >= 3 * size and all(whole[sync - k * size] == 0x47 for k in (1, 2, 3)):
            return "its last packet is incomplete" if num_bytes % size else None
    return None


def _flv_problem(tail: bytes) -> str | None:
    """Return a problem of the last tag of FLV, behind which its size is repeated."""
    size = int.from_bytes(tail[-4:], "big")
    begin = len(tail) - 4 - size
    if begin < 0 or int.from_bytes(tail[begin + 1 : begin + 4], "big") + 11 != size:
        return "its last tag is incomplete"
    return None


def _frames_problem(tail: bytes, length_of: Callable[[bytes], int], is_whole: bool) -> str | None:
    """Follow the frames of ADTS, MP3 or AC-3 to the end of the file.

    Args:
        tail: the end of the file.
        length_of: returns the bytes of the frame with a header, 0 if it is none.
        is_whole: the tail is the whole file.
    """
    start = _tag_bytes(tail) if is_whole else 0
    if not (is_whole and length_of(tail[start : start + 8])):
        candidates = range(start, len(tail) - 8)
        start = next((k for k in candidates if _is_chain(tail, k, length_of)), -1)
    if start < 0:
        return None
    position = start
    while position < len(tail):
        rest = tail[position : position + 8]
        # Tags follow the last frame, and some writers add zeros.
        if rest[:3] == b"TAG" or rest == b"APETAGEX"[: len(rest)] or not any(rest):
            return None
        length = length_of(rest.ljust(8, b"\0")) if len(rest) >= 7 else 0
        if not length:
            return "its last frame is incomplete" if len(rest) < 8 else None
        position += length
    return "its last frame is incomplete" if position > len(tail) else None


def _is_chain(tail: bytes, position: int, length_of: Callable[[bytes], int]) -> bool:
    """Return whether three frames follow one another: other bytes only look like one or two."""
    for _ in range(3):
        length = length_of(tail[position : position + 8])
        position += length
        if not length or position > len(tail):
            return False
    return True


def _tag_bytes(data: bytes) -> int:
    """Return the bytes of the ID3v2 tag at the beginning; its size has seven bits a byte."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _is_adts(data: bytes) -> bool:
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0


def _adts_length(header: bytes) -> int:
    """Return the bytes of an ADTS frame; 0 if this is none."""
    if len(header) < 7 or not _is_adts(header):
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length >= 7 else 0


def _mp3_length(header: bytes) -> int:
    """Return the bytes of a frame of MPEG audio, layers 1 to 3; 0 if this is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_index in (0, 15) or rate_index == 3:
        return 0
    is_mpeg1 = version == 3
    rate = _MP3_RATES[rate_index] // {3: 1, 2: 2, 0: 4}[version]
    bits_per_second = 1000 * _MP3_KBITS[is_mpeg1, layer][bit_index]
    if layer == 1:
        return (12 * bits_per_second // rate + padding) * 4
    num_samples = 1152 if is_mpeg1 or layer == 2 else 576
    return num_samples * bits_per_second // (8 * rate) + padding


def _ac3_length(header: bytes) -> int:
    """Return the bytes of a frame of AC-3 or E-AC-3; 0 if this is none."""
    if len(header) < 6 or header[:2] != b"\x0b\x77":
        return 0
    if header[5] >> 3 > 10:  # the version: of E-AC-3 above 10
        return 2 * ((header[2] & 7) << 8 | header[3]) + 2
    rate_index, size_index = header[4] >> 6, header[4] & 63
    if rate_index == 3 or size_index >= 2 * len(_AC3_KBITS):
        return 0
    kbits = _AC3_KBITS[size_index // 2]
    # Bytes at 48, 44.1 and 32 kHz; at 44.1 kHz every other size has two more.
    at_44_1_khz = 2 * (320 * kbits // 147 + size_index % 2)
    return (4 * kbits, at_44_1_khz, 6 * kbits)[rate_index]


_ENDS: dict[str, Callable[[BinaryFile, int], int]] = {
    "mov": _end_of_boxes,
    "wav": _end_of_wav,
    "avi": _end_of_avi,
    "aiff": _end_of_aiff,
    "caf": _end_of_caf,
    "matroska": _end_of_matroska,
}
_FRAME_LENGTHS = {"aac": _adts_length, "mp3": _mp3_length, "ac3": _ac3_length, "eac3": _ac3_length}
