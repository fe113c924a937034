"""Rows of a BEIR dataset: queries, a corpus, and which document answers which query (qrels), joined by their ids.

Only the texts of judged pairs are in memory, and 8 bytes of hash for each id, so that a corpus may be large.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.beir_files import TITLE, BeirFile, as_text, find_beir_files, read_beir_file
from embedstep.errors import InvalidRequestError, Problem, collect_problems

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from embedstep.request.datasets import Dataset

    _Write = Callable[[pa.RecordBatch], None]

DOCUMENT = "document"
_WRITTEN_ROWS = 10_000
_SHOWN_IDS = 5


def write_judged_pairs(where: str, dataset: Dataset, target: Path, corpus: Path | None = None) -> None:
    """Write each pair with a score above 0 to an Arrow stream file, in the order of the qrels.

    Its columns are `query`, `document` (title, space and text) and `score`.

    Args:
        where: the dataset's place in the request.
        dataset: its section, with `beir`.
        target: the file.
        corpus: file for all documents, in the column `document`; None to write none.

    Raises:
        InvalidRequestError: a file, a column or the split does not exist; no pair has a score above 0; ids are missing
            or repeated. With the number of such ids and the first of them.
        CannotStartError: a server with files could not be reached, or the disk is full.
    """
    import pyarrow as pa

    from embedstep.data.writing import arrow_file

    files = find_beir_files(where, dataset)
    judged = _read_judged(where, files["qrels"])
    sides = {"query": "queries", DOCUMENT: "corpus"}
    all_documents: dict[str, pa.DataType] = {DOCUMENT: pa.string()}
    problems: list[Problem] = []
    texts: dict[str, _Texts] = {}
    for column, kind in sides.items():
        is_written = corpus is not None and column == DOCUMENT
        opened = arrow_file(corpus, pa.schema(all_documents)) if corpus and is_written else nullcontext(_ignore)
        with collect_problems(problems), opened as write:
            texts[column] = _read_texts(where, files[kind], files["qrels"], judged[column], write)
    if problems:
        raise InvalidRequestError(problems)
    schema = _schema()
    with arrow_file(target, schema) as write:
        for start in range(0, judged.num_rows, _WRITTEN_ROWS):
            some = judged.slice(start, _WRITTEN_ROWS).combine_chunks()
            cells = [texts[column].of(some.column(column)) for column in sides]
            write(pa.RecordBatch.from_arrays([*cells, some.column("score").combine_chunks()], schema=schema))


def _ignore(batch: pa.RecordBatch) -> None:
    """Write nothing."""


def _schema() -> pa.Schema:
    import pyarrow as pa

    types: dict[str, pa.DataType] = {"query": pa.string(), "document": pa.string(), "score": pa.float64()}
    return pa.schema(types)


def _read_judged(where: str, qrels: BeirFile) -> pa.Table:
    """Return the ids `query` and `document` and the `score` of each pair with a score above 0."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = _schema()
    judged, rows = [], 0
    for batch in read_beir_file(where, qrels):
        rows += batch.num_rows
        cells = [as_text(batch.column("query")), as_text(batch.column("document"))]
        scores = batch.column("score").cast(pa.float64())
        some = pa.RecordBatch.from_arrays([*cells, scores], schema=schema)
        is_relevant: Any = pc.greater(scores, pa.scalar(0.0))  # null for a null, which filter leaves out
        judged.append(some.filter(is_relevant))
    found = pa.Table.from_batches(judged, schema)
    if not found.num_rows:
        message = f"has no pair with a score above 0 among {rows:,}" if rows else "has no rows"
        raise InvalidRequestError.at(f"{where}.beir", f"{qrels.name} {message}")
    return found


@dataclass(frozen=True, slots=True)
class _Texts:
    """Judged texts, and the id of each."""

    ids: pa.Array[Any]
    texts: pa.Array[Any]

    def of(self, ids: pa.ChunkedArray[Any]) -> pa.Array[Any]:
        import pyarrow as pa
        import pyarrow.compute as pc

        found: pa.Array[Any] = self.texts.take(pc.index_in(ids.combine_chunks(), value_set=self.ids))
        return found.cast(pa.string())


def _read_texts(where: str, file: BeirFile, qrels: BeirFile, judged: pa.ChunkedArray[Any], write: _Write) -> _Texts:
    """Write all texts, and return those with judged ids.

    Raises:
        InvalidRequestError: a judged id is missing, or any id is repeated.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted: Any = judged.unique()
    hashes: list[NDArray[np.uint64]] = []
    ids: list[pa.Array[Any]] = [pa.array([], pa.string())]
    texts: list[pa.Array[Any]] = [pa.array([], pa.large_string())]
    for batch in read_beir_file(where, file):
        own = as_text(batch.column("id"))
        hashes.append(_hash(own))
        is_judged = pc.is_in(own, value_set=wanted)
        ids.append(own.filter(is_judged))
        # In one array, which may hold more than the 2 GiB that its usual type can.
        own_texts = _with_title(batch)
        texts.append(own_texts.filter(is_judged).cast(pa.large_string()))
        write(pa.RecordBatch.from_arrays([own_texts], names=[DOCUMENT]))
    found = _Texts(pa.concat_arrays(ids), pa.concat_arrays(texts))
    problems = []
    if repeated := _repeated(where, file, np.concatenate([np.empty(0, np.uint64), *hashes])):
        problems.append(repeated)
    absent = wanted.filter(pc.invert(pc.is_in(wanted, value_set=found.ids)))
    if len(absent):
        message = f"{file.name} lacks {len(absent):,} of the {len(wanted):,} ids in {qrels.name}: "
        problems.append(f"{message}{_shown(absent.to_pylist())}")
    if problems:
        raise InvalidRequestError(Problem(f"{where}.beir", problem) for problem in problems)
    return found


def _with_title(batch: pa.RecordBatch) -> pa.Array[Any]:
    """Return text, or title, space and text, without white space around them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = as_text(batch.column("text"))
    if TITLE not in batch.schema.names:
        return text
    parts: Any = [as_text(batch.column(TITLE)), text, pa.scalar(" ")]
    joined: Any = pc.call_function("binary_join_element_wise", parts)
    trimmed: pa.Array[Any] = pc.utf8_trim_whitespace(joined)
    return trimmed


def _repeated(where: str, file: BeirFile, hashes: NDArray[np.uint64]) -> str:
    """Return the problem of ids that occur more than once, or nothing; their texts are read for it again."""
    import numpy as np
    import pyarrow as pa

    from embedstep.data.duplicates import is_among, sorted_unique

    in_order = np.sort(hashes)
    known = sorted_unique(in_order[1:][in_order[1:] == in_order[:-1]])
    if not len(known):
        return ""

    def repeated() -> Iterator[Any]:
        for batch in read_beir_file(where, file):
            own = as_text(batch.column("id"))
            places = is_among(_hash(own), known)
            yield from own.filter(pa.array(places)).to_pylist()

    first: dict[str, None] = {}
    for text in repeated():
        first[text] = None
        if len(first) == _SHOWN_IDS:
            break
    shown = _shown([*first], len(known))
    return f"{file.name} has {len(known):,} {'ids' if len(known) > 1 else 'id'} more than once: {shown}"


def _hash(ids: pa.Array[Any]) -> NDArray[np.uint64]:
    import pyarrow as pa

    from embedstep.data.duplicates import hash_texts

    texts: list[Any] = ids.cast(pa.binary()).to_pylist()
    return hash_texts(texts)


def _shown(ids: Iterable[str], count: int | None = None) -> str:
    listed = list(ids)
    more = (len(listed) if count is None else count) > _SHOWN_IDS
    return ", ".join(map(repr, islice(listed, _SHOWN_IDS))) + (", ..." if more else "")
