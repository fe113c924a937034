"""`embedstep schedule kubernetes`: a CronJob, for `kubectl apply`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import yaml

from embedstep.cli.options import errors_shown
from embedstep.cli.schedule import read_scheduled, when_options
from embedstep.errors import Problem, RefusedError

_NAME = re.compile(r"[^a-z0-9-]+")


@click.command()
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
    from embedstep.launch.kubernetes.cronjob import Surroundings, cronjob_of
    from embedstep.planning.cron import table_of

    with errors_shown(request):
        found = read_scheduled(request, overrides, cron, timezone)
        around = Surroundings(
            image=image, output=output, service_account=service_account,
            claims=dict(_split("--claim", claims, ":", "NAME:FOLDER")),
            resources=dict(_split("--resource", resources, "=", "NAME=AMOUNT")),
            secrets={
                variable: _split("--secret", [of], ":", "VARIABLE=SECRET:KEY")[0]
                for variable, of in _split("--secret", secrets, "=", "VARIABLE=SECRET:KEY")
            },
        )  # fmt: skip
        called = name or found.recorded_as.run_name or found.tracking.experiment or "embedstep"
        manifests = cronjob_of(found, _NAME.sub("-", called.lower()).strip("-"), around)
        # As comments, so that what is printed can be applied.
        for local, utc in table_of(found.schedule, datetime.now(UTC)):
            click.echo(f"# next: {local}, {utc}")
        if found.schedule.catch_up:
            click.echo("# note: a CronJob starts the newest of the times that were missed, and no other")
        click.echo("# note: a CronJob tells no pod the time that it is for; data.as_of is that of the request")
        click.echo(yaml.safe_dump_all(manifests, sort_keys=False, allow_unicode=True), nl=False)


def _split(option: str, given: Sequence[str], sign: str, form: str) -> list[tuple[str, str]]:
    parts = [one.partition(sign) for one in given]
    if wrong := [Problem(option, f"needs the form {form}; {''.join(one)!r} was given") for one in parts if not one[2]]:
        raise RefusedError(wrong)
    return [(name, value) for name, _, value in parts]
