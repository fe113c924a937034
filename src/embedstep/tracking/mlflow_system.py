"""What the machine does meanwhile, as MLflow's own monitor reads it."""


class SystemMetrics:
    """What MLflow's own monitor reads of the machine, without its thread, which ends when a server does not answer."""

    def __init__(self, uri: str) -> None:
        """Find the parts of the machine; nothing is asked of a server.

        Args:
            uri: tracking URI; without it the monitor loads what MLflow needs for a database.
        """
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor("", tracking_uri=uri)

    def read(self) -> dict[str, float]:
        """Return CPU, memory, disk, network and, with MLflow's own libraries for it, GPU, as `system/<name>`."""
        self._monitor.collect_metrics()
        found = {f"system/{name}": float(value) for name, value in self._monitor.aggregate_metrics().items()}
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        return found
