"""Hard negatives as the job of the worker writes them."""

from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset

from embedstep.worker.jobs.mine import mine
from tests.conftest import pair_rows


def test_rows_get_as_many_negatives_as_asked_for_and_never_their_positive(tiny_model: Path, tmp_path: Path) -> None:
    pairs = [{"anchor": row["anchor"], "positive": row["positive"]} for row in pair_rows(30)]
    Dataset.from_list(pairs).save_to_disk(str(tmp_path / "rows"))
    (rows,) = (tmp_path / "rows").glob("*.arrow")
    options = {"range_max": 8, "sampling_strategy": "top"}
    mine({"path": str(tiny_model)}, None, str(rows), 2, options, str(tmp_path / "mined.parquet"))
    mined = pq.read_table(tmp_path / "mined.parquet")
    assert mined.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert [{name: row[name] for name in ("anchor", "positive")} for row in mined.to_pylist()] == pairs
    answers = {row["positive"] for row in pairs}
    for row in mined.to_pylist():
        assert {row["negative_1"], row["negative_2"]} <= answers - {row["positive"]}
        assert row["negative_1"] != row["negative_2"]
