"""A search of thousands of trials that return at once, tracked: time, memory, what is sent.

    python benchmarks/scale.py --trials 5000

`kbn.CoarseToFine` runs so many trials without a training, with `kbn.track` on a new SQLite store.
Then the search is resumed, which has nothing left to run, and read back. Each is in a process
of its own, whose imports do not count. Prints three Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BLOCK, PROJECT = 500, "scale"


def memory() -> float:
    """MiB that this process has now."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def runs_in_store() -> list[str]:
    """The statuses of the trials' runs."""
    from mlflow import MlflowClient

    client, token, found = MlflowClient("sqlite:///mlflow.db"), None, []
    experiment = client.get_experiment_by_name(PROJECT).experiment_id
    while token != "":
        page = client.search_runs([experiment], max_results=10_000, page_token=token)
        found += [run.info.status for run in page if "kbn.trial" in run.data.tags]
        token = page.token or ""
    return found


def search(trials: int) -> dict[str, Any]:
    """Runs the search, or goes on with it."""
    import keras_tuner as kt
    import numpy as np

    import kbn
    import kbn.tracking.projection

    begun, memories, ended = list[float](), list[float](), list[float]()

    class Instant(kbn.CoarseToFine):
        """Has two epochs and a score at once."""

        def run_trial(self, trial: Any) -> float:
            if len(begun) % BLOCK == 0:
                memories.append(memory())
            begun.append(time.perf_counter())
            for epoch in range(2):
                self.on_epoch_end(trial, self, epoch, {"loss": 1 / (1 + epoch)})
            values = trial.hyperparameters.values
            return float(np.log10(values["rate"]) ** 2 + abs(values["units"] / 64 - 1))

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            """Has no model to save."""

        def on_search_end(self) -> None:
            ended.append(time.perf_counter())

    space = kt.HyperParameters()
    space.Float("rate", 1e-4, 1e2, sampling="log")
    space.Int("units", 16, 256, sampling="log")
    start = time.perf_counter()
    tuner = Instant(
        objective=kt.Objective("loss", "min"),
        max_trials=trials,
        hyperparameters=space,
        seed=1,
        project_name=PROJECT,
    )
    tuner.oracle.verbose = 0
    kbn.track(tuner)
    tuner.search()
    end = time.perf_counter()
    memories.append(memory())
    in_store = runs_in_store()
    return {
        "seconds": end - start,
        "begun": [*(moment - start for moment in begun), ended[-1] - start],
        "memories": memories,
        "waited": end - ended[-1],
        "sent": sum(status != "RUNNING" for status in in_store),
    }


def read(_: int) -> dict[str, float]:
    """Reads the search back, as `kbn best` and `kbn report` do first."""
    import kbn.tracking.projection  # noqa: F401
    from kbn.report.results import Results
    from kbn.tracking.push import push

    took = {}
    for what, call in (
        (
            "the results read back, as `kbn best` does",
            lambda: Results.read(Path(PROJECT), "min").best,
        ),
        ("`kbn push` of what was sent", lambda: push(PROJECT)),
    ):
        start = time.perf_counter()
        call()
        took[what] = time.perf_counter() - start
    return took


def in_a_process(what: str, trials: int, directory: Path) -> Any:
    command = [sys.executable, Path(__file__).resolve(), "--part", what, "--trials", str(trials)]
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, check=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def table(*rows: tuple[Any, ...]) -> None:
    head, *body = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    print(head, "|---" * len(rows[0]) + "|", *body, "", sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--part", choices=["search", "read"])
    args = parser.parse_args()
    if args.part:
        print(json.dumps({"search": search, "read": read}[args.part](args.trials)))
        return
    directory = Path(tempfile.mkdtemp())
    try:
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{directory}/mlflow.db").search_experiments()
        took = in_a_process("search", args.trials, directory)
        firsts = range(0, args.trials, BLOCK)
        lasts = [min(first + BLOCK, args.trials) for first in firsts]
        begun, memories = took["begun"], took["memories"]
        blocks = [
            (
                f"{first + 1} to {last}",
                f"{(begun[last] - begun[first]) / (last - first) * 1000:.0f}",
                f"{memories[index + 1]:.0f}",
            )
            for index, (first, last) in enumerate(zip(firsts, lasts, strict=True))
        ]
        table(("trials", "ms a trial", "MiB at their end"), *blocks)
        waited, sent = f"{took['waited']:.1f}", f"{took['sent']} of {args.trials}"
        table(
            ("search, s", "waited at its end, s", "sent"), (f"{took['seconds']:.0f}", waited, sent)
        )
        resumed = in_a_process("search", args.trials, directory)
        rest = {"resumed, with nothing left to run": resumed["seconds"]}
        rest |= in_a_process("read", args.trials, directory)
        table(("afterwards", "s"), *((what, f"{seconds:.1f}") for what, seconds in rest.items()))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
