import copy
import errno
import json
import logging
import math
import os
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import keras_tuner as kt
import numpy as np
import pytest
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer, exit_chief

import kbn
from kbn.errors import DamagedError, MachineError
from kbn.files import read_json, write_json
from kbn.search import state
from kbn.search.durable import DurableOracle
from kbn.search.grid import GridOracle

all_nan = pytest.mark.filterwarnings("ignore:All-NaN")  # KerasTuner, on a trial without a number


class Draw(DurableOracle):
    """Draws at random, from the seed and the trial's number alone."""

    def populate_space(self, trial_id):
        number = len(self.start_order)
        rng = np.random.default_rng([self.seed, number])
        self.notes[trial_id] = {"drawn": number}
        values = {hp.name: hp.prob_to_value(rng.random()) for hp in self.hyperparameters.space}
        return {"status": "RUNNING", "values": values}


def oracle_in(directory, oracle=Draw, objective=None, **kwargs):
    hp = kt.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    kwargs = {"max_trials": 6, "seed": 3, "hyperparameters": hp, **kwargs}
    made = oracle(objective or kt.Objective("loss", "min"), **kwargs)
    made.verbose = 0
    made._set_project_dir(directory, "search")
    return made


def reloaded(directory, **kwargs):
    oracle = oracle_in(directory, **kwargs)
    oracle.reload()
    return oracle


def end(oracle, trial, loss=None, status="COMPLETED", message=None):
    if loss is not None:
        oracle.update_trial(trial.trial_id, {"loss": loss})
    trial.status, trial.message = status, message
    oracle.end_trial(trial)


def step(oracle, loss=1.0, worker="w", **kwargs):
    trial = oracle.create_trial(worker)
    end(oracle, trial, loss, **kwargs)
    return trial


def files(directory, pattern="trial_*/trial.json"):
    return sorted((directory / "search").glob(pattern))


def coarse_to_fine(directory, oracle=kbn.CoarseToFineOracle, reload=False, **kwargs):
    made = oracle_in(directory, oracle, surrogate=None, **kwargs)
    if reload:
        made.reload()
    return made


def saved(directory, trial_id):
    return json.loads((directory / "search" / f"trial_{trial_id}" / "trial.json").read_text())


def search(oracle, on_end=lambda trial_id: None):
    """Two workers: trial 1 is run twice, trial 2 finds a hyperparameter, trial 3 fails."""
    while True:
        trials = [oracle.create_trial(worker) for worker in ("a", "b")]
        for trial in reversed(trials):  # b is the faster one
            if trial.status != "RUNNING":
                continue
            number, status = int(trial.trial_id), "COMPLETED"
            if number == 1 and not oracle._run_times[trial.trial_id]:
                status = "INVALID"
            if number == 2:
                trial.hyperparameters.Float("found", 0.0, 1.0)
            if number == 3:
                status = "FAILED"
            end(oracle, trial, trial.hyperparameters.values["x"], status)
            if oracle.trials[trial.trial_id].status != "INVALID":
                on_end(trial.trial_id)
        if all(trial.status == "STOPPED" for trial in trials):
            return


def drawn_by(oracle):
    return {trial.trial_id: trial.hyperparameters["x"] for trial in oracle.trials.values()}


class Killed(BaseException):
    pass


class Instants:
    """Counts the instants of a search at which a kill may leave something, and kills at one."""

    def __init__(self, patch, at=None):
        self.passed, self.at = 0, at
        self.replace = os.replace
        patch.setattr("os.fsync", self._fsync)
        patch.setattr("os.replace", self._replace)

    def _instant(self):
        self.passed += 1
        if self.passed == self.at:
            raise Killed

    def _fsync(self, descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return
        if self.passed + 1 == self.at:  # in the middle of a write
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        self._instant()  # and no fsync: the files of a killed process are safe without

    def _replace(self, source, target):
        self._instant()
        self.replace(source, target)
        self._instant()


def instants_of_a_search(directory):
    with pytest.MonkeyPatch.context() as patch:
        instants = Instants(patch)
        search(oracle_in(directory, max_retries_per_trial=1))
    return instants.passed


def test_a_kill_at_any_instant_loses_no_end_and_repeats_none(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    total = instants_of_a_search(tmp_path / "counted")
    whole = reloaded(tmp_path / "counted")
    assert total >= 3 * (6 + 7 + 2)  # starts, ends of runs, the search's own file
    for at in range(1, total + 1):
        directory, acknowledged = tmp_path / str(at), []
        with pytest.MonkeyPatch.context() as patch:
            Instants(patch, at)
            with pytest.raises(Killed):
                search(oracle_in(directory, max_retries_per_trial=1), acknowledged.append)
        after = oracle_in(directory, max_retries_per_trial=1)
        if files(directory, "oracle.json"):
            after.reload()
        # the kill may have come between the write of an end and its acknowledgement
        assert after.end_order[: len(acknowledged)] == acknowledged, at
        assert len(after.end_order) <= len(acknowledged) + 1
        open_ = [t for t in after.start_order if t not in after.end_order]
        assert after._retry_queue == open_
        before, again = list(after.end_order), []
        search(after, again.append)
        assert sorted(before + again) == [str(n) for n in range(6)]
        assert after.end_order == before + again
        assert drawn_by(after) == drawn_by(whole)
        assert Counter(t.status for t in after.trials.values()) == {"COMPLETED": 5, "FAILED": 1}
        assert [hp.name for hp in after.hyperparameters.space] == ["x", "found"]


@pytest.mark.slow
@pytest.mark.posix
def test_a_search_killed_by_the_system_goes_on(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_state as t; print(flush=True)\n"
        "o = t.oracle_in(t.Path(sys.argv[2]), max_trials=10_000, max_retries_per_trial=1)\n"
        "t.search(o, lambda trial_id: print(trial_id, flush=True))"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent), tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        acknowledged = [process.stdout.readline() for _ in range(24)]
        process.send_signal(signal.SIGKILL)
        acknowledged = "".join([*acknowledged, process.stdout.read()]).split()
    assert process.returncode == -signal.SIGKILL
    assert len(acknowledged) >= 23

    after = reloaded(tmp_path, max_trials=10_000, max_retries_per_trial=1)
    assert after.end_order[: len(acknowledged)] == acknowledged
    ended, started = after.end_order[:], len(after.start_order)
    assert len(ended) <= len(acknowledged) + 1
    assert started <= len(ended) + 2
    after.max_trials, again = started + 2, []
    search(after, again.append)
    assert sorted(map(int, ended + again)) == list(range(started + 2))


def test_a_trials_file_says_all_of_the_trial_and_is_keras_tuners_besides(tmp_path):
    oracle = oracle_in(tmp_path, max_retries_per_trial=1)
    first, second = oracle.create_trial("a"), oracle.create_trial("b")
    running = saved(tmp_path, "1")
    assert running["status"] == "RUNNING"
    assert (running["ended"], running["run_times"], running["notes"]) == (None, 0, {"drawn": 1})
    end(oracle, second, 0.5)
    end(oracle, first, status="INVALID", message="burnt")
    waiting, ended = saved(tmp_path, "0"), saved(tmp_path, "1")
    assert (waiting["status"], waiting["ended"], waiting["run_times"]) == ("INVALID", None, 1)
    assert waiting["message"] == "burnt"
    assert (ended["status"], ended["ended"], ended["score"]) == ("COMPLETED", 0, 0.5)
    loaded = kt.engine.trial.Trial.load(str(files(tmp_path)[1]))
    assert loaded.get_state() == oracle.trials["1"].get_state()


def test_a_reload_restores_trials_orders_notes_and_space(tmp_path):
    oracle = oracle_in(tmp_path, max_retries_per_trial=1)
    search(oracle)
    after = reloaded(tmp_path, hyperparameters=kt.HyperParameters())
    assert list(after.trials) == after.start_order == oracle.start_order == list("012345")
    assert after.end_order == oracle.end_order == list("021435")
    assert after.notes == oracle.notes
    assert after._run_times == oracle._run_times
    assert after.ongoing_trials == {}
    assert after.hyperparameters.get_config() == oracle.hyperparameters.get_config()
    for trial_id, trial in oracle.trials.items():
        assert after.trials[trial_id].get_state() == trial.get_state()
        assert after._duplicate(trial.hyperparameters.values)


def test_trials_are_in_order_of_start_whatever_the_length_of_their_ids(tmp_path):
    short = oracle_in(tmp_path, max_trials=3)
    for worker in "abc":
        short.create_trial(worker)
    longer = reloaded(tmp_path, max_trials=200)
    for worker in "abcdefghijkl":
        longer.create_trial(worker)
    after = reloaded(tmp_path, max_trials=200)
    ids = ["0", "1", "2", *(f"{number:03d}" for number in range(3, 12))]
    assert list(after.trials) == ids
    assert [after.create_trial(worker).trial_id for worker in "abcdefghijkl"] == ids


def test_open_trials_are_run_again_oldest_first_then_new_ones(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=20, max_retries_per_trial=2)
    trials = [oracle.create_trial(f"w{n}") for n in range(12)]
    for number in (10, 4, 7):
        end(oracle, trials[number], status="INVALID")
    assert [oracle.create_trial(f"v{n}").trial_id for n in range(2)] == ["04", "07"]
    end(oracle, trials[0], 1.0)
    after = reloaded(tmp_path, max_trials=20, max_retries_per_trial=2)
    handed = [after.create_trial(f"w{n}").trial_id for n in range(12)]
    assert handed == [f"{n:02d}" for n in range(1, 13)]


@all_nan
def test_a_trial_that_is_run_again_begins_from_nothing(tmp_path):
    oracle = oracle_in(tmp_path, max_retries_per_trial=2)
    values = dict(step(oracle, math.nan).hyperparameters.values)
    assert oracle.get_trial("0").status == "INVALID"
    assert oracle.get_trial("0").score is not None
    for current, worker in ((oracle, "w"), (reloaded(tmp_path, max_retries_per_trial=2), "v")):
        trial = current.create_trial(worker)
        assert trial.trial_id == "0"
        assert trial.hyperparameters.values == values
        assert (trial.status, trial.score, trial.best_step) == ("RUNNING", None, 0)
        assert trial.message is None
        assert not trial.metrics.metrics
        end(current, trial, 0.25)
        assert (trial.status, trial.score) == ("COMPLETED", 0.25)


@all_nan
def test_retries_are_counted_and_used_up_across_a_reload(tmp_path, caplog):
    oracle = oracle_in(tmp_path, max_retries_per_trial=2)
    with caplog.at_level(logging.WARNING):
        step(oracle, math.nan)
    assert "Trial 0 failed and is run again; retries: 2." in caplog.text
    after = reloaded(tmp_path, max_retries_per_trial=2)
    step(after, status="INVALID")
    assert after.end_order == []
    step(after, math.nan)
    assert after.end_order == ["0"]
    assert after.get_trial("0").status == saved(tmp_path, "0")["status"] == "FAILED"
    assert after.create_trial("w").trial_id == "1"


def test_consecutive_failures_stop_the_search_after_their_end_is_saved(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=9, max_consecutive_failed_trials=2)
    step(oracle, status="FAILED")
    step(oracle)
    step(oracle, status="FAILED")
    with pytest.raises(RuntimeError, match=r"exceeded the limit of 2\.\nburnt"):
        step(oracle, status="FAILED", message="burnt")
    assert oracle.ongoing_trials == {}
    after = reloaded(tmp_path, max_trials=9, max_consecutive_failed_trials=2)
    assert after.end_order == ["0", "1", "2", "3"]
    assert step(after).trial_id == "4"  # what is past does not stop it again
    step(after, status="FAILED")
    with pytest.raises(RuntimeError):
        step(after, status="FAILED")
    after.max_retries_per_trial = 1
    step(after, status="INVALID")  # has not failed yet


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_limit_any_number_may_fail(tmp_path, limit):
    oracle = oracle_in(tmp_path, max_consecutive_failed_trials=limit)
    for _ in range(6):
        step(oracle, status="FAILED")
    assert len(oracle.end_order) == 6


def recorded_writes(monkeypatch):
    """Names and sizes of the files, as they are written."""
    writes = []

    def write(file, content):
        writes.append((Path(file).name, len(json.dumps(content))))
        write_json(file, content)

    monkeypatch.setattr(state, "write_json", write)
    return writes


def test_the_searchs_own_file_is_written_only_when_it_changed(tmp_path, monkeypatch):
    writes = recorded_writes(monkeypatch)
    oracle = oracle_in(tmp_path)
    own, trials = "oracle.json", "trial.json"
    step(oracle)
    oracle.save()
    assert [name for name, _ in writes] == [own, trials, own, trials]
    writes.clear()
    step(oracle)
    oracle.save()
    assert [name for name, _ in writes] == [trials, trials]
    writes.clear()
    trial = oracle.create_trial("w")
    trial.hyperparameters.Boolean("found")
    end(oracle, trial, 1.0)
    assert [name for name, _ in writes] == [trials, own, trials]
    oracle.max_trials = 3
    writes.clear()
    for _ in range(2):
        assert oracle.create_trial("w").status == "STOPPED"
    assert [name for name, _ in writes] == [own]  # which says how many trials it is to find


class Unscanned(dict):
    """Trials that nobody may walk through."""

    def _scan(self):
        raise AssertionError("the trials were scanned")

    __iter__ = keys = values = items = _scan


def test_what_a_trial_costs_does_not_grow_with_their_number(tmp_path, monkeypatch):
    writes = recorded_writes(monkeypatch)
    oracle = oracle_in(tmp_path, max_trials=None)
    step(oracle)
    writes.clear()
    step(oracle)
    early = writes[:]
    for _ in range(100):
        step(oracle)
    oracle.trials = Unscanned(oracle.trials)
    writes.clear()
    step(oracle)
    assert [name for name, _ in writes] == [name for name, _ in early]
    for (_, size), (_, early_size) in zip(writes, early, strict=True):
        assert abs(size - early_size) < 20  # longer numbers


def test_what_a_kill_leaves_lying_about_is_no_state(tmp_path):
    oracle = oracle_in(tmp_path)
    step(oracle)
    directory = tmp_path / "search"
    (directory / "trial_1").mkdir()
    (directory / "trial_1" / "trial.json.new").write_text('{"trial_id": ')
    (directory / "trial_0" / "trial.json.new").write_text("")
    (directory / "oracle.json.new").write_text("{")
    after = reloaded(tmp_path)
    assert after.start_order == after.end_order == ["0"]
    assert step(after).trial_id == "1"
    assert reloaded(tmp_path).end_order == ["0", "1"]


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_end_that_cannot_be_written_is_no_end(tmp_path, monkeypatch):
    oracle = oracle_in(tmp_path, max_retries_per_trial=1)
    trial = oracle.create_trial("w")
    oracle.save()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(MachineError, match=r"trial_0/trial\.json: .*'?No space left on device"):
            end(oracle, trial, 1.0)
        assert (trial.status, trial.score) == ("RUNNING", None)
        with pytest.raises(MachineError, match=r"trial_1/trial\.json: .*No space left on device"):
            oracle.create_trial("v")
    assert oracle.end_order == []
    assert oracle.start_order == ["0"]
    assert reloaded(tmp_path)._retry_queue == ["0"]
    end(oracle, trial)
    assert oracle.end_order == ["0"]
    assert saved(tmp_path, "0")["run_times"] == 1
    assert oracle.create_trial("v").trial_id == "1"


def test_a_proposal_that_cannot_be_written_is_made_again_with_all_that_was_noted(
    tmp_path, monkeypatch
):
    whole = coarse_to_fine(tmp_path / "whole", max_trials=20)
    for _ in range(12):
        step(whole, 1.0)
    oracle = coarse_to_fine(tmp_path / "full", max_trials=20)
    for _ in range(12):
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full_disk)
            with pytest.raises(MachineError):
                oracle.create_trial("w")
        step(oracle, 1.0)
    assert drawn_by(oracle) == drawn_by(whole)
    assert coarse_to_fine(tmp_path / "full", max_trials=20, reload=True).rounds == whole.rounds


def test_a_call_that_raises_does_not_lock_the_others_out(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("w")
    for call in (
        lambda: oracle.update_trial(trial.trial_id, {"accuracy": 1.0}),
        lambda: oracle.update_trial("none", {"loss": 1.0}),
        lambda: oracle.end_trial(kt.engine.trial.Trial(kt.HyperParameters(), "none", "COMPLETED")),
    ):
        with pytest.raises((ValueError, KeyError)):
            call()
    made = []
    thread = threading.Thread(target=lambda: made.append(step(oracle, worker="v")), daemon=True)
    thread.start()
    thread.join(10)
    assert [trial.trial_id for trial in made] == ["1"]


def test_threads_exclude_one_another_even_under_one_name(tmp_path):
    inside, overlaps = [], []

    class Slow(Draw):
        def populate_space(self, trial_id):
            inside.append(trial_id)
            overlaps.append(len(inside))
            for _ in range(200):
                os.sched_yield()
            inside.pop()
            return super().populate_space(trial_id)

    oracle = oracle_in(tmp_path, Slow, max_trials=40)
    errors = []

    def work(worker):
        try:
            while (trial := oracle.create_trial(worker)).status != "STOPPED":
                oracle.save()
                end(oracle, trial, 1.0)
        except BaseException as error:  # noqa: BLE001  a thread's errors are shown nowhere else
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"w{n}",), name="one") for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert set(overlaps) == {1}
    assert len(oracle.trials) == 40
    assert sorted(oracle.end_order) == oracle.start_order
    assert reloaded(tmp_path, max_trials=40).end_order == oracle.end_order


def test_a_hyperparameter_that_several_threads_find_is_registered_once(tmp_path):
    found = kt.HyperParameters()
    for n in range(300):
        found.Boolean(f"found_{n}")
    oracle, together = oracle_in(tmp_path), threading.Barrier(4)

    def update():
        together.wait()
        oracle.update_space(found)

    threads = [threading.Thread(target=update) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(oracle.hyperparameters.space) == 301


def test_seed_zero_is_a_seed_and_none_draws_one_that_is_saved(tmp_path):
    assert oracle_in(tmp_path / "zero", seed=0).seed == 0
    drawn = oracle_in(tmp_path, seed=None)
    assert drawn.seed is not None
    step(drawn)
    assert reloaded(tmp_path, seed=None).seed == reloaded(tmp_path, seed=99).seed == drawn.seed


@all_nan
@pytest.mark.parametrize(("direction", "best"), [("min", "3514"), ("max", "1453")])
def test_best_trials_are_completed_ones_best_first_then_oldest_first(tmp_path, direction, best):
    settings = {"objective": kt.Objective("loss", direction), "max_trials": 9}
    oracle = oracle_in(tmp_path, **settings)
    for loss in (math.nan, 2.0, math.inf, 0.0, 2.0, 1.0, -math.inf):
        step(oracle, loss)
    step(oracle, 0.0, status="FAILED")
    oracle.create_trial("w").status = "COMPLETED"  # as a tuner does before it reports the end
    for current in (oracle, reloaded(tmp_path, **settings)):
        assert [trial.trial_id for trial in current.get_best_trials(99)] == list(best)
        assert [trial.trial_id for trial in current.get_best_trials(2)] == list(best[:2])
    assert oracle_in(tmp_path / "none").get_best_trials(3) == []


def test_the_score_is_the_best_steps_in_the_objectives_direction(tmp_path):
    oracle = oracle_in(tmp_path, objective=kt.Objective("gain", "max"))
    trial = oracle.create_trial("w")
    for epoch, gain in enumerate((0.5, 0.75, 0.25)):
        oracle.update_trial(trial.trial_id, {"gain": gain}, step=epoch)
    end(oracle, trial)
    (best,) = reloaded(tmp_path).get_best_trials()
    assert (best.score, best.best_step) == (0.75, 1)


def test_several_objectives_are_summed_in_their_directions(tmp_path):
    objectives = [kt.Objective("loss", "min"), kt.Objective("gain", "max")]
    oracle = oracle_in(tmp_path, objective=objectives)
    for loss, gain in ((1.0, 0.0), (1.0, 5.0), (0.0, 2.0)):
        trial = oracle.create_trial("w")
        oracle.update_trial(trial.trial_id, {"loss": loss, "gain": gain, "accuracy": 0.5})
        end(oracle, trial)
    after = reloaded(tmp_path, objective=objectives)
    assert [(t.trial_id, t.score) for t in after.get_best_trials(3)] == [
        ("1", -4.0),
        ("2", -2.0),
        ("0", 1.0),
    ]
    assert after.trials["0"].metrics.get_direction("accuracy") == "max"


def test_a_worker_gets_the_trial_it_has_and_is_forgotten_at_the_end(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=1)
    trial = oracle.create_trial("w")
    assert oracle.create_trial("w") is trial
    assert oracle.ongoing_trials == {"w": trial}
    assert oracle.create_trial("v").status == "STOPPED"
    assert oracle.tuner_ids == {"w"}
    end(oracle, trial, 1.0)
    assert oracle.ongoing_trials == {}
    assert oracle.create_trial("w").status == "STOPPED"
    assert oracle.tuner_ids == set()
    assert oracle.remaining_trials() == 0


@pytest.mark.parametrize("status", ["IDLE", "STOPPED"])
def test_a_method_may_idle_or_stop_and_nothing_is_kept_of_it(tmp_path, status):
    class Moody(Draw):
        answers = ("RUNNING", status, "RUNNING")

        def populate_space(self, trial_id):
            self.answers, answer = self.answers[1:], self.answers[0]
            return {**super().populate_space(trial_id), "status": answer}

    oracle = oracle_in(tmp_path, Moody)
    step(oracle)
    assert oracle.create_trial("w").status == status
    assert oracle.notes == {"0": {"drawn": 0}}
    assert len(files(tmp_path)) == len(oracle.trials) == 1
    assert step(oracle).trial_id == "1"


def test_a_method_may_go_on_using_the_values_it_proposed(tmp_path):
    class Same(DurableOracle):
        mine = {"x": 0.5}  # noqa: RUF012

        def populate_space(self, trial_id):
            return {"status": "RUNNING", "values": self.mine}

    trial = oracle_in(tmp_path, Same).create_trial("w")
    trial.hyperparameters.Boolean("found")
    assert Same.mine == {"x": 0.5}


def test_new_hyperparameters_are_rejected_or_not_tuned_where_so_said(tmp_path):
    found = kt.HyperParameters()
    found.Boolean("found")
    with pytest.raises(RuntimeError, match="new entries"):
        oracle_in(tmp_path, allow_new_entries=False).update_space(found)
    oracle = oracle_in(tmp_path, tune_new_entries=False)
    trial = oracle.create_trial("w")
    trial.hyperparameters.Boolean("found")
    end(oracle, trial, 1.0)
    assert trial.hyperparameters.values["found"] is False
    assert [hp.name for hp in oracle.hyperparameters.space] == ["x"]


def test_an_end_must_be_one(tmp_path):
    oracle = oracle_in(tmp_path)
    with pytest.raises(ValueError, match=r"must be COMPLETED, FAILED or INVALID\. Got 'RUNNING'"):
        step(oracle, status="RUNNING")


def test_a_worker_that_outlived_a_reload_ends_its_trial_once(tmp_path):
    oracle = oracle_in(tmp_path)
    first, second = oracle.create_trial("a"), oracle.create_trial("b")
    after = reloaded(tmp_path)
    after.verbose = 1
    end(after, second, 0.5)  # before it was handed out again
    assert after.create_trial("a").trial_id == "0"
    end(after, first, 0.25)
    end(after, first, 0.75)  # the other one that ran it
    assert after.end_order == ["1", "0"]
    assert after.create_trial("b").trial_id == "2"
    assert [t.score for t in reloaded(tmp_path).get_best_trials(9)] == [0.25, 0.5]


def test_a_search_that_nobody_reloaded_is_gone_on_with_and_not_written_over(tmp_path):
    old = oracle_in(tmp_path)
    for _ in range(3):
        step(old)
    saved_first = oracle_in(tmp_path)
    saved_first.save()  # as KerasTuner's chief does
    assert saved_first.end_order == ["0", "1", "2"]
    again = oracle_in(tmp_path)
    assert step(again).trial_id == "3"
    assert (again.search_id, again.end_order) == (old.search_id, list("0123"))


def test_keras_tuners_tuner_killed_in_its_first_trial_does_not_start_over(tmp_path):
    def tuner():
        return Tuner(oracle_in(tmp_path), directory=tmp_path, project_name="search")

    first, second = tuner(), tuner()
    first.interrupted_at = "0"
    with pytest.raises(KeyboardInterrupt):
        first.search()
    second.search(verbose=0)
    assert second.oracle.search_id == first.oracle.search_id
    assert drawn_by(second.oracle)["0"] == drawn_by(first.oracle)["0"]


def keras_tuners_own(directory):
    step(oracle_in(directory, kt.oracles.RandomSearchOracle))


def truncate(name):
    def damage(directory):
        step(coarse_to_fine(directory))
        file = directory / "search" / name
        file.write_text(file.read_text()[:40])

    return damage


def change(name="trial_0/trial.json", **changes):
    """Changes that a checksum does not reveal."""

    def damage(directory):
        step(coarse_to_fine(directory))
        file = directory / "search" / name
        told = {**read_json(file), **changes}
        write_json(file, {key: value for key, value in told.items() if value != "-"})

    return damage


def copy_trial(directory):
    step(coarse_to_fine(directory))
    backup = directory / "search" / "trial_0_backup"
    backup.mkdir()
    (backup / "trial.json").write_bytes(files(directory)[0].read_bytes())


def remove(name, trials=3):
    def damage(directory):
        oracle = coarse_to_fine(directory, max_trials=trials)
        for _ in range(trials):
            step(oracle)
        assert oracle.create_trial("w").status == "STOPPED"
        (directory / "search" / name).unlink()

    return damage


def bring(name):
    """A file of another search."""

    def damage(directory):
        for place in (directory / "other", directory):
            oracle = coarse_to_fine(place)
            step(oracle)
            step(oracle)
        (directory / "search" / name).write_bytes(
            (directory / "other" / "search" / name).read_bytes()
        )

    return damage


def older(directory):
    """A trial's file as it was before the trial ended."""
    oracle = coarse_to_fine(directory)
    step(oracle)
    trial = oracle.create_trial("w")
    file = files(directory)[1]
    before = file.read_bytes()
    end(oracle, trial, 1.0)
    oracle.create_trial("w")
    file.write_bytes(before)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (keras_tuners_own, r"search/oracle.json: .* must be as kbn wrote it. Got its checksum"),
        (truncate("oracle.json"), r"oracle.json: .* Got its checksum does not match"),
        (truncate("trial_0/trial.json"), r"trial_0/trial.json: .* Got its checksum does not match"),
        (change("oracle.json", search="-"), "oracle.json: .* Got no 'search' instead"),
        (change(notes="-"), "trial_0/trial.json: .* Got no 'notes' instead"),
        (change(notes={"round": {"nuber": 1}}), "trial_0/trial.json: .* Got no 'boxes'"),
        (
            change(notes={"round": {"boxes": [], "nuber": 1}}),
            "trial_0/trial.json: .* unexpected keyword argument 'nuber'",
        ),
        (
            change(hyperparameters={"space": [], "values": {"tuner/trial_id": "/../../../x"}}),
            "trial_0/trial.json: .* Got tuner/trial_id '/../../../x', which is no trial",
        ),
        (change(hyperparameters=None), "trial_0/trial.json: .* Got 'NoneType'"),
        (change(status="DONE"), "trial_0/trial.json: .* Got status 'DONE' where 'ended' is 0"),
        (change(ended=None), "trial_0/trial.json: .* Got status 'COMPLETED' where 'ended' is None"),
        (copy_trial, "trial_0_backup/trial.json: .* Got the state of trial 0"),
        (remove("trial_1/trial.json"), "trial_1/trial.json: .* Got no such file instead"),
        (
            remove("trial_2/trial.json"),
            "trial_2/trial.json: .* Got 2 trials that ended, where .* 3 instead",
        ),
        (remove("trial_0/trial.json", 1), "trial_0/trial.json: .* Got 0 trials that ended"),
        (remove("oracle.json"), "search/oracle.json: .* No such file"),
        (bring("oracle.json"), "trial_./trial.json: .* Got a trial of search [0-9a-f]+, not of "),
        (bring("trial_1/trial.json"), "trial_1/trial.json: .* Got a trial of search [0-9a-f]+, "),
        (older, "trial_1/trial.json or .* Got 1 trials that ended, where there were 2"),
    ],
)
def test_a_state_that_is_not_ours_is_rejected_by_name_with_the_hint(tmp_path, damage, message):
    damage(tmp_path)
    changed = [(file, file.read_bytes()) for file in files(tmp_path, "**/*.json")]
    for go_on in (lambda o: o.reload(), lambda o: o.create_trial("w"), lambda o: o.save()):
        oracle = coarse_to_fine(tmp_path)
        for _ in range(2):  # it is refused again, and never taken for a new search
            with pytest.raises(DamagedError, match=message) as caught:
                go_on(oracle)
        assert "begin anew (kbn tune --fresh, or overwrite=True)" in str(caught.value)
    assert [(file, file.read_bytes()) for file in files(tmp_path, "**/*.json")] == changed


def link_to_a_trial(search):
    (search / "trial_1").symlink_to(search.parent)


def link_from_a_trial(search):
    (search / "trial_0" / "checkpoint.weights.h5").symlink_to(search.parent / "mine")


def pipe(search):
    (search / "trial_0" / "trial.json").unlink()
    os.mkfifo(search / "trial_0" / "trial.json")


@pytest.mark.parametrize(
    ("trap", "message"),
    [
        (link_to_a_trial, "trial_1/trial.json: .* Got a symbolic link, trial_1"),
        (link_from_a_trial, "trial_0/trial.json: .* Got a symbolic link, checkpoint.weights.h5"),
        pytest.param(pipe, "trial_0/trial.json: .* Got no regular file", marks=pytest.mark.posix),
    ],
)
def test_a_search_of_somebody_else_leads_nowhere(tmp_path, trap, message):
    step(oracle_in(tmp_path))
    trap(tmp_path / "search")
    with pytest.raises(DamagedError, match=message):
        oracle_in(tmp_path).create_trial("w")


@pytest.mark.parametrize("name", ["oracle.json", "trial_0/trial.json"])
def test_a_state_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, name):
    step(oracle_in(tmp_path))
    read = Path.read_bytes

    def refused(file):
        if file == tmp_path / "search" / name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(file)

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(MachineError, match=f"{name}: .*Input/output error"):
        oracle_in(tmp_path).create_trial("w")


@pytest.mark.parametrize(
    "settings",
    [
        {"oracle": Draw},
        {"oracle": kbn.CoarseToFineOracle},
        {"oracle": kbn.CoarseToFineOracle, "epochs": "coarse_to_fine", "max_epochs": 9},
        {"oracle": GridOracle},
    ],
    ids=["plain", "coarse to fine", "epochs", "grid"],
)
@pytest.mark.parametrize("waits", ["RUNNING", "INVALID"])
def test_a_trial_that_waits_to_be_run_again_can_be_failed_instead(tmp_path, settings, waits):
    settings = {"max_consecutive_failed_trials": None, "max_retries_per_trial": 1, **settings}
    oracle = oracle_in(tmp_path, **settings)
    step(oracle)
    lost = oracle.create_trial("w")
    if waits == "INVALID":
        end(oracle, lost, status="INVALID")
    after = reloaded(tmp_path, **settings)
    trial = after.trials[lost.trial_id]
    trial.status, trial.message = "FAILED", "It ended its process."
    after.end_trial(trial)
    assert after._retry_queue == []
    for current in (after, reloaded(tmp_path, **settings)):
        assert current.end_order == ["0", "1"]
        assert current.get_trial("1").status == "FAILED"
        assert current.get_trial("1").message == "It ended its process."
        assert [t.trial_id for t in current.get_best_trials(9)] == ["0"]
    assert step(after, 0.5).trial_id == "2"
    after.end_trial(trial)  # once is enough
    assert reloaded(tmp_path, **settings).end_order == ["0", "1", "2"]


def test_saving_can_be_switched_off(tmp_path):
    oracle = oracle_in(tmp_path)
    oracle.save, oracle._write_trial = lambda: None, lambda trial: None
    search(oracle)
    assert len(oracle.end_order) == 6
    assert not (tmp_path / "search").exists()


def test_the_display_gives_a_trial_that_is_run_again_its_own_number(tmp_path, capsys):
    oracle = oracle_in(tmp_path)
    oracle.verbose = 1
    lost, done = oracle.create_trial("a"), oracle.create_trial("b")
    end(oracle, done, 0.5)
    begun = oracle._display.search_start
    assert lost.trial_id == "0"
    capsys.readouterr()
    after = reloaded(tmp_path)
    after.verbose = 1
    step(after, 0.25)
    shown = capsys.readouterr().out
    assert "Search: Running Trial #1\n" in shown
    assert "Trial 1 Complete [00h 00m" in shown
    assert "Best loss So Far: 0.25" in shown
    assert after._display.search_start == begun


def test_the_display_may_be_switched_on_while_a_trial_runs(tmp_path, capsys):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("w")
    oracle.verbose = 1
    end(oracle, trial, 1.0)
    assert "Trial 1 Complete" in capsys.readouterr().out


def test_an_oracle_can_be_copied_as_keras_tuner_copies_callbacks(tmp_path):
    oracle = oracle_in(tmp_path)
    step(oracle)
    other = copy.deepcopy(oracle)
    step(other)
    assert (len(oracle.trials), len(other.trials)) == (1, 2)


def test_keras_tuners_chief_serves_it(tmp_path, capsys):
    oracle = oracle_in(tmp_path, max_trials=2)
    servicer, service = OracleServicer(oracle), protos.get_service()
    for _ in range(2):
        answer = servicer.CreateTrial(service.CreateTrialRequest(tuner_id="w"), None)
        trial = kt.engine.trial.Trial.from_proto(answer.trial)
        request = service.UpdateTrialRequest(trial_id=trial.trial_id, metrics={"loss": 0.5}, step=2)
        servicer.UpdateTrial(request, None)
        trial.status = "COMPLETED"
        servicer.EndTrial(service.EndTrialRequest(trial=trial.to_proto()), None)
    assert not exit_chief(oracle)
    servicer.CreateTrial(service.CreateTrialRequest(tuner_id="w"), None)
    assert servicer.stop_triggered
    assert exit_chief(oracle)
    after = reloaded(tmp_path)
    assert [(t.score, t.best_step) for t in after.get_best_trials(9)] == [(0.5, 2), (0.5, 2)]


class Tuner(kt.Tuner):
    """Tries once what is to be tried, and is interrupted where so said."""

    interrupted_at = None

    def run_trial(self, trial, **_):
        if trial.trial_id == self.interrupted_at:
            raise KeyboardInterrupt
        return trial.hyperparameters.Float("x", 0.0, 1.0)


def test_keras_tuners_tuner_resumes_and_overwrites(tmp_path):
    def tuner(**kwargs):
        oracle = oracle_in(tmp_path)
        return Tuner(oracle, directory=tmp_path, project_name="search", **kwargs)

    first = tuner()
    first.interrupted_at = "3"
    with pytest.raises(KeyboardInterrupt):
        first.search()
    resumed = tuner()
    assert resumed.oracle.end_order == ["0", "1", "2"]
    resumed.search(verbose=0)
    assert resumed.oracle.end_order == list("012345")
    assert resumed.remaining_trials == 0
    assert tuner(overwrite=True).oracle.trials == {}
    assert not files(tmp_path)
