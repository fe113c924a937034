"""The roles of columns, in the order of a loss's inputs.

A loss distinguishes its inputs by position only, so the order is defined here once and kept everywhere.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedstep.errors import Problem
from embedstep.request.columns import ListOfNegatives, ListOfPositives

if TYPE_CHECKING:
    from embedstep.request.columns import Columns


LENGTH = "length"
SLICE = "slice"
GROUP = "group"
READ = "read"
"""Key of a column that no role names and a row function reads."""
LENGTH_PATH = "arguments.length_column_name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """One column of the source and its role.

    Attributes:
        name: name of the column after reading: `anchor`, `positive`, `negative` or `negative_1`..., `label`, `length`,
            `slice`, `group`. Several label columns share the name, because they become one column.
        key: key under `columns` in the request: `anchor`, `positive`, `negative` or `label`; or `length`, named by the
            arguments; `slice`, named by `promotion`; `group`, named by `hold_out`. A loss gets none of the last three.
        column: name of the column in the source.
        list: how the texts of the column's lists are used; None for a column that is taken as it is.
        element: which text of its list this is, from 0, where a list becomes several columns.
        integers: whether numbers without a fraction, such as 1.0, are read as integers.
        optional: whether a list may be empty.
    """

    name: str
    key: str
    column: str
    list: ListOfNegatives | ListOfPositives | None = None
    element: int | None = None
    integers: bool = False
    optional: bool = False

    def path(self, where: str) -> str:
        """Return the path of the field that names the column, for the dataset at `where`."""
        named_elsewhere = {LENGTH: LENGTH_PATH, SLICE: "promotion.slices", GROUP: f"{where}.hold_out.by"}
        return named_elsewhere.get(self.key, f"{where}.columns.{self.key}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowNeeds:
    """What the loss, the batch sampler and the evaluators of one dataset ask of its rows.

    Attributes:
        integer_labels: a label is a class, or 0 or 1, so that 1.0 stands for 1. A gap in a column of integers makes
            such numbers in pandas.
        optional_negatives: nobody needs a negative in each row, so that a list of them may be empty.
    """

    integer_labels: bool = False
    optional_negatives: bool = False

    def apply(self, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        """Return the roles as they have to be read."""
        is_single = sum(role.key == "label" for role in roles) == 1  # several become a list of numbers
        return tuple(
            replace(
                role,
                integers=role.key == "label" and is_single and self.integer_labels,
                optional=role.key == "negative" and role.list is None and self.optional_negatives,
            )
            for role in roles
        )


ANY_ROWS = RowNeeds()
"""Nothing is asked of the rows but that they are complete."""


def common_needs(needs: Sequence[RowNeeds]) -> RowNeeds:
    """Return what is asked of rows that are read together, before they are divided."""
    return RowNeeds(
        integer_labels=any(each.integer_labels for each in needs),
        optional_negatives=all(each.optional_negatives for each in needs),
    )


def list_roles(columns: "Columns") -> tuple[Role, ...]:
    """List the roles in the order anchor, positive, negatives, labels."""
    roles: list[Role] = []
    for key in ("anchor", "positive", "negative", "label"):
        named = _roles_of(key, getattr(columns, key))
        is_numbered = key == "negative" and len(named) > 1
        roles += [replace(role, name=f"{key}_{place}") for place, role in enumerate(named, 1)] if is_numbered else named
    return tuple(roles)


def _roles_of(key: str, given: str | list[str] | ListOfNegatives | ListOfPositives | None) -> list[Role]:
    match given:
        case ListOfNegatives():
            role = Role(name=key, key=key, column=given.list, list=given)
            return [replace(role, element=place) for place in range(given.take)]
        case ListOfPositives():
            return [Role(name=key, key=key, column=given.list, list=given)]
        case _:
            names = [given] if isinstance(given, str) else given or []
            return [Role(name=key, key=key, column=name) for name in names]


def repeated_columns(where: str, roles: tuple[Role, ...]) -> list[Problem]:
    """Return a problem for each column with more than one role, apart from anchor and positive.

    A text may be the positive of itself: dropout makes two vectors of it (SimCSE).

    Args:
        where: path of the dataset in the request, such as `data.train.docs`.
        roles: the roles.
    """
    roles = tuple(role for role in roles if not role.element)  # a list counts once
    counts = Counter(role.column for role in roles)
    return [
        Problem(
            [role for role in roles if role.column == column][1].path(where),
            f"column {column!r} is named {count} times; a column has one role",
        )
        for column, count in counts.items()
        if count > 1 and [role.key for role in roles if role.column == column] != ["anchor", "positive"]
    ]
