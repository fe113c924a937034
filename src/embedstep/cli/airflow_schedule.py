"""`embedstep schedule airflow`: what a DAG makes of a request's schedule. Needs no Airflow."""

import click

from embedstep.cli.options import errors_shown
from embedstep.cli.schedule import read_scheduled, show_schedule, when_options


@click.command()
@when_options
def airflow(request: str, overrides: tuple[str, ...], cron: str | None, timezone: str | None) -> None:
    """Show what a DAG makes of a request's schedule: `DAG(..., **dag_schedule(REQUEST))`.

    Airflow takes a schedule from the file of a DAG, so there is nothing to create.

    \b
    Example:
      embedstep schedule airflow request.yaml
    """
    with errors_shown(request):
        found = read_scheduled(request, overrides, cron, timezone)
        schedule = found.schedule
        facts = [
            ("schedule", f'CronTriggerTimetable("{schedule.cron}", timezone="{schedule.timezone}")'),
            ("catchup", str(schedule.catch_up)),
            ("max_active_runs", "1"),
        ]
        skips = schedule.overlap == "skip"
        late = "a run that is due while the one before still runs is not left out by Airflow: it waits"
        show_schedule(found, facts, [late] if skips else [])
