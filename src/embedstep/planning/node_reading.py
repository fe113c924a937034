"""`data.read: per_node`: what a request can ask for where no node reads all rows, and the rows that each reads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedstep.data.facts import DatasetFacts
from embedstep.data.scanning import length_column
from embedstep.errors import InvalidRequestError
from embedstep.planning.batches import forms_batches
from embedstep.planning.plan import Plan
from embedstep.planning.row_needs import row_needs
from embedstep.request.arguments.types import BATCH_SAMPLERS
from embedstep.request.columns import ListOfNegatives, ListOfPositives
from embedstep.request.datasets import Dataset
from embedstep.request.schema import TrainRequest

_READ = "data.read: per_node"
_OTHER_SOURCES = (
    "hub", "subset", "split", "revision", "sql", "database", "rows", "beir", "sheet", "csv", "row_function",
    "transform", "limit", "hold_out",
)  # fmt: skip
"""Fields of a dataset whose rows are others than those of its files, or need all of them."""
_GATHERED = "gather_across_devices"


def nodes_can_read(request: TrainRequest) -> Iterator[tuple[str, str]]:
    """Each node reads rows as they stand in its files, and forms batches of these alone."""
    if request.data.read != "per_node":
        return
    for name, dataset in request.data.train.items():
        yield from _rows_stand_in_files(f"data.train.{name}", dataset)
    if request.data.drop_incomplete_rows:
        yield "data.drop_incomplete_rows", f"does not go with {_READ}; leave such rows out of the files"
    arguments = request.arguments
    if not forms_batches(arguments):
        message = f"draws batches from all rows, and with {_READ} no node has them; write no_duplicates or "
        yield "arguments.batch_sampler", f"{message}group_by_label, or train_sampling_strategy: group_by_length"
    elif arguments.batch_sampler not in BATCH_SAMPLERS:
        yield "arguments.batch_sampler", f"is {arguments.batch_sampler}, and with {_READ} it would not have all rows"
    if arguments.auto_find_batch_size:
        yield "arguments.auto_find_batch_size", f"does not go with {_READ}, whose steps are planned for one batch size"
    if request.launch.nodes > 1:
        for name, loss in request.loss.items():
            if _asks_for(loss.model_dump(mode="json"), _GATHERED):
                message = f"has {_GATHERED}, and with {_READ} the batches of two nodes may share a text; remove one"
                yield f"loss.{name}", message


def _rows_stand_in_files(where: str, dataset: Dataset) -> Iterator[tuple[str, str]]:
    for name in _OTHER_SOURCES:
        if getattr(dataset, name) is not None:
            yield f"{where}.{name}", f"does not go with {_READ}, which reads the rows of Parquet files as they are"
    for role in ("positive", "negative"):
        if isinstance(getattr(dataset.columns, role), ListOfPositives | ListOfNegatives):
            message = f"is a column of lists; {_READ} needs one text in each cell"
            yield f"{where}.columns.{role}", message


def _asks_for(options: Any, name: str) -> bool:
    """Whether an option is set at any depth, as of a loss in a loss."""
    match options:
        case Mapping():
            return bool(options.get(name)) or any(_asks_for(value, name) for value in options.values())
        case list():
            return any(_asks_for(value, name) for value in options)
        case _:
            return False


def explain_node_rows(facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """Yield how the rows of a dataset are divided among nodes."""
    for item in facts:
        if len(item.node_rows) > 1:
            files, nodes = len(item.shards.shards), len(item.node_rows)
            rows = f"from {min(item.node_rows):,} to {max(item.node_rows):,} rows each"
            yield f"{item.place}: {files:,} files are divided among {nodes} nodes, {rows}; none reads all"


def write_shares(request: TrainRequest, plan: Plan, node: int) -> None:
    """Read the rows that one node trains on, and write them where its ranks read them.

    What is there already was written by an earlier start of the same attempt.

    Args:
        request: the request.
        plan: its plan.
        node: the node, from 0.

    Raises:
        InvalidRequestError: the files are others than when they were planned, or have other rows than their facts say.
        CannotStartError: the disk is full, or a server could not be reached.
    """
    missing = [item for item in plan.datasets if item.node_rows and not item.on_node(node).file.exists()]
    if not missing:
        return
    from embedstep.data.sharded_rows import find_shards

    needs, lengths = row_needs(request), length_column(request)
    for item in missing:
        rows = find_shards(item.name, request.data.train[item.name], needs["train", item.name], lengths)
        if rows.fingerprint != item.fingerprint:
            message = f"node {node} finds other files than node 0, or other facts of them; give all nodes the same"
            raise InvalidRequestError.at(f"{item.place}.path", message)
        rows.shares(len(item.node_rows))[node].write(item.on_node(node).file)
