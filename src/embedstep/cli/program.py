"""The command line: all commands, and the program that runs them."""

import gc
from typing import Any, NoReturn

import click

from embedstep import __version__
from embedstep.cli import cluster, documents, models, schedule, task, train
from embedstep.errors import OK
from embedstep.runtime.exit import exit_now


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
      0   success: a verified model and result.json are in the output folder
      1   training failed
      2   invalid request or data: do not retry
      3   could not start (missing package, server or disk space): retry
      4   out of memory: do not retry unchanged
      75  interrupted: retry
    """


for _command in (
    train.check,
    train.plan,
    train.run,
    documents.schema,
    documents.arguments,
    documents.migrate,
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


def program() -> NoReturn:
    """The `embedstep` program.

    Garbage collection is off while modules are imported: they make next to none, and looking for it takes 0.03 s, a
    good part of the time of `check`.
    """
    gc.disable()
    try:
        main()
        code: Any = OK
    except SystemExit as end:
        code = end.code
    exit_now(code if isinstance(code, int) else OK)


if __name__ == "__main__":
    program()
