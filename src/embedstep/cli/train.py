"""Commands for a request: check, plan, run."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from embedstep.cli import results, tables
from embedstep.cli.layout import wrap_lines
from embedstep.cli.options import (
    default_output,
    exit_with_result,
    main,
    overwrite_option,
    read,
    request_options,
    show_errors,
)
from embedstep.errors import InvalidRequestError, group_alike


@main.command()
@request_options
def check(request: str, overrides: tuple[str, ...]) -> None:
    """Check a request and its data, and list every problem at once.

    It needs no torch and no GPU.

    \b
    Examples:
      embedstep check request.yaml
      cat request.yaml | embedstep check -
    """
    from embedstep import step

    with show_errors(request):
        plan = step.plan_step(read(request, overrides))
        click.echo(f"{request}: valid, {plan.summary}")
        for note in wrap_lines(group_alike(plan.notes)):
            click.echo(f"  {note}")


@main.command()
@request_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
@click.option(
    "--estimate",
    type=click.Choice(["former", "probe"]),
    help="Also estimate the cost, from past MLflow runs or from a trial of 20 train steps.",
)
@click.option("--preview", type=click.IntRange(1), metavar="N", help="Also show the texts of the first N train steps.")
def plan(request: str, overrides: tuple[str, ...], as_json: bool, estimate: str | None, preview: int | None) -> None:
    """Show what a run would do: its rows, batches, train steps, evaluations and metrics.

    It needs no torch and no GPU.

    \b
    Examples:
      embedstep plan request.yaml
      embedstep plan request.yaml --json | jq .train_steps
      embedstep plan request.yaml --set launch.processes_per_node=4
      embedstep plan request.yaml --estimate probe
      embedstep plan request.yaml --set arguments.batch_sampler=no_duplicates --preview 2
    """
    from embedstep import step

    with show_errors(request):
        loaded = read(request, overrides)
        planned = step.plan_step(loaded, preview=preview or 0)
        cost = _estimate(estimate, loaded, planned) if estimate else None
        if as_json:
            extra = {"estimate": asdict(cost)} if cost else {}
            click.echo(json.dumps({**planned.to_json(), **extra}, indent=2))
        else:
            tables.show_plan(planned, cost)


@main.command()
@request_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write to this folder.  [default: arguments.output_dir, else outputs/ and the name of the request file]",
)
@overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="Print only the folder of the model, and problems.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "lines", "json"]),
    help="Show a bar on a terminal (text), lines everywhere (lines), or progress and result as JSON.  [default: "
    "EMBEDSTEP_LOG, else text]",
)
def run(
    request: str, overrides: tuple[str, ...], output: Path | None, overwrite: bool, quiet: bool, log_format: str | None
) -> None:
    """Train a model, verify it, and write it with its metrics and result to the output folder.

    \b
    Examples:
      embedstep run request.yaml
      embedstep run request.yaml --output outputs/docs --overwrite
      embedstep run request.yaml --set launch.processes_per_node=2 --set arguments.max_steps=100
      embedstep run request.yaml --log-format json | jq -r .model
    """
    from embedstep.runtime.log import LOG_VARIABLE
    from embedstep.step import run_step

    if quiet or log_format:
        os.environ[LOG_VARIABLE] = "quiet" if quiet else str(log_format)

    def work() -> Any:
        loaded = read(request, overrides)
        if output is not None and loaded.launch.trainjob is not None:
            message = "has no effect: the pods of launch.kind: trainjob write to launch.trainjob.output"
            raise InvalidRequestError.at("--output", message)
        return run_step(loaded, output or default_output(request, loaded.arguments.output_dir), overwrite=overwrite)

    exit_with_result(request, work, partial(results.show_result, request=request))


def _estimate(way: str, request: Any, plan: Any) -> Any:
    from embedstep.cli import estimate

    functions = {"former": estimate.estimate_from_past_runs, "probe": estimate.estimate_from_trial}
    # The processes of a trial print their progress, and standard output is for the plan.
    stdout = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        return functions[way](request, plan)
    finally:
        os.dup2(stdout, sys.stdout.fileno())
        os.close(stdout)
