"""Rows prepared once for a pipeline: read, checked, deduplicated, split, and written as Parquet.

The files `train/<dataset>.parquet` and `eval/<dataset>.parquet` have the columns that the request names, so the same
request reads them.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedstep.data.facts import DatasetFacts, Split
from embedstep.data.fetching import with_local_data
from embedstep.data.reading import scan
from embedstep.data.roles import LENGTH, SLICE, RowNeeds, list_roles
from embedstep.data.scanning import scan_all
from embedstep.errors import InvalidRequestError, Problem
from embedstep.planning.row_needs import row_needs
from embedstep.promotion.scoring import slice_columns
from embedstep.request.datasets import Data, Dataset
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_text

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PREPARED_FORMAT = "embedstep.prepared/1"
_KEY = "anchor"


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedDataset:
    """Row counts of one prepared dataset.

    Attributes:
        split: `train` or `eval`.
        name: name in the request.
        rows: rows written.
        fingerprint: SHA-256 of the rows as a training will read them.
        duplicate_rows: rows dropped because an earlier row has the same texts.
        overlapping_rows: training rows dropped because their anchor is also in the evaluation rows.
        split_off_rows: training rows moved to the evaluation rows.
    """

    split: Split
    name: str
    rows: int
    fingerprint: str
    duplicate_rows: int = 0
    overlapping_rows: int = 0
    split_off_rows: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """All prepared datasets of a request."""

    datasets: tuple[PreparedDataset, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all rows."""
        return self.fingerprint_of("train", "eval")

    def fingerprint_of(self, *splits: Split) -> str:
        """Return the SHA-256 of the rows of some splits."""
        lines = [f"{item.split}.{item.name}:{item.fingerprint}" for item in self.datasets if item.split in splits]
        return sha256_text("\n".join(sorted(lines)))

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        datasets = [asdict(item) for item in self.datasets]
        return {"format": PREPARED_FORMAT, "fingerprint": self.fingerprint, "datasets": datasets}


def prepare_data(
    request: TrainRequest, train: Path, held_out: Path, *, eval_share: float = 0.0, seed: int = 42
) -> Prepared:
    """Write the training and evaluation rows of a request.

    Drops rows whose texts repeat an earlier row, and training rows whose anchor is also evaluated. A dataset without
    evaluation rows can be split: by anchor, so that all rows of an anchor stay together, and by a hash of the anchor's
    text, so that an anchor falls on the same side next week.

    Args:
        request: names the data; the rest is ignored.
        train: folder for `<dataset>.parquet` with the training rows.
        held_out: folder for the same with the evaluation rows.
        eval_share: share of the anchors to split off a dataset that data.eval does not name.
        seed: seed of that split.

    Raises:
        InvalidRequestError: with every problem of the data.
        CannotStartError: the data cannot be reached, or a folder cannot be written.
    """
    if not 0 <= eval_share < 1:
        raise InvalidRequestError([Problem("eval_share", f"needs a number from 0 up to 1; {eval_share} was given")])
    if request.data.read == "per_node":
        message = "is per_node, and rows are prepared in one place; train on the files as they are, or remove it"
        raise InvalidRequestError.at("data.read", message)
    data = request.data.model_copy(update={"test": {}})
    with tempfile.TemporaryDirectory(prefix="embedstep-") as name:
        folder = Path(name)
        local, _ = with_local_data(request.model_copy(update={"data": data}), folder / "hub", with_model=False)
        slices = slice_columns(request)
        facts, problems = scan_all(local, folder, row_needs(request), slices={
            ("eval" if dataset in data.eval else "train", dataset): column for dataset, column in slices.items()
        })  # fmt: skip
        if problems:
            raise InvalidRequestError(problems)
        without = {item.name for item in facts if item.split == "train"} - data.eval.keys()
        rows = [
            _restore_columns(_read(item, eval_share if item.name in without else 0.0, seed), request) for item in facts
        ]
        return Prepared(datasets=tuple(_write_all(rows, data, train, held_out)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """The rows of a dataset as read, and which of them to keep.

    Attributes:
        facts: facts of the dataset.
        table: the rows, with columns named by role first, then as in the source.
        first: indices of rows that repeat no earlier row.
        off: indices among those that are split off for evaluation.
    """

    facts: DatasetFacts
    table: "pa.Table"
    first: "NDArray[np.int64]"
    off: "NDArray[np.int64]"


def _read(facts: DatasetFacts, share: float, seed: int) -> _Rows:
    import pyarrow as pa

    from embedstep.data.duplicates import unique_rows

    with pa.OSFile(str(facts.path), "rb") as stream:
        table = pa.ipc.open_stream(stream).read_all()
    first = unique_rows(facts.text_hashes)
    off = first[_is_split_off(table, facts, share, seed)[first]] if share else first[:0]
    return _Rows(facts=facts, table=table, first=first, off=off)


def _is_split_off(table: "pa.Table", facts: DatasetFacts, share: float, seed: int) -> "NDArray[np.bool_]":
    """Return for each row whether its anchor is split off, shape (rows,)."""
    from embedstep.data.held_out import is_held_out

    key = _KEY if _KEY in facts.columns else facts.inputs[0]
    return is_held_out(table.column(key).combine_chunks(), share, seed)


def _write_all(rows: Sequence[_Rows], data: Data, train: Path, held_out: Path) -> Iterator[PreparedDataset]:
    """Write every dataset. Evaluation rows of one are dropped from the training rows of all: they may share anchors."""
    import numpy as np

    from embedstep.data.duplicates import anchors_in, overlapping_rows

    named = [item.facts.text_hashes for item in rows if item.facts.split == "eval"]
    split_off = [{_KEY: item.facts.text_hashes[_KEY][item.off]} for item in rows if _KEY in item.facts.text_hashes]
    held_out_anchors = anchors_in([*named, *split_off])
    for item in rows:
        facts = item.facts
        repeated = facts.rows - len(item.first)
        if facts.split == "eval":
            section = data.eval[facts.name]
            yield _write(section, item.table.take(item.first), held_out, "eval", facts.name, duplicate_rows=repeated)
            continue
        section = data.train[facts.name]
        if len(item.off):
            yield _write(section, item.table.take(item.off), held_out, "eval", facts.name)
        kept = np.setdiff1d(item.first, overlapping_rows(facts.text_hashes, held_out_anchors))
        kept = np.setdiff1d(kept, item.off)
        yield _write(
            section, item.table.take(kept), train, "train", facts.name, duplicate_rows=repeated,
            split_off_rows=len(item.off) + facts.held_out_rows,
            overlapping_rows=len(item.first) - len(kept) - len(item.off),
        )  # fmt: skip


def _write(
    section: Dataset, table: "pa.Table", folder: Path, split: Split, name: str, **counts: int
) -> PreparedDataset:
    import pyarrow.parquet as pq

    if not table.num_rows:
        raise InvalidRequestError([Problem(f"data.{split}.{name}", "has no rows left")])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.parquet"
    pq.write_table(table, file)
    # From the written file, because that is what a training will read. Its rows are those that were accepted.
    accepted, written = RowNeeds(optional_negatives=True), section.without_hold_out().at(str(file))
    facts = scan(split, name, written, drop_incomplete_rows=False, needs=accepted)
    return PreparedDataset(split=split, name=name, rows=facts.rows, fingerprint=facts.fingerprint, **counts)


def _restore_columns(rows: _Rows, request: TrainRequest) -> _Rows:
    """Rename the columns of a dataset from their roles to the names in its source."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from embedstep.data.lists import source_columns

    table, section = rows.table, getattr(request.data, rows.facts.split)[rows.facts.name]
    roles = list_roles(section.columns)
    labels = [role.column for role in roles if role.name == "label"]
    columns = source_columns(roles, table)
    for number, name in enumerate(labels):
        label = table.column("label")
        columns[name] = label if len(labels) == 1 else pc.list_element(label, number)
    others = {LENGTH: request.arguments.length_column_name, SLICE: request.promotion.slices}
    columns |= {str(name): table.column(role) for role, name in others.items() if role in table.column_names}
    return replace(rows, table=pa.table(columns))
