"""Rows in memory as a Parquet file, because a request names files, which each process of a training can read."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.errors import InvalidRequestError
from embedstep.runtime.digests import sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

_ACCEPTED = "a DataFrame, a datasets.Dataset, an Arrow table, or a list of mappings"
_SHOWN_DIGITS = 16


def save_rows(rows: Any, folder: str | Path) -> str:
    """Write rows to a Parquet file, and return its path for the `path` of a dataset.

    The file is named by its content: equal rows have the same path, are written once, and give the same request.

    Args:
        rows: a DataFrame of pandas or polars, a `datasets.Dataset`, an Arrow table, anything else with Arrow's
            `__arrow_c_stream__`, or a list of mappings from column to cell. An index of pandas is left out.
        folder: folder for the file; it is created if it does not exist.

    Raises:
        InvalidRequestError: these are no rows, or a column has values of several types.
        CannotStartError: the folder cannot be written.
    """
    import pyarrow.parquet as pq

    from embedstep.data.writing import partial_file

    table = _as_table(rows, "rows")
    # Under another name until it is complete, so that nobody reads a part of it.
    partial = Path(folder) / f".{uuid.uuid4().hex}"
    with partial_file(partial, Path(folder)):
        pq.write_table(table.replace_schema_metadata(None), partial)
        target = partial.with_name(f"{sha256_file(partial)[:_SHOWN_DIGITS]}.parquet")
        partial.replace(target)
    return str(target)


def rows_path(rows: Any, folder: Path, name: str) -> Path:
    """Return the path of rows that are given as one, or else written to a folder.

    Args:
        rows: a path, or what `save_rows` takes, or a mapping of the latter by the names of several datasets.
        folder: folder for the files.
        name: what the rows are called in messages.

    Raises:
        InvalidRequestError: these are no rows, or a column has values of several types.
        CannotStartError: the folder cannot be written.
    """
    if isinstance(rows, str | os.PathLike):
        if "://" in str(rows):
            raise InvalidRequestError.at(name, f"is {rows}; name a URL as the path of the dataset in the request")
        return Path(rows).absolute()
    if not isinstance(rows, Mapping):
        return Path(save_rows(_as_table(rows, name), folder))
    for dataset, given in rows.items():
        Path(save_rows(_as_table(given, f"{name}.{dataset}"), folder)).rename(folder / f"{dataset}.parquet")
    return folder


def _as_table(rows: Any, name: str) -> "pa.Table":
    import pyarrow as pa

    module = type(rows).__module__.partition(".")[0]
    try:
        if isinstance(rows, pa.Table):
            return rows
        if module == "pandas" and hasattr(rows, "columns"):
            return pa.Table.from_pandas(rows, preserve_index=False)
        if module == "datasets" and hasattr(rows, "with_format") and hasattr(rows, "num_rows"):
            selected: pa.Table = rows.with_format("arrow")[:]
            return selected
        if hasattr(rows, "__arrow_c_stream__"):
            return pa.table(rows)
        if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
            return pa.Table.from_pylist(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = "; ".join(map(str, error.args))
        raise InvalidRequestError.at(name, f"cannot be read as columns: {reason}") from error
    raise InvalidRequestError.at(name, f"needs {_ACCEPTED}; {type(rows).__name__} was given")
