"""Hard negatives for the rows of a request, mined by a model among the positives: one for each negative column."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.data.fetching import with_local_data
from embedstep.data.reading import scan
from embedstep.data.roles import list_roles
from embedstep.errors import InvalidRequestError, Problem, TrainingFailedError
from embedstep.output.job import run_job
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest

MINED_FORMAT = "embedstep.mined/1"
STRATEGIES = ("top", "random")


@dataclass(frozen=True, kw_only=True, slots=True)
class MinedDataset:
    """Row counts of one mined dataset.

    Attributes:
        name: name in the request.
        rows: rows read.
        mined_rows: rows with enough negatives; the others are dropped.
        negatives: negatives of each row.
        fingerprint: SHA-256 of the rows as a training will read them.
    """

    name: str
    rows: int
    mined_rows: int
    negatives: int
    fingerprint: str


def mine_negatives(request: TrainRequest, folder: Path, options: Mapping[str, Any]) -> tuple[MinedDataset, ...]:
    """Write `<dataset>.parquet` for each training dataset, with negatives in the columns that the request names.

    Args:
        request: names the model, the data and, under `columns.negative`, a column for each negative.
        folder: folder for the files.
        options: `range_min`, `range_max`, `max_score`, `min_score`, `absolute_margin`, `relative_margin` and
            `sampling_strategy` of `sentence_transformers.util.mine_hard_negatives`.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the data or the model cannot be reached.
        StepInterruptedError: a signal arrived while mining.
        TrainingFailedError: the miner failed; its output says why.
    """
    if problems := [*_problems(request, options)]:
        raise InvalidRequestError(problems)
    data = request.data.model_copy(update={"eval": {}, "test": {}})
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        work = Path(name)
        wanted = request.model_copy(update={"data": data})
        local, fetched = with_local_data(wanted, work / "hub", with_model=True)
        folder.mkdir(parents=True, exist_ok=True)
        job = {"section": request.model.model_dump(mode="json"), "fetched": fetched, "options": dict(options)}
        return tuple(
            _mine(name, dataset, job, work, folder / f"{name}.parquet", drop=request.data.drop_incomplete_rows)
            # A training on the mined rows holds out the same anchors or positives.
            for name, dataset in ((name, given.without_hold_out()) for name, given in local.data.train.items())
        )


def _problems(request: TrainRequest, options: Mapping[str, Any]) -> Iterator[Problem]:
    for name, dataset in request.data.train.items():
        place, columns = f"data.train.{name}.columns", dataset.columns
        if columns.anchor is None or columns.positive is None:
            yield Problem(place, "needs an anchor and a positive to mine negatives for")
        if not columns.negative:
            yield Problem(f"{place}.negative", "is empty; name a column for each negative")
        if columns.label:
            yield Problem(f"{place}.label", "cannot be used; rows with negatives have no label")
        if (hold_out := dataset.hold_out) is not None and hold_out.by not in ("anchor", "positive"):
            message = f"is {hold_out.by}, a column that mined rows do not have; write anchor or positive"
            yield Problem(f"data.train.{name}.hold_out.by", message)
    if (strategy := options.get("sampling_strategy", "top")) not in STRATEGIES:
        yield Problem("sampling_strategy", f"must be {' or '.join(STRATEGIES)}; {strategy!r} was given")


def _mine(name: str, dataset: Dataset, job: Mapping[str, Any], work: Path, file: Path, *, drop: bool) -> MinedDataset:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from embedstep.data.lists import source_columns

    pairs = dataset.model_copy(update={"columns": dataset.columns.model_copy(update={"negative": None})})
    rows = work / f"{name}.arrow"
    facts = scan("train", name, pairs, drop_incomplete_rows=drop, write_to=rows)
    columns = list_roles(dataset.columns)
    negatives = sum(role.key == "negative" for role in columns)
    found = work / f"{name}.parquet"
    wanted = {**job, "rows": str(rows), "negatives": negatives, "to": str(found)}
    title = f"data.train.{name}: mining negatives"
    run_job("mine", wanted, work / f"mine-{name}", title=title, error=TrainingFailedError)
    # The miner writes the anchor, the positive and the negatives in this order, under names of its own.
    mined_rows = pq.read_table(found).rename_columns([role.name for role in columns])
    pq.write_table(pa.table(source_columns(columns, mined_rows)), file)
    mined = scan("train", name, dataset.at(str(file)), drop_incomplete_rows=False)
    return MinedDataset(
        name=name, rows=facts.rows, mined_rows=mined.rows, negatives=negatives, fingerprint=mined.fingerprint
    )
