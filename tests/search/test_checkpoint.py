import keras
import keras_tuner
import numpy as np
import pytest

import kbn

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = (X.sum(1) + np.random.default_rng(1).normal(size=40) > 0).astype("int32")
OBJECTIVE = keras_tuner.Objective("val_loss", "min")


class Swinging(keras_tuner.HyperModel):
    """Its best epoch is neither the first nor the last: the second."""

    def __init__(self):
        super().__init__()
        self.weights, self.rates, self.model = [], (0.01, 0.1, 50.0, 0.0), None

    def build(self, hp):
        rate = hp.Float("scale", 1, 2)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
        loss = "sparse_categorical_crossentropy"
        # tracing takes longer than so few steps
        model.compile(keras.optimizers.SGD(0.1 * rate), loss, run_eagerly=True, jit_compile=False)
        return model

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        swing = keras.callbacks.LearningRateScheduler(lambda epoch: self.rates[epoch])
        note = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: self.weights.append(model.get_weights())
        )
        self.model = model
        return super().fit(hp, model, *args, callbacks=[swing, *callbacks, note], **kwargs)


def searched(tmp_path, hypermodel, **options):
    tuner = kbn.CoarseToFine(
        hypermodel, OBJECTIVE, max_trials=1, seed=0, directory=tmp_path, **options
    )
    tuner.search(X, Y, validation_data=(X, Y), epochs=4, verbose=0)
    return tuner


@pytest.mark.slow
def test_the_best_epochs_weights_are_saved_once_a_training(tmp_path, monkeypatch):
    saved, save = [], keras.Model.save_weights
    monkeypatch.setattr(
        keras.Model, "save_weights", lambda *a, **k: (saved.append(a[1]), save(*a, **k))[1]
    )
    hypermodel = Swinging()
    tuner = searched(tmp_path, hypermodel)
    assert len(saved) == 1
    (best,) = tuner.get_best_models()
    for loaded, second in zip(best.get_weights(), hypermodel.weights[1], strict=True):
        np.testing.assert_array_equal(loaded, second)
    for left, last in zip(hypermodel.model.get_weights(), hypermodel.weights[-1], strict=True):
        np.testing.assert_array_equal(left, last)


@pytest.mark.slow
def test_of_several_executions_the_best_epoch_of_all_is_kept(tmp_path):
    hypermodel = Swinging()
    hypermodel.rates = (0.1, 0.1, 0.1, 0.1)
    tuner = searched(tmp_path, hypermodel, executions_per_trial=3)
    (best,) = tuner.get_best_models()

    def loss_of(model):
        predicted = keras.ops.convert_to_numpy(model(X))
        return -np.log(predicted[np.arange(len(Y)), Y]).mean()

    loss, of_all = loss_of(best), []
    for weights in hypermodel.weights:
        best.set_weights(weights)
        of_all.append(loss_of(best))
    assert len(of_all) == 12
    assert loss == pytest.approx(min(of_all))


class OwnLoop(Swinging):
    """Trains without Keras' fit, and calls the callbacks as KerasTuner's guide does."""

    def fit(self, hp, model, x, y, *, callbacks, validation_data, **_):
        for callback in callbacks:
            callback.set_model(model)
        losses = [0.5, 0.2, 0.9]
        for epoch, loss in enumerate(losses):
            model.set_weights([np.full_like(w, epoch) for w in model.get_weights()])
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"val_loss": loss})
        return {"val_loss": min(losses)}


@pytest.mark.slow
def test_a_training_loop_of_the_users_own_gets_its_checkpoint(tmp_path):
    (best,) = searched(tmp_path, OwnLoop()).get_best_models()
    assert all((weights == 1).all() for weights in best.get_weights())
