"""The command that writes the facts of Parquet files with many rows."""

from typing import TYPE_CHECKING

import click

from embedstep.cli.options import main, show_errors
from embedstep.errors import InvalidRequestError, Problem
from embedstep.runtime.text import count

if TYPE_CHECKING:
    from embedstep.data.shard_facts import Shard


@main.command()
@click.argument("files", nargs=-1, required=True)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Write facts of this column only. Repeat it for more.  [default: every column of texts or numbers]",
)
def facts(files: tuple[str, ...], columns: tuple[str, ...]) -> None:
    """Read Parquet files once, and write facts on their rows, with which later plans read no text.

    The facts are in the folder _facts next to the files. With them, each node of a training can read a share of the
    files: data.read: per_node.
    FILES are files, folders, globs or URLs. Several processes read several files; machines that write rows can each do
    this for their own.

    \b
    Examples:
      embedstep facts 'rows/*.parquet'
      embedstep facts rows/part-0007.parquet --column question --column answer
    """
    from embedstep.data.shard_facts import write_all_facts

    with show_errors("facts"):
        rows = number = 0
        problems = []
        for found in write_all_facts(files, columns):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            rows, number = rows + found.rows, number + 1
            click.echo(_line(found))
        if problems:
            raise InvalidRequestError(problems)
        if number > 1:
            click.echo(f"{count(number, 'file')}, {count(rows, 'row')}")


def _line(shard: "Shard") -> str:
    gaps = {name: one.empty for name, one in shard.columns.items() if one.empty}
    empty = [f"{name} has {count(number, 'empty cell')}" for name, number in gaps.items()]
    return ", ".join([f"{shard.file.name}: {count(shard.rows, 'row')}", *empty])
