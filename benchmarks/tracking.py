"""What tracking costs: the digits recipe with tracking on and off, in turns.

    python benchmarks/tracking.py --rounds 5 --trials 16

Each run is `kbn tune` in a process and a directory of its own; the tracked ones find an empty
database, since making one takes MLflow some seconds once. Prints the wall time of both and the
median of their ratios over the rounds.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "digits_mlp.yaml"
KBN = Path(sys.executable).parent / "kbn"


def seconds(database: Path, trials: int, tracked: bool) -> float:
    """Wall time of one search."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(database, Path(directory) / "mlflow.db")
        command = [KBN, "tune", RECIPE, f"search.trials={trials}"]
        command += [] if tracked else ["tracking.enabled=false"]
        start = time.perf_counter()
        subprocess.run(command, cwd=directory, check=True, capture_output=True)  # noqa: S603
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        database = Path(directory) / "mlflow.db"
        MlflowClient(f"sqlite:///{database}").search_experiments()
        seconds(database, 1, tracked=True)  # the machine's caches
        pairs = []
        for number in range(args.rounds):
            order = (True, False) if number % 2 else (False, True)
            took = {tracked: seconds(database, args.trials, tracked) for tracked in order}
            pairs.append((took[True], took[False]))
            print(f"tracked {took[True]:.1f} s, not {took[False]:.1f} s", flush=True)
    ratios = [tracked / plain for tracked, plain in pairs]
    extra = statistics.median(tracked - plain for tracked, plain in pairs)
    print(f"ratio {statistics.median(ratios):.3f} (median of {len(ratios)}), {extra:+.1f} s")


if __name__ == "__main__":
    main()
