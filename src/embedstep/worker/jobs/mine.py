"""Mine hard negatives with the library's miner: `python -m embedstep.worker.jobs.mine FOLDER`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers.util import mine_hard_negatives

from embedstep.output.job import serve_job
from embedstep.request.model import Model
from embedstep.worker.models import build_model


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
    mined = mine_hard_negatives(
        dataset=Dataset.from_file(rows),
        model=model,
        anchor_column_name="anchor",
        positive_column_name="positive",
        num_negatives=negatives,
        output_format="n-tuple",
        **options,
    )
    mined.to_parquet(to)


if __name__ == "__main__":
    sys.exit(serve_job(lambda job, _: mine(**job), Path(sys.argv[1])))
