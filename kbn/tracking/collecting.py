"""Garbage collections that leave alone what libraries keep in memory.

Keras and KerasTuner collect garbage twice a trial. Each collection walks through all objects of
TensorFlow and, once they are there, of MLflow, which takes a tenth of a second. Python itself
collects after every 700 new objects, which takes a fifth of the time of importing TensorFlow.
"""

from __future__ import annotations

import gc

NEW_OBJECTS = 50_000  # between two collections of Python's own in a process that is kbn's


def collect_seldom() -> None:
    """Let Python collect garbage seldom; for a process that is kbn's own."""
    gc.set_threshold(NEW_OBJECTS)


class Collecting:
    """Excludes what is in memory from garbage collections until the process ends (`gc.freeze`)."""

    def __init__(self) -> None:
        self._times = 0

    def spare(self, times: int) -> None:
        """Exclude what is in memory now, unless the user does so, or it was done `times` times.

        To be called between two trials, when no model is in memory that would never be freed.
        """
        if self._times < times and (self._times or not gc.get_freeze_count()):
            gc.collect()
            gc.freeze()
            self._times = times
