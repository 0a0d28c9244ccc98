"""kbn.CoarseToFineOracle against KerasTuner's and Optuna's searches, on real Keras trainings.

    pip install -e '.[bench]'
    python benchmarks/search.py --out search.jsonl       # goes on where it was cut
    python benchmarks/search.py --report search.jsonl    # the tables alone

Tunes an MLP and a CNN with batch normalization on scikit-learn's digits. Per seed a quarter of the
digits trains, a quarter validates and half tests; every method gets the same split, space and
scales, first weights and order of the examples. A trial is EPOCHS epochs, its score the validation
accuracy after the last.

Prints a Markdown table a model; figures are means over the seeds and their standard errors.
"validation" is the best score, "over random" its difference from RandomSearch's at the same seed,
"test" the test accuracy of the best values refitted on training and validation part: at equal
trials, and again at equal wall time, that which RandomSearch took for all its trials at that seed
(who is done sooner keeps what it has). "seconds" is the search without refits, "between" what of it
passed between trainings. Each search has a process and a thread of its own.

The trials of Hyperband and of ours with epochs are partial: their budget is that of the others in
epochs, and a trial goes on from the weights and the optimizer's state of another (KerasTuner's own
Hyperband keeps the weights alone). Most of a training's time is TensorFlow's start, so that their
many trials cost them dear in seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import keras_tuner as kt
import numpy as np
import optuna
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kbn

EPOCHS = 9  # of a whole training: Hyperband's rungs are 1, 3 and 9
# model -> most layers, least and most units (a CNN's filters) of a layer
MODELS = {"mlp": (4, 16, 256), "cnn": (3, 4, 32)}

Values = dict[str, Any]
Key = tuple[str, str, int]  # model, method, seed
Part = tuple[Any, Any]  # images in [0, 1], shape (n, 8, 8, 1), and labels, shape (n,)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=2, help="searches at a time")
    parser.add_argument("--out", type=Path, help="gets a JSON line a trial; runs what it lacks")
    parser.add_argument("--report", type=Path, help="print the tables of such a file")
    args = parser.parse_args()
    out = args.report or args.out or Path(tempfile.mkdtemp()) / "search.jsonl"
    budget = args.trials * EPOCHS
    exits: list[int | None] = []
    if args.report is None:
        done = read(out, budget)
        keys = [(m, way, s) for s in range(args.seeds) for m in args.models for way in args.methods]
        spawn = multiprocessing.get_context("spawn")

        def start(key: Key) -> int | None:
            process = spawn.Process(target=run, args=(key, args.trials, out))
            process.start()
            process.join()  # one that fails says why, and the others go on
            return process.exitcode

        with ThreadPool(args.jobs) as pool:
            exits = pool.map(start, [key for key in keys if key not in done], chunksize=1)
    report(read(out, budget))
    sys.exit(any(exits))


def run(key: Key, trials: int, out: Path) -> None:
    """Runs one search, appending its trials to a file."""
    model, method, seed = key
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    hp = space(model)
    parts = split(seed)
    train(model, hp.values, seed, parts[:2], range(1))  # TensorFlow takes its time to start
    with tempfile.TemporaryDirectory() as directory, out.open("a", encoding="utf-8") as stream:
        oracle = make_oracle(method, trials, hp, seed, directory)
        head = {"model": model, "method": method, "seed": seed}
        for row in search(oracle, trials * EPOCHS, model, seed, parts):
            print(json.dumps(head | row), file=stream, flush=True)
        print(json.dumps(head | {"done": True}), file=stream, flush=True)
    line = f"{model} {method} seed {seed}: {row['trial'] + 1} trials in {row['seconds']:.0f} s"
    print(line, file=sys.stderr, flush=True)


def search(oracle: Any, budget: int, model: str, seed: int, parts: list[Part]) -> Iterator[Values]:
    """Trains what the oracle proposes until `budget` epochs are spent."""
    whole = [tuple(map(np.concatenate, zip(*parts[:2], strict=True))), parts[2]]
    best, spent, trained, begin = -1.0, 0, 0.0, time.perf_counter()
    states: dict[str, Any] = {}  # of partial trials, for those that go on from them
    for number in itertools.count():
        trial = oracle.create_trial("tuner")
        if trial.status == "STOPPED":
            return  # what is left of its epochs is too little for a trial
        start, values = time.perf_counter(), trial.hyperparameters.values
        epochs = range(values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", EPOCHS))
        past = states.get(values.get("tuner/trial_id"), ())
        score, states[trial.trial_id] = train(model, values, seed, parts[:2], epochs, past)
        trained += time.perf_counter() - start
        oracle.update_trial(trial.trial_id, {"val_accuracy": score})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        spent += len(epochs)
        row = {"trial": number, "score": score, "epochs": spent, "values": values}
        row["seconds"] = time.perf_counter() - begin
        row["between"] = row["seconds"] - trained
        if score > best:
            best, start = score, time.perf_counter()
            row["test"], _ = train(model, values, seed, whole, range(EPOCHS))
            begin += time.perf_counter() - start  # the search's clock stands still
        yield row
        if spent >= budget:
            return


# -- models and trainings --------------------------------------------------------------------------
def space(model: str) -> kt.HyperParameters:
    most_layers, least_units, most_units = MODELS[model]
    hp = kt.HyperParameters()
    hp.Float("learning_rate", 1e-4, 1.0, sampling="log")
    hp.Choice("batch_size", [16, 32, 64, 128])
    kbn.scales.complement_log(hp, "norm_momentum", 0.5, 0.999)
    hp.Float("dropout", 0.0, 0.5)
    hp.Int("layers", 1, most_layers)
    hp.Int("units", least_units, most_units, sampling="log")
    hp.Choice("optimizer", ["sgd", "adam"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    with hp.conditional_scope("optimizer", ["adam"]):
        kbn.scales.complement_log(hp, "beta_1", 0.5, 0.999)
    return hp


def build(model: str, values: Values) -> Any:
    layers: list[Any] = [keras.Input((8, 8, 1))]
    layers += [keras.layers.Flatten()] if model == "mlp" else []
    for i in range(values["layers"]):
        if model == "mlp":
            layers += [keras.layers.Dense(values["units"], use_bias=False)]
        else:
            shape = {"kernel_size": 3, "strides": 1 if i else 2, "padding": "same"}
            layers += [keras.layers.Conv2D(values["units"], use_bias=False, **shape)]
        layers += [kbn.BatchNormalization(momentum=values["norm_momentum"]), keras.layers.ReLU()]
    layers += [keras.layers.Flatten(), keras.layers.Dropout(values["dropout"])]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def train(
    name: str, values: Values, seed: int, parts: list[Part], epochs: range, state: Any = ()
) -> tuple[float, list[Any]]:
    """Trains on the first part; returns the accuracy on the second and all variables' values.

    Goes on from `state`, the values that another training returned. All steps run in one graph:
    `fit` takes several times as long, most of it to trace and to feed so short a training.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = build(name, values)
    if values["optimizer"] == "sgd":
        optimizer = keras.optimizers.SGD(values["learning_rate"], values["momentum"])
    else:
        optimizer = keras.optimizers.Adam(values["learning_rate"], values["beta_1"])
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    for variable, value in zip(variables, state, strict=bool(state)):
        variable.assign(value)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def steps(x: Any, y: Any, batches: Any) -> None:
        def step(i: Any) -> tuple[Any]:
            with tf.GradientTape() as tape:
                logits = model(tf.gather(x, batches[i]), training=True)
                value = loss(tf.gather(y, batches[i]), logits)
            optimizer.apply(tape.gradient(value, weights))
            return (i + 1,)

        tf.while_loop(lambda i: i < batches.shape[0], step, [0], parallel_iterations=1)

    (x, y), (x_test, y_test) = parts
    shape = (len(y) // values["batch_size"], values["batch_size"])
    orders = [np.random.default_rng([seed, epoch]).permutation(len(y)) for epoch in epochs]
    steps(x, y, np.concatenate([order[: np.prod(shape)].reshape(shape) for order in orders]))
    hits = np.argmax(model(x_test, training=False), axis=1) == y_test
    return float(hits.mean()), [variable.numpy() for variable in variables]


def split(seed: int) -> list[Part]:
    """Training, validation and test part."""
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype("float32") / 16
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.5, stratify=y, random_state=seed)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.5, stratify=y, random_state=seed)
    return [(x, y), (x_val, y_val), (x_test, y_test)]


# -- oracles ---------------------------------------------------------------------------------------
class TPEOracle(kt.Oracle):
    """Optuna's TPE as it comes, asked for those conditional hyperparameters that are active."""

    def __init__(self, seed: int, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.asked: dict[str, optuna.Trial] = {}

    def populate_space(self, trial_id: str) -> Values:
        self.asked[trial_id] = ask = self.study.ask()
        values: Values = {}
        for hp in self.hyperparameters.space:
            if all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = self.suggest(ask, hp)
        return {"status": "RUNNING", "values": values}

    @staticmethod
    def suggest(ask: optuna.Trial, hp: Any) -> Any:
        if hp.name == "batch_size":
            return hp.values[ask.suggest_int(hp.name, 0, len(hp.values) - 1)]
        if hp.name == "optimizer":
            return ask.suggest_categorical(hp.name, hp.values)
        if hp.name in ("layers", "units"):
            return ask.suggest_int(hp.name, hp.min_value, hp.max_value, log=hp.sampling == "log")
        return hp.prob_to_value(ask.suggest_float(hp.name, 0, 1))  # uniform on its own scale

    def end_trial(self, trial: Any) -> None:
        super().end_trial(trial)
        self.study.tell(self.asked.pop(trial.trial_id), self.trials[trial.trial_id].score)


# method -> name in the tables, oracle, its options beside the common ones
METHODS: dict[str, tuple[str, Any, Values]] = {
    "random": ("KerasTuner RandomSearch", kt.oracles.RandomSearchOracle, {}),
    "bayesian": ("KerasTuner BayesianOptimization", kt.oracles.BayesianOptimizationOracle, {}),
    "hyperband": (
        "KerasTuner Hyperband",
        kt.oracles.HyperbandOracle,
        {"max_epochs": EPOCHS, "hyperband_iterations": None},  # without end
    ),
    "tpe": ("Optuna TPE", TPEOracle, {}),
    "plain": ("ours, `surrogate=None`", kbn.CoarseToFineOracle, {"surrogate": None}),
    "gp": ('ours, `surrogate="gp"`', kbn.CoarseToFineOracle, {"surrogate": "gp"}),
    "epochs": (
        'ours, `epochs="coarse_to_fine"`',
        kbn.CoarseToFineOracle,
        {"epochs": "coarse_to_fine", "max_epochs": EPOCHS},
    ),
}


def make_oracle(method: str, trials: int, hp: kt.HyperParameters, seed: int, directory: str) -> Any:
    _, kind, options = METHODS[method]
    oracle = kind(
        objective=kt.Objective("val_accuracy", "max"),
        hyperparameters=hp,
        seed=100_003 * (seed + 1),  # KerasTuner draws with seed, seed + 1, ...: keep apart
        **({} if method == "hyperband" else {"max_trials": trials}),
        **options,
    )
    oracle.verbose = 0
    kt.engine.base_tuner.BaseTuner(oracle, directory=directory)  # tells it where to save
    return oracle


# -- the report ------------------------------------------------------------------------------------
def read(file: Path, budget: int) -> dict[Key, list[Values]]:
    """The trials of the searches that ended; of those run twice, the last time's."""
    searches: dict[Key, list[Values]] = {}
    done = set()
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        row = json.loads(line)
        key = (row["model"], row["method"], row["seed"])
        if "done" in row:
            done.add(key)
        else:
            searches[key] = [*(searches[key] if row["trial"] else []), row]
    return {key: [row for row in searches[key] if row["epochs"] <= budget] for key in done}


def report(searches: dict[Key, list[Values]]) -> None:
    heads = "validation | over random | test | validation, equal time | test, equal time"
    for model in dict.fromkeys(key[0] for key in searches):
        methods = [m for m in METHODS if any(key[:2] == (model, m) for key in searches)]
        seeds = sorted({seed for *_, seed in searches})
        seeds = [s for s in seeds if all((model, m, s) in searches for m in methods)]  # finished
        print(f"\n| {model}, {len(seeds)} seeds, % | {heads} | seconds | between |")
        print("|---" * 8 + "|")
        for method in methods if seeds else []:
            by_seed = [
                columns(searches[model, method, s], searches.get((model, "random", s), []))
                for s in seeds
            ]
            print(f"| {METHODS[method][0]} | {' | '.join(map(mean, zip(*by_seed, strict=True)))} |")


def columns(rows: list[Values], random: list[Values]) -> list[float]:
    """The table's columns at one seed; NaN where they need a RandomSearch that was not run."""
    score, test = best(rows, np.inf)
    timed = best(rows, random[-1]["seconds"] if random else np.nan)
    shares = [score, score - best(random, np.inf)[0], test, *timed]
    return [*(100 * share for share in shares), rows[-1]["seconds"], rows[-1]["between"]]


def best(rows: list[Values], seconds: float) -> tuple[float, float]:
    """Score of the best trial within so many seconds, and its refit's test accuracy."""
    known = [row for row in rows if "test" in row and row["seconds"] <= seconds]
    return (known[-1]["score"], known[-1]["test"]) if known else (np.nan, np.nan)


def mean(values: Sequence[float]) -> str:
    """The mean and its standard error."""
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{error}"


if __name__ == "__main__":
    main()
