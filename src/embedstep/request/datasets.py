"""Datasets of a request: the source of their rows, and what happens to these."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from embedstep.request.columns import Columns
from embedstep.request.scalars import Boolean, Integer, Number, Plain, PositiveInteger, Text, map_scalars
from embedstep.request.section import Name, OneOrMore, Options, Section, ShortSection, Source, described
from embedstep.request.sources import Beir, Corpus, Csv, DatabaseUrl, RowSource


def _check_time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        message = "needs a date or a time such as 2026-11-02 or 2026-11-02T03:00:00Z"
        if any(sign in text for sign in ("[[", "{{", "${")):
            message += "; this is a placeholder that the scheduler has not replaced"
        raise ValueError(message) from None
    return text


IsoTime = Annotated[Text, AfterValidator(_check_time)]


class RowFunction(ShortSection):
    """A function of another package that makes rows. A plain string is short for `{kind: ...}`."""

    kind: Text = described(..., "Name of the function: an entry point, or package.module:Name.")
    options: Options = described({}, "Options of the function as its author declares them.")


class Transform(ShortSection):
    """What is drawn in each epoch. A plain string is short for `{kind: ...}`."""

    kind: Text = described(
        ..., "`delete_words`, `contrastive_pairs`, or a transform of another package: an entry point or module:Name."
    )
    options: Options = described({}, "Options of the transform, such as `ratio`.")


class HoldOut(Section):
    """Rows that are left out of the training and evaluated: those whose value has a small hash (docs/held_out.md)."""

    share: Annotated[Number, Field(gt=0, lt=1)] = described(
        ..., "Share of the values to hold out, above 0 and below 1, such as 0.05."
    )
    by: Text = described(
        "anchor",
        "What decides: `anchor`, `positive`, or a column without a role whose rows stay together, such as a user. "
        "Texts are compared without case, white space and Unicode form.",
    )
    seed: Integer = described(42, "Another seed holds out other values.")


FETCHED_FIELDS = ("hub", "subset", "split", "revision", "sql", "database", "rows", "beir")
"""Fields of rows that are fetched, and of a saved dataset with several splits."""
_WITH_TIME = ("path", "sql", "beir", "corpus")
FILE_FIELDS = ("csv", "sheet")
"""Fields that say how files are written."""
BEIR_COLUMNS = {"anchor": "query", "positive": "document"}
"""Roles of the columns of a BEIR dataset, where the request names none."""


def _columns_or_beir(schema: dict[str, Any]) -> None:
    schema.pop("required")
    schema["anyOf"] = [{"required": ["columns"]}, {"required": ["beir"]}]


class Dataset(Section):
    """A source of rows: files (`path`), a dataset of the hub (`hub`), a query (`sql`), or a BEIR dataset (`beir`)."""

    model_config = ConfigDict(json_schema_extra=_columns_or_beir)

    path: OneOrMore | None = described(
        None,
        "File, folder, glob or fsspec URL, or a list of these: Parquet, JSON, CSV, text, workbooks, or a saved Arrow "
        "dataset.",
    )
    hub: Source | None = described(None, "Id of a dataset on the Hugging Face hub.")
    subset: Text | None = described(None, "Configuration name of a hub dataset.")
    split: Text | None = described(None, "Split of a hub dataset, a BEIR folder, or a saved dataset with several.")
    revision: Text | None = described(
        None, "Branch, tag or commit of a hub dataset. Name a commit for a repeatable run."
    )
    sql: Source | None = described(
        None, "A SELECT over files, by DuckDB, or over the tables of `database` (docs/sql.md)."
    )
    database: DatabaseUrl | None = described(
        None, "The database that `sql` queries: sqlite:///rows.db or postgresql://user@host:5432/name."
    )
    rows: RowSource | None = described(
        None, "Function that makes the rows, of those in the files of `path` if there are any (docs/extending.md)."
    )
    beir: Beir | None = described(None, "Queries, a corpus and judgements (docs/rows.md).")
    sheet: Text | None = described(None, "Sheet of a workbook that has several (docs/files.md).")
    csv: Csv | None = described(
        None, "How CSV, TSV and text files are written, where their first rows do not show it (docs/files.md)."
    )
    row_function: RowFunction | None = described(
        None,
        "Function that makes new rows from those in the files (docs/extending.md); `columns` refers to the new rows.",
    )
    columns: Columns = described(..., "The role of each column.")
    corpus: Corpus | None = described(
        None, "In data.eval: more documents for information_retrieval to search. That of `beir` is searched anyway."
    )
    transform: Transform | None = described(
        None,
        "What is drawn in each epoch from these columns, such as noise in the anchor (docs/transforms.md). In "
        "data.eval and data.test it is drawn once.",
    )
    limit: PositiveInteger | None = described(None, "Use only the first rows, this many.")
    hold_out: HoldOut | None = described(
        None,
        "In data.train: rows that are not trained on. They become the dataset of the same name in data.eval. In "
        "data.eval: use only the rows that this holds out.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_columns(cls, raw: Any) -> Any:
        is_beir = isinstance(raw, dict) and raw.get("beir") is not None and raw.get("columns") is None
        return {**raw, "columns": BEIR_COLUMNS} if is_beir else raw

    @model_validator(mode="after")
    def _one_source(self) -> "Dataset":
        sources = sum(source is not None for source in (self.path, self.hub, self.sql, self.beir))
        if sources != 1 and not (self.rows is not None and sources == 0):
            raise ValueError("give exactly one of path, hub, sql and beir")
        if self.rows is not None and sources and self.path is None:
            raise ValueError("rows makes rows of files or of nothing; remove hub, sql or beir")
        if self.beir is not None:
            self.beir.check_split(self.split)
        if self.hub is None and (self.subset or self.revision):
            raise ValueError("subset and revision belong to a hub dataset")
        if self.sql is not None and self.split is not None:
            raise ValueError("split belongs to a hub dataset or a saved dataset; write a condition in the query")
        if self.sql is None and self.database is not None:
            raise ValueError("database needs sql, the query that runs there")
        if self.path is None and self.csv is not None:
            raise ValueError(f"csv belongs to files, not to {'a hub dataset' if self.hub else 'sql, rows or beir'}")
        if self.path is None and self.sheet is not None:
            raise ValueError("sheet belongs to a workbook that path names")
        if self.hub is not None and self.split is None:
            raise ValueError("name the split of the hub dataset, such as split: train")
        return self

    # Not a field, because no request says it: it names in messages what was fetched to a file.
    _origin: str | None = PrivateAttr(default=None)

    @property
    def is_fetched(self) -> bool:
        """Whether the rows have to be written to a file first: of the hub, a query, a function, BEIR."""
        return self.path is None or self.rows is not None

    @property
    def origin(self) -> str | None:
        """What the rows of a fetched file are called in messages; None for files that the request names."""
        return self._origin

    def at(self, path: str, origin: str | None = None, corpus: Corpus | None = None) -> "Dataset":
        """Return the dataset with a local file or folder as its source, which is neither CSV nor a workbook.

        Args:
            path: the file or folder.
            origin: what its rows are called in messages; None for the path.
            corpus: documents that were fetched with the rows.
        """
        corpora = {"corpus": corpus or self.corpus}
        moved = self.model_copy(update={**dict.fromkeys((*FETCHED_FIELDS, *FILE_FIELDS)), **corpora, "path": [path]})
        moved._origin = origin
        return moved

    def held_out_rows(self) -> "Dataset":
        """Return the eval dataset with the rows that this train dataset holds out, as they are in the files."""
        return self.model_copy(update={"transform": None, "corpus": None})

    def without_hold_out(self) -> "Dataset":
        """Return the dataset with all rows of its source, such as a file that holds one side already."""
        return self.model_copy(update={"hold_out": None})


Share = Annotated[Number, Field(ge=0, le=1)]


class Data(Section):
    """The datasets of each split, by name."""

    train: Annotated[dict[Name, Dataset], Field(min_length=1)] = described(
        ..., "Datasets to train on. The name links a dataset to its loss and to its evaluation dataset."
    )
    eval: dict[Name, Dataset] = described(
        {}, "Held-out datasets: for the evaluation loss (same name as in train) and for the evaluators."
    )
    test: dict[Name, Dataset] = described(
        {}, "Held-out datasets for the loss after training (same name as in train), with arguments.do_predict."
    )
    read: Literal["first_node", "per_node"] = described(
        "first_node",
        "Who reads the rows to train on. `first_node`: the first node reads all, and sends them where no disk is "
        "shared. `per_node`: each reads its share of Parquet files with facts (docs/scale.md).",
    )
    drop_incomplete_rows: Boolean = described(
        False, "Drop and count rows with an empty or null cell. When false, such rows are refused."
    )
    max_duplicates: Share | None = described(
        None,
        "Refuse a dataset in which more than this share of the rows repeats an earlier row. Texts are compared "
        "without case, white space and Unicode form. Null: duplicates are only counted.",
    )
    max_overlap: Share | None = described(
        None,
        "Refuse a held-out dataset if more than this share of its anchors also occurs in the training data, compared "
        "in the same way. Null: the overlap is counted, and refused where it is all of them.",
    )
    record_anchors: Boolean = described(
        True,
        "Save 8 bytes of hash of each training anchor with the model, so that `promote` can say how many held-out rows "
        "a champion was trained on. They reveal whether a guessed text was an anchor (docs/held_out.md).",
    )
    as_of: IsoTime | None = described(
        None,
        "Cut-off time of the data, as an ISO 8601 date or time such as 2026-11-02. It replaces `{as_of}` in paths and "
        "queries, and is recorded with the run.",
    )

    @property
    def held_out(self) -> frozenset[str]:
        """Names of the eval datasets that `hold_out` has made of the train datasets of these names."""
        return frozenset(name for name, rows in _held_out(self.train).items() if self.eval.get(name) == rows)

    @field_validator("train", "eval", "test", mode="before")
    @classmethod
    def _have_names(cls, raw: Any, info: ValidationInfo) -> Any:
        """Name the mistake of a split with the fields of one dataset: each would be refused as a dataset."""
        sources = [raw.get(name) for name in ("path", "hub", "sql", "beir")] if isinstance(raw, dict) else []
        if any(isinstance(source, str | Plain | list) for source in sources):
            raise ValueError(f"needs a name for the dataset; write {info.field_name}: {{docs: {{...}}}}")
        return raw

    # Everything else finds these datasets in data.eval, and a stored request is as it was written.
    @field_validator("eval")
    @classmethod
    def _with_held_out(cls, given: dict[str, Dataset], info: ValidationInfo) -> dict[str, Dataset]:
        made = _held_out(info.data.get("train", {}))
        return {**given, **{name: rows for name, rows in made.items() if name not in given}}

    @field_serializer("eval", mode="wrap")
    def _without_held_out(self, given: dict[str, Dataset], serialize: SerializerFunctionWrapHandler) -> Any:
        held_out = self.held_out
        return serialize({name: dataset for name, dataset in given.items() if name not in held_out})

    @model_validator(mode="before")
    @classmethod
    def _insert_as_of(cls, raw: Any) -> Any:
        """Replace `{as_of}` in paths and queries before they are validated."""
        time = raw.get("as_of") if isinstance(raw, dict) else None
        time = time.text if isinstance(time, Plain) else time
        if not isinstance(time, str):
            return raw
        return {key: _insert_in_split(value, time) for key, value in raw.items()}


def _held_out(train: dict[str, Dataset]) -> dict[str, Dataset]:
    return {name: dataset.held_out_rows() for name, dataset in train.items() if dataset.hold_out is not None}


def _insert_in_split(raw: Any, time: str) -> Any:
    if not isinstance(raw, dict):
        return raw

    def insert(path: Any) -> Any:
        return path.replace("{as_of}", time) if isinstance(path, str) else path

    def inserted(item: dict[str, Any]) -> dict[str, Any]:
        return {key: map_scalars(value, insert) if key in _WITH_TIME else value for key, value in item.items()}

    return {name: inserted(item) if isinstance(item, dict) else item for name, item in raw.items()}
