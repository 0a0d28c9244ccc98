"""Names, values and messages are shown as text: they act on no page, figure or terminal."""

import json

import numpy as np
import pytest

from kbn.report import comparison_plots, plots
from kbn.report.comparison import Comparison
from kbn.report.comparison_page import write_comparison
from kbn.report.document import as_png
from kbn.report.page import write_report
from kbn.report.panels import text
from kbn.report.results import Results
from kbn.report.words import visible
from kbn.search.axes import Discrete, Numeric
from kbn.search.space import Space
from report.builders import Reader, importance_of, search_of, trial

NASTY = [
    "<script>alert(1)</script>",
    "$x_{",
    r"$\frac{$ \$ $$",
    "[red]x[/red]",
    "a\x1b[31mb",
    "a\x9b31mb\x00",
    "a\rb",
    "a\u202eb",
    "caf\udce9",
    "日本",
]


def nasty_search(nasty):
    space = Space((Numeric(nasty, 0.0, 1.0), Discrete("kind", (nasty, "b"))))
    values = {nasty: 0.5, "kind": nasty}
    trials = (
        trial(0, values, 0.5, curve=[0.1], metric=nasty),
        trial(1, {**values, "kind": "b"}, 0.6, curve=[0.1, 0.2], metric=nasty),
        trial(2, values, None, "FAILED", f"ValueError: {nasty}"),
        trial(3, {**values, "tuner/note": nasty}, None, None),
    )
    found = importance_of(**{nasty: (0.8, 0.5, 0.9), "kind": (0.2, 0.0, 0.4)})
    given = {"importance": found, "tiers": {nasty: 1}, "metric": nasty}
    return search_of(Results(trials, "max"), space, nasty, **given)


def nasty_comparison(nasty):
    search = nasty_search(nasty)
    searches = {nasty: [search.results], "other": [search.results]}
    bands = dict.fromkeys(searches, np.zeros((2, 3)))
    return Comparison(
        nasty, nasty, "max", f"best {nasty}", searches, search.space, distribution=bands
    )


TOGETHER = ["$x_{ [red]x[/red]\x1b[31m\r日", "<script>alert(1)</script>$$\udce9\x9b31m"]


@pytest.mark.parametrize("nasty", TOGETHER)
def test_a_page_shows_text_whatever_it_holds(nasty, tmp_path):
    search, comparison = nasty_search(nasty), nasty_comparison(nasty)
    for file, drawn in (
        (write_report(search, tmp_path / "search"), [visible(nasty)]),
        (write_comparison(comparison, tmp_path / "comparison"), []),
    ):
        reader = Reader(file)
        data, _ = reader.scripts  # and kbn's own
        assert [axis["name"] for axis in json.loads(data)["axes"]][:1] == drawn
        shown = " ".join(visible(nasty).split())
        assert shown in " ".join(reader.text.split())
        assert visible(reader.text) == reader.text


@pytest.mark.parametrize("nasty", TOGETHER)
def test_every_figure_draws_text_as_it_is(nasty):
    search, comparison = nasty_search(nasty), nasty_comparison(nasty)
    figures = [
        *(getattr(plots, name)(search) for name in ("boxes", "history", "slices", "importance")),
        plots.parallel_coordinates(search),
        plots.learning_curves(search),
        comparison_plots.measures(comparison),
        comparison_plots.best_so_far(comparison),
        comparison_plots.variant_slices(comparison),
        comparison_plots.distributions(comparison.distribution),
    ]
    assert as_png(figures[0]).startswith(b"\x89PNG")
    for figure in figures:
        assert not figure.findobj(is_formula)


def is_formula(artist):
    preprocess = getattr(artist, "_preprocess_math", None)
    return preprocess is not None and bool(preprocess(artist.get_text())[1])


@pytest.mark.parametrize("nasty", NASTY)
def test_text_of_a_figure_is_its_visible_text(nasty):
    assert text(nasty).replace(r"\$", "$") == visible(nasty.replace("\r", " "))


def test_what_cannot_be_seen_is_spelt_out_and_everything_else_stays():
    assert visible("a\x1b[31m\x9b\r\x00\udce9\u202e\x7f") == (
        r"a\x1b[31m\x9b\r\x00\udce9\u202e\x7f"
    )
    plain = "line\n\ttab, $x_{ [red]é 日本 \U0001f600"
    assert visible(plain) == plain
