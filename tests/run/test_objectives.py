"""Searches of recipes with several objectives, and with constraints."""

import dataclasses

import keras
import numpy as np
import pytest

import kbn
from kbn.errors import NoResultError, RecipeError
from kbn.run.measures import inference_ms, sizes
from kbn.run.preflight import prepare
from kbn.run.project import Project
from kbn.run.watch import Watch
from kbn.tracking.journal import Journal


def recipe(name="fronts", trials=4, tuner="coarse_to_fine", **given):
    return kbn.Recipe(
        name=name,
        dataset={"name": "iris"},
        model={"name": "mlp"},
        search={"trials": trials, "epochs": 2, "seed": 1, "tuner": tuner},
        space={"units": {"type": "int", "low": 2, "high": 64}, "layers": 1, "learning_rate": 0.1},
        tracking={"enabled": False},
        **{"objectives": [{"metric": "val_accuracy"}, {"metric": "parameters"}], **given},
    )


def parameters(units):
    """Of an mlp with one hidden layer on iris' 4 features and 3 classes."""
    return 4 * units + units + 3 * units + 3


@pytest.mark.slow
def test_the_front_is_told_in_python_and_the_journal_has_what_was_measured(workspace):
    tuned = kbn.tune(recipe())
    trials = tuned.trials
    assert list(trials["parameters"]) == [parameters(units) for units in trials["units"]]
    assert list(trials["val_accuracy"]) == list(trials["score"])
    rows = trials[["val_accuracy", "parameters"]].to_numpy() * [-1, 1]
    front = [not any((a <= b).all() and (a < b).any() for a in rows) for b in rows]
    assert set(tuned.front["trial"]) == set(trials["trial"][front])
    assert tuned.best.trial == tuned.front["trial"][0]
    assert tuned.best.score == trials["score"].max()
    assert tuned.best_model().count_params() == tuned.best.metrics["parameters"]
    page = tuned.report.read_text()
    assert "on the front, which no trial dominates" in page
    assert (tuned.report.parent / "figures" / "front.png").is_file()
    noted = Journal(workspace / "searches/fronts/journal").events()
    assert [e["trials"] for e in noted if e["event"] == "front"] == [list(tuned.front["trial"])]


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["coarse_to_fine", "random", "grid"])
def test_a_model_that_is_too_large_is_not_trained(tuner, workspace, monkeypatch):
    fitted = []
    fit = keras.Model.fit

    def count(model, *args, **kwargs):
        fitted.append(model.count_params())
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", count)
    limit = parameters(30)
    constraints = {"parameters": {"max": limit}, "model_bytes": {"max": 4 * limit}}
    constrained = recipe(objectives=None, objective={"metric": "val_accuracy"}, tuner=tuner)
    constrained = kbn.Recipe(**{**constrained.model_dump(), "constraints": constraints})
    results = kbn.tune(constrained).results
    sizes = {t.trial: parameters(t.values["units"]) for t in results.trials}
    assert sorted(fitted) == sorted(n for n in sizes.values() if n <= limit)
    too_large = [t for t in results.trials if sizes[t.trial] > limit]
    assert too_large
    assert list(results.infeasible) == too_large
    assert results.failed == ()
    for trial in too_large:
        size = sizes[trial.trial]
        words = f"parameters {size:,} > max {limit}", f"model_bytes {4 * size:,} > max {4 * limit}"
        assert trial.reason == f"infeasible: {'; '.join(words)}"
        assert trial.metrics == {"parameters": size, "model_bytes": 4 * size}
        assert trial.score is None
    assert sizes[results.best.trial] <= limit
    page = (workspace / "searches/fronts/report.html").read_text()
    assert f"{len(too_large)} violated a constraint; {len(too_large)} of them without" in page
    assert "failed" not in page.partition("All trials")[0].partition("</style>")[2].split("<h2>")[0]


@pytest.mark.slow
def test_a_trained_trial_that_violates_a_constraint_is_never_the_best(workspace):
    free = kbn.tune(recipe("free", objectives=None, objective={"metric": "val_accuracy"}))
    losses = sorted(trial.epochs[-1].metrics["val_loss"] for trial in free.results.trials)
    limit = losses[0] - 0.001  # which none reaches
    constrained = recipe("none", constraints={"val_loss": {"max": limit}})
    with pytest.raises(NoResultError, match=r"4 of 4 trials violated a constraint, .*val_loss"):
        kbn.tune(constrained)
    results = Project(constrained).results()
    assert [trial.status for trial in results.trials] == ["COMPLETED"] * 4
    assert results.finished == ()
    assert all(trial.score is not None for trial in results.infeasible)


class Stop(Watch):
    def __init__(self, after):
        self.left = after

    def ended(self, attempt):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_search_ends_as_one_that_was_not(workspace):
    constraints = {"parameters": {"max": 150}}
    whole = kbn.tune(recipe("whole", 7, constraints=constraints)).results
    with pytest.raises(KeyboardInterrupt):
        kbn.tune(recipe("cut", 7, constraints=constraints), watch=Stop(4))
    again = kbn.tune(recipe("cut", 7, constraints=constraints)).results
    parts = ("trial", "values", "status", "score", "metrics", "violations")
    for one, other in zip(whole.trials, again.trials, strict=True):
        assert [getattr(one, p) for p in parts] == [getattr(other, p) for p in parts]
    assert [t.trial for t in whole.front] == [t.trial for t in again.front]
    assert whole.infeasible


def test_constraints_must_stay_while_a_search_goes_on(workspace):
    begun = Project(recipe(constraints={"parameters": {"max": 400}}))
    with begun.opened(fresh=False):
        begun.begin()
    with pytest.raises(RecipeError, match=r"constraints\.parameters: must stay"):
        Project(recipe(constraints={"parameters": {"max": 500}})).check_unchanged()


def test_a_search_begun_before_there_were_several_objectives_goes_on(workspace):
    from kbn.run.identity import changes, identity_of

    single = recipe(objectives=None, objective={"metric": "val_accuracy"})
    begun = {k: v for k, v in identity_of(single).items() if k not in ("objectives", "constraints")}
    assert changes(single, begun) == []


@pytest.mark.slow
def test_metrics_of_objectives_and_constraints_are_reported_by_training(workspace):
    several = [{"metric": "val_f1_score"}, {"metric": "inference_ms"}]
    tuned = kbn.tune(recipe(trials=1, objectives=several, constraints={"val_auc": {"min": 0.0}}))
    assert tuned.best.metrics.keys() == {"val_f1_score", "inference_ms", "val_auc"}
    assert tuned.best.metrics["inference_ms"] > 0
    assert {"val_f1_score", "val_auc"} <= tuned.best.epochs[0].metrics.keys()


def test_what_training_does_not_report_is_found_before_the_first_trial(workspace):
    (workspace / "own.py").write_text(
        "import keras\n"
        "def build(hp, shape, classes):\n"
        "    hp.get('units')\n"
        "    output = keras.layers.Dense(classes, 'softmax')\n"
        "    return keras.Sequential([keras.Input(shape), output])\n"
    )
    own = kbn.Recipe(
        name="own",
        dataset={"name": "iris"},
        model={"python": "own.py:build"},
        objectives=[{"metric": "val_accuracy"}, {"metric": "val_mine", "direction": "max"}],
        constraints={"val_yours": {"min": 1}, "parameters": {"max": 99}},
        search={"trials": 1, "epochs": 1},
        space={"units": {"type": "int", "low": 2, "high": 4}},
    )
    with pytest.raises(RecipeError) as caught:
        prepare(own)
    assert [fault.key for fault in caught.value.faults] == [
        "objectives.1.metric",
        "constraints.val_yours",
    ]


def test_sizes_are_those_of_all_weights():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),  # whose random seed is no weight
            keras.layers.Dense(2, dtype="float64"),
        ]
    )
    weights = model.get_weights()
    assert sizes(model, ("parameters", "model_bytes")) == {
        "parameters": sum(weight.size for weight in weights),
        "model_bytes": sum(weight.nbytes for weight in weights),
    }
    assert sizes(model, ("val_loss",)) == {}


def test_a_prediction_is_timed_with_32_examples_however_few_there_are(monkeypatch):
    model, seen = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), []
    monkeypatch.setattr(model, "predict_on_batch", lambda x: seen.append(x.shape))
    for count in (1, 50):
        assert inference_ms(model, np.zeros((count, 3))) >= 0
    assert set(seen) == {(32, 3)}


@pytest.mark.slow
def test_of_the_trials_those_on_the_front_keep_their_checkpoints(workspace):
    several = recipe(trials=6)
    search = several.search.model_copy(update={"keep": 2})
    tuned = kbn.tune(several.model_copy(update={"search": search}))
    kept = {f.parent.name for f in (workspace / "searches/fronts").glob("trial_*/*.weights.h5")}
    assert kept == {f"trial_{trial.trial}" for trial in tuned.results.ranked[:2]}
    assert dataclasses.replace(tuned.results, objectives=()).ranked  # by the score alone
