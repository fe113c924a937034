"""`embedstep schedule DIALECT`: one schedule line, in the words of an orchestrator.

Each dialect is a command that a package offers under the entry point `embedstep.schedules`, so that what knows an
orchestrator stays in its adapter.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from embedstep.cli.options import errors_shown, read, request_options
from embedstep.errors import CannotStartError, Problem, RefusedError

_GROUP = "embedstep.schedules"


class _Dialects(click.Group):
    """The dialects that are installed, each loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_known())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = _known().get(cmd_name)
        if entry is None:
            return None
        try:
            command: click.Command = entry.load()
        except ModuleNotFoundError as error:
            return _not_installed(cmd_name, str(error.name))
        return command


def _not_installed(dialect: str, module: str) -> click.Command:
    told = f"{module} is not installed; pip install 'embedstep[{dialect}]'"

    def callback(**_: Any) -> None:
        with errors_shown(f"schedule {dialect}"):
            raise CannotStartError(told)

    # Whatever else is given, this is what there is to say.
    rest = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        dialect, params=[rest], callback=callback, help=f"({told})", context_settings={"ignore_unknown_options": True}
    )


def _known() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=_GROUP)}


@click.command(cls=_Dialects)
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
        RefusedError: it has none, or the request is refused.
    """
    # Quoted, because a field that begins with * would be an alias of YAML.
    given = [f"schedule.{name}={json.dumps(text)}" for name, text in (("cron", cron), ("timezone", timezone)) if text]
    found = read(request, (*overrides, *given))
    if found.schedule is None:
        raise RefusedError([Problem("schedule", "is missing; write schedule: {cron: '0 3 * * 1'}, or give --cron")])
    return found


def show_schedule(request: Any, facts: Sequence[tuple[str, str]], notes: Sequence[str]) -> None:
    """Print what is scheduled, its next five times, and what the orchestrator does in another way.

    Args:
        request: the request, with its schedule.
        facts: what was made or would be, by names.
        notes: sentences about what the dialect cannot express.
    """
    from embedstep.cli.tables import aligned
    from embedstep.planning.cron import table_of

    when = ("cron", f"{request.schedule.cron} in {request.schedule.timezone}")
    for title, rows in (("schedule", [*facts, when]), ("next", table_of(request.schedule, datetime.now(UTC)))):
        click.echo("\n".join([title, *(f"  {line}" for line in aligned(rows))]))
    for note in notes:
        click.echo(f"note: {note}")
