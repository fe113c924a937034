"""The role of each column of a dataset."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from embedstep.request.scalars import Plain, PositiveInteger, Text
from embedstep.request.section import OneOrMore, Section, described

MOST_NEGATIVES = 1_000
"""Most texts to take of a list; each becomes a column."""


class ListOfNegatives(Section):
    """A column with a list of texts in each row, of which each text becomes a negative of its own."""

    list: Text = described(..., "Name of the column.")
    take: Annotated[PositiveInteger, Field(le=MOST_NEGATIVES)] = described(
        ..., "Negatives of each row: this many texts from the beginning of its list."
    )
    otherwise: Literal["refuse", "drop", "repeat"] = described(
        "refuse", "What happens to rows with fewer texts: `refuse`, `drop` and count them, or `repeat` their texts."
    )

    @property
    def too_few(self) -> str:
        """What a list with too few texts has, for messages."""
        return f"fewer than {self.take} texts" if self.take > 1 else "no text"


class ListOfPositives(Section):
    """A column with a list of texts in each row, of which each text becomes the positive of a row of its own."""

    list: Text = described(..., "Name of the column.")
    each: Literal["row"] = described(..., "`row`: a row for each text of the list.")


def _items(raw: Any) -> list[tuple[Any, Any]]:
    """Return the entries of a mapping whose values are single texts; none of anything else."""
    items = list(raw.items()) if isinstance(raw, dict) else []
    return items if all(isinstance(value, str | Plain) for _, value in items) else []


def _is_section(raw: Any) -> str:
    return "as_section" if isinstance(raw, dict | Section) else "as_name"


class Columns(Section):
    """The role of each column, or of a field such as `meta.title`. Columns without a role are not used."""

    anchor: Text | None = described(None, "The query: a question, a title, the first sentence of a pair.")
    positive: (
        Annotated[
            Annotated[Text, Tag("as_name")] | Annotated[ListOfPositives, Tag("as_section")], Discriminator(_is_section)
        ]
        | None
    ) = described(None, "The text that matches the anchor: an answer, a document. A list of texts gives several rows.")
    negative: (
        Annotated[
            Annotated[OneOrMore, Tag("as_name")] | Annotated[ListOfNegatives, Tag("as_section")],
            Discriminator(_is_section),
        ]
        | None
    ) = described(
        None,
        "One column, or a list of columns, with texts that do not match the anchor; or a column with a list of them.",
    )
    label: OneOrMore | None = described(
        None, "A class, a similarity score, or the teacher's value (several columns: one value for each text)."
    )

    @model_validator(mode="before")
    @classmethod
    def _role_comes_first(cls, raw: Any) -> Any:
        roles = {str(role.text if isinstance(role, Plain) else role): column for column, role in _items(raw)}
        if roles and not roles.keys() - cls.model_fields.keys() and not {*roles.values()} & cls.model_fields.keys():
            written = ", ".join(f"{role}: {column}" for role, column in roles.items())
            raise ValueError(f"names the role of each column; write it the other way round: {{{written}}}")
        return raw

    @model_validator(mode="after")
    def _has_a_column(self) -> "Columns":
        if not self.model_fields_set:
            raise ValueError("name at least one column: anchor, positive, negative, label")
        return self
