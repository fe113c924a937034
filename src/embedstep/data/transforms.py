"""What is drawn in each epoch: noise in a text, or the second text of a pair and its label.

A transform is called where a row is read for a batch, after everything that is planned from the rows of the file. What
it draws depends on the seed, the dataset, the epoch and the row alone, so that ranks, data loader workers and a resumed
attempt draw the same.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from embedstep.data.facts import ColumnKind
from embedstep.data.hub import named_datasets
from embedstep.errors import InvalidRequestError, Problem, first_line, suggest
from embedstep.request.datasets import Dataset, Transform
from embedstep.request.extensions import TRANSFORMS as GROUP
from embedstep.request.extensions import code_digest, declared, entry_names
from embedstep.request.options import Option, all_values, check_options, integer, number
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_json

Row = Mapping[str, Any]
_ROLES = ("anchor", "positive", "negative", "label")
"""The columns that a loss gets, in its order."""
_FITTING: Mapping[str, tuple[ColumnKind, ...]] = {
    **dict.fromkeys(_ROLES, ("text",)),
    "label": ("integer", "number", "numbers"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformKind:
    """One transform.

    Attributes:
        name: its name in a request.
        function: gets a row as a mapping of the columns that it reads, by role; `random.Random` to draw with;
            `draw_row`, which returns another row of the dataset, drawn at random; and the options as keyword arguments.
            Returns the columns that it gives.
        reads: roles of the columns that it needs: anchor, positive, negative, label.
        gives: roles of the columns that it draws and what they hold: text; for a label integer, number or numbers.
        draws_rows: whether it calls `draw_row` until a text differs, so that two rows need different texts.
        options: options by name.
    """

    name: str
    function: Callable[..., Row]
    reads: tuple[str, ...]
    gives: Mapping[str, ColumnKind]
    draws_rows: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


def _delete_words(row: Row, random: Random, draw_row: Callable[[], Row], ratio: float) -> Row:
    """Delete each word with a probability, and keep at least one."""
    words = row["anchor"].split()
    kept = [word for word in words if random.random() >= ratio]
    return {"anchor": " ".join(kept or [words[int(random.random() * len(words))]])}


def _contrastive_pairs(row: Row, random: Random, draw_row: Callable[[], Row], pos_neg_ratio: int) -> Row:
    """Pair a text with itself, or with that of another row."""
    text = row["anchor"]
    if random.random() < 1 / pos_neg_ratio:
        return {"positive": text, "label": 1}
    while (other := draw_row()["anchor"]) == text:
        pass
    return {"positive": other, "label": 0}


# Options have the names and defaults of the library's examples. The functions draw by `Random.random` alone: Python
# promises that its numbers stay the same in every release.
_KINDS = (
    TransformKind(
        name="delete_words",
        function=_delete_words,
        reads=("anchor",),
        gives={"anchor": "text"},
        options={"ratio": number(0.6, least=0, most=1)},
    ),
    TransformKind(
        name="contrastive_pairs",
        function=_contrastive_pairs,
        reads=("anchor",),
        gives={"positive": "text", "label": "integer"},
        draws_rows=True,
        options={"pos_neg_ratio": integer(8, least=2)},
    ),
)
TRANSFORMS: Mapping[str, TransformKind] = {kind.name: kind for kind in _KINDS}


def transform_kind(name: str) -> TransformKind:
    """Return a transform by its name, or as another package declares it.

    Raises:
        ValueError: there is none, or its declaration is wrong.
    """
    if name in TRANSFORMS:
        return TRANSFORMS[name]
    try:
        kind: TransformKind = declared(GROUP, name, TransformKind)
    except LookupError:
        raise ValueError(f"no transform is named {name!r}{suggest(name, [*TRANSFORMS, *entry_names(GROUP)])}") from None
    for role, holds in kind.gives.items():
        if holds not in _FITTING.get(role, ()):
            raise ValueError(
                f"{kind.name} gives {role!r} as {holds}; it may give {', '.join(_ROLES[:-1])} as text, and label as "
                f"{' or '.join(_FITTING['label'])}"
            )
    return kind


def given_columns(transform: Transform | None) -> Mapping[str, ColumnKind]:
    """Return the roles that a transform gives and what they hold; nothing of one in doubt."""
    try:
        return transform_kind(transform.kind).gives if transform is not None else {}
    except ValueError:
        return {}


def loss_order(column: str) -> int:
    """Return the place of a column among a loss's inputs: anchor, positive, negatives, label, and others."""
    role = column.partition("_")[0]
    return _ROLES.index(role) if role in _ROLES else len(_ROLES)


def transform_digest(transform: Transform) -> str:
    """Return a digest of what a checked transform does: its options, and the code of another package."""
    kind = transform_kind(transform.kind)
    code = "" if kind.name in TRANSFORMS else code_digest(kind.function.__module__)
    return sha256_json([kind.name, sorted(all_values(kind.options, transform.options).items()), code])


def describe_transform(transform: Transform) -> str:
    """Return `delete_words (ratio 0.6)`: a checked transform with the values of its options."""
    kind = transform_kind(transform.kind)
    values = ", ".join(f"{name} {value}" for name, value in all_values(kind.options, transform.options).items())
    return kind.name + (f" ({values})" if values else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowDrawer:
    """A transform with its options, as one dataset uses it.

    Attributes:
        where: split and name of the dataset, such as `train.docs`.
        kind: the transform.
        options: values of all of its options.
        seed: seed of the run's order of rows.
        rows: rows of the dataset.
    """

    where: str
    kind: TransformKind
    options: Mapping[str, Any]
    seed: int
    rows: int

    def draw(self, row: Row, number: int, epoch: int, read: Callable[[int], Row]) -> dict[str, Any]:
        """Return the columns that the transform gives for a row in an epoch.

        Args:
            row: the row.
            number: its number, from 0.
            epoch: epoch, from 0.
            read: returns another row by its number.

        Raises:
            InvalidRequestError: the function fails, or gives something else than it declares.
        """
        random = Random(f"{self.seed} {self.where} {epoch} {number}")

        def draw_row() -> Row:
            other = int(random.random() * (self.rows - 1))
            return self._read(read(other + (other >= number)))

        try:
            found = dict(self.kind.function(self._read(row), random, draw_row, **self.options))
        except Exception as error:  # the function is somebody else's, and may raise anything
            raise self._refused(f"fails on row {number + 1}: {type(error).__name__}: {first_line(error)}") from error
        if found.keys() != self.kind.gives.keys():
            gives = f"gives {', '.join(found) or 'nothing'} for row {number + 1}"
            raise self._refused(f"{gives}; it declares {', '.join(self.kind.gives)}")
        for role, holds in self.kind.gives.items():
            if not _fits(found[role], holds):
                raise self._refused(f"gives {found[role]!r} as {role} for row {number + 1}; it declares {holds}")
        return found

    def require_repeatable(self, read: Callable[[int], Row]) -> None:
        """Draw for the first row twice, as two ranks would.

        Raises:
            InvalidRequestError: as `draw`, or what was drawn differs.
        """
        if self.draw(read(0), 0, 0, read) != self.draw(read(0), 0, 0, read):
            raise self._refused("gives other columns for row 1 the second time; draw with the `random` that it gets")

    def _read(self, row: Row) -> Row:
        return {role: row[role] for role in self.kind.reads}

    def _refused(self, message: str) -> InvalidRequestError:
        return InvalidRequestError.at(f"data.{self.where}.transform", f"{self.kind.name} {message}")


def _fits(value: Any, holds: ColumnKind) -> bool:
    if holds == "text":
        return isinstance(value, str) and bool(value.strip())
    if holds == "numbers":
        return isinstance(value, list) and bool(value) and all(_fits(each, "number") for each in value)
    types = (int,) if holds == "integer" else (int, float)
    return isinstance(value, types) and math.isfinite(value)


def row_drawer(where: str, dataset: Dataset, seed: int, rows: int) -> RowDrawer | None:
    """Return what draws the rows of a dataset of a checked request, or None where they are taken as they stand.

    Args:
        where: split and name of the dataset, such as `train.docs`.
        dataset: its section.
        seed: seed of the run's order of rows.
        rows: its rows.
    """
    if dataset.transform is None:
        return None
    kind = transform_kind(dataset.transform.kind)
    options = all_values(kind.options, dataset.transform.options)
    return RowDrawer(where=where, kind=kind, options=options, seed=seed, rows=rows)


def transforms_are_known(request: TrainRequest) -> Iterator[Problem]:
    """Each transform is known and takes its options."""
    for split, name, dataset in named_datasets(request):
        place = f"data.{split}.{name}.transform"
        if dataset.transform is None:
            continue
        try:
            kind = transform_kind(dataset.transform.kind)
        except ValueError as error:
            yield Problem(f"{place}.kind", str(error))
        else:
            yield from check_options(kind.options, dataset.transform.options, f"{place}.options", kind.name)
