"""The part of KerasTuner without a public name that kbn.cli uses; no other module touches it.

tests/cli/test_adapters.py fails when KerasTuner changes it.
"""

from __future__ import annotations

import keras_tuner.src.config as settings


def print_no_tracebacks() -> None:
    """Keep KerasTuner from printing the traceback of a failed trial, which the journal has.

    Private (`keras_tuner.src.config.DEBUG`) because KerasTuner offers no setting for it.
    """
    settings.DEBUG = False
