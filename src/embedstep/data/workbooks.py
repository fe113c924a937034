"""Read a sheet of a workbook: Excel's .xlsx, .xls and .xlsb, and OpenDocument's .ods.

The first row with a cell is the header. A sheet has no column types: a column of numbers without fractions holds
integers, one with a text holds texts. A sheet is read into memory as a whole.
"""

from __future__ import annotations  # arrays take type parameters in hints alone

import datetime
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from embedstep.data.formula_errors import cell_name, find_formula_errors
from embedstep.data.roles import LENGTH, READ, Role
from embedstep.data.sources import DataFile
from embedstep.errors import InvalidRequestError, Problem, first_line

_DATES = (datetime.date, datetime.time, datetime.timedelta)
_EMPTY = ""
_MOST_INTEGER = 1 << 53
"""Sheets hold all numbers as 64-bit floats."""
_SHOWN_CELLS = 5
_BATCH_ROWS = 8_192


def find_sheet(where: str, file: DataFile, name: str | None) -> DataFile:
    """Return the file with the sheet to read, and the number of rows up to its header.

    Args:
        where: path of the dataset in the request.
        file: the workbook.
        name: the sheet; None for the only one.

    Raises:
        InvalidRequestError: there is no such sheet, or there are several.
    """
    with _opened(where, file) as workbook:
        from python_calamine import SheetTypeEnum

        names = [one.name for one in workbook.sheets_metadata if one.typ == SheetTypeEnum.WorkSheet]
        listed = ", ".join(map(repr, names)) or "none"
        if name is not None and name not in names:
            raise InvalidRequestError.at(
                f"{where}.sheet", f"{file.name} has no sheet {name!r}; its sheets are {listed}"
            )
        if name is None and len(names) != 1:
            message = f"{file.name} has several sheets; name one of them: {listed}"
            raise InvalidRequestError.at(f"{where}.sheet", message)
        found = replace(file, sheet=name or names[0])
        return replace(found, rows_before=_Sheet(where, found, workbook).header_row)


def sheet_schema(where: str, file: DataFile, roles: Sequence[Role]) -> pa.Schema:
    """Return the columns of a sheet; those that a role requires to be text are text, even 123.

    Raises:
        InvalidRequestError: with each column without a name or of a repeated one, and each date and formula error in a
            column with a role.
    """
    with _opened(where, file) as workbook:
        sheet = _Sheet(where, file, workbook)
    asked = {role.column: role for role in roles}
    texts = {role.column for role in roles if role.key not in ("label", LENGTH)}
    if problems := list(sheet.header_problems()) or list(sheet.cell_problems(asked)):
        raise InvalidRequestError(problems)
    return pa.schema(
        [(name, pa.string() if name in texts else _type(values)) for name, values in sheet.columns.items()]
    )


def sheet_batches(where: str, file: DataFile, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a sheet with the columns of `types`."""
    with _opened(where, file) as workbook:
        columns = _Sheet(where, file, workbook).columns
    rows = max((len(values) for values in columns.values()), default=0)
    for start in range(0, rows, _BATCH_ROWS):
        yield pa.record_batch(
            {name: _as_type(columns[name][start : start + _BATCH_ROWS], dtype) for name, dtype in types.items()}
        )


class _Sheet:
    """The cells of a sheet.

    Attributes:
        header_row: the row with the names of the columns, from 1; 0 in an empty sheet.
        columns: cells below the header by the name of their column; an empty cell is an empty text.
    """

    def __init__(self, where: str, file: DataFile, workbook: Any) -> None:
        assert file.sheet is not None
        self._where, self._file = where, file
        sheet = workbook.get_sheet_by_name(file.sheet)
        rows = sheet.to_python(skip_empty_area=False)
        filled = [number for number, row in enumerate(rows) if any(cell != _EMPTY for cell in row)]
        self.header_row = filled[0] + 1 if filled else 0
        below = rows[self.header_row : filled[-1] + 1 if filled else 0]
        header = rows[filled[0]] if filled else []
        cells = [[row[number] for row in below] for number in range(len(header))]
        # A column without any cell is the space next to a table.
        self._numbers = [
            number
            for number, name in enumerate(header)
            if name != _EMPTY or any(cell != _EMPTY for cell in cells[number])
        ]
        self._names = {number: _text(header[number]) or "" for number in self._numbers}
        self.columns = {self._names[number]: cells[number] for number in self._numbers}

    def header_problems(self) -> Iterator[Problem]:
        """Yield the problem of each column without a name of its own."""
        if not self._numbers:
            yield self._problem("path", f"{self._file.name} has nothing in the sheet {self._file.sheet!r}")
        for number in self._numbers:
            if not self._names[number].strip():
                yield self._problem("path", f"{self._place(self.header_row, number)} is empty; name the column there")
        for name, count in Counter(self._names.values()).items():
            if count > 1 and name.strip():
                message = f"has {count} columns named {name!r} in the sheet {self._file.sheet!r}; rename all but one"
                yield self._problem("path", f"{self._file.name} {message}")

    def cell_problems(self, roles: Mapping[str, Role]) -> Iterator[Problem]:
        """Yield the dates and the formula errors in the columns with a role."""
        with self._file.open_bytes() as source:
            errors = find_formula_errors(source.read(), self._file.sheet or "")
        for number in self._numbers:
            role = roles.get(self._names[number])
            if role is None:
                continue
            dates = [
                f"a date in {self._place(row, number)}; write it as text"
                for row, cell in enumerate(self.columns[role.column], start=self.header_row + 1)
                if isinstance(cell, _DATES)
            ]
            failed = [
                f"{text} in {self._place(row, number)}; correct the formula, or empty the cell"
                for (row, column), text in errors.items()
                if column == number and row > self.header_row
            ]
            for message in [*dates[:_SHOWN_CELLS], *failed[:_SHOWN_CELLS]]:
                place = f"{self._where}.row_function" if role.key == READ else role.path(self._where)
                yield Problem(place, f"column {role.column!r} has {message}")

    def _place(self, row: int, column: int) -> str:
        return f"cell {cell_name(row, column)} of the sheet {self._file.sheet!r} of {self._file.name}"

    def _problem(self, field: str, message: str) -> Problem:
        return Problem(f"{self._where}.{field}", message)


def _opened(where: str, file: DataFile) -> Any:
    """Open a workbook, to be used in a `with`.

    Raises:
        InvalidRequestError: the package is not installed, or the file is no workbook.
    """
    if find_spec("python_calamine") is None:
        message = f"{file.name} needs the package python-calamine; pip install 'embedstep[excel]'"
        raise InvalidRequestError.at(f"{where}.path", message)
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    with file.open_bytes() as source:
        data = source.read()
    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError as error:
        raise InvalidRequestError.at(f"{where}.path", f"{file.name} has a password; save it without one") from error
    except CalamineError as error:
        message = f"{file.name} cannot be read as {file.format}: {first_line(error)}"
        raise InvalidRequestError.at(f"{where}.path", message) from error


def _type(values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value != _EMPTY}
    if not kinds:
        return pa.null()
    if kinds == {bool}:
        return pa.bool_()
    if any(issubclass(kind, _DATES) for kind in kinds):
        return pa.timestamp("us")  # of a column without a role, which is never read
    if kinds <= {bool, int, float}:
        is_whole = all(_is_whole(value) for value in values if value != _EMPTY)
        return pa.int64() if is_whole else pa.float64()
    return pa.string()


def _is_whole(value: float) -> bool:
    return abs(value) < _MOST_INTEGER and value == int(value)


def _text(value: Any) -> str | None:
    """Return a cell as text, a number as it is typed; None for an empty one."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float) and _is_whole(value):
        return str(int(value))
    return None if value == _EMPTY else str(value)


_CONVERT: Mapping[pa.DataType, Callable[[Any], Any]] = {
    pa.string(): _text, pa.int64(): int, pa.float64(): float, pa.bool_(): bool,
}  # fmt: skip


def _as_type(values: Sequence[Any], dtype: pa.DataType) -> pa.Array[Any]:
    convert = _CONVERT.get(dtype)
    return pa.array([None if value == _EMPTY or convert is None else convert(value) for value in values], dtype)
