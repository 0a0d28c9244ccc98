"""Searches that begin with what earlier ones have shown."""

import shutil

import pytest

import kbn
from kbn.errors import RecipeError
from kbn.run.past import past_of
from kbn.run.project import Project


def recipe(name="new", low=1e-4, space=None, **changes):
    given = {
        "name": name,
        "dataset": {"name": "iris"},
        "model": {"name": "softmax"},
        "objective": {"metric": "val_loss"},
        "search": {"trials": 4, "epochs": 1, "seed": 1},
        "space": {"learning_rate": {"type": "float", "low": low, "high": 1.0, "scale": "log"}},
        "tracking": {"enabled": False},
    }
    for section, part in changes.items():
        given[section] = {**given[section], **part}
    given["space"] |= space or {}
    return kbn.Recipe(**given)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The searches directory of an earlier search of four trials, `old`."""
    directory = tmp_path_factory.mktemp("earlier") / "searches"
    kbn.tune(recipe("old"), directory=directory)
    return directory


def scores(directory):
    trials = Project(recipe("old"), directory).results().trials
    return {trial.values["learning_rate"]: trial.score for trial in trials}


def test_a_changed_space_begins_with_the_earlier_trials_that_still_fit(old, workspace):
    home = shutil.copytree(old, workspace / "searches")
    known = scores(home)
    low = sorted(known)[1] * 0.999  # one of the four trials is out of the new space
    new = recipe(low=low, search={"from": "old", "trials": 2})
    taken = {trial.values["learning_rate"]: trial.score for trial in past_of(Project(new))}
    assert taken == {rate: score for rate, score in known.items() if rate >= low}
    tuned = kbn.tune(new)
    best = min(taken, key=taken.get)
    assert tuned.results.trials[0].values["learning_rate"] == best
    assert tuned.results.trials[0].values["tuner/from"].startswith("old trial ")
    assert tuned.results.trials[0].score == pytest.approx(taken[best], rel=1e-5)
    assert len(tuned.results.trials) == 2
    assert "The search learned from 3 trials of old; the best score" in tuned.report.read_text()
    shutil.rmtree(home / "old")  # what was taken is the search's own
    again = recipe(low=low, search={"from": "old", "trials": 3})
    assert len(kbn.tune(again).results.trials) == 3


OTHERS = {
    "no such search": (
        {"search": {"from": "older"}},
        "search.from.0: must name a search, or its directory; got",
    ),
    "itself": ({"name": "old", "search": {"from": ["old"]}}, "must name another search"),
    "other data": (
        {"dataset": {"name": "wine"}, "search": {"from": "old"}},
        "must be a search with the same dataset.name, wine; got old with iris.",
    ),
    "another objective": (
        {"objective": {"metric": "val_accuracy"}, "search": {"from": "old"}},
        "must be a search with the same objective.",
    ),
    "other epochs": (
        {"search": {"from": "old", "epochs": 2}},
        "must be a search with the same search.epochs, 2; got old with 1.",
    ),
    "a hyperparameter more": (
        {"space": {"batch_size": 16}, "search": {"from": "old"}},
        "must have a trial that lies in the space; got none of 4 of old.",
    ),
}


@pytest.mark.parametrize(("changes", "line"), OTHERS.values(), ids=OTHERS)
def test_a_search_from_which_nothing_can_be_taken_is_a_fault(changes, line, old):
    with pytest.raises(RecipeError) as caught:
        past_of(Project(recipe(**changes), old))
    assert [line in str(fault) for fault in caught.value.faults] == [True], caught.value


def test_a_search_is_named_by_its_directory_too(old, tmp_path):
    new = recipe(search={"from": str(old / "old")})
    assert len(past_of(Project(new, tmp_path / "searches"))) == 4
