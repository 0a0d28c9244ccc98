import math

import numpy as np
import pytest
import scipy.stats

from kbn.report import comparison_plots as plots
from kbn.report.comparison import Comparison, SeedMean
from kbn.report.comparison_page import write_comparison
from kbn.report.results import Results
from kbn.search.axes import Numeric
from kbn.search.scales import LOG
from kbn.search.space import Space
from report.builders import SPACE, Reader, results_of

NONE, AFTER = [0.90, 0.91, 0.89, 0.92, 0.90], [0.93, 0.92, 0.91, 0.94, 0.92]


def compared(searches, direction="max", space=SPACE, **given):
    """{variant: the scores of each seed's trials} as a comparison."""
    results = {
        variant: [results_of(s, direction, space, seed) for seed, s in enumerate(scores)]
        for variant, scores in searches.items()
    }
    return Comparison("a title", "val_accuracy", direction, "best score", results, space, **given)


def of_bests(direction="max", **bests):
    """Searches of two trials, of which the second is the best, with these best scores by seed."""
    worse = -0.1 if direction == "max" else 0.1
    scores = {name: [[best + worse, best] for best in seeds] for name, seeds in bests.items()}
    return compared(scores, direction)


def test_the_measure_is_the_best_score_whatever_the_direction():
    results = results_of([0.3, None, 0.1, 0.2])
    assert of_bests(a=[0.5]).measure_of(results) == 0.3
    assert of_bests("min", a=[0.5]).measure_of(results_of([0.3, 0.1, 0.2], "min")) == 0.1
    assert math.isnan(of_bests(a=[0.5]).measure_of(results_of([None])))


@pytest.mark.parametrize(
    ("direction", "threshold", "share"),
    [("max", 0.5, 3 / 5), ("min", 0.5, 2 / 5), ("max", 0.95, 0), ("min", 1.0, 4 / 5)],
)
def test_the_share_counts_trials_at_least_as_good_as_the_threshold_of_all(
    direction, threshold, share
):
    scores = [0.5, 0.9, None, 0.2, 0.7]
    comparison = compared({"a": [scores]}, direction, threshold=threshold)
    (row,) = comparison.table()
    assert row.measures == (share,)


def test_a_search_without_trials_has_no_share():
    comparison = compared({"a": [[]]}, threshold=0.5)
    assert math.isnan(comparison.table()[0].mean.value)


def test_the_interval_is_student_s_by_hand():
    # mean 2, standard deviation 1, t(.975, 2) = 4.302653, 4.302653 / sqrt(3) = 2.484138
    mean = SeedMean.of([1.0, 2.0, 3.0])
    assert mean.value == 2
    assert mean.interval == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    assert mean.count == 3


def test_means_and_paired_differences_are_those_of_scipy():
    none, after = of_bests(none=NONE, after=AFTER).table()
    for row, bests in ((none, NONE), (after, AFTER)):
        assert row.mean.value == pytest.approx(np.mean(bests))
        expected = scipy.stats.ttest_1samp(bests, 0).confidence_interval(0.95)
        assert row.mean.interval == pytest.approx(tuple(expected))
    paired = scipy.stats.ttest_rel(AFTER, NONE).confidence_interval(0.95)
    assert after.difference.interval == pytest.approx(tuple(paired))
    assert after.difference.value == pytest.approx(np.mean(np.subtract(AFTER, NONE)))
    assert none.difference is None


def test_one_seed_has_no_interval_and_the_sentence_says_so():
    comparison = of_bests(none=[0.9], after=[0.95], same=[0.9])
    none, after, _ = comparison.table()
    assert (none.mean.interval, after.difference.interval) == (None, None)
    assert comparison.sentences() == [
        "after is better than none by .0500 in 1 seed: too few for an interval, so it may be "
        "chance.",
        "same equals none in 1 seed: too few for an interval, so it may be chance.",
    ]
    assert comparison.next_steps() == [
        "To tell after from none, run 5 seeds or more.",
        "To tell same from none, run 5 seeds or more.",
    ]


@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        ([0.9, 0.8], "equals none"),
        ([0.9 + 2**-7, 0.8 + 2**-7], "is better than none by .00781"),
        ([0.91, 0.81 + 1e-8], "is better than none by .0100"),  # float32 shows no less
    ],
)
def test_differences_that_are_all_equal_have_no_interval(after, outcome, tmp_path):
    comparison = of_bests(none=[0.9, 0.8], after=after)
    assert comparison.sentences() == [
        f"after {outcome} in 2 seeds: each by the same, which gives no interval, so it may be "
        "chance."
    ]
    *_, row = Reader(write_comparison(comparison, tmp_path)).tables[0]
    assert row[4] == "none: all equal"


def test_a_seed_that_one_of_the_two_lacks_is_left_out_of_their_difference():
    scores = {"none": [[0.5], [None], [0.7]], "after": [[0.6], [0.9], [0.9]], "dead": [[None]] * 3}
    comparison = compared(scores)
    none, after, dead = comparison.table()
    assert (none.mean.count, after.mean.count, after.difference.count) == (2, 3, 2)
    assert after.difference.value == pytest.approx(0.15)
    assert math.isnan(dead.mean.value)
    assert comparison.sentences()[1] == "dead cannot be compared with none: no seed has both."


def test_the_sentences_state_who_is_better_and_how_sure_that_is():
    bests = {"none": NONE, "after": AFTER, "noisy": [0.9, 0.95, 0.85, 0.93, 0.9]}
    # differences of after: .03 .01 .02 .02 .02: .02 +- 2.776445 * .007071 / sqrt(5)
    assert of_bests(**bests).sentences() == [
        "after is better than none by .020 [.011, .029] (95 %, 5 seeds).",
        "noisy cannot be told apart from none: its advantage is .002 [-.034, .038] "
        "(95 %, 5 seeds).",
    ]
    assert of_bests("min", **bests).sentences()[0] == (
        "after is worse than none by .020 [.011, .029] (95 %, 5 seeds)."
    )


def test_the_seeds_that_would_settle_a_comparison_are_proposed():
    # differences 0 .1 .2: mean .1 +- 4.302653 * .1 / sqrt(3) = .248; 3 * 2.48 ** 2 = 18.5
    comparison = of_bests(none=[0.5, 0.5, 0.5], after=[0.5, 0.6, 0.7])
    assert comparison.next_steps() == [
        "To tell after from none takes about 19 seeds, if their difference is as large as it looks."
    ]
    settled = of_bests(none=NONE, after=AFTER)
    assert settled.next_steps() == ["The variants are told apart: go on with the best one."]


def test_a_larger_share_is_better_also_where_lower_scores_are():
    low, high = [[0.1, 0.2], [0.1, 0.3]], [[0.1, 0.9], [0.9, 0.8]]
    comparison = compared({"high": high, "low": low}, "min", threshold=0.5)
    assert [row.measures for row in comparison.table()] == [(0.5, 0), (1, 1)]
    assert "its advantage is .8 [" in comparison.sentences()[0]


def test_the_interval_of_a_share_ends_where_shares_do():
    high, low = [[0.1, 0.2], [0.1, 0.3]], [[0.9, 0.8], [0.1, 0.8]]
    rows = compared({"high": high, "low": low}, "max", threshold=0.25).table()
    assert [row.measures for row in rows] == [(0, 0.5), (1, 0.5)]
    assert [row.mean.interval for row in rows] == [(0, 1), (0, 1)]
    assert rows[1].difference.interval[1] > 1


def test_every_variant_must_have_as_many_seeds():
    with pytest.raises(ValueError, match=r"equally many seeds.* Got \{'a': 2, 'b': 1\}"):
        compared({"a": [[0.1], [0.2]], "b": [[0.1]]})
    with pytest.raises(ValueError, match="at least one"):
        compared({"a": []})


def test_the_measures_figure_has_a_dot_per_search_and_a_mean_with_its_interval():
    comparison = of_bests(none=NONE, after=AFTER)
    (panel,) = plots.measures(comparison).axes
    marks = [c.get_offsets() for c in panel.collections if len(c.get_offsets()) == 5]
    np.testing.assert_allclose(marks, [np.c_[[0] * 5, NONE], np.c_[[1] * 5, AFTER]])
    bars = [c.get_segments()[0][:, 1] for c in panel.collections if hasattr(c, "get_segments")]
    np.testing.assert_allclose(bars, [row.mean.interval for row in comparison.table()])
    joined = [line.get_xydata() for line in panel.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(joined, [[[0, a], [1, b]] for a, b in zip(NONE, AFTER, strict=True)])
    assert [t.get_text() for t in panel.get_xticklabels()] == ["none", "after"]
    assert panel.get_ylabel() == "best score\n(higher is better)"


def test_the_best_so_far_has_the_mean_and_the_range_over_seeds_by_trial():
    comparison = compared({"a": [[0.1, 0.5, 0.3, 0.9], [0.3, None, 0.5]]})
    (panel,) = plots.best_so_far(comparison).axes
    (line,) = panel.lines
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.2], [2, 0.4], [3, 0.5]])
    band = panel.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == pytest.approx((0.1, 0.5))


def test_slices_show_the_trials_of_all_seeds_by_variant_and_the_threshold():
    scores = {"a": [[0.1, 0.2], [None, 0.4]], "b": [[0.3, 0.2], [0.5, 0.4]]}
    figure = plots.variant_slices(compared(scores, threshold=0.35))
    panel = figure.axes[0]
    shown = {c.get_label(): c.get_offsets() for c in panel.collections}
    assert sorted(shown["a"][:, 1]) == [0.1, 0.2, 0.4]
    assert sorted(shown["b"][:, 1]) == [0.2, 0.3, 0.4, 0.5]
    failed = [c for c in panel.collections if c.get_label().startswith("_")]
    assert [len(c.get_offsets()) for c in failed] == [1, 0]
    assert list(panel.lines[0].get_ydata()) == [0.35, 0.35]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["a", "b", "threshold 0.35"]
    colours = {tuple(c.get_facecolor()[0][:3]) for c in panel.collections[::2]}
    assert len(colours) == 2


def test_distributions_share_their_axes_and_show_the_three_percentiles():
    narrow, wide = np.array([[-1, 0, 1]] * 5), np.array([[-9, 1, 9]] * 5)
    figure = plots.distributions({"with": narrow, "without": wide})
    left, right = figure.axes
    assert [p.get_title(loc="left") for p in figure.axes] == ["with", "without"]
    assert left.get_ylim() == right.get_ylim()
    assert left.get_xlim() == right.get_xlim()
    np.testing.assert_allclose(right.lines[0].get_xydata(), np.c_[1:6, [1] * 5])
    band = right.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (-9, 9)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    directory = tmp_path_factory.mktemp("comparison")
    space = Space((Numeric("rate", 1e-4, 1.0, LOG),))
    scores = {"<none>": [[v] for v in NONE], "after": [[v] for v in AFTER]}
    distribution = dict.fromkeys(scores, np.array([[-1, 0, 1]] * 5))
    comparison = compared(scores, space=space, distribution=distribution)
    return Reader(write_comparison(comparison, directory)), directory


def test_the_page_states_the_outcome_first_then_numbers_and_figures(reader):
    page, directory = reader
    text = " ".join(page.text.split())
    outcome, table = text.find("after is better than <none> by .020"), text.find("Over the seeds")
    assert 0 < outcome < table < text.find("By variant: best score")
    _, none, after = page.tables[0]
    assert none == ["<none>", ".904", "[.890, .918]", "", "", ".900, .910, .890, .920, .900"]
    assert after[3:5] == [".020", "[.011, .029]"]
    assert all(source.startswith("data:image/png;base64,") for source in page.having("src"))
    names = sorted(file.name for file in (directory / "figures").iterdir())
    assert names == ["best_so_far.png", "distribution.png", "measures.png", "slices.png"]


def test_the_page_lists_every_trial_with_its_variant_and_seed(tmp_path):
    searches = {"none": [[0.5, 0.7], [0.6]], "after": [[None, 0.9], [0.8]]}
    columns, *rows = Reader(write_comparison(compared(searches), tmp_path)).tables[-1]
    assert columns[:5] == ["variant", "seed", "trial", "status", "score"]
    assert [row[:5] for row in rows] == [
        ["none", "1", "01", "COMPLETED", "0.7000"],
        ["none", "1", "00", "COMPLETED", "0.5000"],
        ["none", "2", "00", "COMPLETED", "0.6000"],
        ["after", "1", "01", "COMPLETED", "0.9000"],
        ["after", "1", "00", "FAILED", ""],
        ["after", "2", "00", "COMPLETED", "0.8000"],
    ]


def test_a_variant_without_a_score_is_shown_beside_the_others(tmp_path):
    dead = compared({"a": [[0.5], [0.6]], "b": [[None], [None]]}, space=Space(()))
    page = Reader(write_comparison(dead, tmp_path))
    assert "The search has no hyperparameters" in page.text
    assert page.tables[0][2][:4] == ["b", "none", "", "none"]
    assert page.tables[0][2][5] == "none, none"
    assert len(page.having("src")) == 2


def test_a_comparison_without_a_score_is_sentences_alone(tmp_path):
    page = Reader(write_comparison(compared({"a": [[None]], "b": [[None]]}), tmp_path))
    assert "b cannot be compared with a" in page.text
    assert not page.having("src")
    results = Comparison("t", "m", "min", "best", {"a": [Results((), "min")]}, SPACE)
    assert "There is only one variant" in Reader(write_comparison(results, tmp_path)).text
