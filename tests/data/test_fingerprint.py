import csv
import hashlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedstep.data.facts import DatasetFacts
from embedstep.data.fingerprint import RowsDigest

Read = Callable[..., DatasetFacts]

TYPES: dict[str, pa.DataType] = {"q": pa.string(), "p": pa.string(), "s": pa.float64()}
SCHEMA = pa.schema(TYPES)
# Every text has a visible character; a carriage return does not survive every CSV writer, nor a null character.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=12).map(lambda text: f"{text}x")
# A number with a broken part looks like a number in every format.
rows = st.lists(st.tuples(texts, texts, st.integers(-1_000, 1_000).map(lambda number: number + 0.5)), min_size=1)
cuts = st.lists(st.integers(1, 5), min_size=1, max_size=4)

Row = tuple[str, str, float]


def as_table(part: list[Row]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip("qps", row, strict=True)) for row in part], SCHEMA)


def as_parquet(part: list[Row]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(as_table(part), sink, row_group_size=3)
    return sink.getvalue().to_pybytes()


def as_arrow(part: list[Row]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(as_table(part), max_chunksize=2)
    return sink.getvalue().to_pybytes()


def as_csv(part: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("q", "p", "s"), *part])
    return text.getvalue().encode()


def as_jsonl(part: list[Row]) -> bytes:
    return "".join(json.dumps({"s": s, "p": p, "q": q, "more": None}) + "\n" for q, p, s in part).encode()


def parts(whole: list[Row], sizes: list[int]) -> list[list[Row]]:
    found, start = [], 0
    for size in sizes:
        found.append(whole[start : start + size])
        start += size
    return [part for part in [*found, whole[start:]] if part]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(whole=rows, sizes=cuts)
def test_equal_rows_have_equal_fingerprints_in_every_format_and_cutting(
    read: Read, tmp_path: Path, whole: list[Row], sizes: list[int]
) -> None:
    found = set()
    for form, written in (("parquet", as_parquet), ("arrow", as_arrow), ("csv", as_csv), ("jsonl", as_jsonl)):
        for cutting in (parts(whole, sizes), [whole]):
            names = [f"{tmp_path}/{number}.{form}" for number in range(len(cutting))]
            for name, part in zip(names, cutting, strict=True):
                Path(name).write_bytes(written(part))
            found.add(read(names, anchor="q", positive="p", label="s").fingerprint)
    assert len(found) == 1


def digest(kind: Any, dtype: Any, *chunks: list[Any], name: str = "anchor") -> str:
    rows_digest = RowsDigest({name: kind})
    for chunk in chunks:
        rows_digest.update(pa.record_batch({name: pa.array(chunk, dtype)}))
    return rows_digest.hexdigest()


@given(
    values=st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), max_size=8),
    others=st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3), max_size=8),
    cut=st.integers(0, 8),
)
def test_lists_have_equal_digests_exactly_when_they_are_equal(
    values: list[list[str]], others: list[list[str]], cut: int
) -> None:
    dtype = pa.list_(pa.string())
    whole = digest("texts", dtype, values)
    assert digest("texts", dtype, values[:cut], values[cut:]) == whole
    assert (digest("texts", dtype, others) == whole) == (others == values)


def test_a_slice_counts_as_its_own_rows() -> None:
    for kind, dtype, values in (
        ("text", pa.string(), ["a", "bc", "def"]),
        ("texts", pa.list_(pa.string()), [["a"], ["bc", "d"], ["e"]]),
        ("numbers", pa.list_(pa.float64()), [[1.0], [2.0, 3.0], [4.0]]),
        ("number", pa.float64(), [1.0, 2.0, 3.0]),
        ("integer", pa.int64(), [1, 2, 3]),
    ):
        whole = RowsDigest({"anchor": kind})  # type: ignore[dict-item]
        whole.update(pa.record_batch({"anchor": pa.array(values, dtype)}).slice(1, 1))
        assert whole.hexdigest() == digest(kind, dtype, values[1:2])


def test_the_digest_is_that_of_lengths_and_bytes() -> None:
    streams = [struct.pack("<3i", 1, 0, 2), "aé".encode()]
    hashed = [hashlib.sha256(stream).hexdigest() for stream in streams]
    whole = hashlib.sha256(json.dumps([["anchor", "text", *hashed]]).encode()).hexdigest()
    assert digest("text", pa.string(), ["a"], ["", "é"]) == whole


@pytest.mark.parametrize("other", [["ab", "c"], ["c", "ab"], ["a", "bc", ""], ["abc"], ["a", "bd"]])
def test_other_texts_have_another_digest(other: list[str]) -> None:
    assert digest("text", pa.string(), ["a", "bc"]) != digest("text", pa.string(), other)


def test_the_name_and_the_kind_of_a_column_belong_to_the_digest() -> None:
    assert digest("text", pa.string(), ["a"]) != digest("text", pa.string(), ["a"], name="positive")
    assert digest("integer", pa.int64(), [0]) != digest("number", pa.float64(), [0.0])


def test_columns_that_change_places_have_another_fingerprint(read: Read) -> None:
    pq.write_table(pa.table({"q": ["x"], "p": ["y"]}), "a.parquet")
    straight, crossed = read("a.parquet", anchor="q", positive="p"), read("a.parquet", anchor="p", positive="q")
    assert straight.fingerprint != crossed.fingerprint
