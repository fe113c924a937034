"""A run as its output folder tells it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.errors import InvalidRequestError, Problem
from embedstep.output.attempts import Attempt, Attempts
from embedstep.output.folder import OutputFolder
from embedstep.output.result import read_json, with_current_names
from embedstep.report.series import Series, read_series
from embedstep.runtime.secrets import redact
from embedstep.tracking.spool import spools


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a report is made of. What a run did not get to is empty.

    Attributes:
        name: last part of the output folder's path.
        result: how it ended, or what the first rank has said so far.
        plan: what it was to do.
        request: its sections with every default.
        series: what it has logged.
        verdict: what a gate has decided.
        run_id: the MLflow run, once it is open.
        tags: what its tracking was told about repository and machine.
        attempts: what each attempt has cost.
        error: the first thing that went wrong.
    """

    name: str
    result: Mapping[str, Any]
    plan: Mapping[str, Any]
    request: Mapping[str, Any]
    series: Mapping[str, Series]
    verdict: Mapping[str, Any]
    run_id: str | None
    tags: Mapping[str, str]
    attempts: Sequence[Attempt]
    error: Mapping[str, Any]

    @property
    def champion(self) -> dict[str, float]:
        """The champion's scores by the names that the run gives them."""
        found = self.verdict.get("metrics", {}).get("champion", {})
        return {f"eval_{name}": value for name, value in found.items()}


def read_run(output: Path) -> Run:
    """Read the output folder of a run, whether it has ended well or not.

    Raises:
        InvalidRequestError: no run has got as far as a plan there.
    """
    folder = OutputFolder(output)
    if not folder.plan.exists():
        raise InvalidRequestError(
            [Problem(str(output), "holds no run; a report needs one that has got as far as its plan")]
        )
    # While the launcher is at work the result is still where the first rank has left it.
    result = with_current_names(_read(folder.result) or _read(folder.worker_result))
    spool = next(reversed(spools(output)), None)
    start = next((entry for entry, _ in spool.read()), {}) if spool else {}
    return Run(
        name=output.absolute().name,
        result=result,
        plan=_read(folder.plan),
        request=_read(folder.request).get("request", {}),
        series=read_series(folder.metrics),
        verdict=_read(folder.verdict),
        run_id=spool.sent.run_id if spool else None,
        tags=start.get("tags", {}),
        attempts=Attempts(folder.attempts, folder.progress).read(),
        error=_read(folder.error),
    )


def _read(file: Path) -> Any:
    return read_json(file) if file.exists() else {}


def sources(run: Run) -> list[tuple[str, str]]:
    """Return where each dataset comes from, without secrets."""
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
