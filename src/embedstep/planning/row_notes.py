"""What a plan says of rows: how they were read, made and held out, and which repeat or are not held out at all."""

from collections.abc import Iterator, Sequence

from embedstep.data.facts import DatasetFacts
from embedstep.errors import Problem
from embedstep.planning.node_reading import explain_node_rows
from embedstep.planning.transforms import section_of
from embedstep.request.columns import ListOfNegatives, ListOfPositives
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import count


def explain_rows(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """Yield what is valid and may surprise, a sentence each.

    Args:
        request: the request.
        facts: what is known of each dataset.
    """
    yield from _made_rows(request, facts)
    yield from _short_lists(request, facts)
    yield from _held_out_rows(request, facts)
    yield from _repeated_rows(facts)
    yield from _formats(facts)
    yield from explain_node_rows(facts)
    yield from _placeholders(facts)


def _made_rows(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """How many rows a row function or lists of positives have made, and of how many."""
    for item in facts:
        dataset = section_of(request, item)
        if item.rows_read is None:  # each row is one of the files, or held out of a dataset of which it is said
            continue
        made = f"{item.rows + item.held_out_rows + item.dropped_rows:,} rows of {item.rows_read:,}"
        if isinstance(positives := dataset.columns.positive, ListOfPositives):
            yield f"{item.place}: the lists in {positives.list!r} give {made}"
        elif dataset.row_function is not None:
            yield f"{item.place}: {dataset.row_function.kind} has made {made}"


def _held_out_rows(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """How many rows each dataset holds out, and what share of them was asked for."""
    for item in facts:
        hold_out = section_of(request, item).hold_out
        if hold_out is not None and item.held_out_rows:
            rows = item.rows + item.held_out_rows
            share = f"{item.held_out_rows / rows:.2%}; share {hold_out.share:g} by {hold_out.by}"
            held_out = f"{item.held_out_rows:,} of {rows:,} rows are held out ({share})"
            yield f"{item.place}: {held_out}; they are data.eval.{item.name}"


def _short_lists(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """How many rows have fewer negatives in their list than asked for."""
    for item in facts:
        negatives = section_of(request, item).columns.negative
        if isinstance(negatives, ListOfNegatives) and item.short_rows:
            have = "has" if item.short_rows == 1 else "have"
            few = f"{count(item.short_rows, 'row')} {have} {negatives.too_few} in {negatives.list!r}"
            happens = "which are repeated" if negatives.otherwise == "repeat" else "and are dropped"
            yield f"{item.place}: {few}, {happens}"


def _formats(facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """How files were read that are no plain CSV, by what their rows show and not by the request."""
    for item in facts:
        for unsaid in dict.fromkeys(item.unsaid_formats.values()):
            names = [name for name, found in item.unsaid_formats.items() if found == unsaid]
            others = len(names) - 1
            more = f" and {count(others, 'more file')} are" if others else " is"
            rows = "their first rows" if others else "its first rows"
            yield f"{item.place}: {names[0]}{more} read with {unsaid}, by {rows}; write that to keep it"


def _placeholders(facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """Cells with a word for nothing count as texts, because it may be one."""
    for item in facts:
        for role, number in item.placeholders.items():
            cells = f"{count(number, 'cell')} {'holds' if number == 1 else 'hold'}"
            message = "NaN, null or a like word, which is trained on; leave such a cell empty, if it has no text"
            yield f"{item.place}: as {role}, {cells} {message}"


def _repeated_rows(facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """Rows that repeat within a dataset, and held-out rows whose anchor is trained on: those flatter the model."""
    for item in facts:
        if item.duplicate_rows:
            yield f"{item.place}: {item.duplicate_rows:,} of {item.rows:,} rows repeat an earlier one"
        if item.overlapping_rows:
            rows = ", ".join(map(str, item.first_overlapping))
            shared = f"{item.overlapping_rows:,} of {item.rows:,} anchors are in the training data too (row {rows})"
            yield f"{item.place}: {shared}, and flatter the model; data.max_overlap refuses that"


def rows_are_distinct(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """No dataset repeats more of its rows than the request allows."""
    limit = request.data.max_duplicates
    for item in facts:
        if limit is not None and item.duplicate_rows > limit * item.rows:
            message = f"repeats {_of(item.duplicate_rows, item.rows)}, and data.max_duplicates is {limit:g}"
            yield Problem(item.place, f"{message}; take them out, or raise the limit")


def held_out_rows_are_held_out(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """No held-out dataset has more of its rows from the training data than the request allows."""
    limit = request.data.max_overlap
    for item in facts:
        if limit is not None and item.overlapping_rows > limit * item.rows:
            rows = ", ".join(map(str, item.first_overlapping))
            shared = _of(item.overlapping_rows, item.rows)
            message = f"shares the anchors of {shared} with the training data, first those of row {rows}"
            reason = f"data.max_overlap is {limit:g}; take them out of the training data, or raise the limit"
            yield Problem(item.place, f"{message}, and {reason}")
        elif limit is None and item.overlapping_rows == item.rows > 0:
            remedy = "name other rows, write hold_out: {share: 0.1} in data.train, or allow it with data.max_overlap: 1"
            message = f"all of its {count(item.rows, 'row')} are in the training data, so that its scores say nothing"
            yield Problem(item.place, f"{message}; {remedy}")


def _of(rows: int, total: int) -> str:
    return f"{rows:,} of its {total:,} rows ({rows / total:.1%})"
