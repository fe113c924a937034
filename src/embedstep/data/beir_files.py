"""The three files of a BEIR dataset, and their columns: queries, corpus and judgements (qrels)."""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedstep.data.sources import DataFile, find_files
from embedstep.data.stores import find_store, translate_store_errors
from embedstep.errors import InvalidRequestError, Problem, collect_problems, suggest

if TYPE_CHECKING:
    import pyarrow as pa

    from embedstep.request.datasets import Dataset

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_QRELS_SUFFIX = ".tsv"
_QUERY_IDS, _DOCUMENT_IDS = ("query-id", "query_id"), ("corpus-id", "corpus_id")
_COLUMNS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "queries": {"id": ("_id", "id", *_QUERY_IDS), "text": ("text",)},
    "corpus": {"id": ("_id", "id", *_DOCUMENT_IDS), "text": ("text",)},
    "qrels": {"query": _QUERY_IDS, "document": _DOCUMENT_IDS, "score": ("score",)},
}
"""Names that each column of a file may have."""
TITLE = "title"


@dataclass(frozen=True, kw_only=True, slots=True)
class BeirFile:
    """A file or several of one kind: `queries`, `corpus` or `qrels`."""

    kind: str
    files: tuple[DataFile, ...]

    @property
    def name(self) -> str:
        """The first file, for messages."""
        return self.files[0].name


def find_beir_files(where: str, dataset: Dataset) -> dict[str, BeirFile]:
    """Return the files of a dataset by their kind; their data is not read.

    Args:
        where: the dataset's place in the request.
        dataset: its section, with `beir`.

    Raises:
        InvalidRequestError: with each file that does not exist, and the splits that do.
        CannotStartError: a server with files could not be reached.
    """
    given = dataset.beir
    assert given is not None
    if given.folder is not None:
        paths = _paths_in_folder(where, given.folder, dataset.split or "")
    else:
        paths = {kind: getattr(given, kind) for kind in _COLUMNS}
    problems: list[Problem] = []
    found = {}
    for kind, path in paths.items():
        with collect_problems(problems), _reported_at_beir(where):
            found[kind] = BeirFile(kind=kind, files=find_files(where, [path], None))
    if problems:
        raise InvalidRequestError(problems)
    return found


def _paths_in_folder(where: str, folder: str, split: str) -> dict[str, str]:
    own = folder.rstrip("/") or "/"
    with translate_store_errors(where, folder, local="://" not in folder):
        store, path = find_store(where, own)
        if not store.is_folder(path):
            message = "is not a folder; name each file, such as beir: {queries: ..., corpus: ..., qrels: ...}"
            fault = message if store.is_file(path) else "does not exist"
            raise _refused(where, f"{folder} {fault}")
        names = store.file_names(path)
        qrels = store.file_names(f"{path}/qrels") if store.is_folder(f"{path}/qrels") else []
    problems: list[Problem] = []
    paths = {}
    for kind in ("queries", "corpus"):
        fitting = [name for name in names if name in [f"{kind}{suffix}" for suffix in _SUFFIXES]]
        if len(fitting) == 1:
            paths[kind] = f"{own}/{fitting[0]}"
            continue
        fault = f"has {' and '.join(fitting)}; remove all but one" if fitting else _absent(kind, names)
        problems.append(Problem(f"{where}.beir", f"{folder} {fault}"))
    splits = [name.removesuffix(_QRELS_SUFFIX) for name in qrels if name.endswith(_QRELS_SUFFIX)]
    if split not in splits:
        listed = f"its splits are {', '.join(splits)}" if splits else f"it has no qrels/*{_QRELS_SUFFIX}"
        message = f"{folder} has no split {split!r}; {listed}{suggest(split, splits)}"
        problems.append(Problem(f"{where}.split", message))
    if problems:
        raise InvalidRequestError(problems)
    return {**paths, "qrels": f"{own}/qrels/{split}{_QRELS_SUFFIX}"}


def _absent(kind: str, names: Sequence[str]) -> str:
    known = _alternatives([f"{kind}{suffix}" for suffix in _SUFFIXES])
    return f"has no {known}; its files are {', '.join(names) or 'none'}"


def _alternatives(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def read_beir_file(where: str, source: BeirFile) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all files of a kind.

    The columns of queries are `id` and `text`, of a corpus these and `title` if there is one, of the qrels `query`,
    `document` and `score`.

    Raises:
        InvalidRequestError: a file lacks a column, or cannot be read.
        CannotStartError: a server with files could not be reached.
    """
    from embedstep.data.cells import NotIntegersError
    from embedstep.data.formats import as_written, read_batches

    with _reported_at_beir(where):
        for found in source.files:
            file = as_written(where, found, None, None)
            columns, types = _find_columns(where, file, source.kind)
            try:
                for batch in read_batches(where, file, types):
                    yield batch.select(list(types)).rename_columns(list(columns))
            except NotIntegersError as error:
                raise _refused(where, f"{file.name} has ids that are neither texts nor integers") from error


def _find_columns(where: str, file: DataFile, kind: str) -> tuple[list[str], dict[str, pa.DataType]]:
    """Return the columns to read under the names of `_COLUMNS`, and as the file names them with their types."""
    import pyarrow as pa
    import pyarrow.types as pt

    from embedstep.data.formats import column_names, read_schema
    from embedstep.data.roles import Role

    names = column_names(where, file)
    columns: dict[str, str] = {}
    problems = []
    for column, known in _COLUMNS[kind].items():
        own = next((name for name in known if name in names), None)
        if own is None:
            message = f"{file.name} has no column {_alternatives(known)}; its columns are {', '.join(names) or 'none'}"
            problems.append(Problem(f"{where}.beir", message))
        columns[column] = own or ""
    if problems:
        raise InvalidRequestError(problems)
    # As anchors, because the ids of a file without types are texts, even 007.
    schema = read_schema(where, file, [Role(name=name, key="anchor", column=name) for name in columns.values()])
    types = {own: schema.field(own).type for own in columns.values()}
    types = {own: pa.string() if pt.is_null(dtype) else dtype for own, dtype in types.items()}
    if kind == "qrels" and file.format != "parquet":
        types[columns["score"]] = pa.float64()
    # The first rows of JSON lines may have no title, and later ones have.
    if kind == "corpus" and (TITLE in names or file.format == "jsonl"):
        columns[TITLE] = TITLE
        types[TITLE] = read_schema(where, file, ()).field(TITLE).type if file.format == "parquet" else pa.string()
    return list(columns), types


def as_text(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return texts or integers as texts; null is the empty text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from embedstep.data.cells import to_canonical

    texts: Any = to_canonical(column, "text")
    empty: Any = pa.scalar("")
    found: pa.Array[Any] = pc.fill_null(texts, empty)
    return found


@contextmanager
def _reported_at_beir(where: str) -> Iterator[None]:
    """Report what is wrong with a file at the field that names it."""
    try:
        yield
    except InvalidRequestError as error:
        own = f"{where}.path"
        raise InvalidRequestError(
            Problem(f"{where}.beir" if problem.path == own else problem.path, problem.message)
            for problem in error.problems
        ) from error


def _refused(where: str, message: str) -> InvalidRequestError:
    return InvalidRequestError.at(f"{where}.beir", message)
