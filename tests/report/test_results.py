import numpy as np
import pytest

from kbn.report.plots import draw
from kbn.report.results import Results
from kbn.search.scales import LOG
from kbn.search.space import Condition, Discrete, Numeric, Space
from kbn.search.zoom import next_round
from kbn.tracking.journal import Journal


@pytest.fixture
def project(tmp_path):
    """A search of four trials: one failed, one retried."""
    journal = Journal(tmp_path / "journal")

    def attempt(trial, rate, status, **outcome):
        number = journal.begin(trial, {"rate": rate})
        journal.end(trial, number, status, {"rate": rate}, **outcome)

    attempt("0", 0.1, "COMPLETED", score=0.5)
    attempt("1", 0.2, "FAILED", message='Traceback:\n  File "a.py", line 1\nValueError: too large')
    attempt("2", 0.3, "INVALID", message="Traceback ...\nOSError: by chance")
    attempt("2", 0.3, "COMPLETED", score=0.75)
    attempt("3", 0.4, "COMPLETED", score=0.25)
    return tmp_path


@pytest.mark.parametrize(
    ("direction", "best", "so_far"),
    [("max", "2", [0.5, 0.75, 0.75]), ("min", "3", [0.5, 0.5, 0.25])],
)
def test_the_journal_read_as_a_table(project, direction, best, so_far):
    results = Results.read(project, direction)
    assert [(t.trial, t.status) for t in results.trials] == [
        ("0", "COMPLETED"),
        ("1", "FAILED"),
        ("2", "COMPLETED"),
        ("3", "COMPLETED"),
    ]
    assert results.best.trial == best
    assert results.best_so_far() == so_far
    assert results.commonest_failure() == "ValueError: too large"


def test_a_directory_without_a_search_has_no_results(tmp_path):
    results = Results.read(tmp_path, "max")
    assert results.trials == ()
    assert results.best is None


def test_the_figure_shows_scores_values_and_shrinking_boxes(project):
    space = Space(
        (
            Numeric("rate", 0.01, 1.0, LOG),
            Discrete("optimizer", ("sgd", "adam")),
            Numeric("units", 1, 9, LOG, integer=True),
            Numeric("beta", 0.1, 0.9, conditions=(Condition("optimizer", ("adam",)),)),
        )
    )
    results = Results.read(project, "max")
    coarse = next_round(space, [], [], 4, 2)
    fine = next_round(space, [{"rate": 0.3, "optimizer": "sgd", "units": 3}], [coarse], 4, 2)
    figure = draw(results, space, [coarse, fine], "title", "val_loss")
    panels = {panel.get_title(): panel for panel in figure.axes}
    assert list(panels) == ["val_loss", "rate", "optimizer", "units", "beta", ""]

    scores = panels["val_loss"].collections[0].get_offsets()
    np.testing.assert_allclose(scores, [[0, 0.5], [2, 0.75], [3, 0.25]])
    best_so_far = panels["val_loss"].lines[0].get_ydata()
    assert list(best_so_far) == [0.5, 0.75, 0.75]

    rate = panels["rate"]
    heights = [1 + np.log10(value) / 2 for value in (0.1, 0.3, 0.4)]
    np.testing.assert_allclose(rate.collections[0].get_offsets(), np.c_[[0, 2, 3], heights])
    (whole, box) = rate.patches
    assert (whole.get_height(), box.get_height()) == pytest.approx((1.0, fine.side))
    assert (whole.get_x(), box.get_x()) == (-0.5, 1.5)
    assert [t.get_text() for t in rate.get_yticklabels()][::4] == ["0.01", "1"]
    assert len(panels["optimizer"].patches) == 2 + 1  # both values, then one

    figure.savefig(project / "report.png")
    assert (project / "report.png").stat().st_size > 10_000
