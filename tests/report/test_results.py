import numpy as np
import pytest

from kbn.report.plots import draw
from kbn.report.results import Results
from kbn.search.axes import Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.scales import LOG
from kbn.search.space import Space
from kbn.search.zoom import Plan
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
            Stepped("dropout", Grid(0.0, 0.1, 6)),
            Discrete("batch", (8, 16, 32, 64, 128), ordered=True),
        )
    )
    results = Results.read(project, "max")
    values = {"rate": 0.3, "optimizer": "sgd", "units": 3, "dropout": 0.1, "batch": 8}
    plan, widths = Plan(max_trials=4, rounds=2, coarse=2, explore_every=6), np.ones(6)
    coarse = plan.next_round(space, np.empty((0, 6)), widths, number=0, first=0, begun=0)
    fine = plan.next_round(space, space.encode(values)[None], widths, number=1, first=2, begun=2)
    figure = draw(results, space, [coarse, fine], "title", "val_loss")
    panels = {panel.get_title(): panel for panel in figure.axes}
    assert list(panels) == ["val_loss", *(axis.name for axis in space.axes), ""]

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
    assert len(panels["optimizer"].patches) == 2 + 2  # each of its values: it has no order
    assert len(panels["batch"].patches) == 5 + len(fine.boxes[0]["batch"]) < 10
    (whole, box) = panels["dropout"].patches
    assert box.get_height() < whole.get_height() == pytest.approx(1)
    assert [t.get_text() for t in panels["dropout"].get_yticklabels()][::4] == ["0", "0.5"]

    figure.savefig(project / "report.png")
    assert (project / "report.png").stat().st_size > 10_000
