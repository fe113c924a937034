"""Shared by all commands: their group, the options of a request, reading it, and the display of errors."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from embedstep import __version__
from embedstep.cli import tables
from embedstep.cli.help import HelpGroup
from embedstep.errors import (
    CANNOT_START,
    FAILED,
    INTERRUPTED,
    OK,
    OUT_OF_MEMORY,
    REFUSED,
    CannotStartError,
    EmbedstepError,
    InvalidRequestError,
)

_Command = Callable[..., None]
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace a finished model in the output folder.")
_SECTIONS = {
    "Start": ("init", "check", "plan", "run", "explain"),
    "Compare and promote": ("evaluate", "promote", "rollback"),
    "Finished runs": ("report", "replay", "sync"),
    "Arguments and older scripts": ("arguments", "migrate", "schema"),
    "Clusters and schedules": ("schedule", "manifest", "task"),
    "Data": ("facts", "cache"),
}
"""The commands by what a person does, most often needed first."""
_EXIT_CODES = {
    OK: "Success: a verified model and result.json are in the output folder.",
    FAILED: "The training failed.",
    REFUSED: "The request or its data is invalid. Do not retry.",
    CANNOT_START: "The step could not start, for lack of a package, a server or disk space. Retry.",
    OUT_OF_MEMORY: "The memory was not enough. Do not retry without a change.",
    INTERRUPTED: "The step was interrupted. Retry.",
}


@click.group(
    cls=HelpGroup,
    sections=_SECTIONS,
    exit_codes=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="embedstep")
@click.pass_context
def main(context: click.Context) -> None:
    """Train a sentence-transformers model from one request file.

    REQUEST is a YAML or JSON file, or - for standard input. Each command shows its options and examples with --help.

    \b
    Examples:
      embedstep init pairs.csv
      embedstep check request.yaml
      embedstep plan request.yaml --set arguments.num_train_epochs=1
      embedstep run request.yaml --output outputs/docs
      embedstep explain "batch share"
      embedstep promote request.yaml outputs/docs
    """
    # https://no-color.org; click itself does not read it.
    if os.environ.get("NO_COLOR"):
        context.color = False


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override one value of the request, such as arguments.learning_rate=2e-5. Repeat it for more.",
)


def request_options(command: _Command) -> _Command:
    """Add the argument REQUEST and the option --set."""
    return click.argument("request", metavar="REQUEST")(set_option(command))


def default_output(request: str, output_dir: str | None) -> Path:
    """Return the output folder of a run that names none.

    Args:
        request: file of the request, or `-`.
        output_dir: `arguments.output_dir`, which comes first.
    """
    if output_dir is not None:
        return Path(output_dir).expanduser()
    return Path("outputs") / ("request" if request == "-" else Path(request).stem)


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
