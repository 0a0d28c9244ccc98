"""The suites and the split of their tasks: those to develop a search on, and those held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.tabulated.tables import TABLES, TableTask
from benchmarks.tabulated.task import Task
from benchmarks.tabulated.yahpo import SCENARIOS, YahpoTask

SUITES = (*TABLES, *SCENARIOS)

# Held out are all other tasks of the small suites, and an even choice from the large ones.
SPLITS: dict[str, dict[str, tuple[str, ...]]] = {
    "development": {
        "hpobench": ("car", "vehicle", "kc1", "blood_transfusion"),
        "hpolib": ("naval_propulsion", "protein_structure"),
        "nb201": ("cifar10",),
        "lcbench": ("3945", "126026", "167149", "167181", "167200", "168331", "168910", "189866"),
        "xgboost": ("16", "40499", "1489"),
        "rpart": ("41138", "40981"),
        "glmnet": ("40981", "1489"),
    },
    "held-out": {
        "hpobench": ("phoneme", "australian", "segment", "credit_g"),
        "hpolib": ("parkinsons_telemonitoring", "slice_localization"),
        "nb201": ("cifar100", "imagenet"),
        "lcbench": ("7593", "126025", "146212", "167152", "167184", "168329", "168908", "189906"),
        "xgboost": ("40966", "31", "188", "1050"),
        "rpart": ("4135", "41157", "1475"),
        "glmnet": ("41146", "1067"),
    },
}


def make_task(suite: str, name: str, data: Path | None = None) -> Task:
    """Return one task; `data` is the folder of YAHPO Gym's scenarios."""
    kind = TableTask if suite in TABLES else YahpoTask
    return kind(suite, name, data)


def tasks_of(split: str, suites: Sequence[str], data: Path | None) -> list[Task]:
    """Return the tasks of a split, suite by suite."""
    named = SPLITS[split]
    return [make_task(suite, name, data) for suite in suites for name in named[suite]]
