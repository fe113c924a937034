"""`embedstep schedule ORCHESTRATOR`: one schedule of a request, in the words of each orchestrator."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from embedstep.cli.options import errors_shown, read, request_options
from embedstep.errors import CannotStartError, InvalidRequestError, Problem

if TYPE_CHECKING:
    from embedstep.orchestration.scheduled import Scheduled

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9-]+")


@click.group()
def schedule() -> None:
    """Have an orchestrator run a retraining again and again.

    The time is the section `schedule` of the request, or --cron and --timezone.

    \b
    Examples:
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --dry-run
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --cron "0 3 * * 1"
      embedstep schedule kubernetes request.yaml --image embedstep:0.1.0 --claim shared:/shared --output /shared/docs
      embedstep schedule zenml request.yaml --pipeline pipelines.zenml_retrain.pipeline:retraining
      embedstep schedule airflow request.yaml
    """


def when_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what every dialect takes: the request, --cron and --timezone."""
    for option in (
        click.option("--timezone", metavar="ZONE", help="Time zone of the hours, such as Europe/Berlin."),
        click.option("--cron", metavar="FIELDS", help="When, as cron's five fields, such as '0 3 * * 1'."),
    ):
        command = option(command)
    return request_options(command)


def read_scheduled(request: str, overrides: Sequence[str], cron: str | None, timezone: str | None) -> Any:
    """Read a request that has a schedule, or is given one.

    Raises:
        InvalidRequestError: it has none, or the request is refused.
    """
    # Quoted, because a field that begins with * would be an alias of YAML.
    given = [f"schedule.{name}={json.dumps(text)}" for name, text in (("cron", cron), ("timezone", timezone)) if text]
    found = read(request, (*overrides, *given))
    if found.schedule is None:
        raise InvalidRequestError(
            [Problem("schedule", "is missing; write schedule: {cron: '0 3 * * 1'}, or give --cron")]
        )
    return found


def show_schedule(request: Any, scheduled: "Scheduled") -> None:
    """Print what is scheduled, its next five times, and what the orchestrator does in another way."""
    from embedstep.cli.tables import aligned
    from embedstep.planning.cron import list_firings

    when = ("cron", f"{request.schedule.cron} in {request.schedule.timezone}")
    for title, rows in (
        ("schedule", [*scheduled.facts, when]),
        ("next", list_firings(request.schedule, datetime.now(UTC))),
    ):
        click.echo("\n".join([title, *(f"  {line}" for line in aligned(rows))]))
    for note in scheduled.notes:
        click.echo(f"note: {note}")


@contextmanager
def _needs(extra: str) -> Iterator[None]:
    """Say how to install what an orchestrator needs, where that is missing.

    Raises:
        CannotStartError: it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise CannotStartError(f"{error.name} is not installed; pip install 'embedstep[{extra}]'") from None


@schedule.command()
@when_options
def airflow(request: str, overrides: tuple[str, ...], cron: str | None, timezone: str | None) -> None:
    """Show what a DAG makes of a request's schedule: `DAG(..., **dag_schedule(REQUEST))`.

    Airflow takes a schedule from the file of a DAG, so there is nothing to create.

    \b
    Example:
      embedstep schedule airflow request.yaml
    """
    from embedstep.orchestration.scheduled import Scheduled

    with errors_shown(request):
        found = read_scheduled(request, overrides, cron, timezone)
        wanted = found.schedule
        facts = (
            ("schedule", f'CronTriggerTimetable("{wanted.cron}", timezone="{wanted.timezone}")'),
            ("catchup", str(wanted.catch_up)),
            ("max_active_runs", "1"),
        )
        skips = wanted.overlap == "skip"
        late = "a run that is due while the one before still runs is not left out by Airflow: it waits"
        show_schedule(found, Scheduled(facts=facts, notes=(late,) if skips else ()))


@schedule.command()
@when_options
@click.option("--dry-run", is_flag=True, help="Show what would be scheduled, and change nothing.")
@click.option(
    "--pipeline", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The compiled pipeline.",
)  # fmt: skip
@click.option("--name", help="Name of the recurring run.  [default: that of the pipeline]")
@click.option("--experiment", help="Its experiment.  [default: its name]")
@click.option("--host", help="Address of Kubeflow Pipelines.  [default: KF_PIPELINES_ENDPOINT, else the cluster's]")
@click.option("--namespace", help="Namespace, where Kubeflow has several users.")
@click.option("--token-from-env", metavar="NAME", help="Variable with the token that Kubeflow wants.")
def kubeflow(
    request: str,
    overrides: tuple[str, ...],
    cron: str | None,
    timezone: str | None,
    pipeline: Path,
    **options: Any,
) -> None:
    """Have Kubeflow Pipelines run a compiled pipeline again and again.

    Its parameter as_of gets the time that a run is for. A recurring run of the same name is replaced where anything
    about it is another by now.

    \b
    Examples:
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --dry-run
      embedstep schedule kubeflow request.yaml --pipeline retrain.yaml --cron "0 3 * * 1"
    """
    with errors_shown(request), _needs("kubeflow"):
        from embedstep.orchestration.kfp.schedule import schedule_pipeline

        found = read_scheduled(request, overrides, cron, timezone)
        show_schedule(found, schedule_pipeline(found, pipeline, **options))


@schedule.command()
@when_options
@click.option("--dry-run", is_flag=True, help="Show what would be scheduled, and change nothing.")
@click.option("--pipeline", required=True, metavar="MODULE:NAME", help="The pipeline; it is called with the request.")
@click.option("--name", help="Name of the schedule.  [default: that of the pipeline]")
def zenml(
    request: str, overrides: tuple[str, ...], cron: str | None, timezone: str | None, pipeline: str, **options: Any
) -> None:
    """Have the active stack of ZenML run a pipeline again and again.

    A schedule of the same name is left as it is where nothing about it has changed, and else replaced.

    \b
    Examples:
      embedstep schedule zenml request.yaml --pipeline pipelines.zenml_retrain.pipeline:retraining --dry-run
    """
    with errors_shown(request), _needs("zenml"):
        from embedstep.orchestration.zenml.schedule import schedule_pipeline

        found = read_scheduled(request, overrides, cron, timezone)
        show_schedule(found, schedule_pipeline(found, pipeline, **options))


@schedule.command()
@when_options
@click.option("--image", required=True, help="The image.")
@click.option("--output", required=True, metavar="FOLDER", help="Output folder, on a volume.")
@click.option("--claim", "claims", multiple=True, metavar="NAME:FOLDER", help="Mount a PersistentVolumeClaim.")
@click.option("--secret", "secrets", multiple=True, metavar="VARIABLE=SECRET:KEY", help="A variable from a Secret.")
@click.option("--resource", "resources", multiple=True, metavar="NAME=AMOUNT", help="Such as nvidia.com/gpu=1.")
@click.option("--service-account", help="ServiceAccount of the pods; a launcher of TrainJobs needs one.")
@click.option("--name", help="Name of the CronJob.  [default: the run name or the experiment of the request]")
def kubernetes(
    request: str,
    overrides: tuple[str, ...],
    cron: str | None,
    timezone: str | None,
    image: str,
    output: str,
    claims: tuple[str, ...],
    secrets: tuple[str, ...],
    resources: tuple[str, ...],
    service_account: str | None,
    name: str | None,
) -> None:
    """Print a CronJob that trains a request, and the ConfigMap that holds it.

    \b
    Examples:
      embedstep schedule kubernetes request.yaml --image embedstep:0.1.0 --claim shared:/shared --output /shared/docs
      embedstep schedule kubernetes request.yaml ... | kubectl apply --namespace ml -f -
    """
    from embedstep.launch.kubernetes.cronjob import PodSettings, build_cronjob
    from embedstep.planning.cron import list_firings

    with errors_shown(request):
        found = read_scheduled(request, overrides, cron, timezone)
        around = PodSettings(
            image=image, output=output, service_account=service_account,
            claims=dict(_split("--claim", claims, ":", "NAME:FOLDER")),
            resources=dict(_split("--resource", resources, "=", "NAME=AMOUNT")),
            secrets={
                variable: _split("--secret", [of], ":", "VARIABLE=SECRET:KEY")[0]
                for variable, of in _split("--secret", secrets, "=", "VARIABLE=SECRET:KEY")
            },
        )  # fmt: skip
        called = name or found.recorded_as.run_name or found.tracking.experiment or "embedstep"
        manifests = build_cronjob(found, _NOT_IN_A_NAME.sub("-", called.lower()).strip("-"), around)
        # As comments, so that what is printed can be applied.
        for local, utc in list_firings(found.schedule, datetime.now(UTC)):
            click.echo(f"# next: {local}, {utc}")
        if found.schedule.catch_up:
            click.echo("# note: a CronJob starts the newest of the times that were missed, and no other")
        click.echo("# note: a CronJob tells no pod the time that it is for; data.as_of is that of the request")
        click.echo(yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True), nl=False)


def _split(option: str, given: Sequence[str], sign: str, form: str) -> list[tuple[str, str]]:
    parts = [one.partition(sign) for one in given]
    if wrong := [Problem(option, f"needs the form {form}; {''.join(one)!r} was given") for one in parts if not one[2]]:
        raise InvalidRequestError(wrong)
    return [(name, value) for name, _, value in parts]
