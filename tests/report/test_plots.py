import dataclasses
import math

import numpy as np
import pytest

from kbn.report import plots
from kbn.report.results import Results
from kbn.search.axes import Condition, Discrete, Grid, Numeric, Stepped
from kbn.search.scales import LOG
from kbn.search.space import Space
from kbn.search.zoom import Plan
from report.builders import SPACE, importance_of, results_of, search_of, trial

SCORES = [0.5, None, 0.75, 0.25, 0.9, None, 0.8]


@pytest.fixture(scope="module")
def search():
    """Seven trials, of which two failed."""
    return search_of(results_of(SCORES), metric="val_accuracy")


def panels_of(figure):
    return {panel.get_title(loc="left"): panel for panel in figure.axes}


def dots(panel, label):
    """The points of what the legend calls so, shape (points, 2)."""
    return next(c.get_offsets() for c in panel.collections if c.get_label() == label)


def rectangles(panel):
    """Extents of the boxes that the rounds draw from, in data coordinates."""
    drawn = (c for c in panel.collections if c.get_label() == "what a round draws from")
    return [path.get_extents() for path in next(drawn).get_paths()]


def values_of(search, name, trials):
    return [t.values[name] for t in trials if name in t.values]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_history_shows_scores_failures_and_the_best_so_far(search):
    figure = plots.history(search)
    (panel,) = figure.axes
    finished = [(i, score) for i, score in enumerate(SCORES) if score is not None]
    np.testing.assert_allclose(dots(panel, "trial"), finished)
    np.testing.assert_allclose(dots(panel, "best"), [[4, 0.9]])
    assert list(dots(panel, "failed")[:, 0]) == [1, 5]
    assert (dots(panel, "failed")[:, 1] < 0.25).all()  # below the worst score
    assert list(panel.lines[0].get_ydata()) == [0.5, 0.75, 0.75, 0.9, 0.9]
    low, high = panel.get_ylim()
    assert low < dots(panel, "failed")[0, 1]
    assert high > 0.9
    assert panel.get_ylabel() == "val_accuracy\n(higher is better)"
    assert legend_of(figure) == ["every other round", "trial", "failed", "best so far", "best"]


def test_a_diverged_trial_stands_at_the_edge_and_does_not_hide_the_others():
    scores = [1e9, 0.31, 0.2, 0.25, 0.24, 0.22]
    search = search_of(results_of(scores, "min"))
    (panel,) = plots.history(search).axes
    assert len(dots(panel, "trial")) == 5
    (place,) = dots(panel, "worse than shown")
    assert place[0] == 0
    assert 0.31 < place[1] < panel.get_ylim()[1] < 0.5
    assert panel.lines[0].get_ydata()[0] < panel.get_ylim()[1]
    panel = panels_of(plots.slices(search))["rate"]
    np.testing.assert_allclose(dots(panel, "trial")[:, 1], [place[1], *scores[1:]])


def test_losses_of_many_powers_of_ten_are_on_a_log_scale():
    scores = [1e-3, 1.0, 1e2, 1e4, 1e-1]
    (panel,) = plots.history(search_of(results_of(scores, "min"))).axes
    assert panel.get_yscale() == "log"
    low, high = panel.get_ylim()
    assert low < min(scores)
    assert max(scores) < high
    (panel,) = plots.history(search_of(results_of(scores, "max"))).axes
    assert panel.get_yscale() == "linear"


def test_slices_show_every_trial_on_each_hyperparameter_s_scale_where_it_is_active(search):
    panels = panels_of(plots.slices(search))
    assert list(panels) == ["rate", "optimizer", "momentum", "dropout"]
    results = search.results
    x, y = dots(panels["rate"], "trial").T
    rates = np.array(values_of(search, "rate", results.finished))
    np.testing.assert_allclose(x, 1 + np.log10(rates) / 4)  # 1e-4 to 1
    np.testing.assert_allclose(y, [s for s in SCORES if s is not None])
    momenta = np.array(values_of(search, "momentum", results.finished))
    assert 0 < len(momenta) < len(results.finished)
    expected = np.log((1 - momenta) / 0.5) / np.log(0.001 / 0.5)  # .5 to .999, on 1 - x
    np.testing.assert_allclose(dots(panels["momentum"], "trial")[:, 0], expected)
    optimizers = values_of(search, "optimizer", results.finished)
    shares = dots(panels["optimizer"], "trial")[:, 0]
    assert [("sgd", "adam")[int(x * 2)] for x in shares] == optimizers
    assert len(set(shares)) == len(shares)  # apart
    labels = [tick.get_text() for tick in panels["rate"].get_xticklabels()]
    assert labels == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert len(dots(panels["rate"], "failed")) == 2
    assert (dots(panels["rate"], "failed")[:, 1] < 0.25).all()


def test_a_value_left_from_before_its_condition_failed_is_not_drawn():
    values = {"rate": 0.1, "dropout": 0.1, "momentum": 0.9}
    kinds = [trial(i, {**values, "optimizer": kind}, 0.5) for i, kind in enumerate(("sgd", "adam"))]
    search = search_of(Results(tuple(kinds), "max"))
    panels = panels_of(plots.slices(search))
    assert len(dots(panels["rate"], "trial")) == 2
    assert len(dots(panels["momentum"], "trial")) == 1


def test_parallel_coordinates_have_a_line_per_finished_trial_and_the_best_on_top(search):
    (panel,) = plots.parallel_coordinates(search).axes
    lines = panel.collections[0]
    segments = np.array(lines.get_segments())
    ranked = search.results.ranked[::-1]
    assert segments.shape == (5, 5, 2)  # trials; four hyperparameters and the score
    rates = [t.values["rate"] for t in ranked]
    np.testing.assert_allclose(segments[:, 0, 1], 1 + np.log10(rates) / 4)
    assert segments[-1, -1, 1] == 1  # the best
    assert list(segments[:, -1, 1]) == sorted(segments[:, -1, 1])
    below = segments[:, 2, 1] < 0
    assert list(below) == ["momentum" not in t.values for t in ranked]
    names = [tick.get_text() for tick in panel.get_xticklabels()]
    assert names == ["rate", "optimizer", "momentum", "dropout", "val_accuracy"]
    assert "best on top:\nhigher is better" in [text.get_text() for text in panel.texts]
    many = search_of(results_of([i / 20 for i in range(20)]))
    (panel,) = plots.parallel_coordinates(many).axes
    widths = list(panel.collections[0].get_linewidths())
    assert widths.count(max(widths)) == 5


def test_many_hyperparameters_are_in_rows_that_each_end_with_the_score():
    space = Space(tuple(Numeric(f"h{i}", 0, 1) for i in range(20)))
    search = search_of(results_of([0.1, 0.2, 0.3], "min", space), space)
    figure = plots.parallel_coordinates(search)
    names = [[tick.get_text() for tick in panel.get_xticklabels()] for panel in figure.axes]
    assert names == [
        [*(f"h{i}" for i in range(10)), "val_loss"],
        [*(f"h{i}" for i in range(10, 20)), "val_loss"],
    ]
    for panel in figure.axes:
        segments = panel.collections[0].get_segments()
        np.testing.assert_allclose([line[-1, 1] for line in segments], [0, 0.5, 1])
        assert len(segments[0]) == 11


def test_boxes_show_values_and_what_each_round_draws_from():
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
    trials = [trial(i, {"rate": rate}, rate) for i, rate in enumerate((0.1, 0.2, 0.3, 0.4))]
    trials[1] = dataclasses.replace(trials[1], status="FAILED", score=None)
    values = {"rate": 0.3, "optimizer": "sgd", "units": 3, "dropout": 0.1, "batch": 8}
    plan, widths = Plan(max_trials=4, rounds=2, coarse=2, explore_every=6), np.ones(6)
    coarse = plan.next_round(space, np.empty((0, 6)), widths, number=0, first=0, begun=0)
    fine = plan.next_round(space, space.encode(values)[None], widths, number=1, first=2, begun=2)
    search = search_of(Results(tuple(trials), "max"), space, "title", rounds=[coarse, fine])

    panels = panels_of(plots.boxes(search))
    names = [axis.name for axis in space.axes]
    assert list(panels)[:7] == ["val_loss (higher is better)", *names]
    rate = panels["rate"]
    heights = [1 + np.log10(value) / 2 for value in (0.1, 0.3, 0.4)]
    np.testing.assert_allclose(dots(rate, "trial"), np.c_[[0, 2, 3], heights])
    np.testing.assert_allclose(dots(rate, "failed"), [[1, 1 + np.log10(0.2) / 2]])
    (whole, box) = rectangles(rate)
    assert (whole.height, box.height) == pytest.approx((1.0, fine.side))
    assert [(whole.x0, whole.x1), (box.x0, box.x1)] == [(-0.5, 1.5), (1.5, 3.5)]
    assert len(rectangles(panels["optimizer"])) == 2 + 2  # each of its values: it has no order
    assert len(rectangles(panels["batch"])) == 5 + len(fine.boxes[0]["batch"]) < 10
    (whole, box) = rectangles(panels["dropout"])
    assert box.height < whole.height == pytest.approx(1)
    assert [t.get_text() for t in panels["dropout"].get_yticklabels()][::5] == ["0", "0.5"]


def test_importance_has_intervals_and_the_believed_tiers_beside_them(search):
    found = importance_of(rate=(0.7, 0.4, 0.9), momentum=(0.2, 0.1, 0.3), optimizer=(0.1, 0, 0.2))
    given = dataclasses.replace(search, importance=found, tiers={"rate": 1, "momentum": 3})
    figure = plots.importance(given)
    (panel,) = figure.axes
    assert [t.get_text() for t in panel.get_yticklabels()] == ["rate", "momentum", "optimizer"]
    assert [bar.get_width() for bar in panel.patches] == pytest.approx([70, 20, 10])
    (intervals,) = panel.collections
    np.testing.assert_allclose(
        [line[:, 0] for line in intervals.get_segments()], [[40, 90], [10, 30], [0, 20]]
    )
    (beside,) = panel.child_axes
    labels = [t.get_text() for t in beside.get_yticklabels()]
    assert labels == ["1: agrees", "3: agrees", ""]
    (panel,) = plots.importance(dataclasses.replace(given, tiers={})).axes
    assert not panel.child_axes


def test_learning_curves_have_a_line_per_trial_that_reported_its_epochs():
    trials = (
        trial(0, {}, 0.5, curve=[0.1, 0.5]),
        trial(1, {}, 0.9, curve=[0.2, 0.6, 0.9]),
        trial(2, {}, None, "FAILED", "ValueError: no", curve=[0.3, math.nan]),
        trial(3, {}, 0.4),
        trial(4, {}, 0.7, curve=[0.7]),
    )
    search = search_of(Results(trials, "max"))
    figure = plots.learning_curves(search)
    panel = figure.axes[0]
    assert [list(line.get_xdata()) for line in panel.lines] == [[1, 2], [1, 2, 3], [1, 2], [1]]
    widths = [line.get_linewidth() for line in panel.lines]
    assert widths.index(max(widths)) == 1  # the best
    assert panel.lines[3].get_marker() == "o"  # a line of one point would not be seen
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("epoch", "val_loss\n(higher is better)")
    assert plots.has_curves(search)
    assert not plots.has_curves(dataclasses.replace(search, metric="other"))


def test_the_executions_of_a_trial_are_one_curve_their_mean():
    (one,) = results_of([0.5]).trials
    again = tuple(
        dataclasses.replace(e, execution=1, metrics={"val_loss": 1.0}) for e in one.epochs
    )
    twice = dataclasses.replace(one, epochs=one.epochs + again)
    panel = plots.learning_curves(search_of(Results((twice,), "max"))).axes[0]
    (line,) = panel.lines
    np.testing.assert_allclose(line.get_ydata(), [(0.25 + 1) / 2, (0.5 + 1) / 2])


def test_what_a_tuner_notes_among_the_values_is_no_hyperparameter():
    notes = {"tuner/epochs": 3, "tuner/initial_epoch": 0}
    results = results_of([0.1, 0.2])
    noted = tuple(dataclasses.replace(t, values={**t.values, **notes}) for t in results.trials)
    search = search_of(Results(noted, "max"))
    assert len(plots.slices(search).axes) == len(SPACE.axes)
    assert len(plots.parallel_coordinates(search).axes[0].get_xticklabels()) == len(SPACE.axes) + 1


def test_names_are_drawn_as_they_are_and_fit(tmp_path):
    name = "a_$very$_long_name_of_a_hyperparameter_{1}"
    space = Space((Discrete(name, ("$x^$", "b" * 40)),))
    search = search_of(results_of([0.1, 0.2], "min", space), space, metric="$loss_{$")
    figure = plots.slices(search)
    figure.savefig(tmp_path / "slices.png")
    (panel,) = figure.axes
    title = panel.get_title(loc="left").replace("\\", "")
    start, end = title.split("…")
    assert name.startswith(start)
    assert name.endswith(end)
    labels = [label.get_text().replace("\\", "") for label in panel.get_xticklabels()]
    assert labels == ["$x^$", "bbbbbb…bbbbb"]


def test_of_many_trials_the_best_and_an_even_choice_of_the_others_are_drawn():
    rng = np.random.default_rng(0)
    scores = [None if i % 10 == 0 else float(rng.random()) for i in range(1000)]
    results = results_of(scores)
    search = search_of(results, metric="val_loss")
    best = [t.score for t in results.ranked]
    lines = plots.learning_curves(search).axes[0].lines
    assert len(lines) == plots.MAX_CURVES * 0.9  # one in ten failed, and reported no epoch
    finished = sorted((line.get_ydata()[-1] for line in lines), reverse=True)
    assert finished[0] == best[0]
    ranks = np.searchsorted(best[::-1], finished[::-1])
    assert np.diff(ranks).max() <= 4
    (panel,) = plots.parallel_coordinates(search).axes
    heights = np.array(panel.collections[0].get_segments())[:, -1, 1]
    assert len(heights) == plots.MAX_LINES


def test_a_search_of_few_trials_is_drawn_whole():
    results = results_of([i / 300 for i in range(300)])
    assert results.thinned(300) is results.trials
    assert len(plots.learning_curves(search_of(results)).axes[0].lines) == 300
