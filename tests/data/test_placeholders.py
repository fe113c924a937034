"""Words for nothing in a file without types are counted, and those in a text are not."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedstep.data.facts import DatasetFacts
from embedstep.data.placeholders import Placeholders

Read = Callable[..., DatasetFacts]
CELLS = ["NaN", "null", "what is null", "n/a", "None", "a text", "-", "NA"]


def test_whole_cells_are_counted() -> None:
    found = Placeholders({"anchor": "text", "label": "integer", "positive": "text"})
    for _ in range(2):
        columns = [CELLS, range(len(CELLS)), ["a"] * len(CELLS)]
        found.update(pa.record_batch([pa.array(column) for column in columns], ["anchor", "label", "positive"]))
    assert found.counts == {"anchor": 10}


@pytest.mark.parametrize(
    ("suffix", "expected"), [("csv", {"positive": 5}), ("jsonl", {"positive": 5}), ("parquet", {})]
)
def test_only_files_without_types_have_them(folder: Path, read: Read, suffix: str, expected: dict[str, int]) -> None:
    file = folder / f"a.{suffix}"
    if suffix == "csv":
        file.write_text("q,a\n" + "".join(f"question {number},{cell}\n" for number, cell in enumerate(CELLS)))
    elif suffix == "jsonl":
        lines = (f'{{"q": "question {number}", "a": "{cell}"}}\n' for number, cell in enumerate(CELLS))
        file.write_text("".join(lines))
    else:
        pq.write_table(pa.table({"q": [f"question {cell}" for cell in CELLS], "a": CELLS}), file)
    assert read(f"a.{suffix}", anchor="q", positive="a").placeholders == expected
