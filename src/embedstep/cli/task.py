"""What the container of a component runs: `embedstep task <verb>`, with what an orchestrator hands it."""

import gc
import json
import os
import sys
from typing import Any

import click

from embedstep.cli.options import errors_shown
from embedstep.errors import FAILED, OK

_SUMMARIES = {
    "prepare": "Lay down the rows of a task.",
    "mine_negatives": "Find hard negatives for the rows of a task.",
    "train": "Train from the request, the artifacts and the parameters of a task.",
    "evaluate": "Score the model of a task.",
    "promote": "Decide whether the model of a task may serve.",
    "outcome": "Write down how a pipeline ended.",
}


@click.group()
def task() -> None:
    """Run the container of a component: what Kubeflow puts in for {{$}} goes in, and its outputs come out."""


def _run(verb: str, executor_input: str) -> None:
    from embedstep.cli import tables
    from embedstep.launch.termination import termination_message
    from embedstep.orchestration import verbs
    from embedstep.orchestration.task import task_from_json

    code = FAILED
    with errors_shown("request"), termination_message(os.environ) as report_end:
        gc.enable()
        given = task_from_json(executor_input)
        match verb:
            case "prepare":
                tables.show_prepared(verbs.prepare_data(given))
            case "mine_negatives":
                tables.show_mined(verbs.mine_negatives_of(given))
            case "train":
                result = verbs.train(given)
                report_end(result)
                tables.show_result(result, "request")
                code = result.exit_code
            case "evaluate":
                tables.show_scores(verbs.evaluate(given))
            case "promote":
                tables.show_decision(verbs.promote(given))
            case _:
                click.echo(json.dumps(verbs.outcome(given), indent=2))
        code = code if verb == "train" else OK
    sys.exit(code)


def _command(verb: str, summary: str) -> click.Command:
    option = click.Option(["--executor-input"], required=True, metavar="JSON", help="What Kubeflow puts in for {{$}}.")

    def callback(**given: Any) -> None:
        _run(verb, given["executor_input"])

    return click.Command(verb, params=[option], callback=callback, help=summary)


for _verb, _summary in _SUMMARIES.items():
    task.add_command(_command(_verb, _summary))
