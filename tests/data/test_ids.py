"""Texts as numbers: the same in all columns, by first occurrence, each text of a list in a column of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from embedstep.data.ids import read_integers, read_rows, shared_text, text_bytes, text_ids


def written(folder: Path, columns: Mapping[str, Any], chunk: int = 2) -> Path:
    """An Arrow stream file in several batches, as the preparation writes it."""
    table = pa.table(dict(columns))
    file = folder / "rows.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return file


def test_equal_texts_have_equal_numbers_in_all_columns(tmp_path: Path) -> None:
    file = written(tmp_path, {"anchor": ["a", "b", "a", "c", "d"], "positive": ["x", "a", "y", "x", "d"]})
    one, other = text_ids(file, ["anchor", "positive"])
    assert one[0] == one[2] == other[1]
    assert other[0] == other[3]
    assert one[4] == other[4]
    assert len({*one.tolist(), *other.tolist()}) == 6


def test_texts_of_lists_stand_side_by_side(tmp_path: Path) -> None:
    file = written(tmp_path, {"anchor": ["a", "b", "c"], "negatives": [["x", "a"], [], ["y"]]})
    ids = text_ids(file, ["anchor", "negatives"])
    assert ids.shape == (3, 3)
    assert ids[2].tolist()[1:] == [-1, -1]
    assert ids[1, 1] == -1
    assert ids[2, 0] == ids[0, 0]


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=1, max_size=30), st.integers(1, 9))
def test_numbers_are_equal_exactly_where_texts_are(rows: list[tuple[str, str]], chunk: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        columns = {"anchor": [one for one, _ in rows], "positive": [other for _, other in rows]}
        file = written(Path(folder), columns, chunk)
        ids = text_ids(file, ["anchor", "positive"]).T.reshape(-1).tolist()
        texts = [text for row in rows for text in row]
        pairs = zip(texts, ids, strict=True)
        assert len(set(pairs)) == len(set(texts)) == len(set(ids))
        occurring = pa.array(columns["anchor"] + columns["positive"]).dictionary_encode().indices.to_pylist()
        assert text_ids(file, ["anchor", "positive"]).reshape(-1).tolist() == occurring
        expected = [len((one + other).encode()) for one, other in rows]
        assert text_bytes(file, ["anchor", "positive"]).tolist() == expected


def test_labels_rows_and_the_text_that_two_rows_share(tmp_path: Path) -> None:
    file = written(tmp_path, {"anchor": ["q0", "q1", "q2"], "positive": ["a", "b", "a"], "label": [5, -3, 5]})
    assert read_integers(file, "label").tolist() == [5, -3, 5]
    assert read_rows(file, [2, 0])[0] == {"anchor": "q2", "positive": "a", "label": 5}
    assert shared_text(file, ["anchor", "positive"], 0, 2) == "a"
