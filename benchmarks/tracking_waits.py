"""How long a search waits for its tracking store, which other programs' load does not blur.

    python benchmarks/tracking_waits.py --rounds 5 --trials 80

The trials of a plain KerasTuner search sleep for a quarter of a second each, so that a processor is
free for whatever tracking does: what the search then takes longer with `kbn.track` than without,
it has waited. The stores are those of tracking.py. Prints a table of the seconds by which tracked
searches are longer: the median and the extremes over the rounds.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from tracking import opened

SLEEPER = """
import sys, time
import keras_tuner, kbn

class Sleeper(keras_tuner.RandomSearch):
    def run_trial(self, trial):
        time.sleep(0.25)
        return trial.hyperparameters.get("x")

space = keras_tuner.HyperParameters()
space.Float("x", 0.0, 1.0)
tuner = Sleeper(
    None, keras_tuner.Objective("x", "min"), int(sys.argv[1]), hyperparameters=space, overwrite=True
)
tuner.oracle.verbose = 0
if sys.argv[2:]:
    kbn.track(tuner, tracking_uri=sys.argv[2])
start = time.perf_counter()
tuner.search()
print(time.perf_counter() - start, file=sys.stderr)
"""


def search(directory: Path, trials: int, *uri: str) -> float:
    """Seconds of one search."""
    command = [sys.executable, "-c", SLEEPER, str(trials), *uri]
    done = subprocess.run(  # noqa: S603
        command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return float(done.stderr.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--stores", nargs="+", default=["sqlite", "slow", "hung", "dead"])
    args = parser.parse_args()
    print("| store | seconds untracked | longer by, s | from | to |\n|---|---|---|---|---|")
    for store in args.stores:
        with tempfile.TemporaryDirectory() as name:
            directory, off, longer = Path(name), [], []
            MlflowClient(f"sqlite:///{directory}/empty.db").search_experiments()
            for _ in range(args.rounds):
                shutil.copy(directory / "empty.db", directory / "mlflow.db")
                off.append(search(directory, args.trials))
                with opened(store, directory) as uri:
                    longer.append(search(directory, args.trials, uri) - off[-1])
                print(store, off[-1], longer[-1], file=sys.stderr, flush=True)
        figures = (np.median(off), np.median(longer), min(longer), max(longer))
        print(
            "| " + " | ".join([store, *(f"{figure:.2f}" for figure in figures)]) + " |", flush=True
        )


if __name__ == "__main__":
    main()
