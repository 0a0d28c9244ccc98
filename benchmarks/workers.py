"""Trials per minute of a search on one worker and on two, once all are up.

    python benchmarks/workers.py --pairs 3

Runs a shipped recipe's search at random, so that all runs train the same configurations, in a
process and a directory of its own each, and the numbers of workers in turns. The first trial of
each worker is left out, which waits for imports, and so is the end, when a worker finds no further
trial. One worker is the search's own process. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def rate(recipe: str, trials: int, workers: int) -> tuple[float, float]:
    """Return trials per minute once all workers are up, and the seconds of the whole search."""
    kbn = str(Path(sys.executable).with_name("kbn"))
    options = [f"search.trials={trials}", "search.tuner=random", f"--workers={workers}"]
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        command = [kbn, "tune", recipe, *options, "name=timed"]
        subprocess.run(  # noqa: S603
            command, cwd=directory, check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        ends = ended(Path(directory) / "searches" / "timed")
    first, last = ends[workers - 1], ends[-workers]
    return (len(ends) - 2 * workers + 1) / (last - first) * 60_000, seconds


def ended(search: Path) -> list[int]:
    """Return when the trials of a search ended, in ascending milliseconds."""
    from kbn.tracking.journal import Journal

    attempts = Journal(search / "journal").attempts()
    return sorted(attempt.ended for attempt in attempts if attempt.ended is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits_mlp")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    print(
        f"| pair | 1 worker, trials/min | {asked.workers} workers | ratio | s in all | s in all |"
    )
    print("|---|---|---|---|---|---|")
    ratios = []
    for pair in range(asked.pairs):
        alone, seconds = rate(asked.recipe, asked.trials, 1)
        together, fewer = rate(asked.recipe, asked.trials, asked.workers)
        ratios.append(together / alone)
        cells = f"{alone:.1f} | {together:.1f} | {ratios[-1]:.2f} | {seconds:.0f} | {fewer:.0f}"
        print(f"| {pair + 1} | {cells} |", flush=True)
    print(f"\nmedian ratio {statistics.median(ratios):.2f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
