"""Command line of the study.

    pip install -e '.[bench]'
    python -m benchmarks.tabulated --data DIR --tuners random tpe ours --seeds 10 --out runs.jsonl

Prints a Markdown table of regrets. With --out every search is kept, and one that the file holds is
not run again. DIR holds YAHPO Gym's scenarios, one folder each; without it only the suites are
searched whose tables come with a package.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes run side by side instead

from benchmarks.tabulated.report import markdown
from benchmarks.tabulated.study import Run, execute_all
from benchmarks.tabulated.suites import SPLITS, SUITES, tasks_of
from benchmarks.tabulated.tables import TABLES
from benchmarks.tabulated.task import write_references
from benchmarks.tabulated.tuners import TUNERS


def main() -> None:
    args = _arguments()
    suites = args.suites or (SUITES if args.data else tuple(TABLES))
    tasks = tasks_of(args.split, suites, args.data)[: args.tasks]
    if args.references:
        write_references(tasks)
        return
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    runs = [
        Run(
            tuner,
            task.suite,
            task.name,
            seed,
            args.budget,
            args.workers,
            tuple(args.set),
            args.past,
            args.misleading,
            args.narrow,
        )
        for tuner, seed, task in itertools.product(args.tuners, seeds, tasks)
    ]
    done = execute_all(runs, args.data, args.out, args.jobs)
    marks = [mark for mark in args.marks if mark <= args.budget]
    print(markdown(done, f"{args.split} tasks", marks))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tabulated",
        description="Regret of tuners on tabulated trainings, as a Markdown table.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="folder of YAHPO Gym's scenarios")
    add("--tuners", nargs="+", choices=TUNERS, default=["random", "tpe", "ours"])
    add("--split", choices=SPLITS, default="development")
    add("--suites", nargs="+", choices=SUITES)
    add("--tasks", type=int, metavar="N", help="only the first N tasks")
    add("--seeds", type=int, default=10, metavar="N", help="number of seeds")
    add("--first-seed", type=int, default=0, metavar="N")
    add("--budget", type=int, default=100, metavar="N", help="whole trainings of a search")
    add("--marks", type=int, nargs="+", default=[10, 25, 50, 100], help="columns of the table")
    add("--workers", type=int, default=1, metavar="N", help="trials in flight")
    add("--past", type=int, default=0, metavar="N", help="earlier searches to learn from")
    add("--misleading", action="store_true", help="turn the sign of their losses")
    add("--narrow", type=float, default=1.0, metavar="SHARE", help="of the ranges, is searched")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="another tuned number of ours")
    add("--jobs", type=int, default=1, metavar="N", help="processes")
    add("--out", type=Path, metavar="FILE", help="JSON lines to keep the searches in")
    add("--references", action="store_true", help="only measure the tasks' best and median losses")
    return parser.parse_args()


if __name__ == "__main__":
    main()
