"""Published scores of the papers, kept apart from ours: other data and other protocols."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

DAVIS = "DAVIS (Huang et al., ACCV 2024)"
DGFNET = "DGFNet (Yu and Sun, ICMR 2025)"
LAVSS = "LAVSS (Ye et al., WACV 2024)"
WARNING = (
    "Published scores, as the papers print them: measured on other data, with other mixtures and "
    "other protocols. They cannot be ranked against the scores above."
)


@dataclass(frozen=True)
class PublishedProtocol:
    """The measurement of a paper, from its text or its released code.

    Attributes:
        test_pairs: the test mixtures.
        length: of each mixture, and the sample rate.
        metric: implementation of SDR, SIR and SAR.
        silent_pairs: treatment of mixtures with a silent estimate.
    """

    test_pairs: str
    length: str
    metric: str
    silent_pairs: str


@dataclass(frozen=True)
class PublishedRow:
    """The scores of one method on one data set in one table.

    Attributes:
        sdr_db, sir_db, sar_db: means over the test mixtures; none if not printed.
        paper, table: the source of the scores, which may be another paper than the method's own.
        note: origin of the scores in that table.
    """

    method: str
    data_set: str
    sdr_db: float
    sir_db: float | None
    sar_db: float | None
    protocol: PublishedProtocol
    paper: str
    table: str
    note: str = ""


_MIR_EVAL = "mir_eval, BSS Eval v3, no permutation"
_SKIPPED = "skipped, by the released code"
_MUSIC = PublishedProtocol(
    "250 fixed pairs of 25 test videos (iQuery's list)", "5.94 s at 11025 Hz", _MIR_EVAL, _SKIPPED
)
# DGFNet has no published code. Its text states that the settings are those of iQuery.
_DGFNET_MUSIC = PublishedProtocol(
    "not stated; settings said to be iQuery's, which has 250 fixed pairs of 25 videos",
    "about 6 s at 11 kHz", _MIR_EVAL, "not stated; skipped by iQuery's code",
)  # fmt: skip
_DGFNET_MUSIC_21 = PublishedProtocol(
    "not stated; settings said to be iQuery's, which has 587 pairs of 198 videos",
    "about 6 s at 11 kHz", _MIR_EVAL, "not stated; skipped by iQuery's code",
)  # fmt: skip
_AVE = PublishedProtocol(
    "402 pairs of 402 test videos", "10 s at 11 kHz for DAVIS, 2.14 s at 22.05 kHz for iQuery",
    _MIR_EVAL, _SKIPPED,
)  # fmt: skip
_FAIR_PLAY = PublishedProtocol(
    "mixtures of 208 solo test clips, random split", "5.94 s at 11025 Hz, two channels",
    "mir_eval, each channel by itself", "not stated; skipped by the code it descends from",
)  # fmt: skip
_FAIR_PLAY_SAME = PublishedProtocol(
    "mixtures of two of one instrument; the list is not published", _FAIR_PLAY.length,
    "mir_eval, mean of both channels", _FAIR_PLAY.silent_pairs,
)  # fmt: skip

# Method -> SDR, SIR, SAR as printed.
Printed = Mapping[str, Sequence[float]]

_DGFNET_1: Printed = {
    "Sound of Pixels": (4.23, 9.39, 9.85),
    "Co-Separation": (6.54, 11.37, 9.46),
    "CCoL": (7.74, 13.22, 11.54),
    "AVPC-RCoP": (9.26, 13.60, 12.97),
    "iQuery": (10.63, 15.96, 13.71),
    "DGFNet": (11.25, 16.22, 14.39),
}
_DGFNET_2: Printed = {
    "Sound of Pixels": (7.52, 13.01, 11.53),
    "Co-Separation": (7.64, 13.80, 11.30),
    "Sound of Motions": (8.31, 14.82, 13.11),
    "AVPC-RCoP": (9.50, 13.74, 13.29),
    "iQuery": (10.19, 14.34, 13.79),
    "DGFNet": (10.55, 14.71, 14.22),
}
_DAVIS_1_AVE: Printed = {
    "Sound of Pixels": (1.21, 7.08, 6.84),
    "Sound of Motions": (1.48, 7.41, 7.39),
    "Minus-Plus": (1.96, 7.95, 8.08),
    "Cascaded Filter": (2.68, 8.18, 8.48),
    "AMnet": (3.71, 9.15, 11.00),
    "iQuery": (5.02, 8.21, 12.32),
    "DAVIS": (4.86, 9.13, 9.92),
}
_DAVIS_1_MUSIC: Printed = {
    "NMF-MFCC": (0.92, 5.68, 6.84),
    "Sound of Pixels": (4.23, 9.39, 9.85),
    "Co-Separation": (6.54, 11.37, 9.46),
    "CCoL": (7.74, 13.22, 11.54),
    "iQuery": (11.17, 15.84, 14.27),
    "DAVIS": (11.61, 18.36, 14.70),
}
# Method -> SDR and SIR of the left channel, of the right, and their printed mean.
_LAVSS_1: Printed = {
    "Sound of Pixels": (3.98, 7.03, 3.96, 6.99, 3.97, 7.01),
    "2.5D Visual Sound": (4.44, 8.20, 4.47, 8.26, 4.45, 8.23),
    "Co-Separation": (4.61, 7.93, 4.64, 8.00, 4.63, 7.97),
    "Sep-Stereo": (5.27, 7.34, 5.31, 7.40, 5.26, 7.37),
    "CCoL": (5.05, 8.89, 5.17, 9.02, 5.11, 8.96),
    "LAVSS": (5.89, 10.08, 5.93, 10.30, 5.91, 10.19),
}
# Method -> SDR of mixtures of two cellos, drums, guitars, harps, pianos, trumpets.
_LAVSS_2: Printed = {
    "Sound of Pixels": (-2.12, -1.88, -2.69, -1.77, -2.35, -1.78),
    "2.5D-sep": (-0.93, 0.86, -2.00, -1.49, 0.35, -2.55),
    "CCoL": (-1.75, -1.48, 0.19, -0.55, -0.90, -0.54),
    "Sep-Stereo": (-1.32, 0.34, 1.68, -0.41, 1.38, 0.73),
    "mix-gt (the mixture itself)": (0.58, 0.25, 0.67, 0.47, 1.17, 1.51),
    "LAVSS": (1.53, 2.67, 3.72, 1.83, 3.13, 3.12),
}
_QUOTED = "quoted from iQuery"
_DGFNET_NOTES = {
    **dict.fromkeys(("Sound of Pixels", "Co-Separation", "CCoL", "Sound of Motions"), _QUOTED),
    "AVPC-RCoP": "quoted from its own paper",
    "iQuery": "trained again by DGFNet's authors",
}
_DAVIS_NOTES = dict.fromkeys((*_DAVIS_1_AVE, *_DAVIS_1_MUSIC), "quoted from iQuery or AMnet") | {
    "DAVIS": ""
}
_LAVSS_NOTE = "trained by LAVSS's authors on each channel by itself"


def published_rows() -> tuple[PublishedRow, ...]:
    """Return the comparisons with the state of the art in the three papers, table by table.

    Source: DGFNet, Tables 1 and 2; DAVIS, Table 1; LAVSS, Tables 1 and 2.
    """
    return (
        *_rows(_DGFNET_1, "MUSIC", _DGFNET_MUSIC, (DGFNET, "Table 1"), _DGFNET_NOTES),
        *_rows(_DGFNET_2, "MUSIC-21", _DGFNET_MUSIC_21, (DGFNET, "Table 2"), _DGFNET_NOTES),
        *_rows(_DAVIS_1_MUSIC, "MUSIC", _MUSIC, (DAVIS, "Table 1"), _DAVIS_NOTES),
        *_rows(_DAVIS_1_AVE, "AVE", _AVE, (DAVIS, "Table 1"), _DAVIS_NOTES),
        *_by_channel(),
        *_same_instrument(),
    )


def published_tables() -> Iterator[tuple[str, PublishedProtocol, tuple[PublishedRow, ...]]]:
    """Yield (title, protocol, rows) of each table and data set."""
    tables: dict[tuple[str, PublishedProtocol], list[PublishedRow]] = {}
    for row in published_rows():
        title = f"{row.data_set}: {row.paper}, {row.table}"
        tables.setdefault((title, row.protocol), []).append(row)
    for (title, protocol), rows in tables.items():
        yield title, protocol, tuple(rows)


def _rows(
    printed: Printed,
    data_set: str,
    protocol: PublishedProtocol,
    source: tuple[str, str],
    notes: Mapping[str, str],
) -> Iterator[PublishedRow]:
    for method, (sdr_db, sir_db, sar_db) in printed.items():
        note = notes.get(method, "")
        yield PublishedRow(method, data_set, sdr_db, sir_db, sar_db, protocol, *source, note)


def _by_channel() -> Iterator[PublishedRow]:
    """Yield LAVSS, Table 1: a row for each channel and one for the printed mean."""
    for method, printed_db in _LAVSS_1.items():
        channels = zip(("left", "right", "mean"), printed_db[::2], printed_db[1::2], strict=True)
        for channel, sdr_db, sir_db in channels:
            note = "" if method == "LAVSS" else _LAVSS_NOTE
            # An error in the paper, kept as printed.
            if (method, channel) == ("Sep-Stereo", "mean"):
                note += "; as printed, its channels' mean is 5.29"
            yield PublishedRow(
                f"{method}, {channel}", "FAIR-Play", sdr_db, sir_db, None, _FAIR_PLAY, LAVSS,
                "Table 1", note,
            )  # fmt: skip


def _same_instrument() -> Iterator[PublishedRow]:
    """Yield LAVSS, Table 2: SDR only, a row for each instrument."""
    instruments = ("cello", "drum", "guitar", "harp", "piano", "trumpet")
    for method, printed_db in _LAVSS_2.items():
        for instrument, sdr_db in zip(instruments, printed_db, strict=True):
            yield PublishedRow(
                f"{method}, two of {instrument}", "FAIR-Play", sdr_db, None, None,
                _FAIR_PLAY_SAME, LAVSS, "Table 2",
            )  # fmt: skip
