"""What a person does with a request: check it, look at its plan, run it."""

import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from embedstep.cli.options import errors_shown, read, request_options
from embedstep.errors import FAILED, InvalidRequestError, Problem


@click.command()
@request_options
def check(request: str, overrides: tuple[str, ...]) -> None:
    """Check a request and its data. Needs no torch and no GPU.

    \b
    Examples:
      embedstep check request.yaml
      cat request.yaml | embedstep check -
    """
    from embedstep import step

    with errors_shown(request):
        plan = step.plan_step(read(request, overrides))
        click.echo(f"{request}: good, {plan.summary}")
        for note in plan.notes:
            click.echo(f"  {note}")


@click.command()
@request_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
@click.option(
    "--estimate",
    type=click.Choice(["former", "probe"]),
    help="Tell the cost, too: by former runs of the model in MLflow, or by a training of 20 steps now.",
)
@click.option("--preview", type=click.IntRange(1), metavar="N", help="Show the texts of the first N steps, too.")
def plan(request: str, overrides: tuple[str, ...], as_json: bool, estimate: str | None, preview: int | None) -> None:
    """Show what a run would do: rows, batches, steps, evaluations, metrics. Needs no torch and no GPU.

    \b
    Examples:
      embedstep plan request.yaml
      embedstep plan request.yaml --json | jq .train_steps
      embedstep plan request.yaml --set launch.processes_per_node=4
      embedstep plan request.yaml --estimate probe
      embedstep plan request.yaml --set arguments.batch_sampler=no_duplicates --preview 2
    """
    from embedstep import step
    from embedstep.cli import tables

    with errors_shown(request):
        loaded = read(request, overrides)
        planned = step.plan_step(loaded, preview=preview or 0)
        cost = _estimated(estimate, loaded, planned) if estimate else None
        if as_json:
            told = {"estimate": asdict(cost)} if cost else {}
            click.echo(json.dumps({**planned.to_json(), **told}, indent=2))
        else:
            tables.show_plan(planned, cost)


@click.command()
@request_options
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder. Without it: arguments.output_dir, else outputs/ and the name of the request file.",
)
@click.option("--overwrite", is_flag=True, help="Replace a finished model in the output folder.")
def run(request: str, overrides: tuple[str, ...], output: Path | None, overwrite: bool) -> None:
    """Train, and leave a verified model, metrics and result.json in the output folder.

    \b
    Examples:
      embedstep run request.yaml
      embedstep run request.yaml --output outputs/docs --overwrite
      embedstep run request.yaml --set launch.processes_per_node=2 --set arguments.max_steps=100
    """
    from embedstep.cli import tables
    from embedstep.launch.termination import termination_message
    from embedstep.step import run_step

    code = FAILED
    with errors_shown(request), termination_message(os.environ) as report_end:
        gc.enable()
        loaded = read(request, overrides)
        if output is not None and loaded.launch.trainjob is not None:
            told = "is not used: the pods of launch.kind: trainjob write to launch.trainjob.output"
            raise InvalidRequestError([Problem("--output", told)])
        folder = output or _default_output(request, loaded.arguments.output_dir)
        result = run_step(loaded, folder, overwrite=overwrite)
        report_end(result)
        tables.show_result(result, request)
        code = result.exit_code
    sys.exit(code)


def _estimated(way: str, request: Any, plan: Any) -> Any:
    from embedstep.cli import estimate

    by = {"former": estimate.estimate_by_former_runs, "probe": estimate.estimate_by_probe}
    # The processes of a probe tell their progress; standard output is for the plan.
    stdout = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        return by[way](request, plan)
    finally:
        os.dup2(stdout, sys.stdout.fileno())
        os.close(stdout)


def _default_output(request: str, output_dir: str | None) -> Path:
    if output_dir is not None:
        return Path(output_dir).expanduser()
    return Path("outputs") / ("request" if request == "-" else Path(request).stem)
