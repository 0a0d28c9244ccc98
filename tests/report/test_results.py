import math

import numpy as np
import pytest

from kbn.report.results import Results
from kbn.tracking.journal import Journal
from report.builders import SPACE, results_of, trial


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
    assert results.commonest_failure() == "no trial was run"


def test_a_score_that_is_not_finite_is_a_failure_with_that_reason():
    trials = [trial(i, {}, score) for i, score in enumerate([0.5, math.inf, math.nan, math.inf])]
    running = trial(4, {}, None, None)
    results = Results((*trials, running), "min")
    assert [t.trial for t in results.finished] == ["00"]
    assert [t.trial for t in results.failed] == ["01", "02", "03"]
    assert results.commonest_failure() == "its score is inf"


def test_the_frame_has_a_row_per_trial_and_a_column_per_hyperparameter():
    results = results_of([0.1, None, 0.3, 0.4])
    notes = {"tuner/repeats": "00", "score": "a name taken"}
    odd = trial(4, {**results.trials[0].values, **notes}, math.inf)
    frame = Results((*results.trials, odd), "max").as_frame()
    fixed = ["trial", "status", "score", "seconds", "reason"]
    assert list(frame.columns[:5]) == fixed
    assert set(frame.columns[5:]) == {*(axis.name for axis in SPACE.axes), "score"}
    assert list(frame["trial"]) == ["00", "01", "02", "03", "04"]
    np.testing.assert_equal(frame.iloc[:, 2].to_numpy(), [0.1, np.nan, 0.3, 0.4, np.inf])
    assert frame["reason"][1] == "ValueError: too large"
    assert (frame["seconds"] == 10).all()
    for row, one in enumerate(results.trials):
        assert frame["rate"][row] == one.values["rate"]
        assert frame["momentum"].isna()[row] == ("momentum" not in one.values)


def test_the_frame_of_no_trials_is_empty():
    frame = Results((), "max").as_frame()
    assert frame.shape == (0, 5)


def test_a_damaged_file_of_the_journal_changes_no_result_and_is_named(project, caplog):
    before = Results.read(project, "max")
    assert not caplog.records
    file = project / "journal" / "2.2.jsonl"
    file.write_bytes(file.read_bytes().replace(b"0.75", b"0.15"))
    after = Results.read(project, "max")
    assert (after.best.trial, after.best.score) == (before.best.trial, before.best.score)
    (record,) = caplog.records
    assert "2.2.jsonl:2: a line of a journal must be an event" in record.getMessage()
