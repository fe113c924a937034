"""Commands that read no rows: the schema of a request, the training arguments, migration of older arguments, cache."""

import json
import os
from pathlib import Path

import click

from embedstep.cli.layout import aligned
from embedstep.cli.options import main, show_errors
from embedstep.errors import InvalidRequestError


@main.command()
def schema() -> None:
    """Print the JSON Schema of a request, for completion and validation in an editor.

    \b
    Example:
      embedstep schema > request.schema.json
    """
    from embedstep.request.schema import TrainRequest

    click.echo(json.dumps(TrainRequest.model_json_schema(), indent=2))


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
def arguments(name: str | None, as_json: bool) -> None:
    """Show how each training argument is supported, or one of them by its old or new name.

    \b
    Examples:
      embedstep arguments
      embedstep arguments evaluation_strategy
      embedstep arguments --json | jq '.[] | select(.support == "refused") | .name'
    """
    from embedstep.request.arguments.listing import argument_record, argument_records, in_lines

    with show_errors("arguments"):
        found = argument_records() if name is None else argument_record(name)
        if as_json:
            click.echo(json.dumps(found, indent=2))
        elif isinstance(found, dict):
            click.echo("\n".join(aligned(in_lines(found))))
        else:
            header = ("argument", "support", "current name", "what")
            rows = [(row["name"], row["support"], row["current_name"], row["description"]) for row in found]
            click.echo("\n".join(aligned([header, *rows])))


@main.command()
@click.argument("old", metavar="OLD")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="Write the request to this file.")
@click.option("--line", type=click.IntRange(1), help="Line of the call to convert, in a script with several calls.")
def migrate(old: str, target: Path | None, line: int | None) -> None:
    """Convert the training arguments of an older script or dump to a request.

    It reports what becomes of each argument.

    OLD is a dump (to_json_string), a YAML file of arguments, a model card (README.md), or a Python script that calls
    SentenceTransformerTrainingArguments(...). The script is parsed, not run. Fill in what the request has in <...>.

    \b
    Examples:
      embedstep migrate training_args.json -o request.yaml
      embedstep migrate train.py
      embedstep migrate train.py --line 40
    """
    from embedstep.planning.migration import migrate_file

    with show_errors(old):
        migrated = migrate_file(old, line)
        if target is None:
            click.echo(migrated.request)
        else:
            try:
                target.write_text(migrated.request, encoding="utf-8")
            except OSError as error:
                message = f"cannot be written: {os.strerror(error.errno or 0)}"
                raise InvalidRequestError.at(str(target), message) from None
        click.echo("\n".join(aligned([("argument", "becomes", ""), *migrated.table])), err=target is None)
        if migrated.problems:
            raise InvalidRequestError(migrated.problems)


@main.command()
@click.argument("action", type=click.Choice(["show", "clear"]), default="show")
def cache(action: str) -> None:
    """Show how much is cached of data that was read, or clear the cache.

    The cache holds facts, by which a check of unchanged files reads nothing, and the rows of a run with their token
    ids, which the next run on the same files uses. EMBEDSTEP_CACHE names another folder, or `off`.

    \b
    Examples:
      embedstep cache
      embedstep cache clear
    """
    from embedstep.runtime.cache import find_cache
    from embedstep.runtime.text import format_bytes

    found = find_cache(os.environ)
    if action == "clear":
        click.echo(f"removed {format_bytes(found.clear())}")
        return
    entries, size = found.size()
    rows = [("folder", str(found.folder or "off")), ("entries", f"{entries:,}"), ("size", format_bytes(size))]
    click.echo("\n".join(aligned(rows)))
