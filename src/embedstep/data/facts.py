"""Facts about the rows of a dataset, which the plan and the checks use in place of the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Split = Literal["train", "eval", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
ColumnKind = Literal["text", "texts", "integer", "number", "numbers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """Facts about one dataset.

    Attributes:
        split: `train`, `eval` or `test`.
        name: name in the request.
        rows: number of kept rows; all are complete.
        columns: kind of each kept column by role (`anchor`, `positive`, `negative` or `negative_1`..., `label`), in the
            order of a loss's inputs.
        has_lengths: whether a column `length` with the length of each row is kept, too.
        dropped_columns: columns of the source without a role.
        duplicate_rows: rows with the same texts as an earlier row.
        overlapping_rows: rows of a held-out dataset whose anchor also occurs in the training data.
        first_overlapping: numbers of the first of them, from 1 over the kept rows.
        dropped_rows: rows with an empty cell (only with `drop_incomplete_rows`).
        rows_read: number of rows that a row function has read to make these; None without one.
        label_values: number of rows by label, for at most 1,000 different integer labels; else empty.
        label_range: smallest and largest label of a column of integers or numbers.
        fingerprint: SHA-256 of the kept rows and their columns, whatever the format and number of files.
        path: Arrow IPC stream file of the kept columns, if it was written.
        text_hashes: hash of each text by column; comparable between datasets read by the same process.
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
        """Roles of the texts, in the order of the loss's inputs."""
        return tuple(role for role in self.columns if role != "label")

    @property
    def label(self) -> ColumnKind | None:
        """Kind of the label column, or None if there is none."""
        return self.columns.get("label")
