"""Mine hard negatives with the library's miner: `python -m embedstep.worker.jobs.mine FOLDER`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives

from embedstep.output.job import serve_job
from embedstep.request.schema import Model
from embedstep.worker.models import build_model


@dataclass(frozen=True, kw_only=True, slots=True)
class MiningJob:
    """Rows to mine negatives for.

    Attributes:
        section: the request's section of the model that ranks candidates.
        fetched: folder of the model if it was fetched from the hub.
        rows: Arrow file with the columns `anchor` and `positive`.
        negatives: number of negatives per row.
        options: filters and sampling, as options of `mine_hard_negatives`.
        to: Parquet file for the rows with enough negatives: anchor, positive, then the negatives.
    """

    section: Mapping[str, Any]
    fetched: str | None
    rows: str
    negatives: int
    options: Mapping[str, Any]
    to: str


def mine(job: MiningJob) -> None:
    """Mine negatives and write the rows that have enough of them."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_model(Model.model_validate(job.section), fetched=job.fetched, device=device).eval()
    mined = mine_hard_negatives(
        dataset=Dataset.from_file(job.rows),
        model=model,
        anchor_column_name="anchor",
        positive_column_name="positive",
        num_negatives=job.negatives,
        output_format="n-tuple",
        **job.options,
    )
    mined.to_parquet(job.to)


if __name__ == "__main__":
    sys.exit(serve_job(lambda job, _: mine(MiningJob(**job)), Path(sys.argv[1])))
