"""Shared by all commands: the options of a request, reading it, and the display of errors."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from embedstep.cli import tables
from embedstep.errors import FAILED, OK, EmbedstepError, InvalidRequestError

_Command = Callable[..., None]
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a finished model in the output folder.")


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
    from embedstep import step
    from embedstep.request.loading import read_request

    try:
        return read_request(request, overrides)
    except InvalidRequestError as error:
        raise InvalidRequestError([*error.problems, *step.further_problems(error)]) from None


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

    code = FAILED
    with show_errors(request), termination_message(os.environ) as report_end:
        gc.enable()
        found = work()
        if isinstance(found, StepResult):
            report_end(found)
        table(found)
        code = found.exit_code if isinstance(found, StepResult) else OK
    sys.exit(code)


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
