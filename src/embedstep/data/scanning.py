"""Read all datasets of a request, and compare the held-out ones with the training data."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from embedstep.data.facts import DatasetFacts, Split
from embedstep.data.hub import named_datasets
from embedstep.data.reading import scan
from embedstep.data.roles import ANY_ROWS, RowNeeds
from embedstep.errors import Problem, collect_problems
from embedstep.request.arguments.rules import reads_lengths
from embedstep.request.schema import TrainRequest

_SHOWN_ROWS = 5


def scan_all(
    request: TrainRequest,
    write_to: Path | None,
    needs: Mapping[tuple[Split, str], RowNeeds],
    *,
    slices: Mapping[tuple[Split, str], str] | None = None,
) -> tuple[list[DatasetFacts], list[Problem]]:
    """Return the facts of the datasets that can be read, and the problems of the others.

    Args:
        request: a request with local datasets only.
        write_to: folder for the rows, as `<split>-<name>.arrow`, or None to write none.
        needs: what is asked of the rows of a dataset, by split and name.
        slices: column with the slices of a dataset, by split and name.
    """
    facts: list[DatasetFacts] = []
    problems: list[Problem] = []
    if write_to is not None:
        write_to.mkdir(parents=True, exist_ok=True)
    lengths = request.arguments.length_column_name if reads_lengths(request.arguments) else None
    for split, name, dataset in named_datasets(request):
        file = write_to / f"{split}-{name}.arrow" if write_to else None
        with collect_problems(problems):
            found = scan(
                split,
                name,
                dataset,
                drop_incomplete_rows=request.data.drop_incomplete_rows,
                write_to=file,
                lengths=lengths if split == "train" else None,
                slices=(slices or {}).get((split, name)),
                needs=needs.get((split, name), ANY_ROWS),
            )
            facts.append(found)
    return _with_overlap(facts), problems


def _with_overlap(facts: list[DatasetFacts]) -> list[DatasetFacts]:
    """Count the rows of held-out datasets that also occur in the training data."""
    training = [item.text_hashes for item in facts if item.split == "train"]
    if not training or len(training) == len(facts):
        return facts
    from embedstep.data.duplicates import overlapping_rows

    def compare(item: DatasetFacts) -> DatasetFacts:
        rows = overlapping_rows(item.text_hashes, training)
        first = tuple(int(row) + 1 for row in rows[:_SHOWN_ROWS])
        return replace(item, overlapping_rows=len(rows), first_overlapping=first)

    return [item if item.split == "train" else compare(item) for item in facts]
