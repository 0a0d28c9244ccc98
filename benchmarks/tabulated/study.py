"""Many searches, in processes of their own, each written to a file as it ends."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import multiprocessing
from collections.abc import Iterable
from pathlib import Path

Runs = dict["Run", list[float]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a search is made of.

    Attributes:
        tuner: key of TUNERS.
        suite, task: names.
        seed: >= 0.
        budget: whole trainings.
        workers: trials in flight.
        settings: changed numbers of the search, as `--set` takes them.
        past: number of earlier searches.
        misleading: whether their losses have the other sign.
        narrow: share of the task's numeric ranges that is searched; the earlier searches have all.
    """

    tuner: str
    suite: str
    task: str
    seed: int
    budget: int
    workers: int = 1
    settings: tuple[str, ...] = ()
    past: int = 0
    misleading: bool = False
    narrow: float = 1.0


def execute(run: Run, data: Path | None) -> list[float]:
    """Return a run's regrets, one per whole training."""
    from benchmarks.tabulated.earlier import earlier
    from benchmarks.tabulated.narrowed import narrowed
    from benchmarks.tabulated.search import search
    from benchmarks.tabulated.settings import set_number
    from benchmarks.tabulated.suites import make_task

    for assignment in run.settings:
        set_number(assignment)
    task = make_task(run.suite, run.task, data)
    past = earlier(task, run.past, run.seed, misleading=run.misleading)
    if run.narrow < 1:
        task = narrowed(task, run.narrow, run.seed)
    return search(run.tuner, task, run.budget, run.seed, run.workers, past)


def execute_all(runs: Iterable[Run], data: Path | None, file: Path | None, jobs: int) -> Runs:
    """Execute the runs that the file lacks, append each to it, and return all those asked for."""
    wanted = list(runs)
    done = read(file)
    missing = [run for run in wanted if run not in done]
    # A changed setting stays for the life of a process, so all runs of a call have the same ones.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        futures = {pool.submit(execute, run, data): run for run in missing}
        for future in concurrent.futures.as_completed(futures):
            done[futures[future]] = future.result()
            if file is not None:
                _append(file, futures[future], future.result())
    return {run: done[run] for run in wanted}


def read(file: Path | None) -> Runs:
    """Return the runs in a file; none where there is no file."""
    if file is None or not file.exists():
        return {}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    regrets = [row.pop("regrets") for row in rows]
    runs = [Run(**{**row, "settings": tuple(row["settings"])}) for row in rows]
    return dict(zip(runs, regrets, strict=True))


def _append(file: Path, run: Run, regrets: list[float]) -> None:
    row = {**dataclasses.asdict(run), "regrets": [float(f"{regret:.6g}") for regret in regrets]}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")
