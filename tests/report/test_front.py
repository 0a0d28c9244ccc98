"""The front in reports."""

import dataclasses
import math

import numpy as np
import pytest

from kbn.report import plots
from kbn.report.findings import findings
from kbn.report.page import write_report
from kbn.report.results import Results
from report.builders import search_of, trial

OBJECTIVES = ("val_accuracy", "max"), ("parameters", "min")
POINTS = [(0.9, 900), (0.8, 100), (0.85, 950), (0.5, 50), (0.7, 100), (0.6, 40_000)]


def measured(index, accuracy, size, *violations, **more):
    status = "COMPLETED" if accuracy is not None else "FAILED"
    metrics = {"parameters": size, **({"val_accuracy": accuracy} if accuracy is not None else {})}
    made = trial(index, {"rate": 0.01 * (index + 1)}, accuracy, status)
    return dataclasses.replace(made, metrics=metrics | more, violations=list(violations))


@pytest.fixture(scope="module")
def search():
    """Three trials on the front, three dominated, a trained and an untrained infeasible one."""
    trials = [measured(i, *point) for i, point in enumerate(POINTS)]
    trials.append(measured(6, 0.95, 2000, "parameters 2,000 > max 1,000"))
    trials.append(measured(7, None, 3000, "parameters 3,000 > max 1,000"))
    return search_of(Results(tuple(trials), "max", OBJECTIVES), metric="val_accuracy")


def dots(panel, label):
    return next(c.get_offsets() for c in panel.collections if c.get_label() == label)


def test_the_front_stands_first_in_every_list_of_trials(search):
    results = search.results
    assert [int(t.trial) for t in results.front] == [0, 1, 3]
    assert [int(t.trial) for t in results.ranked] == [0, 1, 3, 2, 4, 5]
    assert [int(t.trial) for t in results.infeasible] == [6, 7]
    assert results.failed == ()
    assert results.best.trial == "00"


def test_with_one_objective_the_front_is_the_best_trial(search):
    single = Results(search.results.trials, "max")
    assert [t.trial for t in single.front] == [single.best.trial] == ["00"]


def test_the_figure_has_a_line_through_the_front_and_all_other_trials(search):
    (panel,) = plots.front(search).axes
    np.testing.assert_allclose(dots(panel, "on the front"), [[900, 0.9], [100, 0.8], [50, 0.5]])
    np.testing.assert_allclose(dots(panel, "best val_accuracy"), [[900, 0.9]])
    (line,) = panel.lines
    assert line.get_drawstyle() == "steps-post"
    x, y = line.get_data()
    assert (list(x[:3]), list(y)) == ([50, 100, 900], [0.5, 0.8, 0.9, 0.9])
    assert x[3] > 900
    dominated = dots(panel, "dominated")
    assert len(dominated) == 3
    assert [100, 0.7] in dominated.tolist()
    assert panel.get_xscale() == "log"  # sizes differ by factors
    infeasible = dots(panel, "infeasible")
    assert len(infeasible) == 2
    assert infeasible[1, 1] < 0.5  # was not trained: below the worst accuracy
    low, high = panel.get_xlim()
    for points in map(np.asarray, (dominated, infeasible)):
        assert ((low < points[:, 0]) & (points[:, 0] < high)).all()


def test_three_objectives_have_a_panel_for_each_pair():
    trials = [measured(i, *p, inference_ms=float(9 - i)) for i, p in enumerate(POINTS)]
    objectives = *OBJECTIVES, ("inference_ms", "min")
    results = Results(tuple(trials), "max", objectives)
    figure = plots.front(search_of(results, metric="val_accuracy"))
    labels = [(p.get_ylabel().split("\n")[0], p.get_xlabel().split(" ")[0]) for p in figure.axes]
    assert labels == [
        ("val_accuracy", "parameters"),
        ("val_accuracy", "inference_ms"),
        ("parameters", "inference_ms"),
    ]
    assert all(not panel.lines for panel in figure.axes)  # no line bounds what three dominate
    assert len(dots(figure.axes[0], "on the front")) == len(results.front)


def test_the_findings_tell_the_front_and_the_constraints(search):
    assert findings(search)[:3] == [
        "6 of 8 trials finished. The best is trial 00: val_accuracy 0.9 (higher is better).",
        "3 trials of 6 are on the front, which no trial dominates: val_accuracy from 0.5 to 0.9, "
        "parameters from 50 to 900. The best is the one of them that is best in val_accuracy.",
        "2 violated a constraint; 1 of them without training: 2 by parameters > max 1,000.",
    ]


def test_the_page_shows_the_front_and_marks_infeasible_trials(search, tmp_path):
    page = write_report(search, tmp_path).read_text()
    assert (tmp_path / "figures" / "front.png").is_file()
    assert page.index("The front") < page.index("Scores")
    assert page.count("<td>INFEASIBLE</td>") == 2
    assert "<td>40,000</td>" in page


def test_the_history_marks_infeasible_trials_and_leaves_them_out_of_the_best(search):
    (panel,) = plots.history(search).axes
    assert dots(panel, "infeasible")[:, 0].tolist() == [6, 7]
    assert panel.lines[0].get_ydata().max() == 0.9


def test_a_search_without_finished_trials_has_a_page_that_says_so(tmp_path):
    only = measured(0, None, 3000, "parameters 3,000 > max 1,000")
    search = search_of(Results((only,), "max", OBJECTIVES), metric="val_accuracy")
    assert "there is nothing to draw" in write_report(search, tmp_path).read_text()


def test_the_table_of_trials_has_a_column_for_each_metric(search):
    frame = search.results.as_frame()
    assert list(frame.columns)[:7] == [
        *("trial", "status", "score", "seconds", "reason", "parameters", "val_accuracy"),
    ]
    assert math.isnan(frame["val_accuracy"][7])
    assert search.results.as_json()[7]["violations"] == ["parameters 3,000 > max 1,000"]
