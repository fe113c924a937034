"""JSON files that are one document with the rows in it, rather than one object on each line.

Such a document is read as a whole, and passed on as JSON lines, so that its cells are checked in one way.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from embedstep.data.encodings import marked_encoding, to_utf8
from embedstep.data.nested import path_in_row
from embedstep.data.sources import DataFile
from embedstep.data.streams import read_blocks
from embedstep.errors import InvalidRequestError

_LLAMA_INDEX = {"queries", "corpus", "relevant_docs"}
_NEEDED = "write an array of objects, or one object on each line"
_SHOWN_KEYS = 5
_SPACE = re.compile(r"[ \t\r\n]*+")


def is_document(file: DataFile, columns: Collection[str]) -> bool:
    """Return whether a JSON file is a document: an array, objects over several lines, or a single one of columns.

    Args:
        file: the file.
        columns: the columns that are read.
    """
    with file.open_bytes() as source:
        lines = (text for line in source if (text := line.removeprefix(b"\xef\xbb\xbf").strip()))
        first = next(lines, b"")
        if first[:2] in (b"\xff\xfe", b"\xfe\xff") or first[:1] == b"[":
            return True
        if first[:1] != b"{":
            return False
        try:
            found = json.loads(first)
        except (ValueError, RecursionError):
            return _is_json(file)
        if next(lines, None) is not None:
            return False
    paths = {column: path_in_row(found, column) for column in columns}
    return None in paths.values() or all(isinstance(found.get(column), dict | list) for column in columns)


def document_columns(file: DataFile) -> tuple[str, ...]:
    """Return the columns of a document's first row, which `document_lines` finds the rows by.

    Empty where the document has no rows in a form that is known.
    """
    try:
        values = list(_values(_read_text(file)))
    except (ValueError, RecursionError):
        return ()
    return tuple(str(name) for name in _names(values[0] if len(values) == 1 else values))


def _names(document: Any) -> Iterable[Any]:
    match document:
        case [{**row}, *_]:
            return row
        case {"columns": [*names], "data": [[*_], *_]}:
            return names
        case {**mapping}:
            return _names_in_mapping({str(name): value for name, value in mapping.items()})
    return ()


def _names_in_mapping(document: Mapping[str, Any]) -> Iterable[Any]:
    """Return the names of the columns of rows under one key, of columns by row, or of rows by their ids."""
    values = list(document.values())
    rows = [value[0] for value in values if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(rows) == 1:
        return rows[0]
    if values and all(isinstance(value, dict) for value in values):
        by_row = all(str(place).isdecimal() for place in values[0])
        return document if by_row else values[0]
    return document


def document_lines(where: str, file: DataFile, columns: Collection[str]) -> Iterator[bytes]:
    """Yield the rows of a document, each as a line of JSON.

    Args:
        where: path of the dataset in the request.
        file: the file.
        columns: the columns that are read.

    Raises:
        InvalidRequestError: the file is not JSON, or has no rows in a form that is known.
    """
    try:
        values = list(_values(_read_text(file)))
    except json.JSONDecodeError as error:
        message = f"{file.name} is not JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        raise InvalidRequestError.at(f"{where}.path", message) from error
    except RecursionError as error:
        raise InvalidRequestError.at(f"{where}.path", f"{file.name} is not JSON: it is nested too deeply") from error
    try:
        rows = _rows(values[0], set(columns)) if len(values) == 1 else values
    except ValueError as error:
        raise InvalidRequestError.at(f"{where}.path", f"{file.name} {error}") from error
    for row in rows:
        yield json.dumps(row).encode() + b"\n"


def _read_text(file: DataFile) -> str:
    with file.open_bytes() as source:
        head = source.read(4)
    with file.open_bytes() as source:
        return b"".join(to_utf8(read_blocks(source), marked_encoding(head))).decode()


def _is_json(file: DataFile) -> bool:
    try:
        return bool(list(_values(_read_text(file))))
    except (ValueError, RecursionError):
        return False


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values that follow each other in a text."""
    decoder = json.JSONDecoder()
    position = _end_of_space(text, 0)
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        yield value
        position = _end_of_space(text, position)


def _end_of_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _rows(document: Any, columns: set[str]) -> list[Any]:
    """Return the rows of a document.

    Raises:
        ValueError: it has none in a form that is known; says what it is and what to write.
    """
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise ValueError(f"is a single JSON value; {_NEEDED}")
    if set(document) >= _LLAMA_INDEX:
        raise ValueError(
            "is a LlamaIndex file of queries, corpus and relevant_docs; write a row for each query and each of its "
            'documents, such as {"query": queries[id], "document": corpus[relevant]}, one on each line'
        )
    match document:
        case {"columns": [*names], "data": [*cells]} if columns <= {str(name) for name in names}:
            return _from_split(names, cells)
    values = list(document.values())
    if _has(document, columns):
        # A field such as `meta.title` is one of a row.
        return _from_columns(document) if columns <= set(document) else [document]
    if values and not any(isinstance(value, list | dict) for value in values):
        return [document]  # one row, without a column that was asked for
    lists = [value for value in values if isinstance(value, list) and all(_has(row, columns) for row in value[:1])]
    if len(lists) == 1:
        return lists[0]
    if values and all(_has(value, columns) for value in values):
        return values
    keys = ", ".join(list(document)[:_SHOWN_KEYS]) + (", ..." if len(document) > _SHOWN_KEYS else "")
    raise ValueError(f"is one JSON object {f'with the keys {keys}, not rows' if keys else 'without rows'}; {_NEEDED}")


def _has(row: Any, columns: set[str]) -> bool:
    return isinstance(row, dict) and all(path_in_row(row, column) is not None for column in columns)


def _from_split(names: list[Any], cells: list[Any]) -> list[Any]:
    """Return the rows of pandas' form with the names of the columns apart from the cells."""
    if any(not isinstance(row, list) or len(row) != len(names) for row in cells):
        raise ValueError(f"is one JSON object of columns and data whose rows have other lengths; {_NEEDED}")
    return [dict(zip(map(str, names), row, strict=True)) for row in cells]


def _from_columns(document: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a mapping of columns, as pandas writes it: each a list, or a mapping by row."""
    values = list(document.values())
    if all(isinstance(value, dict) for value in values):
        places = list(values[0])
        if any(list(value) != places for value in values):
            raise ValueError(f"is one JSON object of columns that have different rows; {_NEEDED}")
        return [{name: cells[place] for name, cells in document.items()} for place in places]
    if all(isinstance(value, list) for value in values):
        if len({len(value) for value in values}) > 1:
            raise ValueError(f"is one JSON object of columns that have different numbers of rows; {_NEEDED}")
        return [dict(zip(document, row, strict=True)) for row in zip(*values, strict=True)]
    return [document]
