"""What the verbs of the command line have in common: the request that they read, and how they end."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from embedstep.errors import EmbedstepError, InvalidRequestError

_Command = Callable[..., None]


def request_options(command: _Command) -> _Command:
    """Add what every verb that reads a request takes."""
    command = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Set one value over the document, such as --set arguments.learning_rate=2e-5. Can be repeated.",
    )(command)
    return click.argument("request", metavar="REQUEST")(command)


def read(request: str, overrides: tuple[str, ...]) -> Any:
    """Read a request; of one that is refused, look at the rest too."""
    from embedstep import step
    from embedstep.request.loading import read_request

    try:
        return read_request(request, overrides)
    except InvalidRequestError as error:
        raise InvalidRequestError([*error.problems, *step.further_problems(error)]) from None


@contextmanager
def errors_shown(request: str) -> Iterator[None]:
    """End in the code of an error that embedstep raised on purpose, with its sentences and no traceback."""
    try:
        yield
    except EmbedstepError as error:
        from embedstep.cli import tables

        problems: list[Any] = list(error.problems) if isinstance(error, InvalidRequestError) else [error]
        with suppress(BrokenPipeError):
            tables.show_problems(request, problems)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; that is no failure, and hides none.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
