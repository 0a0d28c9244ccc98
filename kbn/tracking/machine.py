"""What the machine does while a search runs, as MLflow measures it: processors, memory, GPUs.

It is no part of the journal: what a store does not take while it is measured is lost.
"""

from __future__ import annotations

import importlib.util
import threading
from typing import TYPE_CHECKING

from kbn.errors import KbnError
from kbn.tracking.quiet import in_background, quiet

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

LOGGER = "mlflow.system_metrics.system_metrics_monitor"  # tells of its start and its end
PATIENCE = 1.0  # seconds for the last numbers at the end of a search


class MachineMonitor:
    """Measures this machine from the first time its search is sent until `stop`.

    Raises:
        KbnError: if psutil, which MLflow measures with, is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("psutil") is None:
            raise KbnError(
                "tracking.system_metrics: MLflow measures the machine with psutil, which is not "
                "installed. Install it: pip install 'kbn[system]'; or remove this key."
            )
        self._monitor: SystemMetricsMonitor | None = None
        self._stopped, self._lock = False, threading.Lock()

    def start(self, uri: str, run_id: str) -> None:
        """Log to a run from now on, every ten seconds, unless that is done already.

        Args:
            uri: of the store, with its credentials.
            run_id: of a run that has not ended.
        """
        from kbn.tracking._mlflow import monitor_of  # imports psutil

        with self._lock, quiet(LOGGER):
            if self._monitor is None and not self._stopped:
                self._monitor = monitor_of(uri, run_id)
                self._monitor.start()

    def stop(self) -> None:
        """Measure no longer."""
        with self._lock:
            monitor, self._monitor, self._stopped = self._monitor, None, True
        if monitor is not None:

            def finish() -> None:
                with quiet(LOGGER):
                    monitor.finish()

            in_background(finish).join(PATIENCE)  # it would wait for a store that hangs
