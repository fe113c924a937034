import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from embedstep.data import databases
from embedstep.data.databases import run_in_database
from embedstep.errors import CannotStartError, InvalidRequestError
from tests.data.ending import ended_by_a_signal
from tests.data.test_queries import read

WHERE = "data.train.docs"
ROWS = [("é", 2, 1.5), ("Z", 1, 2.0), ("a", 3, 1.0), ("a", 1, None)]


def run(sql: str, url: str, folder: Path) -> list[tuple[Any, ...]]:
    run_in_database(WHERE, sql, url, folder / "out" / "rows.arrow")
    assert [path.name for path in (folder / "out").iterdir()] == ["rows.arrow"]
    return read(folder / "out" / "rows.arrow")


def refused(sql: str, url: str, folder: Path) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        run_in_database(WHERE, sql, url, folder / "out" / "rows.arrow")
    assert not [path for path in folder.glob("out/*")]
    return [str(problem).removeprefix(f"{WHERE}.") for problem in caught.value.problems]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "a b.db")) as connection:
        connection.execute("create table t (q text, n integer, s real, d blob, m)")
        connection.executemany("insert into t values (?, ?, ?, x'00', null)", ROWS)
        connection.commit()
    return f"sqlite:///{tmp_path}/a b.db"


def test_rows_of_a_database_are_sorted_by_bytes(tmp_path: Path, sqlite: str) -> None:
    found = [("Z", 1, 2.0), ("a", 1, None), ("a", 3, 1.0), ("é", 2, 1.5)]
    assert run("select q, n, s from t; -- all", sqlite, tmp_path) == found
    assert run("select q, n, s from (select * from t order by n)", sqlite, tmp_path) == found


@pytest.mark.parametrize(
    "sql",
    [
        "select q, n from t where q <> 'order by' order by n, q desc;",
        "select q, n from t /* ) */ ORDER\n BY n, q desc limit 9",
        "with x as (select 'it''s (' as y, * from t) select q, n from x order by n, q desc -- so",
    ],
)
def test_the_order_of_a_query_in_a_database_is_kept(tmp_path: Path, sqlite: str, sql: str) -> None:
    assert run(sql, sqlite, tmp_path) == [("a", 1), ("Z", 1), ("é", 2), ("a", 3)]


def test_a_database_is_found_from_the_current_folder(
    tmp_path: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("select max(n) as n from t", "sqlite:///a%20b.db", tmp_path) == [(3,)]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "sql: begins with nothing; write one SELECT, which only reads"),
        ("-- select\n", "sql: begins with nothing; write one SELECT, which only reads"),
        ("delete from t", "sql: begins with delete; write one SELECT, which only reads"),
        ("pragma table_info(t)", "sql: begins with pragma; write one SELECT, which only reads"),
        ("attach 'x.db' as x", "sql: begins with attach; write one SELECT, which only reads"),
        ("select q from t; delete from t", "sql: holds several statements; write one SELECT"),
        ("select q from t;; select 1", "sql: holds several statements; write one SELECT"),
        ("with x as (select 1) delete from t", "sql: cannot be run: attempt to write a readonly database"),
        ("select load_extension('x') as x", "sql: cannot be run: not authorized"),
        ("select wrong from t", "sql: cannot be run: no such column: wrong"),
        ("select q from absent", "sql: cannot be run: no such table: absent"),
        ("select q fro t", 'sql: cannot be run: near "t": syntax error'),
        ("select q from t where n > 9", "sql: gives no row"),
        ("select q from t where n > 9 order by q", "sql: gives no row"),
        ("select q, q from t", "sql: gives 2 columns named 'q'; rename all but one: q as other"),
        ("select d from t", "sql: gives the column 'd' of the type binary, and rows hold texts and numbers; "
                            "write cast(d as text) as d, or leave it out"),
        ("with recursive c(n) as (select 1 union all select n + 1 from c where n < 2000) "
         "select case when n < 1500 then n else 'x' end as m from c",
         "sql: cannot be run: Type mismatch in column 0: expected INT64 but got STRING/BINARY; cast it to one type"),
    ],
)  # fmt: skip
def test_what_a_database_cannot_run_or_must_not_is_refused(tmp_path: Path, sqlite: str, sql: str, message: str) -> None:
    file = tmp_path / "a b.db"
    before = file.read_bytes()
    assert refused(sql, sqlite, tmp_path) == [message]
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a b.db"]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("no database, however long this text may be")
    assert refused("select 1 as a from t", f"sqlite:///{tmp_path}/no.db", tmp_path) == [
        "sql: cannot be run: file is not a database"
    ]
    assert refused("select 1 as a", f"sqlite:///{tmp_path}/absent.db", tmp_path) == [
        f"database: {tmp_path}/absent.db does not exist"
    ]
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize("missing", ["adbc_driver_manager", "adbc_driver_sqlite", "duckdb"])
def test_without_the_packages_the_extra_is_named(
    tmp_path: Path, sqlite: str, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(databases, "find_spec", lambda name: None if name == missing else name)
    assert refused("select q from t", sqlite, tmp_path) == [
        f"database: needs the package {missing.replace('_', '-')}; pip install 'embedstep[sql]'"
    ]


def test_a_server_that_is_away_cannot_start_and_no_password_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter22hunter22")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        url = f"postgresql://reader@127.0.0.1:{taken.getsockname()[1]}/docs"
        with pytest.raises(CannotStartError) as caught:
            run_in_database(WHERE, "select 1 as a", url, tmp_path / "rows.arrow")
    assert str(caught.value).startswith("data.train.docs.database: cannot be reached: connection to server at")
    assert "Connection refused" in str(caught.value)
    assert "hunter22" not in str(caught.value)


@pytest.fixture(scope="module")
def postgres() -> str:
    """A database with the table `t`."""
    import psycopg2

    if (server := os.environ.get("EMBEDSTEP_TEST_POSTGRES")) is None:
        pytest.skip("needs a PostgreSQL; run by `make test-postgres`")
    address = urlsplit(server).netloc
    name = f"rows_{os.getpid()}"
    with closing(psycopg2.connect(f"postgresql://{address}/postgres")) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(f"drop database if exists {name}")
            cursor.execute(f"create database {name}")
    with closing(psycopg2.connect(f"postgresql://{address}/{name}")) as connection, connection.cursor() as cursor:
        cursor.execute("create table t (q text, n int, s double precision, d date, x numeric, u uuid, l text[])")
        cursor.executemany("insert into t values (%s, %s, %s, now(), 1.5, gen_random_uuid(), array['a'])", ROWS)
        connection.commit()
    return f"postgresql://{address}/{name}"


def test_rows_come_from_postgresql(tmp_path: Path, postgres: str) -> None:
    rows = [("Z", 1, 2.0), ("a", 1, None), ("a", 3, 1.0), ("é", 2, 1.5)]
    assert run("select q, n, s from t; -- all", postgres, tmp_path) == rows
    assert run("select q, n from t order by n desc, q limit 2 -- these", postgres, tmp_path) == [("a", 3), ("é", 2)]
    assert run("select distinct l, cast(x as double precision) as x from t", postgres, tmp_path) == [(["a"], 1.5)]
    assert run("select E'it\\'s;' as a, $$ order by $$ as b", postgres, tmp_path) == [("it's;", " order by ")]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select q,\n  wrong from t", 'sql: cannot be run: column "wrong" does not exist (line 2: wrong)'),
        ("select q from absent", 'sql: cannot be run: relation "absent" does not exist (line 1: absent)'),
        ("select q from t where", "sql: cannot be run: syntax error at end of input"),
        ("select q fro t", 'sql: cannot be run: syntax error at or near "t" (line 1: t)'),
        ("select 1 / (n - 2) as a from t", "sql: cannot be run: division by zero"),
        ("with x as (delete from t returning q) select q from x",
         "sql: cannot be run: cannot execute SELECT in a read-only transaction"),
        ("select q into other from t", "sql: cannot be run: "),
        ("select set_config('transaction_read_only', 'off', false) as a",
         "sql: cannot be run: transaction read-write mode must be set before any query"),
        ("copy t to '/tmp/rows'", "sql: begins with copy; write one SELECT, which only reads"),
        ("select q from t where n > 9", "sql: gives no row"),
        ("select d from t", "sql: gives the column 'd' of the type date, and rows hold texts and numbers; write "
                            "cast(d as text) as d, or leave it out"),
        ("select x from t", "sql: gives the column 'x' of the type numeric, and rows hold texts and numbers; write "
                            "cast(x as double precision) as x, or leave it out"),
        ("select u from t", "sql: gives the column 'u' of the type uuid, and rows hold texts and numbers; write "
                            "cast(u as text) as u, or leave it out"),
    ],
)  # fmt: skip
def test_what_postgresql_refuses_is_refused_with_its_place(
    tmp_path: Path, postgres: str, sql: str, message: str
) -> None:
    (found,) = refused(sql, postgres, tmp_path)
    assert found.startswith(message)
    assert run("select count(*) as n from t", postgres, tmp_path) == [(4,)]


def test_a_signal_ends_a_query_in_postgresql(tmp_path: Path, postgres: str) -> None:
    with ended_by_a_signal():
        run_in_database(WHERE, "select cast(pg_sleep(200) as text) as a", postgres, tmp_path / "rows.arrow")


def test_a_database_that_is_not_there_cannot_start(tmp_path: Path, postgres: str) -> None:
    with pytest.raises(CannotStartError, match='FATAL: database "absent" does not exist'):
        run_in_database(WHERE, "select 1 as a", f"{postgres.rpartition('/')[0]}/absent", tmp_path / "rows.arrow")
