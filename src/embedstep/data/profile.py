"""What the columns of files look like, from their first rows: kind, gaps, lengths, how many values differ."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from embedstep.data.cells import KIND_NAMES, Kind
from embedstep.data.first_rows import SAMPLED_ROWS as SAMPLED_ROWS
from embedstep.data.first_rows import Sample, csv_options, read_sample
from embedstep.data.formats import count_rows
from embedstep.data.sources import DataFile
from embedstep.errors import InvalidRequestError
from embedstep.request.sources import Csv

_SAMPLED_FILES = 8
_LISTED_VALUES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnProfile:
    """What the first rows show of a column.

    Attributes:
        name: name of the column, or of a field such as `meta.title`.
        kind: kind of its values; `empty` without any, `other` for one that no role can have.
        filled: share of the rows with a value.
        distinct: share of the values that differ from all before, without case and surrounding space.
        values: number of different values.
        numbers: its different numbers, in order, if there are at most 20.
        range: smallest and largest number.
        length: mean characters of a text.
        one_word: share of the texts without a space.
        texts: fewest and most texts in a list.
        example: the first value.
    """

    name: str
    kind: Kind | Literal["other"]
    filled: float = 0.0
    distinct: float = 0.0
    values: int = 0
    numbers: tuple[float, ...] = ()
    range: tuple[float, float] | None = None
    length: float = 0.0
    one_word: float = 0.0
    texts: tuple[int, int] = (0, 0)
    example: str = ""

    @property
    def kind_name(self) -> str:
        """The kind in words."""
        if self.kind == "other":
            return "not usable"
        return "empty" if self.kind == "empty" else KIND_NAMES[self.kind]

    @property
    def is_whole(self) -> bool:
        """Whether all numbers are integers, also if they are written as 1.0; not known of many different ones."""
        return self.kind == "integer" or (bool(self.numbers) and all(one.is_integer() for one in self.numbers))


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsProfile:
    """What the first rows of some files show.

    Attributes:
        columns: the columns that all of them have.
        rows: number of rows.
        is_counted: whether `rows` is exact, and not an estimate by the sizes of files.
        csv: what a request should say of delimited files, such as `csv: {delimiter: ";"}`.
        notes: what is not certain of how the files are written.
    """

    columns: tuple[ColumnProfile, ...]
    rows: int
    is_counted: bool
    csv: str = ""
    notes: tuple[str, ...] = ()

    @property
    def counted_rows(self) -> str:
        """The number of rows in words."""
        about = "" if self.is_counted else "about "
        return f"{about}{self.rows:,} row{'' if self.rows == 1 else 's'}"


def profile_files(where: str, files: Sequence[DataFile]) -> RowsProfile:
    """Read the first rows of files and return what they show.

    Args:
        where: path of the dataset in the request, for problems.
        files: the files, in order; of the first eight 2,000 rows each are read.

    Raises:
        InvalidRequestError: a file is broken or empty, or the files have no column in common.
        CannotStartError: a server with files could not be reached.
    """
    given, notes = csv_options(where, files[0])
    samples = [read_sample(where, file, given) for file in files[:_SAMPLED_FILES]]
    if not any(sample.rows or "other" in sample.kinds.values() for sample in samples):
        raise InvalidRequestError.at(f"{where}.path", f"{files[0].name} has no rows")
    names = [name for name in samples[0].kinds if name and all(name in sample.kinds for sample in samples)]
    if not names:
        listed = "; ".join(f"{one.file.name}: {', '.join(one.kinds) or 'none'}" for one in samples)
        raise InvalidRequestError.at(f"{where}.path", f"the files have no column in common ({listed})")
    rows, is_counted = _count(where, files, samples)
    return RowsProfile(
        columns=tuple(_profile(name, samples) for name in names),
        rows=rows,
        is_counted=is_counted,
        csv=_csv_line({sample.file.unsaid for sample in samples}, given),
        notes=tuple(notes),
    )


def _csv_line(found: set[str], given: Csv | None) -> str:
    """Return the line `csv: {...}` that the files need; empty where nothing has to be said or they differ."""
    parts = [one.removeprefix("csv: {").removesuffix("}") for one in found if one] if len(found) == 1 else []
    if given is not None:
        parts += [f"encoding: {given.encoding}"] if given.encoding else []
        parts += [] if given.header else ["header: false"]
    return f"csv: {{{', '.join(parts)}}}" if parts else ""


def _count(where: str, files: Sequence[DataFile], samples: Sequence[Sample]) -> tuple[int, bool]:
    """Return the number of rows of all files, and whether it is exact."""
    rows, is_counted = 0, True
    size_of_row = sum(one.bytes for one in samples) / max(sum(one.rows for one in samples), 1)
    for number, file in enumerate(files):
        sample = samples[number] if number < len(samples) else None
        counted = sample.rows if sample is not None and sample.is_whole else count_rows(where, file)
        if counted is None:
            is_counted = False
            size = file.store.size(file.path) * (_compression(samples[0]) if file.compression else 1)
            counted = max(_rounded(size / max(size_of_row, 1)), sample.rows if sample else 0)
        rows += counted
    return rows, is_counted


def _compression(sample: Sample) -> float:
    """Return about how many bytes of text a byte of a compressed file stands for, by compressing the first rows."""
    text = "\n".join(str(cell) for cells in sample.cells.values() for cell in cells).encode()
    return len(text) / len(zlib.compress(text))


def _rounded(number: float) -> int:
    """Return a number with two digits, as an estimate has."""
    digits = max(len(str(int(number))) - 2, 0)
    unit: int = 10**digits
    return int(number) // unit * unit


def _profile(name: str, samples: Sequence[Sample]) -> ColumnProfile:
    kinds = {kind for sample in samples if (kind := sample.kinds[name]) != "empty"}
    kinds = {"number"} if kinds == {"integer", "number"} else kinds
    if len(kinds) != 1:
        return ColumnProfile(name=name, kind="other" if kinds else "empty")
    profile = ColumnProfile(name=name, kind=kinds.pop())
    cells = [cell for sample in samples for cell in sample.cells.get(name, ())]
    filled = [cell for cell in cells if not _is_empty(cell)]
    if profile.kind == "other" or not filled:
        return profile if profile.kind == "other" else replace(profile, kind="empty")
    different = {_key(cell) for cell in filled}
    profile = replace(
        profile,
        filled=len(filled) / sum(sample.rows for sample in samples),
        distinct=len(different) / len(filled),
        values=len(different),
        example=_shown(filled[0]),
    )
    if profile.kind in ("text", "texts"):
        return _with_texts(profile, filled, cells)
    if profile.kind == "numbers":
        return profile
    listed = tuple(sorted(different)) if len(different) <= _LISTED_VALUES else ()
    return replace(profile, numbers=tuple(map(float, listed)), range=(float(min(filled)), float(max(filled))))


def _with_texts(profile: ColumnProfile, filled: Sequence[Any], cells: Sequence[Any]) -> ColumnProfile:
    texts = [text for cell in filled for text in ([cell] if isinstance(cell, str) else cell)]
    counts = [len(cell or ()) for cell in cells] if profile.kind == "texts" else [0]
    return replace(
        profile,
        length=sum(map(len, texts)) / len(texts),
        one_word=sum(len(text.split()) < 2 for text in texts) / len(texts),
        texts=(min(counts), max(counts)),
    )


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    if isinstance(cell, list):
        return not cell or any(_is_empty(each) for each in cell)
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _key(cell: Any) -> Any:
    """Return what equal cells share."""
    if isinstance(cell, list):
        return tuple(map(_key, cell))
    return cell.strip().casefold() if isinstance(cell, str) else cell


def _shown(cell: Any) -> str:
    return " | ".join(map(str, cell)) if isinstance(cell, list) else str(cell)
