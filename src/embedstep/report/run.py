"""A run, read from its output folder."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.errors import InvalidRequestError
from embedstep.output.attempts import Attempt, Attempts
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json_or_empty, with_current_names
from embedstep.planning.plan import with_current_names as plan_with_current_names
from embedstep.report.series import Series, read_series, series_over_time
from embedstep.request.trackers import MLFLOW
from embedstep.runtime.secrets import redact
from embedstep.tracking.spool import Entry, spools

GPU_METRICS = {"utilization_percentage": "GPU utilization, %", "memory_usage_megabytes": "GPU memory, MB"}
"""Ends of the names of the metrics that are shown, and the titles of their charts."""
_OF_A_GPU = re.compile(rf"system/gpu_\d+_({'|'.join(GPU_METRICS)})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The content of a report. What a run has not reached is empty.

    Attributes:
        name: name of the output folder.
        result: result of the run, or of the first rank while the run is active.
        plan: plan of the run.
        request: request with all defaults.
        series: logged metrics.
        gpus: utilization (percent) and memory (MB) of the machine's GPUs in the last attempt, by the names that MLflow
            gives them; empty without MLflow and without a GPU.
        verdict: verdict of `embedstep promote`.
        run_id: MLflow run, once it is open.
        tags: MLflow tags about repository and machine.
        attempts: cost of each attempt.
        error: first error.
    """

    name: str
    result: Mapping[str, Any]
    plan: Mapping[str, Any]
    request: Mapping[str, Any]
    series: Mapping[str, Series]
    gpus: Mapping[str, Series]
    verdict: Mapping[str, Any]
    run_id: str | None
    tags: Mapping[str, str]
    attempts: Sequence[Attempt]
    error: Mapping[str, Any]

    @property
    def champion(self) -> dict[str, float]:
        """Scores of the champion, with the names of the run's metrics."""
        found = self.verdict.get("metrics", {}).get("champion", {})
        return {f"eval_{name}": value for name, value in found.items()}


def read_run(output: Path) -> Run:
    """Read the output folder of a run, whatever its state.

    Raises:
        InvalidRequestError: there is no plan in the folder.
    """
    folder = OutputFolder(output)
    if not folder.plan.exists():
        raise InvalidRequestError.at(str(output), "contains no run; a report needs one that has a plan")
    # Until the run has ended, only the file of the first rank exists.
    result = with_current_names(read_json_or_empty(folder.result) or read_json_or_empty(folder.worker_result))
    spool = next(reversed(spools(output)), None)
    entries = [entry for entry, _ in spool.read()] if spool else []
    return Run(
        name=output.absolute().name,
        result=result,
        plan=plan_with_current_names(read_json_or_empty(folder.plan)),
        request=read_json_or_empty(folder.request).get("request", {}),
        series=read_series(folder.metrics),
        gpus=_gpu_series(entries),
        verdict=read_json_or_empty(folder.verdict),
        run_id=spool.sent.run_id if spool and spool.tracker == MLFLOW else None,
        tags=next(iter(entries), {}).get("tags", {}),
        attempts=Attempts(folder.attempts, folder.progress).read(),
        error=read_json_or_empty(folder.error),
    )


def _gpu_series(entries: Sequence[Entry]) -> dict[str, Series]:
    points: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for entry in entries:
        for name, value in entry.get("values", {}).items() if entry["kind"] == "metrics" else ():
            if _OF_A_GPU.fullmatch(name):
                points[name].append((entry["at"], value))
    return series_over_time(points)


def describe_sources(run: Run) -> list[tuple[str, str]]:
    """Return the source of each dataset, without secrets."""
    found = []
    for item in run.plan["datasets"]:
        given = run.request.get("data", {}).get(item["split"], {}).get(item["name"], {})
        if given.get("hub"):
            parts = [given["hub"], given.get("subset"), given.get("split"), given.get("revision")]
            text = ", ".join(part for part in parts if part)
        else:
            text = ", ".join(given.get("path") or [])
        found.append((f"{item['split']}.{item['name']}", redact(text, os.environ)))
    return found
