"""`embedstep facts`: a line for each file, and every file that cannot be read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.conftest import embedstep


def test_each_file_is_a_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pq.write_table(pa.table({"q": ["one", "two", ""], "n": [1, 2, 3]}), tmp_path / f"{name}.parquet")
    assert embedstep("facts", f"{tmp_path}/*.parquet") == (
        0,
        f"{tmp_path}/a.parquet: 3 rows, q has 1 empty cell\n{tmp_path}/b.parquet: 3 rows, q has 1 empty cell\n"
        "2 files, 6 rows\n",
        "",
    )
    assert embedstep("facts", f"{tmp_path}/a.parquet", "--column", "n") == (0, f"{tmp_path}/a.parquet: 3 rows\n", "")


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no rows")
    code, shown, problems = embedstep("facts", f"{tmp_path}/a.parquet")
    assert (code, shown) == (2, "")
    assert f"{tmp_path}/a.parquet cannot be read as parquet: it has no footer" in problems
    assert embedstep("facts", f"{tmp_path}/none.parquet")[0] == 2
