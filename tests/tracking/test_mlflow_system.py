"""The machine's metrics, by MLflow's own monitor and without its thread or a server."""

import math
import threading

from embedstep.tracking.mlflow_system import SystemMetrics


def test_each_reading_is_finite_and_starts_no_thread() -> None:
    before = threading.active_count()
    metrics = SystemMetrics("http://127.0.0.1:9")
    for _ in range(2):
        found = metrics.read()
        assert "system/cpu_utilization_percentage" in found
        assert all(name.startswith("system/") and math.isfinite(value) for name, value in found.items())
    assert threading.active_count() == before
