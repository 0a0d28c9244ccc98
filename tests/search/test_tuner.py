"""What kbn.CoarseToFine does where files are lost or damaged, or the machine refuses them."""

import dataclasses
import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import h5py
import keras
import keras_tuner as kt
import numpy as np
import pytest

import kbn
from kbn.errors import DamagedError, MachineError
from kbn.files import read_json
from kbn.search.checkpoint import load_weights

X = np.random.default_rng(0).normal(size=(8, 2))


class Instant(kbn.CoarseToFine):
    """Trials that train nothing; `on_trial` is called in each."""

    on_trial = staticmethod(lambda trial: None)

    def run_trial(self, trial, *_, **__):
        self.on_trial(trial)
        return trial.hyperparameters["x"]


def instant(directory, max_trials=6, kind=Instant, **kwargs):
    hp = kt.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    kwargs = {"surrogate": None, "seed": 5, "hyperparameters": hp, **kwargs}
    tuner = kind(
        None,
        kt.Objective("loss", "min"),
        max_trials,
        directory=directory,
        project_name="search",
        **kwargs,
    )
    tuner.oracle.verbose = 0
    return tuner


def searched(directory, *arguments, **kwargs):
    tuner = instant(directory, *arguments, **kwargs)
    tuner.search()
    return tuner


def state_of(tuner):
    oracle = tuner.oracle
    state = (
        [trial.get_state() for trial in oracle.trials.values()],
        [oracle.start_order, oracle.end_order, oracle.notes],
        [dataclasses.asdict(each) for each in oracle.rounds],
        oracle.get_state(),
    )
    return json.loads(json.dumps(state))


# --- the tuner's own file ------------------------------------------------------------------------


def test_the_tuners_own_file_says_whose_it_is_and_keras_tuner_can_read_it(tmp_path):
    tuner = searched(tmp_path)
    file = tmp_path / "search" / "tuner0.json"
    assert read_json(file) == {"search": tuner.oracle.search_id}
    plain = kt.engine.base_tuner.BaseTuner(tuner.oracle, directory=tmp_path, project_name="search")
    plain.reload()
    assert plain.oracle.end_order == list("012345")
    assert kt.src.utils.load_json(str(file)).keys() == {"search", "crc"}


def test_a_search_without_the_tuners_own_file_goes_on_and_writes_it_again(tmp_path):
    tuner = searched(tmp_path)
    file = tmp_path / "search" / "tuner0.json"
    content = file.read_bytes()
    file.unlink()
    again = instant(tmp_path)
    assert state_of(again) == state_of(tuner)
    assert searched(tmp_path, 7).oracle.end_order == list("0123456")
    assert file.read_bytes() == content


def test_a_search_goes_on_under_a_tuner_id_of_ones_own(tmp_path):
    searched(tmp_path, 3, tuner_id="mine")
    assert instant(tmp_path, 3, tuner_id="mine").oracle.end_order == list("012")


def test_overwrite_begins_anew(tmp_path):
    tuner = searched(tmp_path)
    anew = instant(tmp_path, overwrite=True)
    assert not anew.oracle.trials
    anew.search()
    assert anew.oracle.search_id != tuner.oracle.search_id


def test_what_a_kill_in_the_middle_of_an_overwrite_leaves_is_not_taken_for_a_search(tmp_path):
    """It removes files one after another, in any order."""
    searched(tmp_path / "whole")
    files = sorted((tmp_path / "whole" / "search").rglob("*.json"))
    rng = np.random.default_rng(0)
    for number in range(40):
        directory = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", directory)
        for file in rng.permutation(files)[: rng.integers(1, len(files))]:
            (directory / Path(file).relative_to(tmp_path / "whole")).unlink()
        left = Counter(file.name for file in directory.rglob("*.json"))
        if left["oracle.json"] and left["trial.json"] == 6:  # only the tuner's own file is gone
            assert instant(directory).oracle.end_order == list("012345")
        elif left:
            with pytest.raises(DamagedError, match="overwrite=True"):
                instant(directory)


def test_a_tuner_of_ones_own_gets_its_own_state_back(tmp_path):
    class Counting(Instant):
        trials = 0

        def run_trial(self, trial, *_, **__):
            self.trials += 1
            return super().run_trial(trial)

        def get_state(self):
            return {"trials": self.trials}

        def set_state(self, state):
            self.trials = state["trials"]

    searched(tmp_path, 3, kind=Counting)
    assert instant(tmp_path, 3, kind=Counting).trials == 3


# --- damages -------------------------------------------------------------------------------------


def draft(rng, file, _):
    """What a kill leaves."""
    content = file.read_bytes()
    Path(f"{file}.new").write_bytes(content[: rng.integers(len(content))])


def flip(rng, file, _):
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)


def truncate(rng, file, _):
    content = file.read_bytes()
    file.write_bytes(content[: rng.integers(len(content))])


def delete(rng, file, _):
    file.unlink()


def empty(rng, file, _):
    file.write_bytes(b"")


def swap(rng, file, _):
    others = [each for each in file.parents[1].rglob("*.json") if each != file]
    other = others[rng.integers(len(others))]
    content = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return other


def bring(rng, file, foreign):
    """The file of another search takes its place."""
    file.write_bytes(foreign.read_bytes())
    # where oracle.json is the foreign one it is the trials that do not fit
    return file.parent if file.name == "oracle.json" else file


def attempt(*arguments):
    """The tuner that goes on, and no error; or none, and the error."""
    try:
        return instant(*arguments), None
    except DamagedError as error:
        return None, str(error)


def test_of_200_random_damages_none_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)

    def stop(trial):
        if trial.trial_id == "4":
            raise KeyboardInterrupt

    origins, sizes = [tmp_path / "finished", tmp_path / "killed"], [8, 6]
    searched(origins[0])
    killed = instant(origins[1])
    killed.on_trial = stop
    with pytest.raises(KeyboardInterrupt):
        killed.search()
    searched(tmp_path / "foreign", seed=6)
    undamaged = []
    for origin, size in zip(origins, sizes, strict=True):
        shutil.copytree(origin, tmp_path / "undamaged" / origin.name)
        undamaged.append(results(searched(tmp_path / "undamaged" / origin.name, size)))
    kinds = (draft, flip, flip, truncate, delete, empty, swap, bring)
    rng, outcomes = np.random.default_rng(0), Counter()
    for number in range(200):
        origin, size = origins[number % 2], sizes[number % 2]
        files = sorted(file.relative_to(origin) for file in origin.rglob("*.json"))
        damage, name = kinds[rng.integers(len(kinds))], files[rng.integers(len(files))]
        directory = tmp_path / "damaged" / str(number)
        shutil.copytree(origin, directory)
        other = damage(rng, directory / name, tmp_path / "foreign" / name)
        tuner, error = attempt(directory, size)
        case = f"{number}: {damage.__name__} {name}: {error}"
        if error:
            assert str(directory / name) in error or (other and str(other) in error), case
        else:
            tuner.search()
            assert results(tuner) == undamaged[number % 2], case
            assert state_of(instant(directory, size)) == state_of(tuner), case
        outcomes[error is None] += 1
    assert min(outcomes.values()) > 20


def results(tuner):
    trials = tuner.oracle.trials.values()
    return tuner.oracle.end_order, [(t.hyperparameters.values, t.score) for t in trials]


# --- checkpoints ---------------------------------------------------------------------------------


def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-2))
    model.compile(optimizer, "mse", run_eagerly=True, jit_compile=False)  # tracing takes longer
    return model


def trained(directory, max_trials=2, **kwargs):
    kwargs = {"surrogate": None, "seed": 1, "max_consecutive_failed_trials": None, **kwargs}
    tuner = kbn.CoarseToFine(
        build, kt.Objective("val_loss", "min"), max_trials, directory=directory, **kwargs
    )
    tuner.oracle.verbose = 0
    return tuner


def search(tuner):
    tuner.search(X, X.sum(1), validation_data=(X, X.sum(1)), epochs=2, verbose=0)
    return tuner


@pytest.mark.parametrize(
    "content", [None, b"", b"no HDF5 at all", "half"], ids=["gone", "empty", "other", "half"]
)
def test_a_damaged_checkpoint_of_the_best_trial_is_named(tmp_path, content):
    tuner = search(trained(tmp_path, 1))
    file = Path(tuner._get_checkpoint_fname("0"))
    whole = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(DamagedError, match=r"trial_0/checkpoint\.weights\.h5: .* must be as kbn"):
        tuner.get_best_models()


@pytest.mark.slow
def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    tuner = search(trained(tmp_path, 1))
    file = Path(tuner._get_checkpoint_fname("0"))
    (model,) = tuner.get_best_models()
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(8 * len(whole), size=50):  # HDF5 by itself would load most
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(DamagedError, match=r"trial_0/checkpoint\.weights\.h5: "):
            load_weights(model, str(file))
    with pytest.raises(DamagedError, match=r"trial_0/checkpoint\.weights\.h5: "):
        tuner.get_best_models()
    file.write_bytes(whole)
    assert tuner.get_best_models()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_a_damaged_checkpoint_is_named_by_the_trial_that_should_go_on_from_it(tmp_path):
    class Damaging(kbn.CoarseToFine):
        def on_trial_begin(self, trial):
            if (parent := trial.hyperparameters.values.get("tuner/trial_id")) and not damaged:
                damaged.append(trial.trial_id)
                Path(self._last_weights(parent)).write_bytes(b"no HDF5 at all")
            super().on_trial_begin(trial)

    damaged = []
    tuner = trained(tmp_path, 6, epochs="coarse_to_fine", max_epochs=3)
    tuner.__class__ = Damaging
    search(tuner)
    (first,) = damaged
    trial = tuner.oracle.get_trial(first)
    parent = trial.hyperparameters["tuner/trial_id"]
    assert trial.status == "FAILED"
    assert f"trial_{parent}/last.weights.h5: the file must be as kbn wrote it" in trial.message
    assert tuner.load_model(tuner.oracle.get_trial(parent))
    # a model is loaded from its own checkpoint alone
    other = next(
        t
        for t in tuner.oracle.trials.values()
        if t.status == "COMPLETED" and "tuner/trial_id" in t.hyperparameters.values
    )
    Path(tuner._last_weights(other.hyperparameters["tuner/trial_id"])).unlink()
    assert tuner.load_model(other)


# --- the machine ---------------------------------------------------------------------------------


def lost(number):
    """As HDF5 and TensorFlow have it where the number is lost."""
    return RuntimeError(f"Can't decrement id ref count (error message = '{os.strerror(number)}')")


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS, errno.EIO],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("make", [lambda n: OSError(n, os.strerror(n), "/a/file"), lost])
def test_what_the_machine_refuses_ends_the_search_and_the_trial_runs_again(tmp_path, number, make):
    def refuse(trial):
        if trial.trial_id == "2":
            raise ValueError("saving failed") from make(number)

    tuner = instant(tmp_path)
    tuner.on_trial = refuse
    with pytest.raises(MachineError, match=os.strerror(number)) as caught:
        tuner.search()
    place = "/a/file: " if make is not lost else f"{tmp_path}/search/trial_2: "
    assert str(caught.value).startswith(place)
    assert tuner.oracle.end_order == list("01")
    again = instant(tmp_path)
    assert again.oracle._retry_queue == ["2"]
    again.search()
    assert [trial.status for trial in again.oracle.trials.values()] == ["COMPLETED"] * 6
    tuner.on_trial = lambda trial: None
    tuner.search()  # also in the same process
    assert drawn(tuner) == drawn(again)


def drawn(tuner):
    return {i: trial.hyperparameters.values for i, trial in tuner.oracle.trials.items()}


@pytest.mark.slow
@pytest.mark.posix
@pytest.mark.parametrize("file", ["checkpoint.weights.h5", "last.weights.h5", "build_config.json"])
def test_a_full_disk_while_a_trial_is_saved_is_no_trials_fault(tmp_path, file):
    settings = {"epochs": "coarse_to_fine", "max_epochs": 2}
    tuner = trained(tmp_path, **settings)
    link = Path(tuner.get_trial_dir("0")) / file
    link.symlink_to("/dev/full")  # on which every write fails for lack of room
    with pytest.raises(MachineError, match=f"{file}: .*No space left on device"):
        search(tuner)
    link.unlink(missing_ok=True)
    again = search(trained(tmp_path, **settings))
    assert {trial.status for trial in again.oracle.trials.values()} == {"COMPLETED"}


@pytest.mark.slow
def test_a_trial_runs_again_in_the_same_process_while_hdf5_holds_its_checkpoint_open(tmp_path):
    """As it does where the disk was full, and for long in a notebook, which keeps the error."""

    class Full(kbn.CoarseToFine):
        def on_epoch_end(self, trial, *args, **kwargs):
            if not held:
                held.append(h5py.File(self._get_checkpoint_fname(trial.trial_id), "w"))
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().on_epoch_end(trial, *args, **kwargs)

    held = []
    tuner = trained(tmp_path, 1)
    tuner.__class__ = Full
    with pytest.raises(MachineError):
        search(tuner)
    search(tuner)
    held[0].close()
    assert tuner.oracle.get_trial("0").status == "COMPLETED"
    assert tuner.get_best_models()


def test_a_model_too_large_for_the_memory_is_its_trials_own_fault(tmp_path):
    def refuse(trial):
        raise MemoryError("OOM when allocating tensor with shape[10000000000]")

    tuner = instant(tmp_path, 2)
    tuner.on_trial = refuse
    tuner.search()
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["FAILED"] * 2


def test_an_error_that_ends_every_search_stays_what_it_is(tmp_path):
    def refuse(trial):
        raise kt.errors.FatalRuntimeError(os.strerror(errno.ENOSPC))

    tuner = instant(tmp_path)
    tuner.on_trial = refuse
    with pytest.raises(kt.errors.FatalRuntimeError):
        tuner.search()
