"""A KerasTuner script of your own, as it is: one line sends all of its trials to MLflow.

    python recipes/existing_tuner.py
    python recipes/existing_tuner.py --trials 2 --epochs 1    # a quick look
    mlflow ui    # shows them: experiment existing_tuner, on the side Model training

`kbn.track` takes any KerasTuner tuner, here KerasTuner's own random search, and gives it back.
"""

import argparse

import keras
import keras_tuner
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kbn


def build_model(hp: keras_tuner.HyperParameters) -> keras.Model:
    """A small network on 64 pixels."""
    model = keras.Sequential(
        [
            keras.layers.Dense(hp.Int("units", 16, 128, sampling="log"), activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    # kbn's scales serve any tuner: momentum .9 to .99 as often as .99 to .999
    momentum = kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    optimizer = keras.optimizers.SGD(rate, momentum)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> None:
    """Tunes it, and tracks every trial."""
    parser = argparse.ArgumentParser(description="Random search, tracked in MLflow.")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args()

    x, y = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x / 16, y, test_size=0.2, stratify=y, random_state=7)

    tuner = keras_tuner.RandomSearch(
        build_model,
        "val_accuracy",
        max_trials=asked.trials,
        seed=7,
        directory="searches",
        project_name="existing_tuner",
    )
    tuner = kbn.track(tuner, experiment="existing_tuner")  # the one line
    tuner.search(x, y, validation_data=(x_val, y_val), epochs=asked.epochs, verbose=0)
    tuner.results_summary(num_trials=1)


if __name__ == "__main__":
    main()
