from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from embedstep.data.statements import explain, parse_statement, place
from embedstep.errors import InvalidRequestError


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        yield opened


@pytest.mark.parametrize(
    ("sql", "files"),
    [
        ("select q from 'a.parquet'", ["a.parquet"]),
        ("from 'a.PARQUET' select q -- 'b.csv'", ["a.PARQUET"]),
        ("select 'c.csv' as q from \"a.csv\" x join 'b.tsv.gz' y on x.id = y.id;", ["a.csv", "b.tsv.gz"]),
        ("select q from read_csv('notes.txt', delim = '|', header = true)", ["notes.txt"]),
        ("select q from read_parquet(['a/*.parquet', 'b.parquet'])", ["a/*.parquet", "b.parquet"]),
        ("with a as (select * from 'x.json') select q from A where q in (from 'y.ndjson')", ["x.json", "y.ndjson"]),
        ("select q from 'a.csv' union all by name select q from 'a.csv' order by q limit 3", ["a.csv"]),
        ("with recursive n as (select 1 as i union all select i + 1 from n where i < 3) select i from n", []),
        ("select t.a from range(3) t(a), unnest([1, 2])", []),
        ("values ('a', 1)", []),
        ("select string_agg(q, ' ' order by q), sum(n) over (partition by q) from 'a.csv' group by all", ["a.csv"]),
        ("select distinct on (q) q, row_number() over (order by n) from 'a.csv' order by q", ["a.csv"]),
        ("pivot 'a.csv' on year in (2025, 2026) using sum(n)", ["a.csv"]),
        ("select x.current_date, x.random from 'a.csv' x", ["a.csv"]),
    ],
)  # fmt: skip
def test_the_files_of_a_query_are_those_that_it_names(
    connection: duckdb.DuckDBPyConnection, sql: str, files: list[str]
) -> None:
    assert list(parse_statement("x", sql, connection).files) == files


KNOWN = "use .parquet, .csv, .tsv, .txt, .json, .jsonl or .ndjson (text also with .gz or .zst)"
READERS = "a query reads files by read_csv, read_json, read_ndjson, read_parquet"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "holds no statements; write one SELECT"),
        ("-- nothing", "holds no statements; write one SELECT"),
        ("select 1; select 2", "holds 2 statements; write one SELECT"),
        ("delete from t", "is a statement of the kind DELETE; write one SELECT, which only reads"),
        ("attach 'x.db'", "is a statement of the kind ATTACH; write one SELECT, which only reads"),
        ("install httpfs", "is a statement of the kind LOAD; write one SELECT, which only reads"),
        ("copy (select 1) to 'x.csv'", "is a statement of the kind COPY; write one SELECT, which only reads"),
        ("set memory_limit = '1TB'", "is a statement of the kind SET; write one SELECT, which only reads"),
        ("create table t as select 1", "is a statement of the kind CREATE; write one SELECT, which only reads"),
        ("with a as (insert into t values (1) returning *) select * from a", "writes; a query only reads"),
        ("summarize 'a.csv'", "describes tables; write a SELECT of the rows"),
        ("pivot 'a.csv' on year", "is several statements to DuckDB; write one SELECT, which only reads; name the "
                                  "values "
                                  "of a PIVOT, such as PIVOT ... ON year IN (2025, 2026)"),
        ("select q\nfrom docs", "reads the table docs (line 2: docs); a query reads files, written as 'docs.parquet'"),
        ("select * from information_schema.tables", "reads the table information_schema.tables (line 1: "
         "information_schema.tables); a query reads files, written as 'docs.parquet'"),
        ("select q from '/proc/self/environ'", f"reads /proc/self/environ (line 1: '/proc/self/environ'), which is not "
                                               f"a data file; {KNOWN}"),
        ("select q from read_csv('/etc/passwd')", f"reads /etc/passwd (line 1: read_csv('/etc/passwd')), which is "
                                                  f"not a data "
                                                  f"file; {KNOWN}"),
        ("select q from 'a.csv.bz2'", f"reads a.csv.bz2 (line 1: 'a.csv.bz2'), which is not a data file; {KNOWN}"),
        ("select q from 'docs/'", f"reads docs/ (line 1: 'docs/'), which is not a data file; {KNOWN}"),
        ("select q from '.csv/.env'", f"reads .csv/.env (line 1: '.csv/.env'), which is not a data file; {KNOWN}"),
        ("select q from '~/a.csv'", "reads ~/a.csv (line 1: '~/a.csv'); write the path without ~"),
        ("select q from 's3://b/a.parquet'", "reads s3://b/a.parquet (line 1: 's3://b/a.parquet'), which is not on "
                                             "this "
                                             "machine; copy it, or name it as the path of a dataset"),
        ("select q from read_csv('a' || '.csv')", "computes the name of a file (line 1: read_csv('a' || '.csv')); "
                                                  "write it "
                                                  "as a text, such as read_csv('docs.tsv')"),
        ("select q from read_csv()", "computes the name of a file (line 1: read_csv()); write it as a text, such as "
                                     "read_csv('docs.tsv')"),
        ("select * from read_text('a.txt')", f"calls read_text (line 1: read_text('a.txt')); {READERS}"),
        ("select * from glob('/etc/*')", f"calls glob (line 1: glob('/etc/*')); {READERS}"),
        ("select * from duckdb_secrets()", f"calls duckdb_secrets (line 1: duckdb_secrets()); {READERS}"),
        ("select * from query('select 1')", f"calls query (line 1: query('select 1')); {READERS}"),
        ("select current_date as d", "calls current_date (line 1: current_date), whose value is another one each time; "
                                     "use '{as_of}' and data.as_of"),
        ("select 1 as a,\n 'é' as b, now() as c", "calls now (line 2: now()), whose value is another one each time; "
                                                  "use "
                                                  "'{as_of}' and data.as_of"),
        ("select random() as r", "calls random (line 1: random()), whose value is another one each time; use a column, "
                                 "such as hash(id)"),
        ("select current_setting('threads') as s", "calls current_setting (line 1: current_setting('threads')), whose "
                                                   "value is another one each time; use a column, such as hash(id)"),
        ("select q from 'a.csv' using sample 3", "takes a sample, which is another one each time; write where "
                                                 "hash(id) % "
                                                 "100 < 10"),
        ("select q from 'a.csv' limit 3", "has a LIMIT without ORDER BY, which takes any rows; say which by ORDER "
                                          "BY, or "
                                          "write limit in the dataset"),
        ("select q from (from 'a.csv' limit 3) order by q", "has a LIMIT without ORDER BY, which takes any rows; "
                                                            "say which "
                                                            "by ORDER BY, or write limit in the dataset"),
        ("select distinct on (q) q, n from 'a.csv'", "has a DISTINCT ON without ORDER BY, which keeps any row; say "
                                                     "which "
                                                     "by ORDER BY"),
        ("select first(q) as f from 'a.csv'", "has first over rows without an order (line 1: first(q)); write "
                                              "first(... "
                                              "order by ...)"),
        ("select row_number() over (partition by q) as n from 'a.csv'", "has row_number over rows without an order "
                                                                        "(line "
         "1: row_number() over (partition by q)); write row_number(...) over (order by ...)"),
    ],
)  # fmt: skip
def test_what_is_no_lasting_selection_of_files_is_refused(
    connection: duckdb.DuckDBPyConnection, sql: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_statement("data.train.docs.sql", sql, connection)
    assert [str(problem) for problem in caught.value.problems] == [f"data.train.docs.sql: {message}"]


def test_all_faults_of_a_query_are_named(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_statement("x", "select uuid() as q from 'a.xlsx' limit 3", connection)
    assert [problem.message.partition(" ")[0] for problem in caught.value.problems] == ["has", "calls", "reads"]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("select a, b from t order by a limit 2", [(1, "x"), (1, "y")]),
        ("select a, b from t order by a desc", [(2, "a"), (1, "x"), (1, "y")]),
        ("select * from t order by all", [(1, "x"), (1, "y"), (2, "a")]),
        ("select b, a from t order by a limit 1", [("x", 1)]),
        ("select a from t union all select 9 order by a desc limit 1", [(9,)]),
        ("select distinct a from t order by a desc", [(2,), (1,)]),
        ("select a, count(*) as n from t group by a order by n desc", [(1, 2), (2, 1)]),
        ("select unnest([a, 7]) as u from t order by b limit 2", [(2,), (7,)]),
    ],
)
def test_rows_that_an_order_leaves_equal_are_ordered_by_all_columns(
    connection: duckdb.DuckDBPyConnection, sql: str, found: list[Any]
) -> None:
    files = "(values (1, 'y'), (2, 'a'), (1, 'x')) t(a, b)"
    statement = parse_statement("x", sql.replace("from t", f"from {files}"), connection)
    columns = len(found[0])
    ((text,),) = connection.execute("select json_deserialize_sql(?)", [statement.with_total_order(columns)]).fetchall()
    assert connection.sql(text).fetchall() == found


def test_a_place_is_counted_in_bytes_and_shown_in_words() -> None:
    text = "select 'é',\n  now( )"
    assert place(text, len("select 'é',\n  ".encode()), 6) == " (line 2: now( ))"
    assert place("x" * 100, 0, 100) == f" (line 1: {'x' * 60}...)"


@pytest.mark.parametrize(
    ("message", "skipped", "found"),
    [
        (
            'no column "b"\nDid you mean a?\n\nLINE 3:  b from t\n         ^',
            1,
            'no column "b" Did you mean a? (line 2: b)',
        ),
        ("no such thing\n\nLINE 1: select a,\n               ^", 0, "no such thing (line 1: a)"),
        ("no such thing\n\nLINE 1: CAST(a AS INT)\n        ^^^^^^^^^^^^^^", 0, "no such thing"),
        ("no such thing\n\nLINE 9: b from t\n        ^", 0, "no such thing"),
        ("no such\nthing.", 0, "no such thing"),
    ],
)
def test_a_message_of_a_database_is_one_line(message: str, skipped: int, found: str) -> None:
    assert explain(message, "select a,\n b from t", skipped) == found
