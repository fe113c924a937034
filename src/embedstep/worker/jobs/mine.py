"""Mine hard negatives with the library's miner: `python -m embedstep.worker.jobs.mine FOLDER`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.util import mine_hard_negatives
from transformers import set_seed

from embedstep.data.duplicates import normalise_texts
from embedstep.errors import InvalidRequestError, first_line
from embedstep.output.job import serve_job
from embedstep.request.model import Model
from embedstep.worker.models import build_model

_PAIR = ("anchor", "positive")
_QUERIES = 1_024
"""Queries that are scored against all documents at once. The library's 16,384 need gigabytes of memory."""
_SCORES = 1 << 26
"""Scores of queries and documents in memory at once, 4 bytes each, however many documents there are."""
_WRITTEN_ROWS = 10_000
_DESCRIBED = 1 << 24
"""Most negatives that the library can describe by quantiles (`torch.quantile`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MiningJob:
    """Rows to mine negatives for.

    Attributes:
        section: the request's section of the model that ranks candidates.
        rows: Arrow file with the columns `anchor` and `positive`.
        negatives: number of negatives of each row.
        options: further options of `mine_hard_negatives`.
        query_prompt: prompt of the anchors; empty for none.
        corpus_prompt: prompt of the documents; empty for none.
        to: Parquet file for the rows: anchor, positive, then the negatives.
        fetched: folder of the model if it was fetched from the hub.
        corpus: Arrow file with further documents in the column `positive`.
        cross_encoder: folder of a model that scores the candidates again.
        queries: queries that are scored at once; None for a number that bounds the memory.
        seed: seed of `sampling_strategy: random`.
    """

    section: Mapping[str, Any]
    rows: str
    negatives: int
    options: Mapping[str, Any]
    query_prompt: str
    corpus_prompt: str
    to: str
    fetched: str | None = None
    corpus: str | None = None
    cross_encoder: str | None = None
    queries: int | None = None
    seed: int = 42


def mine(job: MiningJob) -> dict[str, int]:
    """Mine negatives, write the rows that have enough of them, and return the number of `documents` and `rows`.

    Raises:
        InvalidRequestError: a model cannot be loaded.
    """
    set_seed(job.seed)
    section = Model.model_validate(job.section)
    model = build_model(section, fetched=job.fetched).eval()
    pairs = Dataset.from_file(job.rows).select_columns(list(_PAIR)).data.table
    anchors, positives = (pairs[name].to_pylist() for name in _PAIR)
    others = Dataset.from_file(job.corpus)["positive"][:] if job.corpus else []
    anchors = first_variants(anchors)
    documents = first_variants([*positives, *others])
    positives = documents[: len(anchors)]
    different = len(set(documents))
    mined = mine_hard_negatives(
        dataset=Dataset.from_dict({"anchor": anchors, "positive": positives}),
        model=model,
        anchor_column_name="anchor",
        positive_column_name="positive",
        corpus=documents[len(anchors) :] or None,
        cross_encoder=job.cross_encoder and _cross_encoder(job.cross_encoder, section),
        num_negatives=job.negatives,
        query_prompt=job.query_prompt,
        corpus_prompt=job.corpus_prompt,
        output_format="n-tuple",
        faiss_batch_size=job.queries or queries_at_once(different),
        verbose=len(anchors) * job.negatives <= _DESCRIBED,
        **job.options,
    )
    rows = _write(pairs, list(zip(anchors, positives, strict=True)), mined, Path(job.to))
    return {"documents": different, "rows": rows}


def queries_at_once(documents: int) -> int:
    """Return how many queries can be scored at once against a number of documents."""
    return max(1, min(_QUERIES, _SCORES // documents))


def _cross_encoder(source: str, section: Model) -> CrossEncoder:
    try:
        return CrossEncoder(source, local_files_only=True, trust_remote_code=section.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequestError.at("cross_encoder", f"{source} cannot be loaded: {first_line(error)}") from error


def _write(pairs: pa.Table, compared: Sequence[tuple[str, str]], mined: Dataset, to: Path) -> int:
    """Write each row as it stands in the file, with its negatives, and return the number of rows.

    The miner gives equal rows once, and leaves out those with too few negatives.

    Args:
        pairs: the rows as they stand in the file.
        compared: anchor and positive of each, as the miner got them.
        mined: what the miner found.
        to: Parquet file for the rows.
    """
    found = mined.data.table
    number = {pair: row for row, pair in enumerate(zip(*(found[name].to_pylist() for name in _PAIR), strict=True))}
    kept = [row for row, pair in enumerate(compared) if pair in number]
    with pq.ParquetWriter(to, found.schema) as file:
        for start in range(0, len(kept), _WRITTEN_ROWS):
            rows = kept[start : start + _WRITTEN_ROWS]
            own = pairs.take(rows)
            negatives = found.take([number[compared[row]] for row in rows])
            columns = {name: own[name] if name in _PAIR else negatives[name] for name in found.column_names}
            file.write_table(pa.table(columns).cast(found.schema))
    return len(kept)


def first_variants(texts: Sequence[str]) -> list[str]:
    """Return each text as the first of those that differ from it by case, white space and Unicode form only.

    The miner knows the positives of a query by their exact text. Another spelling of one would become its negative.
    """
    first: dict[bytes, str] = {}
    normalised = normalise_texts(pa.array(texts, pa.string()))
    return [first.setdefault(key, text) for key, text in zip(normalised, texts, strict=True)]


if __name__ == "__main__":
    sys.exit(serve_job(lambda job, _: mine(MiningJob(**job)), Path(sys.argv[1])))
