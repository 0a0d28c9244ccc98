"""Every mode runs in KerasTuner's tuners."""

import keras_tuner as kt
import numpy as np
import pytest

import kbn
from search.contract import (
    Answering,
    build_model,
    examples,
    few_epochs,
    fresh,
    history,
    modelled,
    point,
    run,
    search_keras,
    settings,
    texts,
    with_epochs,
)
from search.spaces import LOSS, loss_of


@pytest.mark.parametrize(
    "answer",
    [
        loss_of,
        lambda values: {"loss": loss_of(values), "other": 1.0},
        lambda values: history(loss=[9.0, loss_of(values), 9.0], other=[1.0, 1.0, 1.0]),
        lambda values: [loss_of(values)] * 2,
    ],
    ids=["float", "dict", "history", "list"],
)
def test_it_runs_in_a_tuner_that_overrides_run_trial(new, tmp_path, answer):
    tuner = Answering(new(max_trials=3), directory=tmp_path / "tuner")
    tuner.answer = lambda hp: answer(hp.values)
    tuner.search()
    assert [t.hyperparameters.values for t in tuner.oracle.trials.values()] == run(
        new(max_trials=3)
    )
    assert all(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())


def test_a_single_float_needs_no_objective(new, tmp_path):
    tuner = Answering(new(objective=None, max_trials=3), directory=tmp_path / "tuner")
    tuner.search()
    trials = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
    assert trials == run(new(max_trials=3))


def test_several_objectives_come_from_a_history(new, tmp_path):
    tuner = Answering(
        new(objective=[LOSS, kt.Objective("gain", "max")], max_trials=3),
        directory=tmp_path / "tuner",
    )
    tuner.answer = lambda hp: history(loss=[loss_of(hp.values)], gain=[hp.get("rate")])
    tuner.search()
    for trial in tuner.oracle.trials.values():
        values = trial.hyperparameters.values
        assert trial.score == loss_of(values) - values["rate"]


def test_a_tuner_resumes_its_project_or_overwrites_it(new, tmp_path):
    def tuner(**kwargs):
        oracle = new(saved=True, max_trials=3)
        return Answering(oracle, directory=tmp_path, project_name="project", **kwargs)

    first = tuner()
    first.search()
    resumed = tuner()
    assert list(resumed.oracle.trials) == first.oracle.start_order
    assert resumed.oracle.create_trial("w").status == "STOPPED"
    anew = tuner(overwrite=True)
    assert not anew.oracle.trials
    anew.search()
    for trial_id, trial in first.oracle.trials.items():
        again = anew.oracle.get_trial(trial_id)
        assert again.hyperparameters.values == trial.hyperparameters.values


@pytest.mark.slow
def test_it_runs_in_keras_tuners_own_tuner(new, mode, tmp_path):
    objective = kt.Objective("val_loss", "min")
    oracle = new(None, objective=objective, max_trials=2, **few_epochs(mode))
    tuner = kt.Tuner(oracle, build_model, directory=tmp_path / "tuner")
    trials = search_keras(tuner)
    assert set(point(trials[0])) == {"units", "rate", "momentum"}


def test_it_runs_in_the_tuner_for_scikit_learn(new, tmp_path):
    from sklearn.linear_model import Ridge

    def build(hp):
        return Ridge(alpha=hp.Float("alpha", 1e-3, 10, sampling="log"))

    oracle = new(None, objective=kt.Objective("score", "max"), max_trials=3)
    tuner = kt.SklearnTuner(oracle, build, directory=tmp_path / "tuner")
    tuner.search(*(np.repeat(data, 5, axis=0) for data in examples()))
    assert tuner.oracle.get_best_trials()[0].score > 0.9
    assert tuner.get_best_models()[0].coef_.shape == (2,)


@pytest.mark.slow
@modelled  # the others differ in the oracle alone, and trainings take time
# KerasTuner loads a trial's weights before its optimizer has variables
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_it_tunes_a_keras_model_in_its_own_tuner(mode, tmp_path):
    tuner = kbn.CoarseToFine(
        build_model,
        kt.Objective("val_loss", "min"),
        max_trials=3,
        directory=tmp_path,
        **settings(mode, **few_epochs(mode)),
    )
    trials = search_keras(tuner)
    assert len(set(texts(fresh(trials)))) == len(fresh(trials))
    x, y = examples()
    (model,) = tuner.get_best_models()
    score = tuner.oracle.get_best_trials()[0].score
    assert model.evaluate(x, y, verbose=0) == pytest.approx(score, rel=1e-5)


@pytest.mark.slow
@with_epochs
def test_a_continued_training_begins_with_the_weights_before_it(mode, tmp_path):
    class Recorded(kt.HyperModel):
        def __init__(self):
            super().__init__()
            self.fits = []

        def build(self, hp):
            return build_model(hp)

        def fit(self, hp, model, *args, **kwargs):
            untrained = all((kernel.numpy() == 1).all() for kernel in model.weights[::2])
            self.fits.append((kwargs["initial_epoch"], kwargs["epochs"], untrained))
            return super().fit(hp, model, *args, **kwargs)

    recorded = Recorded()
    objective = kt.Objective("val_loss", "min")
    tuner = kbn.CoarseToFine(
        recorded, objective, 2, directory=tmp_path, **settings(mode, **few_epochs(mode))
    )
    trials = search_keras(tuner)
    assert recorded.fits == [
        (v["tuner/initial_epoch"], v["tuner/epochs"], "tuner/trial_id" not in v) for v in trials
    ]
    assert any("tuner/trial_id" in values for values in trials)
