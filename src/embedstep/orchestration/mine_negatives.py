"""Hard negatives for the rows of a request, mined by a model: one for each negative column.

The candidates are the positives of all rows and, if one is given, the documents of a corpus.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from embedstep.data.fetching import with_local_data
from embedstep.data.hub import is_hub_id
from embedstep.data.model_facts import ModelFacts
from embedstep.data.reading import scan
from embedstep.data.roles import list_roles
from embedstep.errors import (
    CannotStartError,
    InvalidRequestError,
    Problem,
    TrainingFailedError,
    collect_problems,
    suggest,
)
from embedstep.output.job import run_job
from embedstep.planning.model_checks import read_facts
from embedstep.planning.prompts import plan_prompts
from embedstep.request.columns import Columns, ListOfPositives
from embedstep.request.datasets import Dataset
from embedstep.request.mining import Mining, read_mining
from embedstep.request.model import Model
from embedstep.request.schema import TrainRequest

MINED_FORMAT = "embedstep.mined/1"
_CORPUS = "corpus"


@dataclass(frozen=True, kw_only=True, slots=True)
class MinedDataset:
    """Row counts of one mined dataset.

    Attributes:
        name: name in the request.
        rows: rows read.
        mined_rows: rows with enough negatives; the others are dropped.
        negatives: negatives of each row.
        documents: different documents among which they were mined.
        fingerprint: SHA-256 of the rows as a training will read them.
    """

    name: str
    rows: int
    mined_rows: int
    negatives: int
    documents: int
    fingerprint: str


def mine_negatives(request: TrainRequest, folder: Path, options: Mapping[str, Any]) -> tuple[MinedDataset, ...]:
    """Write `<dataset>.parquet` for each training dataset, with negatives in the columns that the request names.

    Args:
        request: names the model, the data and, under `columns.negative`, a column for each negative.
        folder: folder for the files.
        options: options of `embedstep.request.mining.Mining` by name.

    Raises:
        InvalidRequestError: with every problem of the request, its data and the options.
        CannotStartError: the data or a model cannot be reached, or FAISS is not installed.
        StepInterruptedError: a signal arrived while mining.
        TrainingFailedError: the miner failed; its output says why.
    """
    problems = list(_problems(request))
    mining = None
    with collect_problems(problems):
        mining = read_mining(options)
    if mining is not None:
        problems += _problems_of_options(request, mining)
    if problems or mining is None:
        raise InvalidRequestError(problems)
    if mining.use_faiss and find_spec("faiss") is None:
        raise CannotStartError("use_faiss needs FAISS, which is not installed; pip install faiss-cpu")
    data = request.data.model_copy(update={"eval": {}, "test": {}})
    wanted = request.model_copy(update={"data": data})
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        miner = _Miner(wanted, mining, Path(name))
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(
            # A training on the mined rows holds out the same anchors or positives.
            miner.mine(name, given.without_hold_out(), folder / f"{name}.parquet")
            for name, given in miner.local.data.train.items()
        )


def _problems(request: TrainRequest) -> Iterator[Problem]:
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


def _problems_of_options(request: TrainRequest, mining: Mining) -> Iterator[Problem]:
    yield from mining.problems(max(_negatives(dataset) for dataset in request.data.train.values()))
    given = mining.cross_encoder
    if given is not None and not is_hub_id(given) and not Path(given).expanduser().is_dir():
        yield Problem("cross_encoder", f"{given} does not exist")


def _negatives(dataset: Dataset) -> int:
    return sum(role.key == "negative" for role in list_roles(dataset.columns))


def mining_prompts(request: TrainRequest, facts: ModelFacts | None, mining: Mining, dataset: str) -> dict[str, str]:
    """Return the prompts of a dataset's anchors (`query_prompt`) and documents (`corpus_prompt`); empty for none.

    They are those with which its anchors and positives are trained, unless the options name others.

    Args:
        request: the request.
        facts: what the model's files say, as for `plan_prompts`.
        mining: the options.
        dataset: name of the train dataset.

    Raises:
        InvalidRequestError: an option names a prompt that the model does not have.
    """
    trained = plan_prompts(request, facts).columns.get(dataset, {})
    known = {**(facts.prompts if facts is not None else {}), **request.model.prompts}
    found, problems = {}, []
    for option, role in (("query_prompt", "anchor"), ("corpus_prompt", "positive")):
        given, name = getattr(mining, option), getattr(mining, f"{option}_name")
        if name is not None and name not in known:
            message = f"is {name!r}; the prompts of the model are {', '.join(known) or 'none'}{suggest(name, known)}"
            problems.append(Problem(f"{option}_name", message))
        default = trained.get(role, "") if given is None else given
        found[option] = default if name is None else known.get(name, "")
    if problems:
        raise InvalidRequestError(problems)
    return found


class _Miner:
    """Mines one dataset after the other with the same models and the same corpus.

    Attributes:
        local: the request with its data on this machine.
    """

    def __init__(self, request: TrainRequest, mining: Mining, work: Path) -> None:
        self._mining, self._work = mining, work
        self.local, self._fetched = with_local_data(request, work / "hub", with_model=True)
        self._model_facts = None
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # the job says what is wrong with the files
            self._model_facts = read_facts(request, self._fetched)
        self._corpora: dict[str, str] = {}

    def mine(self, name: str, dataset: Dataset, file: Path) -> MinedDataset:
        """Mine negatives for a dataset, and write its rows to a file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        from embedstep.data.lists import source_columns

        drop = self.local.data.drop_incomplete_rows
        pairs = dataset.model_copy(update={"columns": dataset.columns.model_copy(update={"negative": None})})
        rows = self._work / f"{name}.arrow"
        facts = scan("train", name, pairs, drop_incomplete_rows=drop, write_to=rows)
        found = self._work / f"{name}.parquet"
        negatives = _negatives(dataset)
        job = {**self._job(name, dataset), "rows": str(rows), "negatives": negatives, "to": str(found)}
        title = f"data.train.{name}: mining negatives"
        about = run_job("mine", job, self._work / f"mine-{name}", title=title, error=TrainingFailedError)
        if not about["rows"]:
            message = f"has no row with {negatives} negatives; raise range_max, or lower relative_margin (0 for none)"
            raise InvalidRequestError.at(f"data.train.{name}", message)
        # The miner writes the anchor, the positive and the negatives in this order, under names of its own.
        columns = list_roles(dataset.columns)
        mined_rows = pq.read_table(found).rename_columns([role.name for role in columns])
        pq.write_table(pa.table(source_columns(columns, mined_rows)), file)
        mined = scan("train", name, dataset.at(str(file)), drop_incomplete_rows=False)
        return MinedDataset(
            name=name,
            rows=facts.rows,
            mined_rows=mined.rows,
            negatives=negatives,
            documents=about["documents"],
            fingerprint=mined.fingerprint,
        )

    def _job(self, name: str, dataset: Dataset) -> dict[str, Any]:
        """Return what the job of a dataset needs to know besides its rows."""
        mining = self._mining
        return {
            **mining_prompts(self.local, self._model_facts, mining, name),
            "section": self.local.model.model_dump(mode="json"),
            "fetched": self._fetched,
            "options": mining.of_the_library(),
            "corpus": self._corpus(dataset),
            "cross_encoder": self._cross_encoder,
            "queries": mining.faiss_batch_size,
            "seed": self.local.arguments.seed,
        }

    def _corpus(self, dataset: Dataset) -> str | None:
        """Return an Arrow file with the documents of the corpus, read once for each column."""
        if self._mining.corpus is None:
            return None
        positive = dataset.columns.positive
        own = positive.list if isinstance(positive, ListOfPositives) else positive
        column = self._mining.corpus_column or own or ""
        if column not in self._corpora:
            file = self._work / f"corpus-{len(self._corpora)}.arrow"
            documents = Dataset(path=[self._mining.corpus], columns=Columns(positive=column))
            try:
                scan("train", _CORPUS, documents, drop_incomplete_rows=True, write_to=file)
            except InvalidRequestError as error:
                raise InvalidRequestError(map(_of_the_corpus, error.problems)) from None
            self._corpora[column] = str(file)
        return self._corpora[column]

    @cached_property
    def _cross_encoder(self) -> str | None:
        given = self._mining.cross_encoder
        if given is None or not is_hub_id(given):
            return given and str(Path(given).expanduser())
        wanted = self.local.model_copy(update={"model": Model(path=given)})
        return with_local_data(wanted, self._work / "cross-encoder", with_model=True, splits=())[1]


def _of_the_corpus(problem: Problem) -> Problem:
    """Return the problem with the option that it comes from in place of a dataset's path."""
    is_column = problem.path.startswith(f"data.train.{_CORPUS}.columns")
    return Problem("corpus_column" if is_column else "corpus", problem.message)
