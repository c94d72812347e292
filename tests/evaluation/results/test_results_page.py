"""Test results.html: examples, scores, and published scores apart."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from avsep.evaluation.results import results_page
from avsep.evaluation.results.charts import (
    box_plots,
    category_chart,
    improvement_chart,
    mixture_means_db,
)
from avsep.evaluation.results.published import WARNING
from avsep.evaluation.results.results_page import ChosenMixture, choose_examples, results_html
from evaluation.made_examples import SETTINGS, evaluation, example


class Outline(HTMLParser):
    """Tags that are open, pictures without words, addresses outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unsaid: list[str] = []
        self.outside: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        result = dict(attrs)
        if tag not in ("meta", "img", "input", "br", "path", "use", "image", "rect"):
            self.open.append(tag)
        if (tag == "img" and not result.get("alt")) or (
            tag in ("audio", "svg") and not result.get("aria-label")
        ):
            self.unsaid.append(tag)
        if "id" in result:
            self.ids.append(result["id"])
        for name in ("src", "href"):
            address = result.get(name, "data:")
            if address.startswith("#"):
                self.links.append(address[1:])
            elif not address.startswith("data:"):
                self.outside.append(address)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    result = Outline()
    result.feed(page)
    assert not result.open
    return result


@pytest.mark.slow
def test_the_page_is_whole_and_says_everything_in_words() -> None:
    pick = ChosenMixture(3, ("among the best of small",), ("small", "large"))
    page = results_html(evaluation(), "band & co", [(pick, example("<duet>"))])
    result = outline(page)
    assert not result.unsaid and not result.outside
    assert len(result.ids) == len(set(result.ids)) and set(result.links) <= set(result.ids)
    assert "band &amp; co" in page and "&lt;duet&gt;" in page and "<duet>" not in page
    assert "<script" not in page  # nothing on it needs one
    for words in ("one source only", "strict", "legacy", "among the best of small"):
        assert words in page
    # mixture, and of two sources each truth and two estimates
    assert page.count("<audio") == 7 and page.count("data:image/jpeg") == 2


@pytest.mark.slow
def test_sounds_are_those_of_the_example() -> None:
    written = example(num_channels=2)
    page = results_html(evaluation(), "band", [(ChosenMixture(0, (), ()), written)])
    sounds = re.findall(r'aria-label="([^"]+)" src="data:audio/flac;base64,([^"]+)', page)
    heard = {
        name: soundfile.read(io.BytesIO(base64.b64decode(content)))[0] for name, content in sounds
    }
    for name, waveform in (
        ("duet, 02 tuba ground truth", written.sources[1]),
        ("duet, 01 harp large", written.estimates["large"].waveforms[0]),
    ):
        np.testing.assert_allclose(heard[name].T, waveform, atol=1 / 32768)


@pytest.mark.slow
def test_published_figures_stand_apart_under_their_warning() -> None:
    page = results_html(evaluation(), "band")
    ours, published = page.split('<section id="published" class="published">')
    assert WARNING in published and "18.36" in published and "mir_eval" in published
    for method in ("DAVIS", "iQuery", "LAVSS"):
        assert method in published and method not in ours
    assert "Mixtures: " in published and "silent estimate" in published


def test_the_best_and_the_worst_of_each_model_are_picked_and_no_baseline() -> None:
    picks = choose_examples(evaluation(("mixture", "small")))
    assert [pick.index for pick in picks] == [8, 7, 6, 0, 1, 2]
    assert picks[0].reasons == ("among the best of small, SDR 9.00 dB",)
    assert picks[3].reasons == ("among the worst of small, SDR 1.00 dB",)
    assert all(pick.names == ("small",) for pick in picks)
    both = choose_examples(evaluation())
    assert both[0].names == ("small", "large") and len(both[0].reasons) == 2


def test_many_models_make_no_endless_page() -> None:
    names = tuple(f"model {number}" for number in range(20))
    picks = choose_examples(evaluation(("mixture", *names)))
    assert 0 < len(picks) <= results_page.MAX_MIXTURES
    picked = choose_examples(evaluation(("mixture", *names[:5])))
    assert picked[0].names[0] == "model 0" and set(picked[0].names) == set(names[:5])


@pytest.mark.slow
def test_a_page_stops_before_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_page, "MAX_BYTES", 10_000)
    examples = [(ChosenMixture(n, (f"reason {n}",), ()), example(f"duet {n}")) for n in range(3)]
    page = results_html(evaluation(), "band", examples)
    assert "reason 0" in page and "reason 1" not in page
    assert "2 more would have made this page too large" in page


def test_nothing_scored_is_a_page_too() -> None:
    empty = evaluation()
    empty = type(empty)(empty.methods, empty.mixtures[-1:])
    page = results_html(empty, "solos")
    outline(page)
    assert choose_examples(empty) == () and "<svg" not in page and "one source only" in page


def test_values_are_means_of_a_mixtures_sources_in_order() -> None:
    values = mixture_means_db(evaluation(), "large")
    assert values[:9, 0].tolist() == [2.0 + n for n in range(9)]
    assert np.isnan(values[9]).all()


@pytest.mark.slow
def test_charts_are_the_same_each_time_and_follow_the_pages_ink() -> None:
    for draw in (box_plots, category_chart, improvement_chart):
        drawn = draw(evaluation())
        assert drawn is not None and drawn == draw(evaluation())
        assert "currentColor" in drawn and "small" in drawn
        outline(drawn)
    assert improvement_chart(evaluation(("small", "large"))) is None


@pytest.mark.slow
def test_odd_names_and_perfect_scores_are_drawn() -> None:
    odd = evaluation(("mixture", "a $x$ <b> 漢"))
    for clip in odd.mixtures[:9]:
        clip.scores["mixture"].scores_db[:, 2] = 140.0
        clip.scores["mixture"].scores_db[0, 1] = np.inf
    drawn = box_plots(odd)
    outline(drawn)
    assert "9 above 100 dB" in drawn and "a $x$ &lt;b&gt; 漢" in drawn
    outline(category_chart(odd))


@pytest.mark.slow
def test_a_missing_picture_is_said() -> None:
    written = example()
    without = type(written)(**{**vars(written), "pictures": (None, None)})
    page = results_html(evaluation(), "band", [(ChosenMixture(0, (), ()), without)])
    assert page.count("no picture can be read") == 2
    assert SETTINGS.sample_rate_hz == without.sample_rate_hz
