"""Trials that train for fewer epochs than others: coarse to fine, and pruned."""

import json

import pytest

import kbn
from kbn.errors import RecipeError
from kbn.recipe.loading import make_recipe
from kbn.run.plan import make_oracle
from kbn.run.preflight import prepare
from kbn.run.project import Project
from kbn.run.tuner import RecipeTuner
from kbn.run.watch import Watch
from kbn.search.fidelity import PARENT, PRUNED
from kbn.tracking.journal import Journal

EPOCHS = 4


def recipe(trials=4, **search):
    return kbn.Recipe(
        name="epochs",
        dataset={"name": "iris"},
        model={"name": "mlp"},
        objective={"metric": "val_loss"},
        search={"trials": trials, "seed": 1, **search},
        space={
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "scale": "log"},
            "warmup": {"type": "float", "low": 0.0, "high": 0.5},
            "units": 8,
        },
        tracking={"enabled": False},
    )


COARSE_TO_FINE = {"epochs": "coarse_to_fine", "max_epochs": EPOCHS}
WITH_PRUNING = {"epochs": EPOCHS, "prune": True}


class Stop(Watch):
    """Ends the process, as Ctrl-C does, when a trial has begun."""

    def __init__(self, trial):
        self.trial = trial

    def began(self, trial, values):
        if trial == self.trial:
            raise KeyboardInterrupt


def rows(tuned):
    return [(t.trial, t.values, t.score, len(t.epochs)) for t in tuned.results.trials]


def load_all(tuned):
    """Load the model of every trial, also of those whose checkpoint was dropped."""
    project = Project(tuned.recipe)
    data = prepare(tuned.recipe)
    tuner = RecipeTuner(tuned.recipe, data, project.path)
    for trial in tuned.results.trials:
        model = tuner.load_model(tuner.oracle.get_trial(trial.trial))
        found = model.evaluate(data.x_val, data.y_val, verbose=0, return_dict=True)
        yield trial, found["loss"]


def tuned_twice(directory, recipe, stop_at):
    """Run a search; then the same one with an end of the process in a trial that `stop_at` picks.

    Returns:
        Both. The working directory must be that of the first one.
    """
    whole = kbn.tune(recipe)
    other = directory / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        kbn.tune(recipe, directory=other, watch=Stop(stop_at(whole)))
    return whole, kbn.tune(recipe, directory=other)


@pytest.mark.slow
def test_coarse_to_fine_goes_on_from_the_weights_of_good_trials(workspace):
    tuned, again = tuned_twice(
        workspace,
        recipe(**COARSE_TO_FINE, keep=1),
        lambda whole: next(t.trial for t in whole.results.trials if PARENT in t.values),
    )
    assert rows(again) == rows(tuned)
    trials = {trial.trial: trial for trial in tuned.results.trials}
    assert 3 * EPOCHS < sum(len(trial.epochs) for trial in trials.values()) <= 4 * EPOCHS
    parents = [t.values[PARENT] for t in trials.values() if PARENT in t.values]
    assert parents
    for trial in trials.values():
        first, last = trial.values["tuner/initial_epoch"], trial.values["tuner/epochs"]
        assert [epoch.epoch for epoch in trial.epochs] == list(range(first, last))
    assert tuned.best.values["tuner/epochs"] == EPOCHS
    home = workspace / "searches" / "epochs"
    kept = {file.parent.name[6:] for file in home.glob("trial_*/last.weights.h5")}
    assert kept == trials.keys() - set(parents)  # those that may go on
    assert len(list(home.glob("trial_*/checkpoint.weights.h5"))) == 1
    text = tuned.report.read_text()
    assert f"{len(parents)} of them went on from the weights of another one." in text
    for trial, loss in load_all(tuned):  # trained again, from the beginning of their parents
        assert loss == pytest.approx(trial.score, rel=1e-4), trial.values


@pytest.mark.slow
def test_hopeless_trials_are_pruned_and_their_epochs_go_into_others(workspace):
    def pruned_in(tuned):
        return {t.trial: t.values[PRUNED] for t in tuned.results.trials if PRUNED in t.values}

    given = recipe(trials=7, keep=1, **WITH_PRUNING)
    tuned, again = tuned_twice(workspace, given, lambda whole: list(pruned_in(whole))[-1])
    assert rows(again) == rows(tuned)
    pruned = pruned_in(tuned)
    epochs = {t.trial: len(t.epochs) for t in tuned.results.trials}
    assert 6 * EPOCHS < sum(epochs.values()) <= 7 * EPOCHS
    assert {t: n for t, n in epochs.items() if n < EPOCHS} == pruned
    for trial in tuned.results.trials:  # scored with its best so far
        assert trial.score == min(epoch.metrics["val_loss"] for epoch in trial.epochs)
    assert f"{len(pruned)} of them were pruned, after " in tuned.report.read_text()
    for trial, loss in load_all(tuned):
        assert loss == pytest.approx(trial.score, rel=1e-4)

    begin = next(
        e for e in Journal(Project(given).path / "journal").events() if e["event"] == "begin"
    )
    assert begin["params"]["search.prune"] == "true"  # which MLflow gets, as it gets all values


FAULTS = {
    "no epochs of a whole training": (
        {"epochs": "coarse_to_fine"},
        "search.max_epochs: epochs: coarse_to_fine needs the epochs of a whole training",
    ),
    "two numbers of epochs": (
        {"epochs": 3, "max_epochs": 9},
        "search.max_epochs: is for epochs: coarse_to_fine alone; got 9. Remove it.",
    ),
    "another word": (
        {"epochs": "fine"},
        "search.epochs: must be one of the known words; got 'fine'.",
    ),
    "no epochs": ({"epochs": 0}, "search.epochs: must be greater than or equal to 1; got 0."),
    "coarse to fine on a grid": (
        {**COARSE_TO_FINE, "tuner": "grid"},
        "search.epochs: does not go together with tuner: grid; got 'coarse_to_fine'.",
    ),
    "coarse to fine in folds": (
        {**COARSE_TO_FINE, "folds": 3},
        "search.epochs: does not go together with folds",
    ),
    "coarse to fine, several times": (
        {**COARSE_TO_FINE, "executions": 2},
        "search.epochs: does not go together with executions",
    ),
    "pruned and coarse to fine": (
        {**COARSE_TO_FINE, "prune": True},
        "search.prune: does not go together with epochs: coarse_to_fine; got true.",
    ),
    "pruned on a grid": (
        {**WITH_PRUNING, "tuner": "grid"},
        "search.prune: does not go together with tuner: grid",
    ),
    "pruned in folds": (
        {**WITH_PRUNING, "folds": 2},
        "search.prune: does not go together with folds",
    ),
    "pruned, several times": (
        {**WITH_PRUNING, "executions": 2},
        "search.prune: does not go together with executions",
    ),
    "folds, several times": (
        {"epochs": 2, "folds": 2, "executions": 3},
        "search.folds: does not go together with executions; got 2.",
    ),
    "a fold": ({"epochs": 2, "folds": 1}, "search.folds: must be greater than or equal to 2"),
    "from, at random": (
        {"epochs": 2, "from": "other", "tuner": "random"},
        "search.from: does not go together with tuner: random; got ['other'].",
    ),
    "from, on a grid": (
        {"epochs": 2, "from": ["other"], "tuner": "grid"},
        "search.from: does not go together with tuner: grid",
    ),
}


@pytest.mark.parametrize(("search", "line"), FAULTS.values(), ids=FAULTS)
def test_what_does_not_go_together_is_a_fault_of_the_recipe(search, line, workspace):
    given = json.loads(recipe(epochs=1).model_dump_json())
    given["search"] = {"trials": 4, **search}
    if "folds" in search:
        del given["dataset"]["validation"]
    with pytest.raises(RecipeError) as caught:
        kbn.tune(given)
    assert [line in str(fault) for fault in caught.value.faults] == [True], caught.value
    assert not (workspace / "searches").exists()


def test_folds_and_a_validation_part_exclude_each_other(workspace):
    given = recipe(epochs=1).model_dump()  # with validation: 0.2
    given["search"] |= {"folds": 3}
    with pytest.raises(RecipeError, match="takes the place of a validation part"):
        kbn.tune(given)


def test_a_search_at_random_can_go_from_coarse_to_fine_in_epochs():
    oracle = make_oracle(recipe(tuner="random", **COARSE_TO_FINE))
    assert (oracle.max_epochs, oracle.prunes) == (EPOCHS, False)
    assert all(each.side == 1 for each in oracle.planned_rounds())


OBJECTIVES = {"objective": None, "objectives": [{"metric": "val_loss"}, {"metric": "parameters"}]}
APPLICATION = {"model": {"application": "MobileNetV2", "weights": "none"}}
COMPARE = {"compare": {"seeds": 1, "variants": {"a": {}, "b": {"search.seed": 3}}}}
ELSEWHERE = {
    "coarse to fine for a front": (OBJECTIVES, COARSE_TO_FINE, "epochs", "objectives"),
    "pruned for a front": (OBJECTIVES, WITH_PRUNING, "prune", "objectives"),
    "from, for a front": (OBJECTIVES, {"epochs": 2, "from": "old"}, "from", "objectives"),
    "coarse to fine in phases": (APPLICATION, COARSE_TO_FINE, "epochs", "model.application"),
    "from, in a comparison": (COMPARE, {"epochs": 2, "from": "old"}, "from", "compare"),
}


@pytest.mark.parametrize(("parts", "search", "key", "other"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_other_sections_exclude_some_ways_to_search(parts, search, key, other):
    given = recipe(epochs=1).model_dump(exclude_unset=True) | parts
    given["search"] = {"trials": 4, **search}
    given["space"] = {"learning_rate": given["space"]["learning_rate"]}
    given = {name: part for name, part in given.items() if part is not None}
    with pytest.raises(RecipeError) as caught:
        make_recipe(given)
    line = f"search.{key}: does not go together with {other}"
    assert [line in str(fault) for fault in caught.value.faults] == [True], caught.value


def test_a_variant_cannot_learn_from_another_search():
    given = recipe(epochs=1).model_dump(exclude_unset=True)
    given["compare"] = {"seeds": 1, "variants": {"a": {}, "b": {"search.from": "old"}}}
    with pytest.raises(RecipeError, match="a variant cannot set this"):
        make_recipe(given)
