"""System metrics during a run, read by MLflow's own monitor."""


class SystemMetrics:
    """MLflow's system metrics without its thread, which ends when a server does not answer."""

    def __init__(self, uri: str) -> None:
        """Set up the monitor, without a request to the server.

        Args:
            uri: tracking URI; without it the monitor imports MLflow's database support.
        """
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor("", tracking_uri=uri)

    def read(self) -> dict[str, float]:
        """Return metrics of CPU, memory, disk, network and, if MLflow supports it here, GPU, as `system/<name>`."""
        self._monitor.collect_metrics()
        found = {f"system/{name}": float(value) for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        return found
