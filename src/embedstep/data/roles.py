"""The roles of columns, in the order of a loss's inputs.

A loss distinguishes its inputs by position only, so the order is defined here once and kept everywhere.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedstep.errors import Problem

if TYPE_CHECKING:
    from embedstep.request.datasets import Columns


LENGTH = "length"
SLICE = "slice"
READ = "read"
"""Key of a column that no role names and a row function reads."""
LENGTH_PATH = "arguments.length_column_name"


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """One column of the source and its role.

    Attributes:
        name: name of the column after reading: `anchor`, `positive`, `negative` or `negative_1`..., `label`, `length`,
            `slice`. Several label columns share the name, because they become one column.
        key: key under `columns` in the request: `anchor`, `positive`, `negative` or `label`; or `length`, named by the
            arguments; or `slice`, named by `promotion`. A loss gets neither of the last two.
        column: name of the column in the source.
        integers: whether numbers without a fraction, such as 1.0, are read as integers.
    """

    name: str
    key: str
    column: str
    integers: bool = False

    def path(self, where: str) -> str:
        """Return the path of the field that names the column, for the dataset at `where`."""
        named_elsewhere = {LENGTH: LENGTH_PATH, SLICE: "promotion.slices"}
        return named_elsewhere.get(self.key, f"{where}.columns.{self.key}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowNeeds:
    """What the loss, the batch sampler and the evaluators of one dataset ask of its rows.

    Attributes:
        integer_labels: a label is a class, or 0 or 1, so that 1.0 stands for 1. A gap in a column of integers makes
            such numbers in pandas.
    """

    integer_labels: bool = False

    def apply(self, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        """Return the roles as they have to be read."""
        is_single = sum(role.key == "label" for role in roles) == 1  # several become a list of numbers
        return tuple(
            replace(role, integers=self.integer_labels and is_single) if role.key == "label" else role for role in roles
        )


def list_roles(columns: "Columns") -> tuple[Role, ...]:
    """List the roles in the order anchor, positive, negatives, labels."""
    roles = []
    for key in ("anchor", "positive", "negative", "label"):
        given = getattr(columns, key) or []
        names = [given] if isinstance(given, str) else given
        for number, column in enumerate(names, start=1):
            name = f"negative_{number}" if key == "negative" and len(names) > 1 else key
            roles.append(Role(name=name, key=key, column=column))
    return tuple(roles)


def repeated_columns(where: str, roles: tuple[Role, ...]) -> list[Problem]:
    """Return a problem for each column with more than one role, apart from anchor and positive.

    A text may be the positive of itself: dropout makes two vectors of it (SimCSE).

    Args:
        where: path of the dataset in the request, such as `data.train.docs`.
        roles: the roles.
    """
    counts = Counter(role.column for role in roles)
    return [
        Problem(
            [role for role in roles if role.column == column][1].path(where),
            f"column {column!r} is named {count} times; a column has one role",
        )
        for column, count in counts.items()
        if count > 1 and [role.key for role in roles if role.column == column] != ["anchor", "positive"]
    ]
