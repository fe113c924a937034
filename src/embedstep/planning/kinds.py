"""What losses and evaluators have in common: how they are found by name, and what is checked of both."""

import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from embedstep.data.facts import ColumnKind, DatasetFacts
from embedstep.errors import Problem, suggest
from embedstep.request import extensions
from embedstep.request.columns import Columns
from embedstep.request.options import Option, all_values, check_options

Rule = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One row of a table.

    Attributes:
        name: its name in a request.
        class_name: its class in the library, which is accepted as a name too; or `package.module:Class` of another
            package.
        options: options by name.
        rules: checks across options; each returns a message or None.
    """

    name: str
    class_name: str
    options: Mapping[str, Option] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def check(self, given: Mapping[str, Any], path: str) -> Iterator[Problem]:
        """Yield the problems of the code and of the options.

        Args:
            given: the options as written.
            path: path of the loss or evaluator in the request.
        """
        if missing := extensions.missing_code(self.class_name):
            yield Problem(f"{path}.kind", missing)
        problems = check_options(self.options, given, f"{path}.options", self.name)
        yield from problems
        if not problems:  # a rule reads the values of all options, so each has to be valid
            values = all_values(self.options, given)
            yield from (Problem(f"{path}.options", message) for rule in self.rules if (message := rule(values)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A label that a loss learns from or an evaluator compares with.

    Attributes:
        words: what it is, to follow `a label with`.
        kinds: column kinds it may have.
        low: smallest value allowed.
        high: largest value allowed.
        varies: whether two different values must occur.
    """

    words: str
    kinds: tuple[ColumnKind, ...]
    low: float = -math.inf
    high: float = math.inf
    varies: bool = False

    def check(self, facts: DatasetFacts, owner: str, path: str) -> Iterator[Problem]:
        """Yield what is wrong with the label of a dataset.

        Args:
            facts: what was read of the dataset.
            owner: who needs the label, for the message.
            path: path of the label's column in the request.
        """
        needed = f"{owner} needs a label with {self.words}"
        if facts.label is None:
            yield Problem(path, f"is missing: {needed}")
        elif facts.label not in self.kinds:
            yield Problem(path, f"holds {facts.label}; {needed}")
        elif facts.label_range is not None:
            low, high = facts.label_range
            if low < self.low or high > self.high or (self.varies and low == high):
                yield Problem(path, f"goes from {low:g} to {high:g}; {needed}")


def describe_list(columns: Columns | None, role: str) -> str:
    """Return what to write for a column of lists of texts where one text in each row is needed, to end a message."""
    match getattr(columns, role, None):
        case str(name):
            return f"; write {role}: {{list: {name}, each: row}}"
        case [name]:
            return f"; write {role}: {{list: {name}, take: 1}}, or take more"
        case _:
            return ""


_OTHER_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "CrossEncoder": (
        "ADRMSE", "BinaryCrossEntropy", "CrossEntropy", "ListNet", "ListMLE", "PListMLE", "Lambda", "RankNet",
    ),
    "SparseEncoder": ("CachedSplade", "CSR", "CSRReconstruction", "Flops", "Splade", "ReciprocalRankFusion"),
    "MultiVectorEncoder": ("CachedMultiVectorMultipleNegativesRanking",),
}  # fmt: skip
"""Losses and evaluators that the library has for other families only, without the end of their class names."""
_PREFIXES = {"CrossEncoder": "CrossEncoder", "CE": "CrossEncoder", "Sparse": "SparseEncoder",
             "MultiVector": "MultiVectorEncoder"}  # fmt: skip
"""Begins of the class names of others, by family."""
_CLASS_NAME = re.compile(r"(?P<prefix>CrossEncoder|CE|Sparse|MultiVector)?(?P<words>\w*?)(Loss|Evaluator)?")


def family_of(name: str) -> str:
    """Return the family of models that a loss or an evaluator is for; empty if it is for none of the others.

    Args:
        name: a class name, or the name of a row made of it: `BinaryCrossEntropyLoss`, `binary_cross_entropy`.
    """
    found = _CLASS_NAME.fullmatch(name)
    if found is not None and found["prefix"] and name != name.lower():
        return _PREFIXES[found["prefix"]]
    words = _letters(name.removesuffix("Loss").removesuffix("Evaluator"))
    return next((family for family, names in _OTHER_FAMILIES.items() if words in map(_letters, names)), "")


def _initials(class_name: str) -> str:
    """Return the capitals of a class name, by which people call it: MNRL for MultipleNegativesRankingLoss."""
    return "".join(letter for letter in class_name if letter.isupper())


def _letters(name: str) -> str:
    return name.replace("_", "").casefold()


_Row = TypeVar("_Row", bound=Kind)


@dataclass(frozen=True)
class KindTable(Generic[_Row]):
    """The losses or the evaluators: those of the library, and those that other packages declare.

    Attributes:
        rows: those of the library, by name.
        row_type: class of the rows and of declarations.
        group: entry point group of declarations.
        noun: what a row is, for messages.
    """

    rows: Mapping[str, _Row]
    row_type: Hashable
    group: str
    noun: str

    def find(self, name: str) -> _Row:
        """Return a row by its name, by its class name, or as another package declares it.

        Raises:
            LookupError: there is none.
            ValueError: its declaration cannot be imported.
        """
        by_class = {row.class_name: row for row in self.rows.values()}
        return self.rows.get(name) or by_class.get(name) or extensions.declared(self.group, name, self.row_type)

    def find_or_explain(self, name: str) -> _Row | str:
        """Return a row as `find` does, or the message that says why there is none."""
        try:
            return self.find(name)
        except LookupError:
            if family := family_of(name):
                return (
                    f"{name} is for {family}, and embedstep trains SentenceTransformer models, which give one dense "
                    "vector for a text"
                )
            classes = [row.class_name for row in self.rows.values()]
            called = [row.name for row in self.rows.values() if _initials(row.class_name) == name.upper()]
            near = (
                f"; did you mean {called[0]}?"
                if len(called) == 1
                else suggest(name, [*self.rows, *classes, *extensions.entry_names(self.group)])
            )
            return f"no {self.noun} is named {name!r}{near}"
        except ValueError as error:
            return str(error)
