"""The command that writes a request for files with rows: what it found, its questions, and what to do next."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedstep.cli import tables
from embedstep.cli.layout import aligned, wrap_lines
from embedstep.cli.options import main, read, show_errors
from embedstep.errors import InvalidRequestError
from embedstep.runtime.text import shorten

if TYPE_CHECKING:
    from embedstep.data.profile import ColumnProfile
    from embedstep.planning.proposed_request import ProposedRequest
    from embedstep.planning.request_text import Found

_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_NONE = "none"
_EXAMPLE = 40


@main.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--model", default=_MODEL, show_default=True, help="Train this model: a folder or a model id on the hub.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="request.yaml",
    show_default=True,
    help="Write the request to this file.",
)
@click.option("--yes", is_flag=True, help="Ask nothing, and accept what is proposed.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def init(files: tuple[str, ...], model: str, output: Path, yes: bool, overwrite: bool) -> None:
    """Write a commented request for a training on your files with rows.

    FILES are Parquet, Arrow, JSON, CSV or text files, folders, globs or URLs, all of one dataset. Files whose names
    say train and dev, validation, eval or test are used as such. It needs no torch and no GPU.

    \b
    Examples:
      embedstep init pairs.csv
      embedstep init train.jsonl dev.jsonl --model models/minilm --yes
      embedstep init 'rows/*.parquet' --output requests/rows.yaml
    """
    from embedstep.planning.proposed_request import find_rows, look_around, propose

    with show_errors("init"):
        if not yes and not sys.stdin.isatty():
            raise InvalidRequestError.at("", "standard input is not a terminal, so nothing can be asked; write --yes")
        if yes:
            _require_free(output, overwrite=overwrite)
        found = find_rows(files)
        _show_columns(found)
        columns: dict[str, str | None] = {}
        if not yes:
            model, columns = _ask(found, model)
            output = _ask_for_file(output, overwrite=overwrite)
        proposed = propose(found, look_around(model), columns)
        _write(output, proposed.text)
    with show_errors(str(output)):
        _check(output)
    _show_next(output, model, proposed)


def _require_free(output: Path, *, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise InvalidRequestError.at("--output", f"{output} exists; write --overwrite, or another file")


def _ask_for_file(default: Path, *, overwrite: bool) -> Path:
    """Ask for the file to write, again if it exists."""

    def free(answer: str) -> Path:
        try:
            _require_free(Path(answer), overwrite=overwrite)
        except InvalidRequestError as error:
            raise click.UsageError(error.problems[0].message) from None
        return Path(answer)

    answer: Path = click.prompt("file to write", default=str(default), value_proc=free)
    return answer


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{output} cannot be written: {os.strerror(error.errno or 0)}"
        raise InvalidRequestError.at("--output", message) from None


def _ask(found: "Found", model: str) -> tuple[str, dict[str, str | None]]:
    """Ask for the model and for the columns; Enter takes what is proposed.

    Returns:
        the model, and the chosen columns by role.
    """
    from embedstep.planning.column_roles import ANCHOR, LABEL, NEGATIVE, POSITIVE, label_columns, propose_roles

    columns = found.profile.columns
    texts = [one.name for one in columns if one.kind in ("text", "texts")]
    roles = propose_roles(columns)
    if roles.anchor is None:
        return model, {}  # there is no text to ask for, which is a problem of its own
    click.echo("Enter takes what is in brackets.")
    model = click.prompt("model", default=model)
    chosen = {ANCHOR: _choose("anchor (the query)", roles.anchor.column.name, texts, may_be_none=False)}
    rest = [name for name in texts if name != chosen[ANCHOR]]
    if rest:
        positive = propose_roles(columns, chosen).positive
        default = _NONE if positive is None else positive.column.name
        chosen[POSITIVE] = _choose("positive (what matches it)", default, rest)
    further = propose_roles(columns, chosen)
    if further.negative is not None:
        names = [one.name for one in further.negative.columns]
        answer = _choose("negatives (what does not)", ", ".join(names), [", ".join(names), *rest])
        # Several columns stay as they are proposed.
        chosen |= {} if answer == ", ".join(names) else {NEGATIVE: answer}
    numbers = [one.name for one in label_columns(columns)]
    if further.label is not None or (numbers and chosen.get(NEGATIVE) is None and further.negative is None):
        default = _NONE if further.label is None else further.label.column.name
        chosen[LABEL] = _choose("label", default, [*numbers, *([] if default in (_NONE, *numbers) else [default])])
    return model, chosen


def _choose(question: str, default: str, names: list[str], *, may_be_none: bool = True) -> str | None:
    choices = [*names, *([_NONE] if may_be_none else [])]
    answer: str = click.prompt(question, default=default, type=click.Choice(choices), show_choices=False)
    return None if answer == _NONE and may_be_none else answer


def _show_columns(found: "Found") -> None:
    """Print a table of the columns with the roles that they seem to have, and what is not certain of the files."""
    from embedstep.planning.column_roles import propose_roles

    roles = propose_roles(found.profile.columns).named()
    header = ("column", "kind", "filled", "length", "different", "role", "example")
    rows = [_column_row(one, roles.get(one.name, "")) for one in found.profile.columns]
    title = f"{', '.join(found.splits['train'].paths)}: {found.profile.counted_rows}"
    tables.show_section(title, aligned([header, *rows], right=frozenset({2, 3, 4})), header=True)
    for note in wrap_lines(found.notes):
        click.secho(f"  {note}", fg="yellow")


def _column_row(column: "ColumnProfile", role: str) -> tuple[str, ...]:
    if column.kind in ("empty", "other"):
        return (column.name, column.kind_name, "", "", "", role, "")
    length = f"{column.length:,.0f}" if column.kind in ("text", "texts") else ""
    shown = shorten(column.example, _EXAMPLE)
    return (
        column.name, column.kind_name, f"{column.filled:.0%}", length, f"{column.distinct:.0%}", role, shown
    )  # fmt: skip


def _check(output: Path) -> None:
    from embedstep import step

    plan = step.plan_step(read(str(output), ()))
    click.echo(f"{output}: valid, {plan.summary}")
    for note in wrap_lines(plan.notes):
        click.echo(f"  {note}")


def _show_next(output: Path, model: str, proposed: "ProposedRequest") -> None:
    """Print the commands that lead to a verdict, and what is missing here for them."""
    folder = Path("outputs") / output.stem
    commands = [(f"embedstep run {output} --output {folder}", "train, and write a report")]
    if proposed.task.has_verdict and proposed.is_evaluated:
        commands.append((f"embedstep promote {output} {folder}", "is it better than the base model?"))
    elif proposed.task.scores_models and proposed.is_evaluated:
        models = f"--model before={model} --model after={folder}"
        commands.append((f"embedstep evaluate {output} {models}", "is it better than the base model?"))
    commands.append((f"embedstep check {output}", "after you have changed the request"))
    tables.show_section("next", aligned(commands))
    for line in _missing(model):
        click.secho(line, fg="yellow")


def _missing(model: str) -> list[str]:
    from embedstep.data.hub import is_cached, is_hub_id

    lines = []
    if find_spec("sentence_transformers") is None:
        lines.append("A training needs more packages: pip install 'embedstep[train]'")
    if is_hub_id(model) and not is_cached(model, os.environ):
        lines.append("Without access to the hub, name a folder with a model: --model")
    return lines
