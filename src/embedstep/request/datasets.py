"""The datasets of a request: where rows come from, and which column plays which role."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from embedstep.request.scalars import Boolean, Integer, Number, Plain, PlainData, Text
from embedstep.request.section import Name, Section, Source, described, or_text


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        told = "needs a date or a time such as 2026-11-02 or 2026-11-02T03:00:00Z"
        if any(sign in text for sign in ("[[", "{{", "${")):
            told += "; this is the scheduler's own placeholder, which nobody has filled in"
        raise ValueError(told) from None
    return text


Moment = Annotated[Text, AfterValidator(_moment)]


def _listed(raw: Any) -> Any:
    """Allow one name where several are allowed: `negative: hard` beside `negative: [hard_1, hard_2]`."""
    return [raw] if isinstance(raw, str) else raw


OneOrMore = Annotated[list[Text], Field(min_length=1), BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Columns(Section):
    """Which column plays which role. Columns that are not named here are left out of training."""

    anchor: Text | None = described(None, "The query side: question, title, first sentence.")
    positive: Text | None = described(None, "The text that belongs to the anchor: answer, document, second sentence.")
    negative: OneOrMore | None = described(
        None, "One column, or a list of columns, with texts that do not belong to the anchor."
    )
    label: OneOrMore | None = described(
        None, "A class, a similarity score, or the teacher's value (several columns: one value for each text)."
    )

    @model_validator(mode="after")
    def _something(self) -> "Columns":
        if not self.model_fields_set:
            raise ValueError("name at least one column: anchor, positive, negative, label")
        return self


class RowFunction(Section):
    """A function of another package that makes rows. A plain string is short for `{kind: ...}`."""

    model_config = ConfigDict(json_schema_extra=or_text)

    kind: Text = described(..., "Name of the function: an entry point, or package.module:Name.")
    options: Annotated[dict[str, PlainData], BeforeValidator(lambda raw: {} if raw is None else raw)] = described(
        {}, "Options of the function as its author declares them."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, raw: Any) -> Any:
        return {"kind": raw} if isinstance(raw, str) else raw


OF_THE_HUB = ("hub", "subset", "split", "revision")
"""Fields of a dataset that say where its rows are elsewhere."""


class Dataset(Section):
    """Where rows come from. Files are named by `path`, a dataset of the hub by `hub`."""

    path: OneOrMore | None = described(
        None,
        "File, folder, glob or fsspec URL (or a list of them): Parquet, JSON lines, CSV, or a saved Arrow dataset.",
    )
    hub: Source | None = described(None, "Dataset id on the Hugging Face hub.")
    subset: Text | None = described(None, "Configuration name of a hub dataset.")
    split: Text | None = described(None, "Split of a hub dataset or of a saved dataset with several splits.")
    revision: Text | None = described(None, "Branch, tag or commit of a hub dataset. A commit makes a run repeatable.")
    row_function: RowFunction | None = described(
        None, "Makes rows of those in the files, before roles are given to their columns (docs/extending.md)."
    )
    columns: Columns = described(..., "Which column plays which role.")
    limit: Annotated[Integer, Field(gt=0)] | None = described(None, "Take only this many rows, from the top.")

    @model_validator(mode="after")
    def _one_source(self) -> "Dataset":
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of path and hub")
        if self.path is not None and (self.subset or self.revision):
            raise ValueError("subset and revision belong to a hub dataset")
        if self.hub is not None and self.split is None:
            raise ValueError("name the split of the hub dataset, such as split: train")
        return self

    def at(self, path: str) -> "Dataset":
        """Return the same dataset with its rows in a file or folder on this machine."""
        return self.model_copy(update={**dict.fromkeys(OF_THE_HUB), "path": [path]})


Share = Annotated[Number, Field(ge=0, le=1)]


class Data(Section):
    """The datasets, by name."""

    train: Annotated[dict[Name, Dataset], Field(min_length=1)] = described(
        ..., "Datasets to train on. The name ties a dataset to its loss and to its evaluation dataset."
    )
    eval: dict[Name, Dataset] = described(
        {}, "Held-out datasets: for the evaluation loss (same name as in train) and for the evaluators."
    )
    test: dict[Name, Dataset] = described(
        {}, "Held-out datasets for the loss after the training (same name as in train), with arguments.do_predict."
    )
    drop_incomplete_rows: Boolean = described(
        False, "Leave out rows with an empty or null cell and count them. Without it such rows are refused."
    )
    max_duplicates: Share | None = described(
        None,
        "Refuse a dataset in which more than this share of the rows repeats an earlier one, whatever the case, the "
        "spacing and the Unicode form of the texts. Null: they are counted only.",
    )
    max_overlap: Share | None = described(
        None,
        "Refuse a held-out dataset of which more than this share of the rows stands in the training data too, "
        "compared in the same way by their anchors. Null: they are counted only.",
    )
    as_of: Moment | None = described(
        None,
        "Up to when the data counts, as an ISO 8601 date or time such as 2026-11-02. It stands in for `{as_of}` in "
        "paths, and is recorded with the run.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_moment(cls, raw: Any) -> Any:
        """Put the moment where paths leave it open, before anything else reads them."""
        if not isinstance(raw, dict):
            return raw
        moment = raw.get("as_of")
        moment = moment.text if isinstance(moment, Plain) else moment
        if not isinstance(moment, str):
            return raw
        return {key: _filled(value, moment) for key, value in raw.items()}


def _filled(raw: Any, moment: str) -> Any:
    """Replace `{as_of}` in every path of the datasets of a split."""
    if not isinstance(raw, dict):
        return raw
    return {
        name: {**item, "path": _replaced(item["path"], moment)} if isinstance(item, dict) and "path" in item else item
        for name, item in raw.items()
    }


def _replaced(path: Any, moment: str) -> Any:
    if isinstance(path, list):
        return [_replaced(one, moment) for one in path]
    return path.replace("{as_of}", moment) if isinstance(path, str) else path
