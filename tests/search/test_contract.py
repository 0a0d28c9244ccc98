"""What every mode of the search promises, whatever the method inside."""

import functools
import gc
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import keras
import keras_tuner as kt
import numpy as np
import pytest
from keras_tuner.engine.hyperparameters import Float
from keras_tuner.engine.trial import Trial
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient

import kbn

MAX_EPOCHS = 9
MODES = {
    "gp": {"surrogate": "gp"},
    "plain": {"surrogate": None},
    "one round": {"surrogate": None, "rounds": 1},
    "epochs": {"epochs": "coarse_to_fine", "max_epochs": MAX_EPOCHS},
}
LOSS = kt.Objective("loss", "min")
LIMIT = 1000  # steps after which a search that should have stopped is given up

in_modes = functools.partial(pytest.mark.parametrize, "mode", indirect=True)
adaptive = in_modes(["gp", "plain", "epochs"])  # those that learn from their trials
modelled = in_modes(["gp", "epochs"])
with_epochs = in_modes(["epochs"])


# --- spaces and losses ---------------------------------------------------------------------------


def space(hp):
    hp.Float("rate", 1e-4, 1, sampling="log")
    kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)
    hp.Int("units", 8, 64)
    hp.Choice("optimizer", ["sgd", "adam"])


def loss_of(values):
    """Least at rate .01, momentum .9 and sgd; less after more epochs."""
    loss = (math.log10(values["rate"]) + 2) ** 2 + (math.log10(1 - values["momentum"]) + 1) ** 2
    loss += (values["units"] / 64 - 0.5) ** 2 + (values["optimizer"] == "adam")
    return loss + 1 / values.get("tuner/epochs", MAX_EPOCHS)


def square(hp):
    hp.Float("x", 0, 1)
    hp.Float("y", 0, 1)


def distance(values):
    """Least at x .3 and y .5."""
    return (values["x"] - 0.3) ** 2 + (values["y"] - 0.5) ** 2


def scaled(hp):
    """A hyperparameter on each scale."""
    hp.Float("linear", -1, 3)
    hp.Float("log", 1e-7, 1, sampling="log")
    hp.Float("reverse_log", 1, 100, sampling="reverse_log")
    kbn.scales.complement_log(hp, "complement_log", 0.5, 0.999)
    kbn.scales.per_decade(hp, "per_decade", 1e-3, 1)
    hp.Int("integer", -4, 5)
    hp.Int("integer_log", 64, 1024, sampling="log")


BOUNDS = {
    "linear": (-1, 3),
    "log": (1e-7, 1),
    "reverse_log": (1, 100),
    "complement_log": (0.5, 0.999),
    "per_decade": (1e-3, 1),
    "integer": (-4, 5),
    "integer_log": (64, 1024),
}
MIDDLES = {  # as much of the scale lies below as above
    "linear": 1,
    "log": 10**-3.5,
    "reverse_log": 91,
    "complement_log": 1 - math.sqrt(0.5 * 0.001),
    "per_decade": 0.055,
    "integer": 0.5,
    "integer_log": 256,
}
CONTINUOUS = ("linear", "log", "reverse_log", "complement_log", "per_decade")


def gridded(hp):
    """A hyperparameter with few values of each kind."""
    hp.Float("float_step", 0, 0.5, step=0.1)
    hp.Int("int_step", 10, 105, step=30)
    hp.Float("log_step", 1e-3, 10, step=10, sampling="log")
    hp.Int("int_log_step", 2, 64, step=2, sampling="log")
    hp.Float("reverse_log_step", 1, 100, step=10, sampling="reverse_log")
    hp.Choice("ordered", [16, 32, 64])
    hp.Choice("unordered", [3, 1, 2], ordered=False)
    hp.Choice("words", ["sgd", "adam"])
    hp.Choice("floats", [0.1, 0.5, 0.9])
    hp.Choice("flags", [True, False])
    hp.Boolean("boolean")
    hp.Fixed("fixed_int", 7)
    hp.Fixed("fixed_word", "x")
    hp.Fixed("fixed_flag", True)


GRIDS = {
    "float_step": [0, 0.1, 0.2, 0.3, 0.4, 0.5],
    "int_step": [10, 40, 70, 100],
    "log_step": [1e-3, 1e-2, 0.1, 1, 10],
    "int_log_step": [2, 4, 8, 16, 32, 64],
    "reverse_log_step": [1, 91, 100],
    "ordered": [16, 32, 64],
    "unordered": [1, 2, 3],
    "words": ["adam", "sgd"],
    "floats": [0.1, 0.5, 0.9],
    "flags": [False, True],
    "boolean": [False, True],
    "fixed_int": [7],
    "fixed_word": ["x"],
    "fixed_flag": [True],
}


def nested(hp):
    hp.Choice("a", ["x", "y", "z"])
    with hp.conditional_scope("a", ["x", "y"]):
        hp.Boolean("b")
        with hp.conditional_scope("b", [True]):
            hp.Choice("c", [1, 2])
    with hp.conditional_scope("a", ["z"]):
        hp.Int("d", 1, 3)


def active(values):
    """The names that `nested` has where `a` and `b` have these values."""
    if values["a"] == "z":
        return {"a", "d"}
    return {"a", "b", "c"} if values["b"] else {"a", "b"}


ALONE = {
    "choice": lambda hp: hp.Choice("one", ["x"]),
    "integer": lambda hp: hp.Int("one", 3, 3),
    "float": lambda hp: hp.Float("one", 0.5, 0.5),
    "log": lambda hp: hp.Float("one", 0.5, 0.5, sampling="log"),
    "reverse_log": lambda hp: hp.Float("one", 0.5, 0.5, sampling="reverse_log"),
    "integer log": lambda hp: hp.Int("one", 3, 3, sampling="log"),
    "step": lambda hp: hp.Float("one", 0.5, 0.5, step=0.1),
    "wide step": lambda hp: hp.Int("one", 3, 5, step=4),
    "complement_log": lambda hp: kbn.scales.complement_log(hp, "one", 0.5, 0.5),
    "per_decade": lambda hp: kbn.scales.per_decade(hp, "one", 0.5, 0.5),
    "fixed": lambda hp: hp.Fixed("one", 7),
}


# --- searches ------------------------------------------------------------------------------------


def settings(mode, **changes):
    """The keyword arguments of a mode."""
    return {"seed": 5, **MODES[mode], **changes}


def oracle_in(
    directory, mode, space=space, *, max_trials=10, objective=LOSS, saved=False, **kwargs
):
    """An oracle on the space that the function `space` declares; None for one without a space.

    It writes its files only if `saved`: that takes time and tells nothing where nothing is loaded.
    """
    hp = kt.HyperParameters()
    if space is not None:
        space(hp)
        kwargs["hyperparameters"] = hp
    oracle = kbn.CoarseToFineOracle(objective, max_trials, **settings(mode, **kwargs))
    oracle.verbose = 0
    oracle._set_project_dir(directory, "search")
    if not saved:
        oracle.save, oracle._write_trial = lambda: None, lambda trial: None
    return oracle


def start(oracle, worker="w"):
    """A new trial, or None at the end of the search."""
    trial = oracle.create_trial(worker)
    if trial.status == "STOPPED":
        return None
    assert trial.status == "RUNNING", f"{trial.status} with nothing else in flight"
    return trial


def finish(oracle, trial, loss, status="COMPLETED"):
    if loss is not None:
        oracle.update_trial(trial.trial_id, {"loss": loss})
    trial.status = status
    oracle.end_trial(trial)


def step(oracle, loss=loss_of):
    """One trial from start to end, failed where `loss(values)` is None; its values or None."""
    trial = start(oracle)
    if trial is None:
        return None
    score = loss(trial.hyperparameters.values)
    finish(oracle, trial, score, "COMPLETED" if score is not None else "FAILED")
    return dict(trial.hyperparameters.values)


def run(oracle, loss=loss_of):
    """The values of all trials until the search stops."""
    trials = list(itertools.islice(iter(lambda: step(oracle, loss), None), LIMIT))
    assert len(trials) < LIMIT, "the search did not stop"
    return trials


def run_in_flight(oracle, workers, loss=loss_of):
    """All trials of a search that `workers` share, each ended just before its worker's next one."""
    running, trials = {}, []
    for worker in itertools.islice(itertools.cycle(range(workers)), LIMIT):
        if worker in running:
            trial = running.pop(worker)
            finish(oracle, trial, loss(trial.hyperparameters.values))
        trial = oracle.create_trial(f"w{worker}")
        if trial.status == "RUNNING":
            running[worker] = trial
            trials.append(trial)
        elif not running:
            return trials
    raise AssertionError("the search did not stop")


def grow(oracle, build, trials=12):
    """A search whose trials find their hyperparameters while they run; their values at the end."""
    recorded = []
    for _ in range(trials):
        trial = start(oracle)
        if trial is None:
            break
        finish(oracle, trial, build(trial.hyperparameters))
        recorded.append(oracle.get_trial(trial.trial_id).hyperparameters.values)
    return recorded


def point(values):
    """The values without the notes on epochs."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


def points(trials):
    return [point(values) for values in trials]


def fresh(trials):
    """The points of those that do not go on from another one's weights."""
    return [point(values) for values in trials if "tuner/trial_id" not in values]


def texts(values):
    """Each point as a text that two points share only if they are equal."""
    return [json.dumps(point(v), sort_keys=True) for v in values]


def first_round(oracle, trials):
    current = oracle.rounds[0]
    return fresh(trials[current.first : current.end])


def trainings(trials):
    """What was spent, in full trainings."""
    spent = [v.get("tuner/epochs", MAX_EPOCHS) - v.get("tuner/initial_epoch", 0) for v in trials]
    return sum(spent) / MAX_EPOCHS


def epochs(trial):
    return trial.hyperparameters.values.get("tuner/epochs", MAX_EPOCHS)


def short(mode):
    """The max_trials of a search of about eight trials."""
    return 2 if mode == "epochs" else 8


def few_epochs(mode):
    """What keeps real trainings of a mode short."""
    return {"max_epochs": 3} if mode == "epochs" else {}


def have_kept_their_scales(hyperparameters):
    """Whether the middle of each continuous hyperparameter of `scaled` is that of its scale."""
    middles = {hp.name: hp.prob_to_value(0.5) for hp in hyperparameters.space}
    return all(middles[n] == pytest.approx(MIDDLES[n], rel=1e-6) for n in CONTINUOUS)


def alike(a, b):
    """Whether two values are equal but for what a step's sum of floats loses."""
    return a == b or (isinstance(b, float) and abs(a - b) < 1e-9)


def inside(boxes, values):
    """Whether a point of `space` lies in one of the boxes."""
    return any(
        values["optimizer"] in box["optimizer"]
        and all(box[n][0] <= values[n] <= box[n][1] for n in ("rate", "momentum", "units"))
        for box in boxes
    )


def in_another_process():
    """`one_search_in_every_mode`, where another PYTHONHASHSEED orders sets and hashes strings."""
    here = Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, test_contract as t\nprint(json.dumps(t.one_search_in_every_mode()))",
        ],
        capture_output=True,
        check=True,
        text=True,
        cwd=here.parents[1],  # the kbn of this test, not an installed one
        env={
            **os.environ,
            "PYTHONPATH": str(here),
            "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1",
        },
    )
    return json.loads(done.stdout)


def one_search_in_every_mode():
    with tempfile.TemporaryDirectory() as directory:
        return {mode: run(oracle_in(directory, mode)) for mode in MODES}


class Wire:
    """A stub that hands a worker's messages as bytes to the chief's servicer, without a network."""

    def __init__(self, oracle):
        self.servicer = OracleServicer(oracle)

    def __getattr__(self, name):
        def call(request, **_):
            received = type(request).FromString(request.SerializeToString())
            response = getattr(self.servicer, name)(received, None)
            return type(response).FromString(response.SerializeToString())

        return call


class Answering(kt.Tuner):
    """A tuner that overrides `run_trial`; `answer` gives its result."""

    answer = staticmethod(lambda hp: loss_of(hp.values))

    def run_trial(self, trial, *_, **__):
        return self.answer(trial.hyperparameters)


def history(**logs):
    record = keras.callbacks.History()
    record.history = logs
    return record


def build_model(hp):
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(hp.Int("units", 1, 8), kernel_initializer="ones"),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    rate = hp.Float("rate", 1e-4, 1e-2, sampling="log")
    momentum = kbn.scales.complement_log(hp, "momentum", 0.5, 0.99)
    model.compile(keras.optimizers.SGD(rate, momentum), "mse", run_eagerly=True, jit_compile=False)
    return model


def examples():
    x = np.random.default_rng(0).normal(size=(8, 2))
    return x, x.sum(axis=1)


def search_keras(tuner):
    x, y = examples()
    tuner.oracle.verbose = 0
    tuner.search(x, y, validation_data=(x, y), epochs=2, batch_size=8, verbose=0)
    trials = tuner.oracle.trials.values()
    assert all(trial.status == "COMPLETED" for trial in trials), [t.message for t in trials]
    return [trial.hyperparameters.values for trial in trials]


# --- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def new(mode, tmp_path):
    """Makes an oracle of the mode, as `oracle_in`."""

    def make(space=space, *, directory=tmp_path, **kwargs):
        return oracle_in(directory, mode, space, **kwargs)

    return make


@pytest.fixture
def reloaded(new):
    """Makes an oracle of the mode and loads what another one saved."""

    def make(*args, **kwargs):
        oracle = new(*args, **kwargs)
        oracle.reload()
        return oracle

    return make


@pytest.fixture(autouse=True, scope="module")
def few_objects_to_collect():
    """KerasTuner collects garbage twice a trial: what there is before the first test is none."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def elsewhere():
    return in_another_process()


@pytest.fixture
def distributed(monkeypatch):
    """Sets KerasTuner's variables of a worker, and undoes what kbn does on seeing them."""
    monkeypatch.setattr(Float, "from_proto", Float.from_proto)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "chief")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "w")


@pytest.fixture
def worker_of(monkeypatch, distributed):
    """Makes this process a worker of the chief that has the oracle; returns its client."""

    def connect(oracle):
        monkeypatch.setattr("grpc.insecure_channel", lambda address: None)
        monkeypatch.setattr(protos.get_service_grpc(), "OracleStub", lambda _: Wire(oracle))
        return OracleClient(oracle)

    return connect


class TestContract:
    # --- proposals lie in the space --------------------------------------------------------------

    def test_every_proposal_lies_within_its_bounds(self, new):
        trials = run(new(scaled, max_trials=12), loss=lambda values: abs(values["linear"]))
        for values in points(trials):
            assert set(values) == set(BOUNDS)
            for name, (low, high) in BOUNDS.items():
                assert low <= values[name] <= high, name

    @pytest.mark.parametrize("sign", [1, -1], ids=["low", "high"])
    def test_a_loss_that_is_best_at_the_bounds_leads_to_none_beyond(self, new, sign):
        def loss(values):
            return sign * sum((values[n] - low) / (up - low) for n, (low, up) in BOUNDS.items())

        for values in points(run(new(scaled, max_trials=16), loss)):
            for name, (low, high) in BOUNDS.items():
                assert low <= values[name] <= high, name

    def test_every_proposal_lies_on_the_grid(self, new):
        for values in points(run(new(gridded, max_trials=16), lambda values: values["floats"])):
            assert set(values) == set(GRIDS)
            for name, grid in GRIDS.items():
                assert any(alike(values[name], value) for value in grid), name

    def test_values_have_the_plain_types_that_were_declared(self, new):
        def both(hp):
            scaled(hp)
            gridded(hp)

        oracle = new(both, max_trials=4)
        types = {hp.name: type(hp.default) for hp in oracle.hyperparameters.space}
        for values in points(run(oracle, lambda values: values["linear"])):
            assert {name: type(value) for name, value in values.items()} == types

    def test_the_first_round_covers_both_halves_of_every_scale(self, new):
        oracle = new(scaled, max_trials=16)
        trials = first_round(oracle, run(oracle, loss=lambda values: values["linear"]))
        for name, middle in MIDDLES.items():
            below = sum(values[name] < middle for values in trials)
            assert len(trials) / 4 <= below <= len(trials) * 3 / 4, name

    def test_no_two_trials_of_the_first_round_share_a_value_of_a_continuous_hyperparameter(
        self, new
    ):
        oracle = new(scaled, max_trials=16)
        trials = first_round(oracle, run(oracle, loss=lambda values: values["linear"]))
        assert len(trials) > 1
        for name in CONTINUOUS:
            assert len({values[name] for values in trials}) == len(trials), name

    def test_conditional_hyperparameters_are_active_exactly_where_their_conditions_hold(self, new):
        def with_floats(hp):
            nested(hp)
            with hp.conditional_scope("a", ["z"]):
                hp.Float("e", 0, 1)

        trials = points(run(new(with_floats, max_trials=20), lambda values: len(values["a"])))
        assert {values["a"] for values in trials} == {"x", "y", "z"}
        for values in trials:
            assert set(values) == active(values) | ({"e"} if values["a"] == "z" else set())

    # --- small spaces ----------------------------------------------------------------------------

    @pytest.mark.parametrize("name", GRIDS)
    def test_a_discrete_space_stops_after_every_point_was_proposed_once(self, new, name):
        def alone(hp):
            everything = kt.HyperParameters()
            gridded(everything)
            hp.merge([each for each in everything.space if each.name == name])

        trials = run(new(alone, max_trials=20), lambda values: float(values[name] == 0.1))
        proposed = sorted(values[name] for values in fresh(trials))
        assert len(proposed) == len(GRIDS[name])
        assert all(map(alike, proposed, GRIDS[name]))

    def test_a_conditional_space_stops_after_every_point_was_proposed_once(self, new):
        trials = fresh(run(new(nested, max_trials=30), lambda values: values.get("c", 0.0)))
        assert len(trials) == len(set(texts(trials))) == 3 + 2 * (1 + 2)

    @pytest.mark.parametrize("declare", ALONE.values(), ids=ALONE)
    def test_a_space_of_one_point_is_tried_once(self, new, declare):
        oracle = new(declare)
        expected = dict(oracle.hyperparameters.values)
        assert fresh(run(oracle, lambda _: 1.0)) == [expected]

    def test_an_empty_space_is_tried_once(self, new):
        assert fresh(run(new(None), lambda _: 1.0)) == [{}]

    def test_hyperparameters_of_one_value_keep_it_beside_others(self, new):
        def one_of_each(hp):
            for name, declare in ALONE.items():
                with hp.name_scope(name):
                    declare(hp)
            hp.Float("x", 0, 1)

        oracle = new(one_of_each)
        expected = {**oracle.hyperparameters.values, "x": None}
        for values in points(run(oracle, lambda values: values["x"])):
            assert {**values, "x": None} == expected

    # --- spaces that grow ------------------------------------------------------------------------

    def test_hyperparameters_that_a_trial_finds_are_searched_from_then_on(self, new):
        trials = grow(new(None), lambda hp: hp.Float("x", 0, 1) + hp.Choice("k", [1, 2, 3]))
        found = fresh(trials)
        assert found[0] == {"x": 0, "k": 1}
        assert len({values["x"] for values in found}) > len(found) / 2  # some share a good one's
        assert len(set(texts(found))) == len(found) > 3
        assert {1} < {values["k"] for values in found} <= {1, 2, 3}
        assert all(0 <= values["x"] <= 1 for values in found)

    def test_conditional_hyperparameters_that_a_trial_finds_are_active_where_they_should(self, new):
        def build(hp):
            nested(hp)
            return float(hp.get("a") == "x")

        for values in points(grow(new(None), build, trials=8)):
            assert set(values) == active(values)

    def test_hyperparameters_found_late_are_searched_from_then_on(self, new):
        def build(hp):
            layers = hp.Int("layers", 1, 4)
            return sum(abs(hp.Int(f"units_{i}", 1, 1000) - 300) for i in range(layers)) / 1000

        trials = points(grow(new(None), build, trials=16))
        for number, values in enumerate(trials):
            assert {f"units_{i}" for i in range(values["layers"])} < set(values)
            assert all(1 <= value <= 1000 for value in values.values())
            assert set(values) >= set(trials[number - 1] if number else {})

    @pytest.mark.parametrize(
        "declare",
        [
            lambda hp: hp.Int("late", 32, 512, step=32, default=100),
            lambda hp: hp.Float("late", 0, 0.5, step=0.2, default=0.3),
            lambda hp: hp.Float("late", 1e-6, 1e-2, sampling="log", default=0.0),
            lambda hp: hp.Float("late", 1.0, 2.0, default=0.0),
        ],
        ids=["int step", "float step", "below log", "below linear"],
    )
    def test_a_default_off_its_grid_or_range_is_no_obstacle(self, new, declare):
        default = declare(kt.HyperParameters())
        trials = fresh(grow(new(None, max_trials=6), lambda hp: abs(declare(hp) - default)))
        assert trials[0] == {"late": default}  # which is the best of all
        later = [values["late"] for values in trials[1:]]
        assert later
        assert default not in later

    def test_a_space_that_grows_goes_on_after_an_interruption(self, new, reloaded):
        def build(hp):
            nested(hp)
            return hp.Float("x", 0, 1)

        whole = grow(new(None), build, trials=9)
        trials = grow(new(None, saved=True), build, trials=1)
        for _ in whole[1:]:
            trials += grow(reloaded(None, saved=True), build, trials=1)
        assert trials == whole

    def test_new_hyperparameters_are_refused_where_they_are_not_allowed(self, new):
        oracle = new(square, allow_new_entries=False)
        with pytest.raises(RuntimeError, match=r"`allow_new_entries` is `False`.*late"):
            grow(oracle, lambda hp: hp.Float("late", 0, 1))

    def test_new_hyperparameters_keep_their_default_where_they_are_not_tuned(self, new):
        def build(hp):
            return hp.get("x") + hp.Float("late", 0, 1, default=0.25)

        oracle = new(square, tune_new_entries=False)
        trials = grow(oracle, build, trials=4)
        assert [values["late"] for values in trials] == [0.25] * 4
        assert [hp.name for hp in oracle.hyperparameters.space] == ["x", "y"]

    # --- seeds and processes ---------------------------------------------------------------------

    def test_the_same_seed_gives_the_same_trials_in_another_process(self, new, mode, elsewhere):
        assert run(new()) == elsewhere[mode]

    def test_different_seeds_share_no_rate_but_its_bounds(self, new):
        searches = [fresh(run(new(seed=seed))) for seed in (0, 1, 2, 100)]
        rates = [{v["rate"] for v in search if 1.1e-4 < v["rate"] < 0.9} for search in searches]
        assert len(set().union(*rates)) == sum(map(len, rates)) > 20

    def test_seed_zero_is_one_of_them(self, new):
        assert run(new(max_trials=4, seed=0)) == run(new(max_trials=4, seed=0))

    def test_the_order_in_which_other_searches_run_does_not_matter(self, new):
        alone = run(new(max_trials=5))
        one, other = new(max_trials=5), new(max_trials=5, seed=6)
        together = [step(one) for _ in alone if step(other) or True]
        assert together == alone

    # --- interruptions ---------------------------------------------------------------------------

    def test_a_search_stopped_after_any_trial_goes_on_as_if_it_had_not_been(
        self, new, reloaded, mode, tmp_path
    ):
        oracle, trials = new(saved=True, max_trials=short(mode)), []
        while values := step(oracle):
            trials.append(values)
            shutil.copytree(tmp_path / "search", tmp_path / str(len(trials)) / "search")
        assert len(trials) > 3
        for stop in range(1, len(trials) + 1):
            after = reloaded(directory=tmp_path / str(stop), max_trials=short(mode))
            assert trials[:stop] + run(after) == trials, stop

    def test_a_search_reloaded_before_every_trial_has_the_same_rounds(self, new, reloaded, mode):
        whole = new(max_trials=short(mode))
        trials = run(whole)
        oracle = new(saved=True, max_trials=short(mode))
        for values in trials:
            assert step(oracle) == values
            oracle = reloaded(saved=True, max_trials=short(mode))
        assert oracle.rounds == whole.rounds

    def test_ties_are_broken_alike_after_every_interruption(self, new, reloaded, mode):
        whole = run(new(max_trials=short(mode)), lambda _: 1.0)
        trials = [step(new(saved=True, max_trials=short(mode)), lambda _: 1.0)]
        trials += [
            step(reloaded(saved=True, max_trials=short(mode)), lambda _: 1.0) for _ in whole[1:]
        ]
        assert trials == whole

    def test_a_trial_in_flight_at_a_kill_is_run_again_with_the_same_values(
        self, new, reloaded, mode
    ):
        whole = run(new(max_trials=short(mode)))
        oracle = new(saved=True, max_trials=short(mode))
        before = [step(oracle) for _ in range(3)]
        killed = start(oracle)
        after = reloaded(max_trials=short(mode))
        again = start(after, "another worker")
        assert again.trial_id == killed.trial_id
        assert again.hyperparameters.values == killed.hyperparameters.values == whole[3]
        finish(after, again, loss_of(again.hyperparameters.values))
        assert [*before, whole[3], *run(after)] == whole

    def test_a_kill_between_a_trials_result_and_its_end_runs_it_again(self, new, reloaded, mode):
        whole = run(new(max_trials=short(mode)))
        killed = start(oracle := new(saved=True, max_trials=short(mode)))
        oracle.update_trial(killed.trial_id, {"loss": 1e6})
        after = reloaded(max_trials=short(mode))
        assert run(after) == whole
        # the first result does not count beside the second
        assert after.get_trial(killed.trial_id).score == loss_of(whole[0])

    def test_several_in_flight_at_a_kill_are_all_run_again(self, new, reloaded):
        def go_on(oracle, trials):
            for trial in trials:
                finish(oracle, trial, loss_of(trial.hyperparameters.values))
            return run(oracle)

        oracle = new(saved=True)
        for _ in range(3):
            step(oracle)
        killed = [start(oracle, worker) for worker in "abc"]
        after = reloaded()
        again = sorted((start(after, worker) for worker in "abc"), key=lambda t: t.trial_id)
        for one, other in zip(killed, again, strict=True):
            assert one.trial_id == other.trial_id
            assert one.hyperparameters.values == other.hyperparameters.values
        assert go_on(after, again) == go_on(oracle, killed)

    def test_values_names_and_scales_survive_saving_and_loading(self, new, reloaded):
        values = step(new(scaled, saved=True), lambda values: values["linear"])
        after = reloaded(None)
        (trial,) = after.trials.values()
        assert trial.hyperparameters.values == values
        for hyperparameters in (after.get_space(), trial.hyperparameters):
            bounds = {hp.name: (hp.min_value, hp.max_value) for hp in hyperparameters.space}
            assert bounds == BOUNDS
            assert have_kept_their_scales(hyperparameters)

    # --- several in flight -----------------------------------------------------------------------

    def test_no_two_in_flight_get_the_same_point_of_a_small_space(self, new):
        def small(hp):
            hp.Choice("a", list(range(5)))
            hp.Boolean("b")

        oracle = new(small, max_trials=30)
        trials = [oracle.create_trial(f"w{i}") for i in range(11)]
        running = [t.hyperparameters.values for t in trials if t.status == "RUNNING"]
        assert len(set(texts(running))) == len(running)
        assert len(running) == 10 or trials[-1].status == "IDLE"
        assert trials[-1].status in ("STOPPED", "IDLE")

    def test_no_two_of_many_in_flight_get_the_same_point(self, new):
        trials = run_in_flight(new(max_trials=16), workers=5)
        proposed = fresh([trial.hyperparameters.values for trial in trials])
        assert len(set(texts(proposed))) == len(proposed)

    def test_several_in_flight_search_the_same_each_time(self, new):
        one, other = (run_in_flight(new(max_trials=8), workers=3) for _ in range(2))
        assert [t.hyperparameters.values for t in one] == [t.hyperparameters.values for t in other]

    def test_what_trials_in_flight_find_is_searched_from_then_on(self, new):
        oracle = new(None, max_trials=8)
        for trial in [oracle.create_trial(f"w{i}") for i in range(3)]:
            if trial.status == "RUNNING":
                finish(oracle, trial, trial.hyperparameters.Float("x", 0, 1))
        later = fresh(grow(oracle, lambda hp: hp.Float("x", 0, 1)))
        assert len({values["x"] for values in later}) == len(later) > 1

    # --- the objective ---------------------------------------------------------------------------

    def test_to_maximize_is_to_minimize_the_negative(self, new):
        most = new(objective=kt.Objective("loss", "max"))
        assert run(most, lambda values: -loss_of(values)) == run(new())

    @pytest.mark.parametrize("power", [-20, 10, 30])
    def test_an_objective_scaled_by_a_power_of_two_changes_nothing(self, new, power):
        assert run(new(), lambda values: loss_of(values) * 2.0**power) == run(new())

    def test_several_objectives_are_searched_as_their_sum(self, new):
        oracle = new(objective=[LOSS, kt.Objective("gain", "max")])
        trials = []
        while trial := start(oracle):
            values = trial.hyperparameters.values
            loss, gain = loss_of(values), values["rate"]
            metrics = {"loss": loss, "gain": gain, "multi_objective": loss - gain}
            oracle.update_trial(trial.trial_id, metrics)  # as KerasTuner's tuner reports a History
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
            trials.append(values)
        assert trials == run(new(), lambda values: loss_of(values) - values["rate"])

    @pytest.mark.parametrize("loss", [0.0, -3.5, 1e300], ids=str)
    def test_a_constant_objective_is_no_obstacle(self, new, loss):
        trials = fresh(run(new(), lambda _: loss))
        assert len(set(texts(trials))) == len(trials)

    @pytest.mark.parametrize("bad", [math.inf, 1e300, 1e308], ids=str)
    def test_a_trial_that_is_far_worse_is_no_obstacle(self, new, bad):
        def loss(values):
            return bad if values["x"] > 0.7 else distance(values)

        oracle = new(square, max_trials=12)
        trials = run(oracle, loss)
        assert trainings(trials) > 11
        assert oracle.get_best_trials(1)[0].score < 1

    # --- rounds and boxes ------------------------------------------------------------------------

    def test_the_trials_of_a_round_lie_in_its_boxes_but_for_a_share(self, new):
        oracle = new(max_trials=24)
        trials = run(oracle)
        later = [
            inside(current.boxes, values)
            for current in oracle.rounds[1:]
            for values in fresh(trials[current.first : current.end])
        ]
        assert later.count(False) <= len(later) / 3
        assert all(inside(oracle.rounds[0].boxes, values) for values in first_round(oracle, trials))

    def test_rounds_follow_one_another_and_hold_all_trials(self, new):
        oracle = new(max_trials=24)
        trials = run(oracle)
        rounds = oracle.rounds
        assert [r.first for r in rounds] == [0, *(r.end for r in rounds[:-1])]
        assert all(r.end == r.first + r.size > r.first for r in rounds)
        assert rounds[-1].first < len(trials) <= rounds[-1].end

    @adaptive
    def test_boxes_shrink_within_the_space(self, new):
        def widths(current):
            return [box[name][1] - box[name][0] for box in current.boxes for name in "xy"]

        oracle = new(square, max_trials=24)
        run(oracle, distance)
        first, *_, last = oracle.rounds
        assert widths(first) == [1, 1]
        assert np.mean(widths(last)) < 0.5
        for box in itertools.chain(*(r.boxes for r in oracle.rounds)):
            assert set(box) == {"x", "y"}
            assert all(0 <= low <= high <= 1 for low, high in box.values())

    @in_modes(["gp", "plain"])
    def test_a_wanted_number_of_rounds_is_heeded(self, new):
        oracle = new(square, max_trials=12, rounds=3)
        run(oracle, distance)
        assert len(oracle.rounds) == 3

    @in_modes(["one round"])
    def test_one_round_covers_the_whole_space(self, new):
        oracle = new(square, max_trials=12)
        run(oracle, distance)
        (only,) = oracle.rounds
        assert [dict(box) for box in only.boxes] == [{"x": [0, 1], "y": [0, 1]}]

    # --- trials that fail ------------------------------------------------------------------------

    @adaptive
    @pytest.mark.filterwarnings("ignore:All-NaN")  # KerasTuner, on a trial without a finite score
    @pytest.mark.parametrize("failure", [None, math.nan], ids=["failed", "nan"])
    def test_where_half_of_the_space_fails_most_trials_end_in_the_other(self, new, failure):
        def loss(values):
            return failure if values["x"] > 0.5 else distance(values)

        works = []
        for seed in (1, 2):
            oracle = new(square, max_trials=24, seed=seed, max_consecutive_failed_trials=None)
            trials = run(oracle, loss)
            works += [values["x"] <= 0.5 for values in trials[-len(trials) // 3 :]]
        assert works.count(True) >= len(works) * 3 / 4

    @modelled
    def test_failures_count_as_bad_places_where_all_else_points_at_them(self, new):
        def loss(values):
            return None if values["x"] > 0.5 else -values["x"]

        works = []
        for seed in (1, 2):
            oracle = new(square, max_trials=24, seed=seed, max_consecutive_failed_trials=None)
            trials = run(oracle, loss)
            works += [values["x"] <= 0.5 for values in trials[-len(trials) // 3 :]]
        assert works.count(True) > len(works) / 2

    def test_a_search_in_which_every_trial_fails_goes_on_to_its_end(self, new):
        oracle = new(max_trials=6, max_consecutive_failed_trials=None)
        trials = run(oracle, lambda _: None)
        assert len(set(texts(trials))) == len(trials) >= 6

    def test_a_point_that_failed_is_not_proposed_again(self, new):
        def loss(values):
            return None if values["ordered"] == 16 else 1.0

        def small(hp):
            hp.Choice("ordered", [16, 32, 64])
            hp.Boolean("boolean")

        trials = run(new(small, max_trials=30, max_consecutive_failed_trials=None), loss)
        failed = [values for values in points(trials) if values["ordered"] == 16]
        assert len(set(texts(failed))) == len(failed) == 2

    @pytest.mark.filterwarnings("ignore:All-NaN")
    @pytest.mark.parametrize("failure", [None, math.nan], ids=["invalid", "nan"])
    def test_an_invalid_trial_is_run_again_as_often_as_wanted(self, new, failure):
        oracle = new(max_retries_per_trial=2, max_consecutive_failed_trials=None)
        runs = []
        for _ in range(3):
            trial = start(oracle)
            runs.append((trial.trial_id, dict(trial.hyperparameters.values)))
            finish(oracle, trial, failure, "INVALID" if failure is None else "COMPLETED")
        assert runs[0] == runs[1] == runs[2]
        assert oracle.get_trial(runs[0][0]).status == "FAILED"
        assert start(oracle).trial_id != runs[0][0]

    @pytest.mark.filterwarnings("ignore:All-NaN")
    def test_a_retry_that_succeeds_counts_by_its_own_result(self, new):
        oracle = new(max_retries_per_trial=1)
        first = start(oracle)
        finish(oracle, first, math.nan)
        again = start(oracle)
        finish(oracle, again, 1.5)
        trial = oracle.get_trial(first.trial_id)
        assert (again.trial_id, trial.status, trial.score) == (first.trial_id, "COMPLETED", 1.5)

    @pytest.mark.filterwarnings("ignore:All-NaN")
    def test_a_tuner_keeps_the_result_of_a_retry(self, new, tmp_path):
        results = itertools.chain([math.nan, 1.5], itertools.repeat(2.5))
        tuner = Answering(new(max_trials=1, max_retries_per_trial=1), directory=tmp_path / "tuner")
        tuner.answer = lambda hp: next(results)
        tuner.search()
        assert tuner.oracle.trials[tuner.oracle.start_order[0]].score == 1.5

    def test_too_many_failures_in_a_row_end_the_search_with_an_error(self, new):
        oracle = new(max_consecutive_failed_trials=2)
        step(oracle)
        step(oracle, lambda _: None)
        with pytest.raises(RuntimeError, match="failures exceeded the limit of 2"):
            step(oracle, lambda _: None)

    def test_failures_with_successes_between_do_not_end_the_search(self, new):
        oracle = new(max_trials=6, max_consecutive_failed_trials=2)
        count = itertools.count()
        assert len(run(oracle, lambda _: None if next(count) % 2 else 1.0)) >= 6

    def test_a_call_that_raises_does_not_lock_other_threads_out(self, new):
        oracle = new(max_consecutive_failed_trials=1)
        with pytest.raises(RuntimeError):
            step(oracle, lambda _: None)
        other = threading.Thread(target=oracle.create_trial, args=["other"], daemon=True)
        other.start()
        other.join(timeout=2)
        assert not other.is_alive()

    # --- what every oracle of KerasTuner does ----------------------------------------------------

    def test_the_budget_is_spent_and_not_exceeded(self, new):
        oracle = new(max_trials=7)
        spent = trainings(run(oracle))
        assert 6 < spent <= 7
        assert oracle.create_trial("w").status == "STOPPED"
        assert oracle.create_trial("another").status == "STOPPED"
        assert trainings([t.hyperparameters.values for t in oracle.trials.values()]) == spent

    def test_a_search_without_an_end_goes_on(self, new):
        oracle = new(max_trials=None)
        trials = fresh([step(oracle) for _ in range(30)])
        assert len(set(texts(trials))) == len(trials)

    def test_a_worker_that_asks_again_gets_the_trial_it_is_running(self, new):
        oracle = new()
        trial = oracle.create_trial("w")
        assert oracle.create_trial("w") is trial
        assert oracle.create_trial("other").trial_id != trial.trial_id

    @pytest.mark.parametrize("direction", ["min", "max"])
    def test_the_best_trials_come_first_and_failed_ones_never_before_them(self, new, direction):
        sign = 1 if direction == "min" else -1

        def loss(values):
            return None if values["optimizer"] == "adam" else sign * loss_of(values)

        oracle = new(objective=kt.Objective("loss", direction), max_consecutive_failed_trials=None)
        run(oracle, loss)
        full = [t for t in oracle.trials.values() if t.status == "COMPLETED" and epochs(t) == 9]
        full.sort(key=lambda t: sign * t.metrics.get_best_value("loss"))
        assert len(full) > 1
        best = [t for t in oracle.get_best_trials(len(oracle.trials)) if t in full]
        assert best == full
        assert oracle.get_best_trials() == full[:1]

    @with_epochs
    def test_the_best_trial_is_the_best_of_those_trained_longest(self, new):
        oracle = new(square)
        run(oracle, lambda values: distance(values) - 9 / values["tuner/epochs"])
        trials = [t for t in oracle.trials.values() if t.status == "COMPLETED"]
        longest = [t for t in trials if epochs(t) == max(map(epochs, trials))]
        expected = min(longest, key=lambda t: t.metrics.get_best_value("loss"))
        assert oracle.get_best_trials(1) == [expected]

    @with_epochs
    def test_a_trial_that_goes_on_from_anothers_weights_has_its_values(self, new):
        oracle = new()
        trials = run(oracle)
        continued = [values for values in trials if "tuner/trial_id" in values]
        assert continued
        for values in continued:
            before = oracle.get_trial(values["tuner/trial_id"])
            assert before.status == "COMPLETED"
            assert point(before.hyperparameters.values) == point(values)
            assert before.hyperparameters.values["tuner/epochs"] == values["tuner/initial_epoch"]

    @with_epochs
    def test_early_trials_train_for_a_share_of_the_epochs_and_some_for_all(self, new):
        trials = run(new())
        assert trials[0]["tuner/epochs"] < MAX_EPOCHS
        assert max(values["tuner/epochs"] for values in trials) == MAX_EPOCHS
        for values in trials:
            begun = values["tuner/initial_epoch"]
            assert 0 <= begun < values["tuner/epochs"] <= MAX_EPOCHS
            assert (begun > 0) == ("tuner/trial_id" in values)

    @with_epochs
    def test_no_trial_goes_on_from_one_that_failed(self, new):
        def loss(values):
            return None if values["x"] > 0.5 else -values["x"]

        oracle = new(square, max_consecutive_failed_trials=None)
        for values in run(oracle, loss):
            if "tuner/trial_id" in values:
                assert values["x"] <= 0.5

    # --- KerasTuner's tuners ---------------------------------------------------------------------

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
    def test_it_runs_in_a_tuner_that_overrides_run_trial(self, new, tmp_path, answer):
        tuner = Answering(new(max_trials=3), directory=tmp_path / "tuner")
        tuner.answer = lambda hp: answer(hp.values)
        tuner.search()
        assert [t.hyperparameters.values for t in tuner.oracle.trials.values()] == run(
            new(max_trials=3)
        )
        assert all(trial.status == "COMPLETED" for trial in tuner.oracle.trials.values())

    def test_a_single_float_needs_no_objective(self, new, tmp_path):
        tuner = Answering(new(objective=None, max_trials=3), directory=tmp_path / "tuner")
        tuner.search()
        trials = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
        assert trials == run(new(max_trials=3))

    def test_several_objectives_come_from_a_history(self, new, tmp_path):
        tuner = Answering(
            new(objective=[LOSS, kt.Objective("gain", "max")], max_trials=3),
            directory=tmp_path / "tuner",
        )
        tuner.answer = lambda hp: history(loss=[loss_of(hp.values)], gain=[hp.get("rate")])
        tuner.search()
        for trial in tuner.oracle.trials.values():
            values = trial.hyperparameters.values
            assert trial.score == loss_of(values) - values["rate"]

    def test_a_tuner_resumes_its_project_or_overwrites_it(self, new, tmp_path):
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

    def test_it_runs_in_keras_tuners_own_tuner(self, new, mode, tmp_path):
        objective = kt.Objective("val_loss", "min")
        oracle = new(None, objective=objective, max_trials=2, **few_epochs(mode))
        tuner = kt.Tuner(oracle, build_model, directory=tmp_path / "tuner")
        trials = search_keras(tuner)
        assert set(point(trials[0])) == {"units", "rate", "momentum"}

    def test_it_runs_in_the_tuner_for_scikit_learn(self, new, tmp_path):
        from sklearn.linear_model import Ridge

        def build(hp):
            return Ridge(alpha=hp.Float("alpha", 1e-3, 10, sampling="log"))

        oracle = new(None, objective=kt.Objective("score", "max"), max_trials=3)
        tuner = kt.SklearnTuner(oracle, build, directory=tmp_path / "tuner")
        tuner.search(*(np.repeat(data, 5, axis=0) for data in examples()))
        assert tuner.oracle.get_best_trials()[0].score > 0.9
        assert tuner.get_best_models()[0].coef_.shape == (2,)

    @modelled  # the others differ in the oracle alone, and trainings take time
    # KerasTuner loads a trial's weights before its optimizer has variables
    @pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
    def test_it_tunes_a_keras_model_in_its_own_tuner(self, mode, tmp_path):
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

    @with_epochs
    def test_a_continued_training_begins_with_the_weights_before_it(self, mode, tmp_path):
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

    # --- chief and workers -----------------------------------------------------------------------

    @pytest.mark.usefixtures("distributed")
    def test_names_values_and_bounds_survive_keras_tuners_messages(self, new):
        sent = start(new(scaled))
        received = Trial.from_proto(sent.to_proto())
        assert received.trial_id == sent.trial_id
        space = received.hyperparameters.space
        assert received.hyperparameters.values == sent.hyperparameters.values
        assert {hp.name: (hp.min_value, hp.max_value) for hp in space} == BOUNDS
        again = kt.HyperParameters.from_proto(sent.hyperparameters.to_proto())
        assert again.values == sent.hyperparameters.values
        # a worker's model asks for what it knows already
        assert (
            kbn.scales.complement_log(again, "complement_log", 0.5, 0.999)
            == (sent.hyperparameters.values["complement_log"])
        )

    def test_scales_survive_keras_tuners_messages(self, new, worker_of):
        oracle = new(scaled)
        client = worker_of(oracle)
        trial = start(client)
        finish(client, trial, 1.0)
        assert have_kept_their_scales(client.get_space())
        assert have_kept_their_scales(trial.hyperparameters)
        assert have_kept_their_scales(oracle.get_trial(trial.trial_id).hyperparameters)

    def test_a_search_by_messages_is_the_search_without_them(self, new, worker_of):
        client = worker_of(new(max_trials=6))
        assert run(client) == run(new(max_trials=6))

    def test_what_a_remote_worker_finds_is_searched_on_its_scale(self, new, worker_of):
        oracle = new(None, max_trials=17)
        client = worker_of(oracle)

        def build(hp):
            return kbn.scales.complement_log(hp, "momentum", 0.5, 0.999)

        found = [values["momentum"] for values in fresh(grow(client, build, trials=17))][1:]
        above = sum(value > MIDDLES["complement_log"] for value in found[:8])
        assert 1 <= above <= 6  # the loss pulls the other way; on a linear scale it would be .3
        assert {(h.name, h.min_value, h.max_value) for h in oracle.get_space().space} == {
            ("momentum", 0.5, 0.999)
        }

    def test_conditions_that_a_remote_worker_finds_hold(self, new, worker_of):
        # in KerasTuner's message a Boolean comes after a Choice, a Float before both
        def build(hp):
            nested(hp)
            with hp.conditional_scope("a", ["z"]):
                hp.Float("e", 0, 1)
            return 1.0

        oracle = new(None, max_trials=12)
        grow(worker_of(oracle), build)
        recorded = [trial.hyperparameters.values for trial in oracle.trials.values()]
        for values in points(recorded)[1:]:
            assert set(values) == active(values) | ({"e"} if values["a"] == "z" else set())
        again = new(None, max_trials=12)
        grow(worker_of(again), build)
        assert [trial.hyperparameters.values for trial in again.trials.values()] == recorded

    def test_a_worker_tuner_searches_for_its_chief(self, new, worker_of, mode, tmp_path):
        chief = new(max_trials=3)
        worker_of(chief)

        class Worker(kbn.CoarseToFine):
            def run_trial(self, trial, *_, **__):
                return loss_of(trial.hyperparameters.values)

        tuner = Worker(objective=LOSS, max_trials=3, directory=tmp_path / "w", **settings(mode))
        tuner.search()
        trials = [trial.hyperparameters.values for trial in chief.trials.values()]
        assert trials == run(new(max_trials=3))
        assert all(trial.score is not None for trial in chief.trials.values())

    # --- bad input -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("arguments", "rule"),
        [
            ({"max_trials": 0}, "max_trials .*at least 1.*Got 0"),
            ({"rounds": 0}, "rounds .*at least 1.*Got 0"),
            ({"rounds": -1}, "rounds .*at least 1.*Got -1"),
            ({"rounds": 2.5}, "rounds .*integer.*Got 2.5"),
            ({"surrogate": "forest"}, "surrogate .*gp.*None.*Got 'forest'"),
            ({"surrogate": False}, "surrogate .*gp.*None.*Got False"),
            ({"epochs": "fine"}, "epochs .*coarse_to_fine.*Got 'fine'"),
            ({"epochs": 9}, "epochs .*coarse_to_fine.*Got 9"),
            ({"epochs": "coarse_to_fine"}, "max_epochs .*Got None"),
            ({"epochs": "coarse_to_fine", "max_epochs": 0}, "max_epochs .*at least.*Got 0"),
            ({"epochs": "coarse_to_fine", "max_epochs": 2.5}, "max_epochs .*integer.*Got 2.5"),
            ({"seed": -1}, "seed .*at least 0.*Got -1"),
            ({"seed": 0.5}, "seed .*integer.*Got 0.5"),
        ],
        ids=str,
    )
    def test_a_bad_argument_is_refused_with_its_law_and_value(self, arguments, rule):
        with pytest.raises(ValueError, match=f"(?s){rule}") as refused:
            kbn.CoarseToFineOracle(LOSS, **arguments)
        assert "CoarseToFineOracle" in str(refused.value)

    @pytest.mark.parametrize(
        ("declare", "rule"),
        [
            (lambda hp: kbn.scales.complement_log(hp, "m", 0.5, 1.0), "'m'.*max_value < 1.*1.0"),
            (lambda hp: kbn.scales.per_decade(hp, "m", 0.0, 1.0), "'m'.*min_value > 0.*0.0"),
            (lambda hp: kbn.scales.per_decade(hp, "m", 2.0, 1.0), "'m'.*min_value <= max_value"),
            (lambda hp: hp.Float("m", 0, 1, sampling="log"), "'m'.*log.*0.0"),
        ],
        ids=["complement_log", "per_decade", "order", "log"],
    )
    def test_a_scale_that_does_not_fit_the_bounds_is_refused(self, declare, rule):
        with pytest.raises(ValueError, match=rule):
            declare(kt.HyperParameters())

    def test_an_objective_without_a_direction_is_refused(self):
        with pytest.raises(ValueError, match=r'"reward".*keras_tuner\.Objective'):
            kbn.CoarseToFineOracle("reward")

    @pytest.mark.parametrize(
        ("objective", "wanted"),
        [(kt.Objective("val_loss", "min"), "val_loss"), (None, "objective")],
        ids=["unreported", "none"],
    )
    def test_an_objective_that_is_not_reported_is_named_beside_what_was(
        self, new, objective, wanted
    ):
        oracle = new(objective=objective)
        trial = start(oracle)
        with pytest.raises(ValueError, match=f"(?s){wanted}.*'accuracy'"):
            oracle.update_trial(trial.trial_id, {"accuracy": 1.0})

    @in_modes(["gp"])
    def test_a_tuner_names_an_objective_that_its_history_lacks_beside_what_it_has(
        self, mode, tmp_path
    ):
        tuner = kbn.CoarseToFine(
            build_model, kt.Objective("val_mae", "min"), 3, directory=tmp_path, **settings(mode)
        )
        with pytest.raises((ValueError, RuntimeError), match=r"(?s)'val_loss'.*Got 'val_mae'"):
            search_keras(tuner)
