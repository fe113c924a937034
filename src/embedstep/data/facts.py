"""Facts about the rows of a dataset, which the plan and the checks use in place of the rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Split = Literal["train", "eval", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
OF_NODE = ".node-"
"""What names a file of prepared rows that only one node reads."""
_DIGITS = 16
ColumnKind = Literal["text", "texts", "integer", "number", "numbers"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRecord:
    """What is known of a dataset from its rows, and is kept in the plan.

    Attributes:
        split: `train`, `eval` or `test`.
        name: name in the request.
        rows: number of kept rows; all are complete.
        dropped_rows: rows with an empty cell (only with `drop_incomplete_rows`).
        duplicate_rows: rows that repeat all texts of an earlier row; case and spacing are ignored.
        overlapping_rows: rows of a held-out dataset whose anchor also occurs in the training data.
        columns: roles of the kept columns (`anchor`, `positive`, `negative` or `negative_1`..., `label`), in the order
            of a loss's inputs.
        has_lengths: whether a column `length` with the length of each row is kept, too, which no loss gets.
        dropped_columns: columns of the source without a role.
        fingerprint: SHA-256 of the kept rows and their columns, whatever the format and number of files.
        path: Arrow IPC stream file of the kept columns, if it was written.
        corpus: Arrow IPC stream file with the documents of its corpus in the column `positive`, if it was written.
        corpus_documents: documents of its corpus, which are in no row; the fingerprint is about them, too.
        node_rows: rows that each node reads with `data.read: per_node`; empty where the first node reads all.
    """

    split: Split
    name: str
    rows: int
    dropped_rows: int = 0
    duplicate_rows: int = 0
    overlapping_rows: int = 0
    columns: Collection[str]
    has_lengths: bool = False
    dropped_columns: tuple[str, ...] = ()
    fingerprint: str = ""
    path: str | None = None
    corpus: str | None = None
    corpus_documents: int = 0
    node_rows: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        """The dataset's path in the request."""
        return f"data.{self.split}.{self.name}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the texts, in the order of the loss's inputs."""
        return tuple(role for role in self.columns if role != "label")

    @property
    def file(self) -> Path:
        """The file at `path`, where one was written."""
        return Path(str(self.path))


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts(DatasetRecord):
    """Facts about one dataset.

    Attributes:
        columns: kind of each kept column by role.
        first_overlapping: numbers of the first overlapping rows, from 1 over the kept rows.
        unsaid_formats: what the request does not say of a file that is no plain CSV, as a request says it, by its name.
        rows_read: number of rows of the files that these are made of, by a row function or from lists of positives;
            None where each is a row of the files.
        held_out_rows: rows of a train dataset that its `hold_out` has left out of these.
        short_rows: rows of the files with fewer negatives in their list than asked for, dropped or with repeated ones.
        placeholders: number of cells by role that hold a word for nothing, such as `NaN`, in files without types.
        label_values: number of rows by label, for at most 1,000 different integer labels; else empty.
        label_range: smallest and largest label of a column of integers or numbers.
        text_hashes: hash of each text by column; the same on every machine.
        shards: the files of a dataset of which each node reads its share, with their facts (`sharded_rows`).
    """

    columns: Mapping[str, ColumnKind]
    first_overlapping: tuple[int, ...] = ()
    unsaid_formats: Mapping[str, str] = field(default_factory=dict)
    rows_read: int | None = None
    held_out_rows: int = 0
    short_rows: int = 0
    placeholders: Mapping[str, int] = field(default_factory=dict)
    label_values: Mapping[int, int] = field(default_factory=dict)
    label_range: tuple[float, float] | None = None
    text_hashes: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    shards: Any = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> ColumnKind | None:
        """Kind of the label column, or None if there is none."""
        return self.columns.get("label")


def share_file(item: DatasetRecord, node: int) -> Path:
    """Return the file with the rows of one node, where each reads its share of a dataset.

    Other rows, and another number of nodes, are another file, so that one of an earlier start is not mistaken for it.
    """
    share = f"{node}-of-{len(item.node_rows)}-{item.fingerprint[:_DIGITS]}"
    return item.file.with_name(f"{item.file.stem}{OF_NODE}{share}{item.file.suffix}")


def rows_file(split: str, name: str) -> str:
    """Return the name of the file with the prepared rows of a dataset."""
    return f"{split}-{name}.arrow"
