"""The command line: one verb, one function, each a few lines over `step`."""

import gc
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from embedstep import __version__
from embedstep.cli import cluster, models, schedule, task
from embedstep.cli.options import errors_shown, read, request_options
from embedstep.errors import FAILED, OK, Problem, RefusedError
from embedstep.runtime.exit import leave


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="embedstep")
def main() -> None:
    """Train a sentence-transformers model from one request file.

    REQUEST is a YAML or JSON file, or - for standard input.

    \b
    Examples:
      embedstep check request.yaml
      embedstep plan request.yaml --set arguments.num_train_epochs=1
      embedstep run request.yaml --output outputs/docs
      embedstep schema > request.schema.json
      embedstep arguments warmup_ratio
      embedstep migrate training_args.json -o request.yaml
      embedstep evaluate request.yaml --model before=outputs/last-week --model after=outputs/docs
      embedstep promote request.yaml outputs/docs
      embedstep sync outputs/docs
      embedstep replay outputs/docs
      embedstep report outputs/docs
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --dry-run

    \b
    Exit codes:
      0   a verified model and result.json are there
      1   training failed
      2   the request or the data was refused: do not retry
      3   could not start (a package, a server or disk space is missing): retry
      4   out of memory: do not retry unchanged
      75  interrupted: retry
    """


@main.command()
@request_options
def check(request: str, overrides: tuple[str, ...]) -> None:
    """Check a request and its data. Needs no torch and no GPU.

    \b
    Examples:
      embedstep check request.yaml
      cat request.yaml | embedstep check -
    """
    from embedstep import step
    from embedstep.cli import tables

    with errors_shown(request):
        plan = step.plan_step(read(request, overrides))
        click.echo(f"{request}: good, {tables.in_one_line(plan)}")
        for note in plan.notes:
            click.echo(f"  {note}")


@main.command()
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


@main.command()
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
    from embedstep import step
    from embedstep.cli import tables
    from embedstep.launch import followers
    from embedstep.launch.termination import last_words

    code = FAILED
    with errors_shown(request), last_words(os.environ) as leave:
        gc.enable()
        loaded = read(request, overrides)
        if output is not None and loaded.launch.trainjob is not None:
            told = "is not used: the pods of launch.kind: trainjob write to launch.trainjob.output"
            raise RefusedError([Problem("--output", told)])
        folder = output or _default_output(request, loaded.arguments.output_dir)
        if loaded.launch.kind == "local":
            ended = followers.run_part(loaded, folder, os.environ, overwrite=overwrite)
        else:
            ended = step.run_step(loaded, folder, overwrite=overwrite)
        leave(ended)
        code = tables.show_end(ended, request)
    sys.exit(code)


@main.command()
def schema() -> None:
    """Print the JSON Schema of a request, for an editor to complete and check by.

    \b
    Example:
      embedstep schema > request.schema.json
    """
    from embedstep.request.schema import TrainRequest

    click.echo(json.dumps(TrainRequest.model_json_schema(), indent=2))


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
def arguments(name: str | None, as_json: bool) -> None:
    """Tell what becomes of the training arguments, or of one of them, of either era.

    \b
    Examples:
      embedstep arguments
      embedstep arguments evaluation_strategy
      embedstep arguments --json | jq '.[] | select(.fate == "refused") | .name'
    """
    from embedstep.cli import tables
    from embedstep.request.arguments.listing import argument_record, argument_records, in_lines

    with errors_shown("arguments"):
        found = argument_records() if name is None else argument_record(name)
        if as_json:
            click.echo(json.dumps(found, indent=2))
        elif isinstance(found, dict):
            click.echo("\n".join(tables.aligned(in_lines(found))))
        else:
            header = ("argument", "fate", "today", "what")
            rows = [(row["name"], row["fate"], row["today"], row["description"]) for row in found]
            click.echo("\n".join(tables.aligned([header, *rows])))


@main.command()
@click.argument("old", metavar="OLD")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="Write the request to this file.")
def migrate(old: str, target: Path | None) -> None:
    """Turn older training arguments into a request, and tell what became of each.

    OLD is a dump (to_json_string), a YAML file of arguments, or a Python script that calls
    SentenceTransformerTrainingArguments(...); the script is read, not run. Model and data are left for you to fill in.

    \b
    Examples:
      embedstep migrate training_args.json -o request.yaml
      embedstep migrate train.py
    """
    from embedstep.cli import tables
    from embedstep.planning.migration import migrate_file

    with errors_shown(old):
        migrated = migrate_file(old)
        if target is None:
            click.echo(migrated.request)
        else:
            try:
                target.write_text(migrated.request, encoding="utf-8")
            except OSError as error:
                told = f"cannot be written: {os.strerror(error.errno or 0)}"
                raise RefusedError([Problem(str(target), told)]) from None
        click.echo("\n".join(tables.aligned([("argument", "becomes", ""), *migrated.table])), err=target is None)
        if migrated.problems:
            raise RefusedError(migrated.problems)


for _command in (
    models.evaluate,
    models.promote,
    models.rollback,
    models.sync,
    models.report,
    models.replay,
    schedule.schedule,
    task.task,
    cluster.manifest,
    cluster.node,
):
    main.add_command(_command)


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


def program() -> NoReturn:
    """The `embedstep` program: the command line, made to answer at once.

    Imports make next to no garbage, and looking for it among them takes 0.03 s, a good part of what `check` takes.
    """
    gc.disable()
    try:
        main()
        code: Any = OK
    except SystemExit as end:
        code = end.code
    leave(code if isinstance(code, int) else OK)


if __name__ == "__main__":
    program()
