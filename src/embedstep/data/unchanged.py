"""Facts of files that have not changed since they were read, so that a check of them need not read them again.

A file counts as unchanged by its path, size and times, or in a store by its tag. Of what is trained on the content is
compared, too (`kept`, `scanning`).
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any

from embedstep import __version__
from embedstep.data.facts import DatasetFacts, Split
from embedstep.data.hub import named_datasets
from embedstep.data.roles import RowNeeds
from embedstep.data.sources import DataFile, find_files
from embedstep.data.stores import Stamp, translate_store_errors
from embedstep.errors import InvalidRequestError
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_json

_FORMAT = "embedstep.facts/1"
_SETTLED_SECONDS = 2.0
"""Age from which the times of a file are trusted: some file systems count in steps of up to two seconds."""
_NOT_KEPT = ("text_hashes", "path", "corpus", "shards")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file with rows of a dataset, and what changes with its content.

    Attributes:
        split: split of the dataset.
        dataset: its name.
        file: the file.
        stamp: its stamp when it was found.
    """

    split: Split
    dataset: str
    file: DataFile
    stamp: Stamp


def find_sources(request: TrainRequest) -> list[SourceFile] | None:
    """Return all files that the rows of a request come from; None where it is not known whether one has changed.

    Args:
        request: a request with local datasets only.

    Raises:
        CannotStartError: a server with files could not be reached.
    """
    try:
        return _find_sources(request)
    except InvalidRequestError:  # reported where the files are read
        return None


def facts_key(
    request: TrainRequest,
    needs: Mapping[tuple[Split, str], RowNeeds],
    slices: Mapping[tuple[Split, str], str],
    lengths: str | None,
    sources: Iterable[SourceFile],
) -> str:
    """Return a key of everything that the facts of a request's datasets depend on.

    Args:
        request: a request with local datasets only.
        needs: what is asked of the rows of a dataset, by split and name.
        slices: column with the slices of a dataset, by split and name.
        lengths: column with the length of each row.
        sources: from `find_sources`.
    """
    asked = [[*key, asdict(need)] for key, need in sorted(needs.items())]
    sliced = [[*key, column] for key, column in sorted(slices.items())]
    stamps = [[source.split, source.dataset, source.file.name, source.stamp.tag] for source in sources]
    data = request.data.model_dump(mode="json")
    versions = [__version__, version("pyarrow")]
    return sha256_json([_FORMAT, versions, data, asked, sliced, lengths, stamps])


def _find_sources(request: TrainRequest) -> list[SourceFile] | None:
    if request.data.read == "per_node":
        return None  # facts are with the files, and the rows of a run are those of one node
    sources = []
    for split, name, dataset in named_datasets(request):
        if dataset.row_function is not None or dataset.transform is not None or dataset.is_fetched:
            return None  # their code may change, and drawn rows are read again
        if dataset.origin is not None:
            return None  # a query has just written the file, and writes it again the next time
        where = f"data.{split}.{name}"
        corpus = find_files(where, dataset.corpus.path, None) if dataset.corpus else ()
        for file in (*find_files(where, dataset.path or (), dataset.split), *corpus):
            with translate_store_errors(where, file.name, local=file.store.local):
                stamp = file.store.stamp(file.path)
            if stamp is None or time.time() - stamp.changed < _SETTLED_SECONDS:
                return None
            sources.append(SourceFile(split=split, dataset=name, file=file, stamp=stamp))
    return sources


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
            "node_rows": tuple(item["node_rows"]),
            "first_overlapping": tuple(item["first_overlapping"]),
        }
    )
