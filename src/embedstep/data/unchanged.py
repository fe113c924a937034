"""Facts of files that have not changed since they were read, so that a check of them need not read them again.

A file counts as unchanged by its path, size and times, or in a store by its tag. Of what is trained on the content is
compared, too (`kept`, `scanning`).
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from typing import Any

from embedstep import __version__
from embedstep.data.facts import DatasetFacts, Split
from embedstep.data.hub import named_datasets
from embedstep.data.roles import RowNeeds
from embedstep.data.sources import DataFile, find_files
from embedstep.data.stores import translate_store_errors
from embedstep.errors import InvalidRequestError
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_json

_FORMAT = "embedstep.facts/1"
_SETTLED_SECONDS = 2.0
"""Age from which the times of a file are trusted: some file systems count in steps of up to two seconds."""
_NOT_KEPT = ("text_hashes", "path", "corpus")


def facts_key(
    request: TrainRequest,
    needs: Mapping[tuple[Split, str], RowNeeds],
    slices: Mapping[tuple[Split, str], str],
    lengths: str | None,
) -> str | None:
    """Return a key of everything that the facts of a request's datasets depend on; None where that is not known.

    Args:
        request: a request with local datasets only.
        needs: what is asked of the rows of a dataset, by split and name.
        slices: column with the slices of a dataset, by split and name.
        lengths: column with the length of each row.

    Raises:
        CannotStartError: a server with files could not be reached.
    """
    try:
        stamps = _stamps(request)
    except InvalidRequestError:  # reported where the files are read
        return None
    if stamps is None:
        return None
    asked = [[*key, asdict(need)] for key, need in sorted(needs.items())]
    sliced = [[*key, column] for key, column in sorted(slices.items())]
    data = request.data.model_dump(mode="json")
    versions = [__version__, version("pyarrow")]
    return sha256_json([_FORMAT, versions, data, asked, sliced, lengths, stamps])


def _stamps(request: TrainRequest) -> list[list[str]] | None:
    """Return what changes with the content of each file; None where that is not known for all."""
    stamps = []
    for split, name, dataset in named_datasets(request):
        if dataset.row_function is not None or dataset.transform is not None or dataset.is_fetched:
            return None  # their code may change, and drawn rows are read again
        if dataset.origin is not None:
            return None  # a query has just written the file, and writes it again the next time
        where = f"data.{split}.{name}"
        for file in source_files(where, dataset):
            with translate_store_errors(where, file.name, local=file.store.local):
                stamp = file.store.stamp(file.path)
            if stamp is None or time.time() - stamp.changed < _SETTLED_SECONDS:
                return None
            stamps.append([split, name, file.name, stamp.tag])
    return stamps


def source_files(where: str, dataset: Dataset) -> tuple[DataFile, ...]:
    """Return all files of a dataset.

    Args:
        where: path of the dataset in the request.
        dataset: a dataset of local files or of a store.

    Raises:
        InvalidRequestError: there are none.
        CannotStartError: a server with files could not be reached.
    """
    corpus = find_files(where, dataset.corpus.path, None) if dataset.corpus else ()
    return (*find_files(where, dataset.path or (), dataset.split), *corpus)


def facts_to_json(facts: Iterable[DatasetFacts]) -> dict[str, Any]:
    """Return facts as a record, without the hashes of their texts."""
    kept = [field.name for field in fields(DatasetFacts) if field.name not in _NOT_KEPT]
    found = [{name: getattr(item, name) for name in kept} for item in facts]
    return {"facts": [{**item, "label_values": list(item["label_values"].items())} for item in found]}


def facts_from_json(record: Mapping[str, Any]) -> list[DatasetFacts]:
    """Return the facts in a record of `facts_to_json`."""
    return [_from_json(item) for item in record["facts"]]


def _from_json(item: dict[str, Any]) -> DatasetFacts:
    label_range = item["label_range"]
    return DatasetFacts(
        **{
            **item,
            "label_values": dict(map(tuple, item["label_values"])),
            "label_range": None if label_range is None else tuple(label_range),
            "dropped_columns": tuple(item["dropped_columns"]),
            "first_overlapping": tuple(item["first_overlapping"]),
        }
    )
