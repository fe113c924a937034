"""Commands for finished runs: evaluate, promote, rollback, sync, report, replay."""

from pathlib import Path

import click

from embedstep.cli import tables
from embedstep.cli.options import (
    default_output,
    main,
    missing_library,
    overwrite_option,
    read,
    request_options,
    set_option,
    show,
    show_errors,
)


@main.command()
@request_options
@click.option(
    "--model",
    "models",
    multiple=True,
    required=True,
    metavar="NAME=MODEL",
    help="Score this model: a model folder, an output folder or a model id on the hub. The first is the baseline. "
    "Repeat it for more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
def evaluate(request: str, overrides: tuple[str, ...], models: tuple[str, ...], as_json: bool) -> None:
    """Score models on the eval data of a request, and compare them query by query.

    \b
    Examples:
      embedstep evaluate request.yaml --model before=outputs/last-week --model after=outputs/docs
      embedstep evaluate request.yaml --model base=sentence-transformers/all-MiniLM-L6-v2 --json
    """
    from embedstep.promotion.scoring import parse_models, score_models

    with show_errors(request):
        scored = score_models(read(request, overrides), parse_models(models))
        show(scored, tables.show_scores, as_json=as_json)


@main.command()
@set_option
@click.argument("request", metavar="[REQUEST]", default="request.yaml")
@click.argument("output", metavar="[OUTPUT]", type=click.Path(path_type=Path), required=False)
@click.option("--champion", metavar="MODEL", help="Compare with this model, and do not change the registry.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def promote(request: str, overrides: tuple[str, ...], output: Path | None, champion: str | None, as_json: bool) -> None:
    """Compare the model of a run with the champion, and decide whether it is promoted.

    REQUEST is request.yaml unless it is given, and OUTPUT the folder that a run of it writes to. Without a champion the
    model is compared with its base. Both are scored on the same queries, and the difference counts if a paired
    bootstrap finds it significant. The verdict is promote, hold or reject. With tracking.register_as the champion is
    that of the registry, and a promoted model takes over its alias. The exit code is 0 for each of the three verdicts.

    \b
    Examples:
      embedstep promote
      embedstep promote request.yaml outputs/docs
      embedstep promote request.yaml outputs/docs --champion outputs/last-week --json | jq -r .verdict
    """
    from embedstep.promotion.gate import promote as decide

    with show_errors(request):
        loaded = read(request, overrides)
        folder = output or default_output(request, loaded.arguments.output_dir)
        decision = decide(loaded, folder, champion=champion)
        show(decision, tables.show_decision, as_json=as_json)


@main.command()
@request_options
def rollback(request: str, overrides: tuple[str, ...]) -> None:
    """Make the previous champion the champion again.

    \b
    Example:
      embedstep rollback request.yaml
    """
    from embedstep.promotion.gate import roll_back

    with show_errors(request):
        click.echo(roll_back(read(request, overrides)))


@main.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--uri", metavar="URI", help="Send to this tracking URI in place of the run's own.")
def sync(output: Path, uri: str | None) -> None:
    """Send the records to MLflow that a run could not send while the server was away.

    OUTPUT is the output folder of the run. What has already arrived is not changed. A run whose processes were killed
    is ended as FAILED.

    \b
    Examples:
      embedstep sync outputs/docs
      embedstep sync outputs/docs --uri http://localhost:5000
    """
    from embedstep.output.folder import lock_for_sync
    from embedstep.tracking.sender import sync as send

    with show_errors(str(output)), lock_for_sync(output):
        tables.show_sent(output, send(output, uri))


@main.command()
@click.argument("output", type=click.Path(path_type=Path))
def report(output: Path) -> None:
    """Write the HTML report of a finished run again.

    OUTPUT is the output folder of the run.

    \b
    Example:
      embedstep report outputs/docs
    """
    with show_errors(str(output)), missing_library("train", ", which reports need,"):
        from embedstep.report.page import write_report

        click.echo(write_report(output))


@main.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Write the new training to this folder."
)
@click.option("--uri", metavar="URI", help="Find the run at this tracking URI.  [default: MLFLOW_TRACKING_URI]")
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def replay(run: str, output: Path | None, uri: str | None, overwrite: bool, as_json: bool) -> None:
    """Repeat a run, and check whether its weights are bit-identical.

    RUN is an output folder, the folder of a model that was handed over, or the id of an MLflow run. Rows that have
    changed since are refused. Nothing is recorded or registered.

    \b
    Examples:
      embedstep replay outputs/docs
      embedstep replay 0f5b1c8e2d7a4f6b9c3e1a2d4b5c6d7e --uri http://localhost:5000 --output outputs/again
    """
    from embedstep.replay import replay as train_again

    with show_errors(run):
        found = train_again(run, output or Path("outputs") / f"replay-{Path(run).name}", uri=uri, overwrite=overwrite)
        show(found, tables.show_replay, as_json=as_json)
