"""The machine's metrics, by MLflow's own monitor and without its thread or a server."""

import math
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.system_metrics.metrics import gpu_monitor

from embedstep.tracking.mlflow_system import SystemMetrics

GPU_NAMES = (
    "gpu_0_utilization_percentage", "gpu_1_utilization_percentage",
    "gpu_0_memory_usage_megabytes", "gpu_1_memory_usage_megabytes",
)  # fmt: skip
"""The names by which the report finds them."""


def test_each_reading_is_finite_and_starts_no_thread() -> None:
    before = threading.active_count()
    metrics = SystemMetrics("http://127.0.0.1:9")
    for _ in range(2):
        found = metrics.read()
        assert "system/cpu_utilization_percentage" in found
        assert all(name.startswith("system/") and math.isfinite(value) for name, value in found.items())
    assert threading.active_count() == before


def test_gpus_are_read_where_the_library_of_their_driver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, as nvidia-ml-py shows it."""
    read: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetMemoryInfo": lambda number: SimpleNamespace(used=(number + 1) * 2e9, total=16e9),
        "nvmlDeviceGetUtilizationRates": lambda number: SimpleNamespace(gpu=40 + number),
        "nvmlDeviceGetPowerUsage": lambda number: 100_000,
        "nvmlDeviceGetEnforcedPowerLimit": lambda number: 400_000,
    }
    pynvml = SimpleNamespace(**read, NVMLError=OSError)
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    monkeypatch.setattr(gpu_monitor, "pynvml", pynvml, raising=False)
    found = SystemMetrics("http://127.0.0.1:9").read()
    assert {name: found[f"system/{name}"] for name in GPU_NAMES} == dict(
        zip(GPU_NAMES, (40, 41, 2000, 4000), strict=True)
    )
