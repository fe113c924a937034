"""What a request's transforms go with, and what the plan says of them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from embedstep.data.facts import DatasetFacts, DatasetRecord
from embedstep.data.hub import named_datasets
from embedstep.data.ids import read_rows
from embedstep.data.roles import list_roles
from embedstep.data.transforms import (
    Row,
    RowDrawer,
    TransformKind,
    describe_transform,
    given_columns,
    loss_order,
    row_drawer,
    transform_digest,
    transform_kind,
    transforms_are_known,
)
from embedstep.errors import Problem
from embedstep.planning.batch_samplers import check_batch_sampler, declared_reads, reads_labels
from embedstep.planning.batches import order_seed
from embedstep.planning.losses import innermost
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest


def section_of(request: TrainRequest, facts: DatasetRecord) -> Dataset:
    """Return the section of a dataset by its split and name."""
    dataset: Dataset = getattr(request.data, facts.split)[facts.name]
    return dataset


def drawn_facts(request: TrainRequest, facts: DatasetFacts) -> DatasetFacts:
    """Return the facts of a dataset with the columns that its loss gets, of which a transform may draw some."""
    given = given_columns(section_of(request, facts).transform)
    if not given:
        return facts
    columns = {**facts.columns, **given}
    drawn = replace(facts, columns={role: columns[role] for role in sorted(columns, key=loss_order)})
    return replace(drawn, label_values={}, label_range=None) if "label" in given else drawn


def drawer_of(request: TrainRequest, item: DatasetRecord) -> RowDrawer | None:
    """Return what draws the rows of a dataset of a checked request, or None."""
    seed = order_seed(request.arguments)
    return row_drawer(f"{item.split}.{item.name}", section_of(request, item), seed, item.rows)


def reader_of(item: DatasetRecord) -> Callable[[int], Row]:
    """Return a function that reads a prepared row by its number."""
    return lambda number: read_rows(item.file, [number])[0]


def transform_digests(request: TrainRequest, split: str) -> dict[str, str]:
    """Return a digest of each transform of a checked request, by the name of its dataset."""
    datasets: Mapping[str, Dataset] = getattr(request.data, split)
    return {name: transform_digest(item.transform) for name, item in datasets.items() if item.transform is not None}


def transforms_fit(request: TrainRequest) -> Iterator[tuple[str, str]]:
    """Each transform is known and has its columns, and nothing depends on columns that are drawn after it."""
    yield from ((problem.path, problem.message) for problem in transforms_are_known(request))
    for split, name, dataset in named_datasets(request):
        try:
            kind = None if dataset.transform is None else transform_kind(dataset.transform.kind)
        except ValueError:  # reported by now
            continue
        if kind is None:
            continue
        place, named = f"data.{split}.{name}", {role.name for role in list_roles(dataset.columns)}
        for role in kind.reads:
            if role not in named:
                yield f"{place}.columns.{role}", f"is missing: {kind.name} reads it"
        for role in kind.gives:
            if role in named and role not in kind.reads:
                message = f"is drawn by {kind.name}; remove the column, or the transform"
                yield f"{place}.columns.{role}", message
        yield from _sampler_problems(request, place, kind, named)
        for number, evaluator in enumerate(request.evaluators):
            if split == "eval" and evaluator.dataset == name:
                message = f"is {name}, whose rows {kind.name} draws for a loss; name a dataset without transform"
                yield f"evaluators.{number}.dataset", message


def _sampler_problems(
    request: TrainRequest, place: str, kind: TransformKind, named: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Batches are formed before anything is drawn: by the texts and labels of the files."""
    sampler = request.arguments.batch_sampler
    if check_batch_sampler(sampler):
        return
    compares = sampler.startswith("no_duplicates") or "texts" in declared_reads(sampler)
    new = [role for role in kind.gives if role != "label" and role not in named]
    if compares and new:
        message = f"is {sampler}, which compares texts before {kind.name} draws the {new[0]} of {place}"
        yield "arguments.batch_sampler", f"{message}; write batch_sampler: batch_sampler"
    if reads_labels(sampler) and "label" in kind.gives:
        message = f"is {sampler}, which reads labels before {kind.name} draws those of {place}"
        yield "arguments.batch_sampler", f"{message}; write batch_sampler: batch_sampler"


def rows_can_be_drawn(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[Problem]:
    """A pair of different texts needs two of them."""
    for item in facts:
        transform = section_of(request, item).transform
        if transform is None or not given_columns(transform):
            continue
        kind = transform_kind(transform.kind)
        hashes = [item.text_hashes[role] for role in kind.reads if role in item.text_hashes]
        if kind.draws_rows and (item.rows < 2 or (hashes and all((found == found[0]).all() for found in hashes))):
            same = "1 row" if item.rows < 2 else f"{item.rows:,} rows with one text"
            yield Problem(item.place, f"has {same}; {kind.name} pairs a text with another one")


def explain_transforms(request: TrainRequest, facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """Yield what is drawn of each dataset and when, and which loss lacks it, a sentence each."""
    arguments = request.arguments
    for item in facts:
        section = section_of(request, item)
        if section.transform is None:
            yield from _note_equal_columns(request, item, section)
            continue
        drawn = " and ".join(given_columns(section.transform))
        when = "in each epoch" if item.split == "train" else "once, the same for each evaluation"
        yield f"{item.place}: {describe_transform(section.transform)} draws {drawn} {when}"
        if item.split == "train" and arguments.batch_sampler.startswith("no_duplicates"):
            yield f"{item.place}: {arguments.batch_sampler} compares the texts before {section.transform.kind}"
        if item.split == "train" and arguments.train_sampling_strategy == "group_by_length" and not item.has_lengths:
            yield f"{item.place}: rows are grouped by their characters before {section.transform.kind}"


def _note_equal_columns(request: TrainRequest, item: DatasetFacts, section: Dataset) -> Iterator[str]:
    """Some losses learn nothing from a text and itself, as if noise or another text had been forgotten."""
    loss = request.loss_of(item.name)
    kind = innermost(loss) if loss is not None else None
    columns = section.columns
    if item.split != "train" or kind is None or not kind.transform or columns.anchor != columns.positive:
        return
    lesson = "learns to copy texts" if kind.transform == "delete_words" else "gets no pair of different texts"
    yield f"{item.place}: {kind.name} {lesson}: anchor and positive are one column; write transform: {kind.transform}"
