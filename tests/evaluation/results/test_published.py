"""Test the published scores: some typed a second time, and the source of every row."""

from dataclasses import astuple

import pytest

from avsep.evaluation.results.published import published_rows, published_tables

# Typed from the papers, not from our file: paper, table, data set, method, SDR, SIR, SAR.
TYPED_AGAIN = [
    ("DGFNet", "Table 1", "MUSIC", "DGFNet", 11.25, 16.22, 14.39),
    ("DGFNet", "Table 1", "MUSIC", "iQuery", 10.63, 15.96, 13.71),
    ("DGFNet", "Table 2", "MUSIC-21", "Sound of Motions", 8.31, 14.82, 13.11),
    ("DAVIS", "Table 1", "MUSIC", "DAVIS", 11.61, 18.36, 14.70),
    ("DAVIS", "Table 1", "MUSIC", "iQuery", 11.17, 15.84, 14.27),
    ("DAVIS", "Table 1", "MUSIC", "NMF-MFCC", 0.92, 5.68, 6.84),
    ("DAVIS", "Table 1", "AVE", "AMnet", 3.71, 9.15, 11.00),
    ("LAVSS", "Table 1", "FAIR-Play", "LAVSS, mean", 5.91, 10.19, None),
    ("LAVSS", "Table 1", "FAIR-Play", "Sep-Stereo, right", 5.31, 7.40, None),
    ("LAVSS", "Table 2", "FAIR-Play", "LAVSS, two of guitar", 3.72, None, None),
]


@pytest.mark.parametrize("typed", TYPED_AGAIN)
def test_figures_are_those_printed(typed: tuple) -> None:
    paper, table, data_set, method, *figures_db = typed
    result = [
        row
        for row in published_rows()
        if (row.table, row.data_set, row.method) == (table, data_set, method)
        and row.paper.startswith(paper)
    ]
    assert len(result) == 1
    assert [result[0].sdr_db, result[0].sir_db, result[0].sar_db] == figures_db


def test_every_row_names_source_and_protocol() -> None:
    rows = published_rows()
    assert len(rows) == 6 + 6 + 6 + 7 + 6 * 3 + 6 * 6
    assert len({(row.paper, row.table, row.data_set, row.method) for row in rows}) == len(rows)
    for row in rows:
        assert all(row.protocol and word for word in astuple(row.protocol))
        assert row.paper and row.table.startswith("Table ") and row.data_set


def test_means_of_two_channels_are_those_of_the_channels() -> None:
    rows = {row.method: row for row in published_rows() if row.data_set == "FAIR-Play"}
    for method in ("LAVSS", "CCoL", "Co-Separation", "2.5D Visual Sound", "Sound of Pixels"):
        sides = [rows[f"{method}, {side}"].sdr_db for side in ("left", "right")]
        assert rows[f"{method}, mean"].sdr_db == pytest.approx(sum(sides) / 2, abs=0.0051)


def test_tables_hold_every_row_once() -> None:
    tables = list(published_tables())
    assert sum(len(rows) for _, _, rows in tables) == len(published_rows())
    for title, protocol, rows in tables:
        assert rows[0].data_set in title and rows[0].paper in title
        assert all(row.protocol == protocol for row in rows)
