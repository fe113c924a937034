"""System metrics during a run, read by MLflow's own monitor."""

import time

from embedstep.tracking.spool import Spool

_INTERVAL = 10.0
"""Seconds between two readings, as MLflow's own thread takes them."""


class SystemMetrics:
    """MLflow's system metrics without its thread, which ends when a server does not answer."""

    def __init__(self, uri: str) -> None:
        """Set up the monitor, without a request to the server.

        Args:
            uri: tracking URI; without it the monitor imports MLflow's database support.
        """
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor("", tracking_uri=uri)
        self._started = time.monotonic()
        self._last = -1

    def record(self, spool: Spool) -> None:
        """Record the metrics, unless that was done within the interval; the train step is the number of the reading."""
        number = int((time.monotonic() - self._started) / _INTERVAL)
        if number > self._last:
            self._last = number
            spool.metrics(self.read(), train_step=number)

    def read(self) -> dict[str, float]:
        """Return metrics of CPU, memory, disk, network and, if MLflow supports it here, GPU, as `system/<name>`."""
        self._monitor.collect_metrics()
        found = {f"system/{name}": float(value) for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        return found
