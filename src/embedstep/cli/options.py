"""Shared by all commands: their group, the options of a request, reading it, and the display of errors."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from embedstep import __version__
from embedstep.cli import tables
from embedstep.errors import FAILED, OK, CannotStartError, EmbedstepError, InvalidRequestError

_Command = Callable[..., None]
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a finished model in the output folder.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="embedstep")
def main() -> None:
    """Train a sentence-transformers model from one request file.

    REQUEST is a YAML or JSON file, or - for standard input.

    \b
    Examples:
      embedstep init pairs.csv
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


def request_options(command: _Command) -> _Command:
    """Add the argument REQUEST and the option --set."""
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Override one value of the request, such as --set arguments.learning_rate=2e-5. Can be repeated.",
    )(command)
    return click.argument("request", metavar="REQUEST")(command)


def read(request: str, overrides: tuple[str, ...]) -> Any:
    """Read a request. If it is refused, check the readable rest of it as well, to report all problems at once."""
    from embedstep.planning.further_problems import further_problems
    from embedstep.request.loading import read_request

    try:
        return read_request(request, overrides)
    except InvalidRequestError as error:
        raise InvalidRequestError([*error.problems, *further_problems(error)]) from None


def show(found: Any, table: Callable[[Any], None], *, as_json: bool) -> None:
    """Print what a command has found: its `to_json`, or a table."""
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        table(found)


def exit_with_result(request: str, work: Callable[[], Any], table: Callable[[Any], None]) -> NoReturn:
    """Do the work of a container, print what it returns, and exit with the code of a `StepResult`.

    The result or the first error is also left as the termination message of the container.
    """
    from embedstep.launch.termination import termination_message
    from embedstep.output.result import StepResult

    # Stays so if the reader of our output closes the pipe before the end.
    code = FAILED
    with show_errors(request), termination_message(os.environ) as report_end:
        # Off since the start of the program, for its imports.
        gc.enable()
        found = work()
        if isinstance(found, StepResult):
            report_end(found)
        table(found)
        code = found.exit_code if isinstance(found, StepResult) else OK
    sys.exit(code)


@contextmanager
def missing_library(extra: str, purpose: str = "") -> Iterator[None]:
    """Name the extra that installs a missing library.

    Args:
        extra: the extra of embedstep.
        purpose: what needs the library, to follow its name.

    Raises:
        CannotStartError: a library is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{error.name}{purpose} is not installed; pip install 'embedstep[{extra}]'"
        raise CannotStartError(message) from None


@contextmanager
def show_errors(request: str) -> Iterator[None]:
    """Exit with the code of an EmbedstepError and its message, without a traceback."""
    try:
        yield
    except EmbedstepError as error:
        problems: list[Any] = list(error.problems) if isinstance(error, InvalidRequestError) else [error]
        with suppress(BrokenPipeError):
            tables.show_problems(request, problems)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has closed the pipe, as `head` does. That is not a failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
