"""Hard negatives for the rows of a request: as many as it names columns for, found by a model among the positives."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstep.data.hub import with_local_data
from embedstep.data.reading import scan
from embedstep.errors import OK, InvalidRequestError, Problem, StepInterruptedError, TrainingFailedError
from embedstep.output.result import write_json
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest
from embedstep.runtime.process import LaunchCommand, run_process

MINED_FORMAT = "embedstep.mined/1"
STRATEGIES = ("top", "random")


@dataclass(frozen=True, kw_only=True, slots=True)
class MinedDataset:
    """What was found for one dataset.

    Attributes:
        name: name in the request.
        rows: rows that came in.
        mined_rows: rows for which enough negatives were found; the others are left out.
        negatives: negatives of each row.
        fingerprint: SHA-256 of the rows as a training will read them.
    """

    name: str
    rows: int
    mined_rows: int
    negatives: int
    fingerprint: str


def mine_negatives(request: TrainRequest, folder: Path, options: Mapping[str, Any]) -> tuple[MinedDataset, ...]:
    """Lay down `<dataset>.parquet` of each training dataset, with negatives in the columns that the request names.

    Args:
        request: names the model, the data and, under `columns.negative`, a column for each negative.
        folder: where the files go.
        options: `range_min`, `range_max`, `max_score`, `min_score`, `absolute_margin`, `relative_margin` and
            `sampling_strategy`, as `sentence_transformers.util.mine_hard_negatives` has them.

    Raises:
        InvalidRequestError: with every problem of the request and its data.
        CannotStartError: the data or the model cannot be reached.
        TrainingFailedError: the miner has failed; its own words are above.
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
            _mined(name, dataset, job, work, folder / f"{name}.parquet", drop=request.data.drop_incomplete_rows)
            for name, dataset in local.data.train.items()
        )


def _problems(request: TrainRequest, options: Mapping[str, Any]) -> Iterator[Problem]:
    for name, dataset in request.data.train.items():
        place, columns = f"data.train.{name}.columns", dataset.columns
        if columns.anchor is None or columns.positive is None:
            yield Problem(place, "needs an anchor and a positive to find negatives for")
        if not columns.negative:
            yield Problem(f"{place}.negative", "is empty; name a column for each negative that is to be found")
        if columns.label:
            yield Problem(f"{place}.label", "is given, and rows with negatives have none")
    if (strategy := options.get("sampling_strategy", "top")) not in STRATEGIES:
        yield Problem("sampling_strategy", f"must be {' or '.join(STRATEGIES)}; {strategy!r} was given")


def _mined(name: str, dataset: Dataset, job: Mapping[str, Any], work: Path, file: Path, *, drop: bool) -> MinedDataset:
    pairs = dataset.model_copy(update={"columns": dataset.columns.model_copy(update={"negative": None})})
    rows = work / f"{name}.arrow"
    facts = scan("train", name, pairs, drop_incomplete_rows=drop, write_to=rows)
    negatives = list(dataset.columns.negative or ())
    found = work / f"{name}.parquet"
    write_json(work / "job.json", {**job, "rows": str(rows), "negatives": len(negatives), "to": str(found)})
    argv = (sys.executable, "-m", "embedstep.worker.jobs.mine", str(work / "job.json"))
    end = run_process(LaunchCommand(argv=argv, env={**os.environ, "TQDM_DISABLE": "1"}))
    if end.signalled is not None:
        raise StepInterruptedError(end.signalled)
    if end.code != OK:
        raise TrainingFailedError(f"data.train.{name}: no negatives could be found; the miner's own words are above")
    names = [str(dataset.columns.anchor), str(dataset.columns.positive), *negatives]
    _rename(found, file, names)
    mined = scan("train", name, dataset.at(str(file)), drop_incomplete_rows=False)
    return MinedDataset(
        name=name, rows=facts.rows, mined_rows=mined.rows, negatives=len(negatives), fingerprint=mined.fingerprint
    )


def _rename(found: Path, file: Path, names: list[str]) -> None:
    """Give the columns, which are in the order anchor, positive, negatives, the names of the request."""
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(found).rename_columns(names), file)
