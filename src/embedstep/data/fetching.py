"""Fetch what is not there as files: rows of the hub, of queries, of functions and of BEIR, and the hub's models.

After that, a request has local paths only. It happens once per node, before any rank starts.
"""

from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from embedstep.data.beir import DOCUMENT, write_judged_pairs
from embedstep.data.databases import database_problems, run_in_database
from embedstep.data.facts import SPLITS, Split
from embedstep.data.hub import (
    fetched_datasets,
    hub_base,
    hub_benchmarks,
    hub_datasets,
    hub_guides,
    is_on_hub,
    with_datasets,
)
from embedstep.data.queries import query_problems, run_query
from embedstep.data.row_functions import row_functions_are_known
from embedstep.data.row_sources import make_rows, row_source_problems
from embedstep.errors import CannotStartError, InvalidRequestError, Problem, collect_problems
from embedstep.output.job import run_job
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest
from embedstep.request.sources import Corpus


def with_local_data(
    request: TrainRequest, folder: Path, *, with_model: bool, splits: Collection[Split] = SPLITS
) -> tuple[TrainRequest, str | None]:
    """Make and fetch rows, and the hub's model; return the request with local data, and the model.

    Args:
        request: any request; one with files and a model on this machine is returned unchanged.
        folder: folder for the fetched rows.
        with_model: fetch the model and what losses and evaluators read, too; a plan does not need them.
        splits: splits whose datasets are fetched.

    Returns:
        the request, and the folder of the model, if that was fetched.

    Raises:
        InvalidRequestError: a query cannot be run, or the hub has no such dataset or model.
        CannotStartError: the hub or a database did not answer, or a package is not installed.
        StepInterruptedError: a signal ended the process.
    """
    places = _make_files(request, folder, splits)
    fetched = _fetch_from_hub(request, folder, with_model, splits)
    model = fetched.pop("model", None)
    return _with_places(request, {**places, **fetched}), model


def _make_files(request: TrainRequest, folder: Path, splits: Collection[Split]) -> dict[str, str]:
    """Write the rows of each query, function and BEIR dataset; return their files by `<split>.<name>`."""
    places: dict[str, str] = {}
    problems: list[Problem] = []
    for split, name, dataset in fetched_datasets(request, splits):
        if dataset.hub is not None:
            continue
        where, target = f"data.{split}.{name}", folder / f"made-{split}-{name}.arrow"
        is_searched = split == "eval" and any(item.dataset == name for item in request.evaluators)
        with collect_problems(problems):
            _make_file(where, dataset, target, _corpus_file(target) if is_searched else None)
        places[f"{split}.{name}"] = str(target)
    if problems:
        raise InvalidRequestError(problems)
    return places


def _corpus_file(rows: Path) -> Path:
    return rows.with_suffix(".corpus.arrow")


def _make_file(where: str, dataset: Dataset, target: Path, corpus: Path | None) -> None:
    if dataset.beir is not None:
        write_judged_pairs(where, dataset, target, corpus)
    elif dataset.sql is None:
        make_rows(where, dataset, target)
    elif dataset.database is not None:
        run_in_database(where, dataset.sql, dataset.database, target)
    else:
        run_query(f"{where}.sql", dataset.sql, target)


def _fetch_from_hub(request: TrainRequest, folder: Path, with_model: bool, splits: Collection[Split]) -> dict[str, str]:
    """Fetch in a process of its own, since the libraries for that take seconds to import; return the folders."""
    is_fetched = is_on_hub(request.model) or hub_base(request.model, None) is not None
    wants_model = with_model and (is_fetched or any(hub_guides(request)) or any(hub_benchmarks(request)))
    if not wants_model and not any(hub_datasets(request, splits)):
        return {}
    if find_spec("datasets") is None:
        raise CannotStartError("fetching from the hub needs datasets; pip install 'embedstep[train]'")
    job = {"request": request.model_dump(mode="json"), "model": wants_model, "splits": list(splits)}
    found: dict[str, str] = run_job(
        "fetch", job, folder, title="fetching from the hub", error=CannotStartError, shows_progress=True
    )
    return found


def _with_places(request: TrainRequest, found: Mapping[str, str]) -> TrainRequest:
    """Return the request with each dataset that was fetched replaced by its file or folder."""
    if not found:
        return request
    # What is held out of a train dataset was fetched with it.
    held_out = {f"eval.{name}": found[f"train.{name}"] for name in request.data.held_out if f"train.{name}" in found}
    places = {**held_out, **found}

    def local(split: Split, name: str, given: Dataset) -> Dataset:
        place = places.get(f"{split}.{name}")
        if not given.is_fetched or not place:
            return given
        corpus = _corpus_file(Path(place))
        return given.at(place, _origin(given), Corpus(path=[str(corpus)], column=DOCUMENT) if corpus.exists() else None)

    return with_datasets(request, local)


def _origin(given: Dataset) -> str | None:
    """Return what rows are called in messages; None where the path of their folder says it."""
    if given.rows is not None:
        return f"the result of {given.rows.kind}"
    if given.beir is not None:
        return "the judged pairs of BEIR"
    return "the result of the query" if given.sql is not None else None


def without_fetched_data(request: TrainRequest) -> TrainRequest:
    """Return the request with those of its datasets that are files on this machine or at a URL."""
    return with_datasets(request, lambda split, name, given: None if given.is_fetched else given)


def sources_are_valid(request: TrainRequest) -> Iterator[Problem]:
    """Each query is one SELECT, and each function is declared; nothing is fetched for that."""
    yield from query_problems(request)
    yield from database_problems(request)
    yield from row_source_problems(request)
    yield from row_functions_are_known(request)
