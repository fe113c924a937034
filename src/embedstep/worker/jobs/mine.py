"""Mine hard negatives with the library's miner: `python -m embedstep.worker.jobs.mine FOLDER`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives

from embedstep.data.duplicates import normalise_texts
from embedstep.output.job import serve_job
from embedstep.request.model import Model
from embedstep.worker.models import build_model

_PAIR = ("anchor", "positive")
_QUERIES = 1_024
"""Queries that are scored against all documents at once. The library's 16,384 need gigabytes of memory."""


def mine(
    section: Mapping[str, Any], fetched: str | None, rows: str, negatives: int, options: Mapping[str, Any], to: str
) -> None:
    """Mine negatives and write the rows that have enough of them.

    Args:
        section: the request's section of the model that ranks candidates.
        fetched: folder of the model if it was fetched from the hub.
        rows: Arrow file with the columns `anchor` and `positive`.
        negatives: number of negatives per row.
        options: filters and sampling, as options of `mine_hard_negatives`.
        to: Parquet file for the rows: anchor, positive, then the negatives.
    """
    model = build_model(Model.model_validate(section), fetched=fetched).eval()
    pairs = Dataset.from_file(rows).select_columns(list(_PAIR))
    alike = {name: first_variants(pairs[name][:]) for name in _PAIR}
    mined = mine_hard_negatives(
        dataset=Dataset.from_dict(alike),
        model=model,
        anchor_column_name="anchor",
        positive_column_name="positive",
        num_negatives=negatives,
        output_format="n-tuple",
        **{"faiss_batch_size": _QUERIES, **options},
    )
    found = {(row["anchor"], row["positive"]): row for row in mined}
    # Each row as it stands in the file: the miner gives equal ones once, and leaves out those with too few negatives.
    written = [
        {**found[pair], **row}
        for row, pair in zip(pairs, zip(*alike.values(), strict=True), strict=True)
        if pair in found
    ]
    pq.write_table(pa.Table.from_pylist(written, schema=mined.features.arrow_schema), to)


def first_variants(texts: Sequence[str]) -> list[str]:
    """Return each text as the first of those that differ from it by case, white space and Unicode form only.

    The miner knows the positives of a query by their exact text. Another spelling of one would become its negative.
    """
    first: dict[bytes, str] = {}
    normalised = normalise_texts(pa.array(texts, pa.string()))
    return [first.setdefault(key, text) for key, text in zip(normalised, texts, strict=True)]


if __name__ == "__main__":
    sys.exit(serve_job(lambda job, _: mine(**job), Path(sys.argv[1])))
