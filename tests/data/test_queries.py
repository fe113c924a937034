import csv
import json
import resource
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstep.data import queries
from embedstep.data.queries import query_problems, run_query, sort_rows
from embedstep.errors import CannotStartError, InvalidRequestError
from embedstep.request.loading import load_request
from tests.data.ending import ended_by_a_signal

WHERE = "data.train.docs.sql"


def read(file: Path) -> list[tuple[Any, ...]]:
    with pa.OSFile(str(file), "rb") as source, pa.ipc.open_stream(source) as opened:
        table = opened.read_all()
    return list(zip(*table.to_pydict().values(), strict=True))


def run(sql: str, folder: Path) -> list[tuple[Any, ...]]:
    run_query(WHERE, sql, folder / "out" / "rows.arrow")
    assert [path.name for path in (folder / "out").iterdir()] == ["rows.arrow"]
    return read(folder / "out" / "rows.arrow")


def refused(sql: str, folder: Path) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        run_query(WHERE, sql, folder / "out" / "rows.arrow")
    assert not list((folder / "out").iterdir())
    assert {problem.path for problem in caught.value.problems} == {WHERE}
    return [problem.message for problem in caught.value.problems]


@pytest.fixture
def beir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Queries, documents and judgements in the files of BEIR; the current folder is theirs."""
    monkeypatch.chdir(tmp_path)
    texts = [f"find é {number}" for number in range(4)]
    pq.write_table(pa.table({"_id": ["q0", "q1", "q2", "q3"], "text": texts}), "queries.parquet")
    lines = [json.dumps({"_id": f"d{number}", "title": f"doc {number}", "text": "it's here"}) for number in range(3)]
    Path("corpus.jsonl").write_text("\n".join(lines))
    Path("qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\nq0\td0\t2\nq0\td1\t0\nq3\td1\t1\n")
    return tmp_path


JOIN = """
select q.text as query, d.title || '. ' || d.text as doc, r.score
from 'queries.parquet' q join 'qrels.tsv' r on q._id = r."query-id" join './corpus.jsonl' d on d._id = r."corpus-id"
where r.score > 0
"""


def test_a_join_of_files_gives_rows_in_the_order_of_all_columns(beir: Path) -> None:
    assert run(f"{JOIN} -- that is all;", beir) == [
        ("find é 0", "doc 0. it's here", 2),
        ("find é 1", "doc 2. it's here", 1),
        ("find é 3", "doc 1. it's here", 1),
    ]


def test_the_order_of_a_query_is_kept(beir: Path) -> None:
    assert [row[0] for row in run(f"{JOIN} order by score desc, query desc limit 2", beir)] == ["find é 0", "find é 3"]
    assert [row[0] for row in run(f"{JOIN} order by score limit 2", beir)] == ["find é 1", "find é 3"]


@pytest.mark.parametrize("glob", ["'part-*.csv'", "read_csv('**/part-*.csv')", "['part-1.csv', 'part-0.csv']"])
def test_a_glob_reads_the_files_that_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glob: str) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        Path(f"part-{number}.csv").write_text(f"n,q\n{number},it's\n")
    source = f"read_csv({glob})" if glob.startswith("[") else glob
    assert run(f"select * from {source}", tmp_path) == [(0, "it's"), (1, "it's")]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select * from 'absent.parquet'", "reads absent.parquet, which does not exist"),
        ("select * from 'absent-*.csv'", "reads absent-*.csv, which matches no file"),
        ("select * from 'queries.parquet' where text = 'x'", "gives no row"),
        ("select 1 as a, 2 as a", "gives 2 columns named 'a'; rename all but one: a as other"),
        ("select date '2026-11-02' as d", "gives the column 'd' of the type DATE, and rows hold texts and numbers; "
                                          "write "
                                          "cast(d as varchar) as d, or leave it out"),
        ("select 0.5 as s", "gives the column 's' of the type DECIMAL(2,1), and rows hold texts and numbers; write "
                            "cast(s as double) as s, or leave it out"),
        ("select sum(score) as s from 'qrels.tsv'", "gives the column 's' of the type HUGEINT, and rows hold texts and "
                                                    "numbers; write cast(s as bigint) as s, or leave it out"),
        ("selec 1", 'cannot be run: Parser Error: syntax error at or near "selec" (line 1: selec)'),
        ("select text,\n  'é' as e, wrong from 'queries.parquet'",
         'cannot be run: Binder Error: Referenced column "wrong" not found in FROM clause! Candidate bindings: "text" '
         "(line 2: wrong)"),
        ("select\n cast(text as int) as n from 'queries.parquet'",
         "cannot be run: Conversion Error: Could not convert string 'find é 0' to INT32 when casting from source "
         "column "
         "text (line 2: cast(text as int))"),
        ("select text from 'queries.parquet' where _id = ?",
         "cannot be run: Invalid Input Error: Values were not provided for the following parameters: 1"),
        ("select getenv('HOME') as h", 'cannot be run: Catalog Error: Scalar Function with name getenv does not '
                                       'exist! Did '
                                       'you mean "get_current_time"? (line 1: getenv(\'HOME\'))'),
        ("select * from 'torn.parquet'", "cannot be run: Invalid Input Error: No magic bytes found at end of file "
                                         "'torn.parquet'"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_run_is_refused_with_its_place(beir: Path, sql: str, message: str) -> None:
    Path("torn.parquet").write_bytes(b"PAR1 and no more")
    (found,) = refused(sql, beir)
    assert found.partition("\n")[0].startswith(message)


def test_variables_of_this_program_are_no_tables(beir: Path) -> None:
    text = pa.table({"a": [1]})
    (found,) = refused("select * from text", beir)
    assert (len(text), found) == (
        1, "reads the table text (line 1: text); a query reads files, written as 'docs.parquet'"
    )  # fmt: skip


def test_other_files_are_out_of_reach_also_by_a_link_in_the_query(beir: Path) -> None:
    """What the tree does not show, DuckDB itself refuses: it may open the named files alone."""
    connection = queries._connect(None)
    queries._confine(connection, ["queries.parquet"])
    connection.execute("select count(*) from 'queries.parquet'").fetchall()
    for sql in (
        "select * from 'qrels.tsv'", "select * from read_text('/proc/self/environ')", "select * from glob('*')",
        "attach 'x.db'", "load httpfs", "copy (select 1) to 'x.csv'", "set enable_external_access = true",
        "set allowed_paths = ['qrels.tsv']", "select * from duckdb_secrets()",
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"Permission Error|Invalid Input Error|disabled"):
            connection.execute(sql).fetchall()
    connection.close()
    assert not Path("x.csv").exists()


def test_times_are_those_of_utc_wherever_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    sql = "select cast(timestamptz '2026-11-02T03:00:00Z' as varchar) as t"
    assert run(sql, tmp_path) == [("2026-11-02 03:00:00+00",)]


def test_what_does_not_fit_into_memory_goes_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_memory", lambda: 120_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = "select hash(range) as h, repeat('x', 90) as t from range(1000000)"
    run_query(WHERE, f"select h, t from ({rows})", tmp_path / "rows.arrow")
    assert (tmp_path / "rows.arrow").stat().st_size > 100_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB
    assert [path.name for path in tmp_path.iterdir()] == ["rows.arrow"]


@pytest.mark.parametrize("sql", ["select list(range order by hash(range)) as l from range(9000000)"])
def test_too_little_memory_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str) -> None:
    monkeypatch.setattr(queries, "_memory", lambda: 20_000_000)
    with pytest.raises(
        CannotStartError, match=r"^data\.train\.docs\.sql: the query needs more than 10\.0 MB of memory"
    ):
        run_query(WHERE, sql, tmp_path / "rows.arrow")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStartError, match="the rows cannot be written to"):
        run_query(WHERE, "select 1 as a", tmp_path / "file" / "rows.arrow")


def test_a_signal_ends_a_query(tmp_path: Path) -> None:
    with ended_by_a_signal():
        run_query(WHERE, "select hash(range) as h from range(100000000000)", tmp_path / "rows.arrow")
    assert list(tmp_path.iterdir()) == []


def test_without_duckdb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequestError, match=r"needs the package duckdb; pip install 'embedstep\[sql\]'"):
        run_query(WHERE, "select 1 as a", tmp_path / "rows.arrow")


def test_rows_are_sorted_by_the_bytes_of_their_texts(tmp_path: Path) -> None:
    table = pa.table({"a": ["é", "a", "Z", None, "a"], "b": [1, 2, 3, 4, 1]})
    pq.write_table(table, tmp_path / "it's.parquet")
    sort_rows(WHERE, tmp_path / "it's.parquet", tmp_path / "rows.arrow")
    assert read(tmp_path / "rows.arrow") == [("Z", 3), ("a", 1), ("a", 2), ("é", 1), (None, 4)]


def test_queries_are_checked_before_their_files_are_there() -> None:
    columns = {"anchor": "q", "positive": "a"}
    train = {"good": "select q, a from 'absent.csv'", "bad": "selec 1", "none": "select q, a from 'absent.csv' limit 2"}
    asked = load_request(json.dumps({
        "model": "./model", "loss": "cosent",
        "data": {"train": {name: {"sql": sql, "columns": columns} for name, sql in train.items()}},
    }))  # fmt: skip
    assert [str(problem) for problem in query_problems(asked)] == [
        'data.train.bad.sql: cannot be run: Parser Error: syntax error at or near "selec" (line 1: selec)',
        "data.train.none.sql: has a LIMIT without ORDER BY, which takes any rows; say which by ORDER BY, or write "
        "limit "
        "in the dataset",
    ]


ORDERS = ["", "order by n desc limit 5", "order by a.text"]
TABLES = st.lists(st.tuples(st.integers(0, 5), st.text("ab é", max_size=3)), min_size=1, max_size=12)


def write_csv(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", newline="") as target:
        csv.writer(target, quoting=csv.QUOTE_NONNUMERIC).writerows([("id", "text"), *rows])


@settings(max_examples=12, deadline=None)
@given(
    one=TABLES,
    other=TABLES,
    order=st.sampled_from(["", "order by n desc limit 5", "order by a.text"]),
    seed=st.integers(),
)
def test_the_rows_of_a_join_do_not_depend_on_the_order_of_the_files(
    tmp_path_factory: pytest.TempPathFactory, one: list[Any], other: list[Any], order: str, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("join")
    sql = f"""select a.id + b.id as n, a.text as left, b.text as right
        from read_csv('{folder}/a.csv', header = true) a left join read_csv('{folder}/b.csv', header = true) b
        on a.id = b.id {order}"""
    found = []
    for shuffled in (False, True):
        for name, rows in (("a", one), ("b", other)):
            mixed = Random(seed).sample(rows, len(rows)) if shuffled else rows
            write_csv(folder / f"{name}.csv", mixed)
        found.append(run(sql, folder))
    assert found[0] == found[1]


BACKSLASHED = '"press \\"how to\\" now","see C:\\new"\n"b","c"\n'


@pytest.mark.parametrize("table", ["'rows.csv'", "read_csv('rows.csv')", "read_csv(['rows.csv'], all_varchar = true)"])
def test_a_file_whose_backslashes_would_be_lost_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """DuckDB reads `C:\\new` as `C:new`, without an error."""
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text(f"q,a\n{BACKSLASHED}")
    assert refused(f"select * from {table}", tmp_path) == [
        "reads rows.csv, in which a backslash stands before quotes; name it as the path of a dataset, or say quote and "
        "escape in read_csv"
    ]


def test_a_query_that_says_how_cells_are_written_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text('q,a\n"press \\"how to\\" now",c\n')
    sql = "select * from read_csv('rows.csv', quote = '\"', escape = '\\')"
    assert run(sql, tmp_path) == [('press "how to" now', "c")]
    Path("semicolons.csv").write_text('q;a\n"b ""c""";d\n"e;f";g\n')
    assert run("select * from 'semicolons.csv'", tmp_path) == [('b "c"', "d"), ("e;f", "g")]
