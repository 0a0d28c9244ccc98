"""Cross-validation: what a trial's score is the mean of, and what the saved model learns from."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler

import kbn
from kbn.errors import RecipeError
from kbn.report import words
from kbn.run.hypermodel import SEEDS
from kbn.run.preflight import load_data, prepare
from kbn.run.project import Project

SEED, EPOCHS, BATCH, RATE = 3, 3, 16, 0.05


def recipe(dataset="iris", metric="val_accuracy", trials=1, folds=3, data=None, **search):
    return kbn.Recipe(
        name="folded",
        dataset={"name": dataset, "test": 0.2, **(data or {})},
        model={"name": "softmax" if dataset == "iris" else "mlp"},
        objective={"metric": metric},
        training={"schedule": "constant"},
        search={"trials": trials, "epochs": EPOCHS, "seed": SEED, "folds": folds, **search},
        space={"learning_rate": RATE, "batch_size": {"type": "choice", "values": [BATCH, 32]}},
        tracking={"enabled": False},
    )


@pytest.mark.slow
def test_a_trials_score_is_the_mean_of_a_plain_loop_over_sklearns_folds(workspace):
    tuned = kbn.tune(recipe(first=[{"batch_size": BATCH}]))
    x, y = load_iris(return_X_y=True)
    x, _, y, _ = train_test_split(x, y, test_size=0.2, stratify=y, random_state=SEED)
    scores = []
    split = StratifiedKFold(3, shuffle=True, random_state=SEED).split(x, y)
    for number, (train, val) in enumerate(split):
        keras.utils.set_random_seed(SEED + number * SEEDS)
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(3, activation="softmax", name="output")]
        )
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.Adam(RATE), loss=loss, metrics=["accuracy"])
        scaler = StandardScaler().fit(x[train])  # on the training part of the fold alone
        history = model.fit(
            scaler.transform(x[train]),
            y[train],
            batch_size=BATCH,
            epochs=EPOCHS,
            validation_data=(scaler.transform(x[val]), y[val]),
            verbose=0,
        )
        scores.append(max(history.history["val_accuracy"]))
    (trial,) = tuned.results.trials
    assert trial.score == pytest.approx(np.mean(scores), abs=1e-6)
    assert sorted({epoch.execution for epoch in trial.epochs}) == [0, 1, 2]
    assert "is the mean over 3 folds, whose scores lie between" in tuned.report.read_text()


def test_the_folds_of_a_regression_are_sklearns_and_no_fold_knows_its_validation_part():
    data = load_data(recipe("diabetes", "val_mae", folds=4))
    x, y = load_diabetes(return_X_y=True)
    x, _, y, _ = train_test_split(x, y, test_size=0.2, random_state=SEED)
    split = KFold(4, shuffle=True, random_state=SEED).split(x)
    for fold, (train, val) in zip(data.folds, split, strict=True):
        for given, values in (("x", x), ("y", y.reshape(-1, 1))):
            scaler = StandardScaler().fit(values[train])
            for part, rows in (("train", train), ("val", val)):
                found = getattr(fold, f"{given}_{part}").reshape(len(rows), -1)
                assert found == pytest.approx(scaler.transform(values[rows]), abs=1e-5)
        assert not len(fold.x_test)
    assert len(data.x_train) == len(x)
    assert not len(data.x_val)
    assert len(data.x_test) == 89


@pytest.mark.slow
def test_the_saved_model_is_trained_on_all_examples_but_the_test_part(workspace):
    tuned = kbn.tune(recipe("diabetes", "val_mae", trials=2, folds=2))
    data = prepare(tuned.recipe)
    assert len(data.y_train) == 353
    hp = Project(tuned.recipe).oracle().get_trial(tuned.best.trial).hyperparameters
    from kbn.run.final import complete, refit

    model, test = refit(tuned.recipe, data, hp)
    x = load_diabetes(return_X_y=True)[0][:50]
    expected = complete(model, data).predict(x, verbose=0)
    assert tuned.best_model().predict(x, verbose=0) == pytest.approx(expected, rel=1e-4)
    assert dict(tuned.test) == pytest.approx(test)
    deviation = words.number(float(f"{data.y_scaling[1]:.6g}"))
    page = tuned.report.read_text()
    assert f"an error of 1 is {deviation} in the target&#39;s own unit, in which the best" in page
    assert not list((workspace / "searches").glob("*/trial_*/*.h5"))  # no fold's model is kept


@pytest.mark.slow
def test_without_a_test_part_the_model_is_trained_on_everything_and_not_tested(workspace):
    tuned = kbn.tune(recipe(data={"test": None}, folds=2))
    assert dict(tuned.test) == {}
    assert tuned.best_model().predict(load_iris().data[:2], verbose=0).shape == (2, 3)


@pytest.mark.slow
def test_a_search_with_folds_goes_on_and_its_recipe_survives_being_written_out(workspace):
    kbn.tune(recipe(trials=1, folds=2))
    again = kbn.Recipe.model_validate(recipe(trials=2, folds=2).model_dump())
    assert again.dataset.validation is None
    assert len(kbn.tune(again).trials) == 2


def test_folds_that_the_data_do_not_allow_are_reported_before_anything_is_written(workspace):
    with pytest.raises(RecipeError) as caught:
        kbn.tune(recipe(folds=41))
    assert "every fold needs an example of every class; got 40 for 41 folds." in str(caught.value)
    assert not (workspace / "searches").exists()


@pytest.mark.slow
def test_a_fold_may_lack_a_word_that_another_one_knows(workspace):
    rows = [
        f"{('red', 'green')[i % 2] if i else 'once'},{'no' if i % 3 else 'yes'}" for i in range(24)
    ]
    (workspace / "words.csv").write_text("\n".join(["colour,answer", *rows]) + "\n")
    tuned = kbn.tune(
        {
            "name": "words",
            "dataset": {"path": "words.csv"},
            "model": {"name": "softmax"},
            "objective": {"metric": "val_accuracy"},
            "search": {"trials": 1, "epochs": 1, "folds": 3},
            "space": {"learning_rate": 0.1},
            "tracking": {"enabled": False},
        }
    )
    widths = {fold.shape for fold in prepare(tuned.recipe).folds}
    assert widths == {(3,), (4,)}  # two or three words, and any other
    assert list(tuned.trials["status"]) == ["COMPLETED"]
