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


def test_another_spelling_of_a_positive_is_no_negative(tiny_model: Path, tmp_path: Path) -> None:
    """Each question stands twice, with two answers of which one is written in two ways."""
    pairs = []
    for row in pair_rows(12):
        answer = row["positive"]
        pairs.append({"anchor": row["anchor"], "positive": answer})
        pairs.append({"anchor": row["anchor"].upper(), "positive": f"{answer.title()}  "})
    Dataset.from_list(pairs).save_to_disk(str(tmp_path / "rows"))
    (rows,) = (tmp_path / "rows").glob("*.arrow")
    mine({"path": str(tiny_model)}, None, str(rows), 3, {}, str(tmp_path / "mined.parquet"))
    mined = pq.read_table(tmp_path / "mined.parquet").to_pylist()
    assert [{name: row[name] for name in ("anchor", "positive")} for row in mined] == pairs
    for row in mined:
        own = " ".join(row["positive"].lower().split())
        negatives = [" ".join(row[f"negative_{number}"].lower().split()) for number in (1, 2, 3)]
        assert own not in negatives
        assert len(set(negatives)) == 3
