"""`embedstep schedule ORCHESTRATOR`: one command for each orchestrator, all with the same schedule of a request.

To add an orchestrator, write a function here that turns a request with a schedule into a `Scheduled`.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from embedstep.cli import tables
from embedstep.cli.layout import aligned
from embedstep.cli.options import main, missing_library, read, request_options, show_errors
from embedstep.errors import InvalidRequestError, Problem

if TYPE_CHECKING:
    from embedstep.orchestration.scheduled import Scheduled

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9-]+")
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be scheduled, and change nothing.")


@main.group()
def schedule() -> None:
    """Schedule a recurring training in an orchestrator.

    The time comes from the section `schedule` of the request, or from --cron and --timezone.

    \b
    Examples:
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --dry-run
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --cron "0 3 * * 1"
      embedstep schedule kubernetes request.yaml --image embedstep:0.1.0 --claim shared:/shared --output /shared/docs
      embedstep schedule zenml request.yaml --pipeline pipelines.zenml_retrain.pipeline:retraining
      embedstep schedule airflow request.yaml
    """


def _orchestrator(function: Callable[..., "Scheduled | None"]) -> click.Command:
    """Add a command whose function gets the request and the options, and returns what to print, if anything."""

    @wraps(function)
    def command(
        request: str, overrides: tuple[str, ...], cron: str | None, timezone: str | None, **options: Any
    ) -> None:
        with show_errors(request):
            loaded = _read_scheduled(request, overrides, cron, timezone)
            with missing_library(function.__name__):
                found = function(loaded, **options)
            if found is not None:
                _show(loaded, found)

    zone = click.option("--timezone", metavar="ZONE", help="Use this time zone, such as Europe/Berlin.")
    cron = click.option(
        "--cron", metavar="FIELDS", help="Start at the times of these five fields, such as '0 3 * * 1'."
    )
    return schedule.command(function.__name__)(request_options(cron(zone(command))))


def _read_scheduled(request: str, overrides: Sequence[str], cron: str | None, timezone: str | None) -> Any:
    """Read a request, with the schedule of the options if they are given.

    Raises:
        InvalidRequestError: there is no schedule, or the request is refused.
    """
    # Quoted, because YAML takes a field that begins with * for an alias.
    given = [f"schedule.{name}={json.dumps(text)}" for name, text in (("cron", cron), ("timezone", timezone)) if text]
    found = read(request, (*overrides, *given))
    if found.schedule is None:
        raise InvalidRequestError.at("schedule", "is missing; write schedule: {cron: '0 3 * * 1'}, or give --cron")
    return found


def _show(request: Any, scheduled: "Scheduled") -> None:
    """Print what is scheduled, its next five times, and where the orchestrator differs."""
    from embedstep.planning.cron import list_firings

    when = ("cron", f"{request.schedule.cron} in {request.schedule.timezone}")
    for title, rows in (
        ("schedule", [*scheduled.facts, when]),
        ("next", list_firings(request.schedule, datetime.now(UTC))),
    ):
        tables.show_section(title, aligned(rows))
    for note in scheduled.notes:
        click.echo(f"note: {note}")


@_orchestrator
def airflow(request: Any) -> "Scheduled":
    """Show the schedule that a DAG of Airflow takes from the request.

    The DAG is declared with `DAG(..., **dag_schedule(REQUEST))`. Airflow reads the schedule from the file of the DAG,
    so nothing is created.

    \b
    Example:
      embedstep schedule airflow request.yaml
    """
    from embedstep.orchestration.scheduled import Scheduled

    wanted = request.schedule
    facts = (
        ("schedule", f'CronTriggerTimetable("{wanted.cron}", timezone="{wanted.timezone}")'),
        ("catchup", str(wanted.catch_up)),
        ("max_active_runs", "1"),
    )
    note = "Airflow does not skip a run that is due while the previous one is still running: it waits"
    return Scheduled(facts=facts, notes=(note,) if wanted.overlap == "skip" else ())


@_orchestrator
@_dry_run
@click.option(
    "--pipeline", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Schedule this compiled pipeline.",
)  # fmt: skip
@click.option("--name", help="Use this name for the recurring run.  [default: that of the pipeline]")
@click.option("--experiment", help="Put the runs into this experiment.  [default: the name]")
@click.option(
    "--host", help="Use Kubeflow Pipelines at this address.  [default: KF_PIPELINES_ENDPOINT, else the cluster's]"
)
@click.option("--namespace", help="Use this namespace, if Kubeflow has several users.")
@click.option("--token-from-env", metavar="NAME", help="Read the access token from this variable.")
def kubeflow(request: Any, pipeline: Path, **options: Any) -> "Scheduled":
    """Create a recurring run of a compiled pipeline in Kubeflow Pipelines.

    The pipeline's parameter as_of is set to the scheduled time of each run. A recurring run of the same name is
    replaced if it has changed.

    \b
    Examples:
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --dry-run
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --cron "0 3 * * 1"
    """
    from embedstep.orchestration.kfp.schedule import schedule_pipeline

    return schedule_pipeline(request, pipeline, **options)


@_orchestrator
@_dry_run
@click.option("--pipeline", required=True, metavar="MODULE:NAME", help="Call this pipeline with the request.")
@click.option("--name", help="Use this name for the schedule.  [default: that of the pipeline]")
def zenml(request: Any, pipeline: str, **options: Any) -> "Scheduled":
    """Create a schedule for a pipeline in the active stack of ZenML.

    A schedule of the same name is replaced if it has changed.

    \b
    Examples:
      embedstep schedule zenml request.yaml --pipeline pipelines.zenml_retrain.pipeline:retraining --dry-run
    """
    from embedstep.orchestration.zenml.schedule import schedule_pipeline

    return schedule_pipeline(request, pipeline, **options)


@_orchestrator
@click.option("--image", required=True, help="Run this image.")
@click.option("--output", required=True, metavar="FOLDER", help="Write to this folder, on a volume.")
@click.option("--claim", "claims", multiple=True, metavar="NAME:FOLDER", help="Mount a PersistentVolumeClaim.")
@click.option("--secret", "secrets", multiple=True, metavar="VARIABLE=SECRET:KEY", help="Set a variable from a Secret.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=AMOUNT", help="Ask for it, as nvidia.com/gpu=1.")
@click.option("--service-account", help="Run the pods with this ServiceAccount. It is required to create TrainJobs.")
@click.option("--name", help="Use this name for the CronJob.  [default: the run name or the experiment of the request]")
def kubernetes(
    request: Any,
    claims: tuple[str, ...],
    secrets: tuple[str, ...],
    resources: tuple[str, ...],
    name: str | None,
    **settings: Any,
) -> None:
    """Print a CronJob that trains a request, and the ConfigMap that contains it.

    \b
    Examples:
      embedstep schedule kubernetes request.yaml --image embedstep:0.1.0 --claim shared:/shared --output /shared/docs
      embedstep schedule kubernetes request.yaml ... | kubectl apply --namespace ml -f -
    """
    from embedstep.launch.kubernetes.cronjob import PodSettings, build_cronjob
    from embedstep.planning.cron import list_firings

    pod = PodSettings(
        claims=dict(_split("--claim", claims, ":", "NAME:FOLDER")),
        resources=dict(_split("--resource", resources, "=", "NAME=AMOUNT")),
        secrets={
            variable: _split("--secret", [of], ":", "VARIABLE=SECRET:KEY")[0]
            for variable, of in _split("--secret", secrets, "=", "VARIABLE=SECRET:KEY")
        },
        **settings,
    )
    name = name or request.named_tracking.run_name or request.tracking.experiment or "embedstep"
    manifests = build_cronjob(request, _NOT_IN_A_NAME.sub("-", name.lower()).strip("-"), pod)
    # As comments, so that the output can be applied.
    for local, utc in list_firings(request.schedule, datetime.now(UTC)):
        click.echo(f"# next: {local}, {utc}")
    if request.schedule.catch_up:
        click.echo("# note: of several missed times, a CronJob runs only the latest")
    click.echo("# note: a CronJob does not pass the scheduled time to its pod; data.as_of is that of the request")
    click.echo(yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True), nl=False)


def _split(option: str, given: Sequence[str], sign: str, form: str) -> list[tuple[str, str]]:
    parts = [one.partition(sign) for one in given]
    if wrong := [Problem(option, f"needs the form {form}; {''.join(one)!r} was given") for one in parts if not one[2]]:
        raise InvalidRequestError(wrong)
    return [(name, value) for name, _, value in parts]
