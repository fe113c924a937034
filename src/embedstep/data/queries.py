"""Run a query over files by DuckDB, in this process, and write its rows to one file.

DuckDB reads the files that the query names and nothing else: no network, no extensions, no other files. What does not
fit into its memory goes to a folder next to the rows.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.cancelling import run_cancellable
from embedstep.data.hub import fetched_datasets
from embedstep.data.sources import find_files
from embedstep.data.statements import Statement, explain, parse_statement
from embedstep.errors import CannotStartError, InvalidRequestError, Problem, collect_problems, first_line
from embedstep.request.sources import Csv
from embedstep.runtime.cgroups import cgroup_memory
from embedstep.runtime.text import format_bytes

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from embedstep.request.schema import TrainRequest

_CASTS = {"text": "varchar", "number": "double", "integer": "bigint"}
_MEMORY_SHARE = 2
"""DuckDB gets one part of so many of the memory."""
_DESCRIBED, _ORDERED = 1, 2
"""Lines before a query: where its columns are asked for, and where DuckDB puts it into one with an order."""


def query_problems(request: "TrainRequest") -> Iterator[Problem]:
    """Each query over files is one SELECT that DuckDB can parse; the files themselves are not looked at.

    Where DuckDB is not installed, nothing is said: pods may have it.
    """
    queries = [
        (f"data.{split}.{name}.sql", dataset.sql)
        for split, name, dataset in fetched_datasets(request)
        if dataset.sql is not None and dataset.database is None
    ]
    if not queries or find_spec("duckdb") is None:
        return
    with closing(_connect(None)) as connection:
        for where, sql in queries:
            try:
                with _translate_errors(where, sql):
                    parse_statement(where, sql, connection)
            except InvalidRequestError as error:
                yield from error.problems


def run_query(where: str, sql: str, target: Path) -> None:
    """Write the rows of a query over files to an Arrow stream file.

    The same files give the same rows in the same order: that of ORDER BY, and then of all columns.

    Args:
        where: path of the query in the request, such as `data.train.docs.sql`.
        sql: the query; paths in it are relative to the current folder.
        target: the file. What does not fit into memory is written next to it and removed.

    Raises:
        InvalidRequestError: the query cannot be run, gives no row, or has a column that is neither text nor number.
        CannotStartError: memory or disk are too small.
        StepInterruptedError: a signal ended the process.
    """
    if find_spec("duckdb") is None:
        raise InvalidRequestError.at(where, "needs the package duckdb; pip install 'embedstep[sql]'")
    import pyarrow as pa

    from embedstep.data.results import BATCH_ROWS, check_columns, write_result

    with _opened(target) as connection:
        with _translate_errors(where, sql):
            statement = parse_statement(where, sql, connection)
        files = _find_files(where, statement, connection)
        _refuse_backslashes(where, [file for name in statement.unsaid for file in files[name]])
        _confine(connection, list(dict.fromkeys(chain.from_iterable([name, *found] for name, found in files.items()))))
        with _translate_errors(where, sql, _DESCRIBED):
            columns = connection.execute(f"describe\n{sql}").fetchall()

        def work() -> None:
            rows = _in_order(connection, sql, statement, len(columns))
            types = rows.limit(0).to_arrow_table().schema.types
            schema = pa.schema([(column[0], dtype) for column, dtype in zip(columns, types, strict=True)])
            check_columns(where, schema, [column[1] for column in columns], _CASTS)
            write_result(where, rows.to_arrow_reader(BATCH_ROWS), target)

        with _translate_errors(where, sql, 0 if statement.order else _ORDERED):
            run_cancellable(work, connection.interrupt)


def sort_rows(where: str, source: Path, target: Path) -> None:
    """Write the rows of a Parquet file in the order of all columns to an Arrow stream file; texts by their bytes.

    Args:
        where: path of the query in the request, for messages.
        source: the Parquet file.
        target: the file. What does not fit into memory is written next to it and removed.

    Raises:
        CannotStartError: memory or disk are too small.
        StepInterruptedError: a signal ended the process.
    """
    from embedstep.data.results import BATCH_ROWS, write_result

    with _opened(target) as connection, _translate_errors(where, ""):
        _confine(connection, [str(source)])

        def work() -> None:
            rows = connection.sql(f"select * from read_parquet({_literal(str(source))}) order by all")
            write_result(where, rows.to_arrow_reader(BATCH_ROWS), target)

        run_cancellable(work, connection.interrupt)


def _in_order(connection: "DuckDBPyConnection", sql: str, statement: Statement, columns: int) -> "DuckDBPyRelation":
    if not statement.order:
        return connection.sql(sql).order("all")
    tree = statement.with_total_order(columns)
    ((text,),) = connection.execute("select json_deserialize_sql(?)", [tree]).fetchall()
    return connection.sql(text)


@contextmanager
def _opened(target: Path) -> Iterator["DuckDBPyConnection"]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as spill,
            closing(_connect(Path(spill))) as connection,
        ):
            yield connection
    except OSError as error:
        raise CannotStartError(f"the rows cannot be written to {target}: {error}") from error


def _connect(spill: Path | None) -> "DuckDBPyConnection":
    import duckdb

    settings: Mapping[str, Any] = {
        "python_enable_replacements": False,  # a table that does not exist would be a variable of this program
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "memory_limit": f"{_memory() // _MEMORY_SHARE}B",
        "temp_directory": str(spill.absolute()) if spill else "",
    }
    connection = duckdb.connect(":memory:", config=dict(settings))
    # By default that of the machine, so that the text of a time would be another one elsewhere.
    connection.execute("set timezone = 'UTC'").fetchall()
    return connection


def _memory() -> int:
    """Return the memory of this machine or of this container, in bytes."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = cgroup_memory()
    return min(whole, group.limit) if group is not None and group.limit is not None else whole


def _find_files(where: str, statement: Statement, connection: "DuckDBPyConnection") -> dict[str, list[str]]:
    """Return the files that a query reads by their names and globs as they are written: DuckDB looks for both.

    Raises:
        InvalidRequestError: one does not exist.
    """
    found: dict[str, list[str]] = {}
    problems = []
    for name in statement.files:
        found[name] = [path for (path,) in connection.execute("select file from glob(?)", [name]).fetchall()]
        if not found[name]:
            fault = "matches no file" if any(sign in name for sign in "*?[") else "does not exist"
            problems.append(Problem(where, f"reads {name}, which {fault}"))
    if problems:
        raise InvalidRequestError(problems)
    return found


def _refuse_backslashes(where: str, files: Sequence[str]) -> None:
    """Refuse delimited files with a backslash before quotes: DuckDB would leave out all of their other backslashes.

    Raises:
        InvalidRequestError: with each such file, and each of which it is not certain how it is written.
    """
    from embedstep.data.csvfiles import (
        find_format,
    )  # which imports Arrow, as nothing does before there are rows to read

    problems: list[Problem] = []
    for name in files:
        with collect_problems(problems):
            for file in find_files(where, [name], None):
                written = find_format(where, file, Csv(), None).csv
                if written is not None and written.escape == "\\":
                    message = (
                        f"reads {name}, in which a backslash stands before quotes; name it as the path of a dataset"
                    )
                    problems.append(Problem(where, message))
    if problems:
        hint = "or say quote and escape in read_csv"
        raise InvalidRequestError(Problem(where, f"{one.message}, {hint}") for one in problems)


def _confine(connection: "DuckDBPyConnection", files: Sequence[str]) -> None:
    """Let a connection read these files, and change nothing of that any more."""
    connection.execute(f"set allowed_paths = [{', '.join(map(_literal, files))}]").fetchall()
    connection.execute("set enable_external_access = false").fetchall()
    connection.execute("set lock_configuration = true").fetchall()


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


@contextmanager
def _translate_errors(where: str, sql: str, skipped: int = 0) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        allowed = format_bytes(_memory() // _MEMORY_SHARE)
        message = f"the query needs more than {allowed} of memory, or more than the disk holds: {first_line(error)}"
        raise CannotStartError(f"{where}: {message}") from error
    except duckdb.Error as error:
        if "No space left on device" in str(error):
            raise CannotStartError(f"{where}: the disk is full: {first_line(error)}") from error
        raise InvalidRequestError.at(
            where, f"cannot be run: {explain(_without_wrapper(error), sql, skipped)}"
        ) from error


def _without_wrapper(error: Exception) -> str:
    """Return the message of an error; one that came while rows were fetched has another around it."""
    return str(error).rpartition("unsuccessful query result\nError: ")[2]
