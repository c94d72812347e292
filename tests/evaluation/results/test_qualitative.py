"""Test qualitative figures: choice of mixtures, panels and layout, files."""

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.results.charts import figure_style
from avsep.evaluation.results.qualitative import (
    KINDS,
    FigureChoice,
    FigureLayout,
    choose_figures,
    draw_figure,
    write_figures,
    write_qualitative_figures,
)
from evaluation.made_examples import SETTINGS, evaluation, example, reader_of_duets


def words(figure: Figure) -> list[str]:
    """All that is written in a figure but for the numbers of the axes."""
    titles = [text for a in figure.axes for text in (a.get_title(), a.get_title("left"))]
    labels = [text for a in figure.axes for text in (a.get_xlabel(), a.get_ylabel())]
    inside = [text.get_text() for a in figure.axes for text in a.texts]
    return [*titles, *labels, *inside, *(text.get_text() for text in figure.texts)]


def panels(figure: Figure) -> list:
    """Axes with a spectrogram or a mask."""
    return [a for a in figure.axes if a.images and a.images[0].get_array().shape[0] == 64]


def test_mixtures_are_spread_over_the_first_models_ranking() -> None:
    result = evaluation()  # of nine mixtures the last is the best
    assert FigureChoice(num_spread=3).indices(result) == [8, 4, 0]
    assert FigureChoice(num_spread=1).indices(result) == [8]
    assert FigureChoice(num_spread=99).indices(result) == list(range(8, -1, -1))
    assert FigureChoice((2, 8), 3).indices(result) == [2, 8, 4, 0]
    nothing = replace(result, mixtures=result.mixtures[-1:])
    assert FigureChoice(num_spread=3).indices(nothing) == []
    assert (
        write_qualitative_figures(
            nothing, ClipReader([]), FigureChoice(num_spread=3), Path("nowhere")
        )
        == ()
    )


def test_mixtures_are_named_and_must_be_there(tmp_path: Path) -> None:
    mixtures = reader_of_duets(3).mixtures
    choice = choose_figures(mixtures, 0, ["duet 1", "duet 0", "duet 1"], tmp_path)
    assert choice.indices(evaluation()) == [2, 1]
    with pytest.raises(InputError, match="unknown mixture 'duet 11'; did you mean 'duet 1'"):
        choose_figures(mixtures, 0, ["duet 11"], tmp_path)
    with pytest.raises(InputError, match="'solo' has one source"):
        choose_figures(mixtures, 0, ["solo"], tmp_path)
    with pytest.raises(InputError, match="add -o DIR"):
        choose_figures(mixtures, 3, [], None)


@pytest.mark.parametrize("num_channels", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_figure_holds_mixture_truth_and_every_model(num_channels: int) -> None:
    made = [
        example("first", num_channels=num_channels),
        example("other", num_channels=num_channels),
    ]
    with figure_style():
        spectrograms, masks = (draw_figure(made, kind) for kind in KINDS)
    # Of each example: one mixture; of each of two sources the truth and two models.
    assert len(panels(spectrograms)) == 2 * (1 + 2 * 3) * num_channels
    assert len(panels(masks)) == 2 * 2 * 3 * num_channels
    written = words(spectrograms)
    for text in ("first", "other", "mixture", "ground truth", "small", "large", "harp", "tuba"):
        assert text in written
    assert written.count("SDR 10.00 dB") == 4 and written.count("SDR 9.00 dB") == 4
    assert written.count("time (s)") == written.count("frequency (Hz)") == 1
    assert written.count("left") == (14 if num_channels == 2 else 0)
    assert "mixture" not in words(masks)


def test_all_panels_of_a_figure_share_one_scale_below_the_mixtures_peak() -> None:
    quiet = example("quiet")
    quiet = replace(quiet, sources=quiet.sources / np.float32(10))
    with figure_style():
        figure = draw_figure([quiet], "spectrograms")
    drawn = panels(figure)
    assert {panel.images[0].get_clim() for panel in drawn} == {(-70, 0)}
    peaks_db = [float(panel.images[0].get_array().max()) for panel in drawn]
    assert peaks_db[0] == pytest.approx(0, abs=1e-4)  # the mixture
    assert peaks_db[1] == pytest.approx(-20, abs=0.5)  # a source, a tenth of what it was


def test_masks_are_shares_of_the_mixture() -> None:
    with figure_style():
        figure = draw_figure([example()], "masks")
    for panel in panels(figure):
        values = panel.images[0].get_array()
        assert panel.images[0].get_clim() == (0, 1)
        assert values.min() >= 0 and values.max() <= 1 and values.max() > 0.9


@pytest.mark.slow
def test_files_are_pictures_and_vector_text_and_the_same_each_time(tmp_path: Path) -> None:
    made = [example(f"duet {number}") for number in range(5)]
    written = write_figures(made, tmp_path / "figures")
    assert {path.name for path in written} == {
        f"{kind}-{page}.{suffix}" for kind in KINDS for page in (1, 2) for suffix in ("png", "pdf")
    }  # four mixtures of two rows are a page
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
        path.name for path in written
    )
    png = tmp_path / "figures" / "spectrograms-1.png"
    with Image.open(png) as picture:
        assert picture.width >= 7 * 300
    pdf = png.with_suffix(".pdf").read_bytes()
    streams = [
        zlib.decompress(result)
        for result in re.findall(rb"FlateDecode[^>]*>>\s*stream\r?\n(.*?)endstream", pdf, re.S)
        if result[:1] == b"x"
    ]
    assert b"/FontFile2" in pdf and any(b" Tj" in item or b"] TJ" in item for item in streams)
    again = write_figures(made[:4], tmp_path / "again")
    assert again[1].read_bytes() == pdf and again[0].read_bytes() == png.read_bytes()


@pytest.mark.slow
def test_what_cannot_stand_in_one_figure_stands_in_two(tmp_path: Path) -> None:
    made = [example("mono"), example("binaural", num_channels=2), example("of three", ("a",))]
    pages = {path.name for path in write_figures(made, tmp_path)}
    assert "masks-3.pdf" in pages and "masks-4.pdf" not in pages


@pytest.mark.slow
def test_odd_names_and_missing_pictures_are_drawn() -> None:
    odd = example("$x$ 漢 " * 20, ("a_b $y$" * 4,), categories=("a_b", "c" * 40))
    odd = replace(odd, pictures=(None, odd.pictures[1]))
    with figure_style():
        figure = draw_figure([odd], "spectrograms")
        figure.canvas.draw()
    assert "a b" in words(figure)


@pytest.mark.parametrize("num_columns", [1, 3, 9])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_no_part_of_a_figure_covers_another(num_columns: int, num_channels: int) -> None:
    layout = FigureLayout(num_columns, num_channels, [2, 3], num_title_lines=2)
    places = [layout.colour_bar()]
    for number, num_sources in enumerate(layout.num_sources):
        for source in range(num_sources):
            places.append(layout.picture(number, source))
            places += [
                layout.panel(number, source, column, ear)
                for column in range(num_columns)
                for ear in range(num_channels)
            ]
    for left, bottom, width, height in places:
        assert left >= 0 and left + width <= 1 and bottom >= 0 and bottom + height <= 1
    for place, item in enumerate(places):
        for other in places[place + 1 :]:
            apart_across = item[0] + item[2] <= other[0] or other[0] + other[2] <= item[0]
            apart_up = item[1] + item[3] <= other[1] or other[1] + other[3] <= item[1]
            assert apart_across or apart_up
    assert layout.size[0] >= 7 and SETTINGS.num_rows == 64
