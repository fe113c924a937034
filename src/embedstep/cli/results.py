"""Console output of the result of a step."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from embedstep.cli.layout import aligned
from embedstep.cli.tables import say_error, show_missing, show_problems, show_section
from embedstep.output.result import StepResult, is_score, read_json
from embedstep.runtime.log import log_format
from embedstep.runtime.secrets import redact
from embedstep.runtime.text import count


def show_result(result: StepResult, request: str = "request") -> None:
    """Print the result of a step: to standard output if it succeeded, else to standard error.

    Of several nodes only the first one prints.
    """
    if result.node_rank:
        return
    form = log_format(os.environ)
    if form == "json":
        click.echo(json.dumps({name: value for name, value in result.to_json().items() if name != "ledger"}))
    if result.failure is not None:
        lines = result.failure.problems or (result.failure.message,)
        show_problems(request, [f"{_place_of(result, line)}{line}" for line in lines])
        outcome = f"{result.outcome.replace('_', ' ')}, exit code {result.exit_code}"
        more = Path(result.output) / "error.json"
        say_error(f"{outcome}; details in {more}" if more.exists() else outcome)
        return
    if form == "json":
        return
    if form == "quiet":
        _show_briefly(result)
        return
    if result.skip_reason is not None:
        click.echo(f"{result.skip_reason}: {result.untrained_reason}; nothing was trained")
        return
    _show_success(result)


def _show_briefly(result: StepResult) -> None:
    """Print the folder of the model, and what nobody should overlook."""
    for line in (result.worse_than_base, *(f"not recorded: {message}" for message in result.incomplete_tracking)):
        if line:
            click.echo(line, err=True)
    if result.model is not None:
        click.echo(result.model)


def _show_success(result: StepResult) -> None:
    """Print what a training has reached: first what is wrong with it, then the metrics, then where things are."""
    if result.worse_than_base:
        click.secho(result.worse_than_base, fg="red", bold=True)
    if result.changes:
        show_section("metrics", aligned(_change_rows(result), right=frozenset({1, 2, 3})), header=True)
    shown = {name: value for name, value in result.metrics.items() if is_score(name) and name not in result.changes}
    facts = {name: f"{value:.4f}" for name, value in shown.items()}
    facts["model"] = str(result.model)
    if result.movement is not None:
        facts["moved"] = result.movement.text
    if result.run_id:
        facts["MLflow run"] = result.run_id
        facts["MLflow page"] = f"mlflow ui --backend-store-uri {redact(str(result.tracking_uri), os.environ)}"
    elif result.tracking_uri:
        facts["recorded in"] = result.tracking_uri
    facts["seconds"] = f"{result.seconds.get('total', 0):.1f}"
    if result.cost:
        facts[result.cost["unit"]] = f"{result.cost['hours']:.4f}" + _lost(result.cost)
    show_section("result", aligned(list(facts.items())))
    if result.stop_reason:
        click.secho(result.stop_reason, fg="yellow")
    show_missing(result.incomplete_tracking)


def _change_rows(result: StepResult) -> list[tuple[str, ...]]:
    """Return a row for each metric of the base and of the published model."""
    rows = [
        (name.removeprefix("eval_"), f"{one.before:.4f}", f"{one.after:.4f}", f"{one.after - one.before:+.4f}",
         one.interval)
        for name, one in result.changes.items()
    ]  # fmt: skip
    return [("metric", "before", "after", "change", "95 % interval"), *rows]


def _place_of(result: StepResult, line: str) -> str:
    """Name the rank that failed where there are others, unless the line does so itself."""
    rank = result.failure.rank if result.failure else None
    plan = Path(result.output) / "plan.json"
    if rank is None or line.startswith(f"rank {rank} ") or (plan.exists() and read_json(plan)["world_size"] == 1):
        return ""
    return f"rank {rank}: "


def _lost(cost: Mapping[str, Any]) -> str:
    """Name the part of the cost that was spent on attempts without a model."""
    return f" in {count(len(cost['attempts']), 'attempt')}, {cost['lost_hours']:.4f} lost" if cost["lost_hours"] else ""
