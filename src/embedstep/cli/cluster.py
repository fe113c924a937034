"""Commands for a cluster: a request as a manifest, and the command of its pods."""

import os

import click
import yaml

from embedstep.cli import results
from embedstep.cli.options import exit_with_result, main, overwrite_option, read, request_options, show_errors


@main.command()
@request_options
@click.option("--attempt", type=click.IntRange(1), default=1, help="Use this number of the attempt in the name.")
@overwrite_option
def manifest(request: str, overrides: tuple[str, ...], attempt: int, *, overwrite: bool) -> None:
    """Print the TrainJob of a request, to apply it yourself.

    The request needs launch.kind: trainjob.

    \b
    Examples:
      embedstep manifest request.yaml
      embedstep manifest request.yaml | kubectl apply --namespace ml -f -
    """
    from embedstep.launch.kubernetes.manifest import build_trainjob

    with show_errors(request):
        job = build_trainjob(read(request, overrides), attempt, overwrite=overwrite)
        click.echo(yaml.safe_dump(job, sort_keys=False), nl=False)


@main.command(hidden=True)
@overwrite_option
def node(*, overwrite: bool) -> None:
    """Run one pod of a TrainJob. The request and the rank of the pod are in its environment."""
    from embedstep.launch.kubernetes.pod import load_pod_request
    from embedstep.step import run_step

    exit_with_result(
        "request", lambda: run_step(*load_pod_request(os.environ), overwrite=overwrite), results.show_result
    )
