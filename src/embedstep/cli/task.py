"""`embedstep task COMMAND`: what the container of a component runs, with a task of its orchestrator as JSON."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from embedstep.cli import results, tables
from embedstep.cli.help import HelpGroup
from embedstep.cli.options import exit_with_result, main

_SHOW: Mapping[str, Callable[[Any], None]] = {
    "prepare": tables.show_prepared,
    "mine_negatives": tables.show_mined,
    "train": results.show_result,
    "evaluate": tables.show_scores,
    "promote": tables.show_decision,
}
"""The function that prints what a command returns. Other commands print it as JSON."""


class _Commands(HelpGroup):
    """The commands of the table of components, which is imported only when one is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        from embedstep.orchestration.components import COMPONENTS

        return [one.command for one in COMPONENTS.values()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None if no component has it."""
        from embedstep.orchestration.components import COMPONENTS

        found = next((one for one in COMPONENTS.values() if one.command == cmd_name), None)
        if found is None:
            return None
        option = click.Option(
            ["--executor-input"],
            required=True,
            metavar="JSON",
            help="Read the task from this JSON, which Kubeflow substitutes for {{$}}.",
        )
        return click.Command(
            cmd_name, params=[option], help=found.description,
            callback=lambda executor_input: _run(found, executor_input),
        )  # fmt: skip


@main.group(cls=_Commands)
def task() -> None:
    """Run a component of a Kubeflow pipeline, in its container.

    It reads the inputs of the task, and writes its outputs.
    """


def _run(component: Any, executor_input: str) -> None:
    from embedstep.orchestration import commands
    from embedstep.orchestration.task import task_from_json

    def show_json(found: Any) -> None:
        click.echo(json.dumps(found, indent=2))

    work = getattr(commands, component.command)
    table = _SHOW.get(component.command, show_json)
    exit_with_result("request", lambda: work(task_from_json(executor_input)), table)
