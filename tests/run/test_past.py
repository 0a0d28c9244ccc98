"""Searches that begin with what earlier ones have shown."""

import shutil
from pathlib import Path

import pytest

import kbn
from kbn.errors import RecipeError
from kbn.files import write_json
from kbn.run import past as past_module
from kbn.run.past import past_of
from kbn.run.project import Project
from kbn.search.past import NOTHING
from kbn.tracking.earlier import TrackedSearch, TrackedTrial


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


@pytest.mark.slow
def test_a_changed_space_begins_with_the_earlier_trials_that_still_fit(old, workspace):
    home = shutil.copytree(old, workspace / "searches")
    known = scores(home)
    low = sorted(known)[1] * 0.999  # one of the four trials is out of the new space
    new = recipe(low=low, search={"from": "old", "trials": 2})
    taken = {trial.values["learning_rate"]: trial.score for trial in past_of(Project(new)).trials}
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
    "a name that is almost right": (
        {"search": {"from": "odl"}},
        "Did you mean old?",
    ),
    "another objective": (
        {"objective": {"metric": "val_accuracy"}, "search": {"from": "old"}},
        "must be a search with the same objective, val_accuracy max; got 'old'.",
    ),
    "other values": (
        {"low": 0.99, "search": {"from": "old"}},
        "must have at least 3 trials with values of the space; got 0 of 4 of old.",
    ),
}


@pytest.mark.parametrize(("changes", "line"), OTHERS.values(), ids=OTHERS)
def test_a_search_from_which_nothing_can_be_taken_is_a_fault(changes, line, old):
    with pytest.raises(RecipeError) as caught:
        past_of(Project(recipe(**changes), old))
    assert [line in str(fault) for fault in caught.value.faults] == [True], caught.value


def test_a_search_is_named_by_its_directory_too(old, tmp_path):
    new = recipe(search={"from": str(old / "old")})
    assert len(past_of(Project(new, tmp_path / "searches")).trials) == 4


SIMILAR = {
    "other data": {"dataset": {"name": "wine"}},
    "other epochs": {"search": {"epochs": 2}},
    "a hyperparameter more": {"space": {"batch_size": 16}},
}


@pytest.mark.parametrize("changes", SIMILAR.values(), ids=SIMILAR)
@pytest.mark.parametrize("given", ["auto", "old", ["old"]])
def test_of_a_similar_search_it_counts_what_did_well(changes, given, old):
    changed = {**changes, "search": {**changes.get("search", {}), "from": given}}
    past = past_of(Project(recipe(**changed), old))
    assert past.trials == ()
    assert [(one.name, len(one.trials)) for one in past.searches] == [("old", 4)]


BATCHES = {"type": "choice", "values": [16, 32]}
UNLIKE = {
    "another objective": {"objective": {"metric": "val_accuracy"}},
    "none": {"search": {"from": "none"}},
    "no name": {"search": {"from": []}},
    "itself": {"name": "old"},
    "random": {"search": {"tuner": "random"}},
    "grid": {"search": {"tuner": "grid"}, "space": {"batch_size": BATCHES}},
}


@pytest.mark.parametrize("changes", UNLIKE.values(), ids=UNLIKE)
def test_from_other_searches_nothing_is_learned_unasked(changes, old):
    assert past_of(Project(recipe(**changes), old)) == NOTHING


def test_a_comparison_learns_from_nothing(old):
    compared = recipe(space={"batch_size": BATCHES}).model_dump(exclude_unset=True, by_alias=True)
    compared["compare"] = {"seeds": 1, "variants": {"a": {}, "b": {"search.seed": 2}}}
    searches = Project(kbn.Recipe(**compared), old).searches
    assert [past_of(each) for each in searches] == [NOTHING, NOTHING]


def test_a_damaged_search_beside_it_is_passed_over(old, tmp_path):
    home = shutil.copytree(old, tmp_path / "searches")
    for name in ("broken", "strange"):
        (home / name).mkdir()
    (home / "broken" / "recipe.json").write_text("{")
    write_json(home / "strange" / "recipe.json", {})
    past = past_of(Project(recipe(), home))
    assert str(past) == "4 trials of old"


@pytest.mark.slow
def test_a_search_of_other_data_begins_with_what_did_well(old, workspace):
    home = shutil.copytree(old, workspace / "searches")
    known = scores(home)
    other = recipe(dataset={"name": "wine"}, search={"trials": 2})
    tuned = kbn.tune(other)
    first = tuned.results.trials[0].values
    assert first["tuner/from"].startswith("old trial ")
    assert first["learning_rate"] in known
    report = tuned.report.read_text()
    assert "It looked first at values that did well in 4 trials of old: trial 0 with" in report
    again = recipe(dataset={"name": "wine"}, search={"trials": 3})
    shutil.rmtree(home / "old")  # what was taken is the search's own
    assert len(kbn.tune(again).results.trials) == 3
    assert "4 trials of old" in tuned.report.read_text()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """URI of a store in which the search `old` of four trials was tracked elsewhere."""
    home = tmp_path_factory.mktemp("elsewhere")
    uri = f"sqlite:///{home}/mlflow.db"
    tracked = recipe("old", space={"batch_size": BATCHES}, tracking={"enabled": True, "uri": uri})
    kbn.tune(tracked, directory=home / "searches")
    return uri


@pytest.mark.slow
def test_a_search_in_the_same_store_is_learned_from(store, old, tmp_path):
    new = {"space": {"batch_size": BATCHES}, "tracking": {"enabled": True, "uri": store}}
    past = past_of(Project(recipe(**new), tmp_path / "searches"))
    [search] = past.searches
    assert (past.trials, search.name) == ((), "old")
    home = Path(store.removeprefix("sqlite:///")).parent / "searches"
    tracked = Project(recipe("old"), home).results().trials
    expected = {f"old trial {trial.trial}": (dict(trial.values), trial.score) for trial in tracked}
    assert {each.source: (each.values, each.score) for each in search.trials} == expected
    home = shutil.copytree(old, tmp_path / "beside")  # of the same name: it is that one
    assert str(past_of(Project(recipe(**new), home))) == "4 trials of old"
    for changes in (*UNLIKE.values(), {"tracking": {"enabled": False, "uri": store}}):
        other = {**new, **changes, "space": new["space"] | changes.get("space", {})}
        assert past_of(Project(recipe(**other), tmp_path / "searches")) == NOTHING


@pytest.mark.parametrize(
    ("params", "known"),
    [
        ({"learning_rate": "0.01", "batch_size": "16"}, {"learning_rate": 0.01, "batch_size": 16}),
        ({"learning_rate": "1"}, {"learning_rate": 1}),
        ({"learning_rate": "1", "momentum": "0.9"}, {"learning_rate": 1}),
        ({"learning_rate": "2.0"}, None),
        ({"learning_rate": "high"}, None),
        ({"learning_rate": "0.01", "batch_size": "17"}, {"learning_rate": 0.01, "batch_size": 17}),
        ({"learning_rate": "0.01", "batch_size": "many"}, None),
        ({"learning_rate": "0.01", "tuner/pruned": "3"}, None),
        ({"learning_rate": "0.01", "tuner/epochs": "3"}, None),
        ({"momentum": "0.9"}, None),
    ],
)
def test_a_tracked_trial_counts_with_values_of_the_space(params, known, tmp_path, monkeypatch):
    epochs = {"tuner/epochs": "9"} if "tuner/epochs" in params else {}
    good = {"learning_rate": "0.1", **epochs}
    tracked = [TrackedTrial(str(n), good, float(n)) for n in range(3)]
    tracked.append(TrackedTrial("3", params, 3.0))
    search = TrackedSearch("old", tuple(tracked))
    monkeypatch.setattr(past_module, "earlier_searches", lambda *_, **__: [search])
    new = recipe(space={"batch_size": BATCHES}, tracking={"enabled": True})
    [past] = past_of(Project(new, tmp_path)).searches
    values = [trial.values for trial in past.trials if trial.score == 3.0]
    assert values == ([known] if known else [])
    assert len(past.trials) == 3 + bool(known)
