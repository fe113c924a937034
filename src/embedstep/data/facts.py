"""What is known of a dataset once its rows were read: all that the plan and the checks need, without the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Split = Literal["train", "eval", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
ColumnKind = Literal["text", "texts", "integer", "number", "numbers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """One named dataset after reading.

    Attributes:
        split: `train` or `eval`.
        name: name in the request.
        rows: complete rows that are kept.
        columns: kind of each kept column by its role name (`anchor`, `positive`, `negative` or `negative_1`...,
            `label`), in the order in which a loss gets them.
        has_lengths: a column with the length of each row is kept besides, as `length`.
        dropped_columns: columns of the source that no role names.
        duplicate_rows: rows all of whose texts an earlier row has too.
        overlapping_rows: rows of a held-out dataset whose anchor the training data has too.
        first_overlapping: the first of them, counted from 1 over the rows that are kept.
        dropped_rows: rows left out because a cell was empty (only with `drop_incomplete_rows`).
        rows_read: rows of the files that a row function has made these of; None without one.
        label_values: for integer labels, rows by label value, up to 1,000 values; else empty.
        label_range: smallest and largest label of an integer or number column.
        fingerprint: SHA-256 of the kept rows and their columns, independent of the files' format and cutting.
        path: Arrow IPC stream file with the kept columns, when it was written.
        text_hashes: a number for each text by column, which compare datasets that were read by one process.
    """

    split: Split
    name: str
    rows: int
    columns: Mapping[str, ColumnKind]
    has_lengths: bool = False
    dropped_columns: tuple[str, ...] = ()
    dropped_rows: int = 0
    rows_read: int | None = None
    duplicate_rows: int = 0
    overlapping_rows: int = 0
    first_overlapping: tuple[int, ...] = ()
    label_values: Mapping[int, int] = field(default_factory=dict)
    label_range: tuple[float, float] | None = None
    fingerprint: str = ""
    path: str | None = None
    text_hashes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Role names of the texts, in the order in which the loss gets them."""
        return tuple(role for role in self.columns if role != "label")

    @property
    def label(self) -> ColumnKind | None:
        """Kind of the label column, or None without one."""
        return self.columns.get("label")
