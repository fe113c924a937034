"""Run a query in a database by ADBC, and write its rows to one file.

The database may not be written to: SQLite's file is opened read-only, PostgreSQL's transaction is. Passwords come from
the environment alone (`PGPASSWORD` and libpq's other names).
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from embedstep.data.cancelling import run_cancellable
from embedstep.data.hub import fetched_datasets
from embedstep.data.queries import sort_rows
from embedstep.data.statements import explain
from embedstep.errors import CannotStartError, InvalidRequestError, Problem
from embedstep.runtime.secrets import redact

if TYPE_CHECKING:
    import pyarrow as pa

    from embedstep.request.schema import TrainRequest

_CONNECT_SECONDS = 10
_SERVER_STATES = ("08", "53", "57")
"""Classes of SQLSTATE that are no fault of the query: connection, resources, an administrator."""
_FIRST_WORDS = frozenset({"select", "with", "values", "table"})
_TOKEN = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | --[^\n]* | /\*.*?\*/ | [();] | \w+ | \S""",
    re.VERBOSE | re.DOTALL,
)
_BEFORE = re.compile(r"^(?:.*?ERROR:|.*?Failed to (?:prepare query|step query|connect):|.*?\[\w+\])\s*", re.DOTALL)
_BEHIND = re.compile(r"\n+(?:Query was|query): .*|\.? SQLSTATE:.*", re.DOTALL)
"""What drivers write around the message of the database."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Driver:
    """How a kind of database is reached.

    Attributes:
        module: the package of its driver.
        uri: where the database is, as the driver takes it.
        set_up: statements before the query.
        casts: type to write in a cast, for `text`, `number` and `integer`.
    """

    module: str
    uri: str
    set_up: tuple[str, ...]
    casts: Mapping[str, str]


def _driver(where: str, url: str) -> _Driver:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        file = Path(unquote(parts.path.removeprefix("/"))).expanduser().absolute()
        if not file.is_file():
            raise InvalidRequestError.at(f"{where}.database", f"{file} does not exist")
        return _Driver(
            module="adbc_driver_sqlite", uri=f"file:{quote(str(file))}?mode=ro", set_up=(),
            casts={"text": "text", "number": "real", "integer": "integer"},
        )  # fmt: skip
    uri = url
    if "connect_timeout" not in parse_qs(parts.query) and "PGCONNECT_TIMEOUT" not in os.environ:
        uri = f"{url}{'&' if parts.query else '?'}connect_timeout={_CONNECT_SECONDS}"
    return _Driver(
        module="adbc_driver_postgresql", uri=uri, set_up=("set transaction read only",),
        casts={"text": "text", "number": "double precision", "integer": "bigint"},
    )  # fmt: skip


def database_problems(request: "TrainRequest") -> Iterator[Problem]:
    """Each query in a database is one SELECT; the database itself says the rest."""
    for split, name, dataset in fetched_datasets(request):
        if dataset.sql is not None and dataset.database is not None:
            fault = _Text(dataset.sql).fault
            yield from [Problem(f"data.{split}.{name}.sql", fault)] if fault else []


class _Text:
    """The text of a query in the words of any database.

    Attributes:
        fault: why it is no single query; empty if it is one.
        has_order: whether it ends with an ORDER BY of its own.
        body: the query without a semicolon at its end.
    """

    def __init__(self, text: str) -> None:
        found = [one for one in _TOKEN.finditer(text) if not one[0].startswith(("--", "/*"))]
        words = [one[0].casefold() for one in found]
        ends = [number for number, word in enumerate(words) if word == ";"]
        self.body = text[: found[ends[0]].start()] if ends else text
        self.has_order = False
        depth = 0
        for word, following in pairwise(words):
            depth += (word == "(") - (word == ")")
            self.has_order = self.has_order or (depth == 0 and word == "order" and following == "by")
        self.fault = ""
        first = next((word for word in words if word != "("), "")
        if first not in _FIRST_WORDS:
            self.fault = f"begins with {first or 'nothing'}; write one SELECT, which only reads"
        elif ends and set(words[ends[0] :]) != {";"}:
            self.fault = "holds several statements; write one SELECT"


def run_in_database(where: str, sql: str, url: str, target: Path) -> None:
    """Write the rows of a query in a database to an Arrow stream file.

    They keep the order of the query's ORDER BY. Without one they are sorted by all columns, texts by their bytes, since
    a database gives them in any order.

    Args:
        where: path of the dataset in the request, such as `data.train.docs`.
        sql: the query, in the words of the database.
        url: the database; see `request.sources`.
        target: the file.

    Raises:
        InvalidRequestError: the query is refused, gives no row, or has a column that is neither text nor number.
        CannotStartError: the database does not answer, or the disk is full.
        StepInterruptedError: a signal ended the process.
    """
    driver, query = _driver(where, url), _Text(sql)
    place = f"{where}.sql"
    if query.fault:
        raise InvalidRequestError.at(place, query.fault)
    if missing := [name for name in ("adbc_driver_manager", driver.module, "duckdb") if find_spec(name) is None]:
        package = missing[0].replace("_", "-")
        raise InvalidRequestError.at(f"{where}.database", f"needs the package {package}; pip install 'embedstep[sql]'")
    from embedstep.data.results import write_parquet, write_result

    if query.has_order:
        _fetch(where, query.body, driver, lambda reader: write_result(place, reader, target))
        return
    unsorted = target.with_name(f"{target.name}.unsorted.parquet")
    try:
        _fetch(where, query.body, driver, lambda reader: write_parquet(reader, unsorted))
        sort_rows(place, unsorted, target)
    finally:
        unsorted.unlink(missing_ok=True)


def _fetch(where: str, sql: str, driver: _Driver, write: Callable[["pa.RecordBatchReader"], None]) -> None:
    """Run a query, and write its result while it arrives."""
    from embedstep.data.results import check_columns

    dbapi = import_module(f"{driver.module}.dbapi")
    with _translate_errors(where, sql, dbapi, connecting=True):
        connection = dbapi.connect(driver.uri, autocommit=False)
    with connection, connection.cursor() as cursor, _translate_errors(where, sql, dbapi, connecting=False):

        def work() -> None:
            for statement in driver.set_up:
                cursor.execute(statement)
            cursor.execute(f"{sql}\n")  # so that a comment at its end hides nothing that the driver adds
            reader = cursor.fetch_record_batch()
            check_columns(f"{where}.sql", reader.schema, [_type(one) for one in reader.schema], driver.casts)
            write(reader)

        run_cancellable(work, cursor.adbc_cancel)


def _type(column: "pa.Field[Any]") -> str:
    """Return the name that a column's type has in the database."""
    named = (column.metadata or {}).get(b"POSTGRESQL:type")
    return named.decode() if named else str(column.type)


@contextmanager
def _translate_errors(where: str, sql: str, dbapi: Any, *, connecting: bool) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    # While rows arrive, the driver's errors come through Arrow.
    except (dbapi.Error, pa.ArrowException) as error:
        message = redact(explain(_BEFORE.sub("", _BEHIND.sub("", str(error))), sql), os.environ)
        if connecting:
            hint = "; the environment variable PGPASSWORD holds the password" if "password" in message else ""
            raise CannotStartError(f"{where}.database: cannot be reached: {message}{hint}") from error
        state = getattr(error, "sqlstate", None) or ""
        if state[:2] in _SERVER_STATES or "closed the connection" in message:
            raise CannotStartError(f"{where}.database: the server has ended the query: {message}") from error
        hint = "; cast it to one type" if "Type mismatch in column" in message else ""
        raise InvalidRequestError.at(f"{where}.sql", f"cannot be run: {message}{hint}") from error
