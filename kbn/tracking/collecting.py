"""Garbage collections that leave alone what libraries keep in memory.

Keras and KerasTuner collect garbage twice a trial. Each collection walks through all objects of
TensorFlow and, once they are there, of MLflow, which takes a tenth of a second.
"""

from __future__ import annotations

import gc


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
