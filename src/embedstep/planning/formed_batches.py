"""The batches of the first epoch, counted for the plan: exactly those that the ranks will train on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedstep.data.roles import LENGTH
from embedstep.planning.batch_samplers import DeclaredBatches
from embedstep.planning.batches import (
    SamplerInputs,
    build_epochs,
    formed_datasets,
    load_sampler_inputs,
    per_device_batch_size,
    sampler_inputs,
)
from embedstep.planning.plan import PlannedDataset
from embedstep.request.arguments.schema import Arguments
from embedstep.sampling.search import binary_search

if TYPE_CHECKING:
    # These import numpy, which a plan needs only where embedstep forms the batches.
    from embedstep.data.sharded_rows import ShardedRows
    from embedstep.sampling.epochs import Epochs


@dataclass(kw_only=True)
class FormedBatches:
    """The batches of the first epoch, counted.

    Attributes:
        datasets: all datasets of the plan, with exact counts where embedstep forms the batches.
        train: inputs of the train datasets whose batches were formed, in the order of the plan.
        epochs: their batches; None where sentence-transformers forms them.
        seconds: time that forming them took.
    """

    datasets: list[PlannedDataset]
    train: Sequence[SamplerInputs] = ()
    epochs: "Epochs | None" = None
    seconds: float | None = None


def form_batches(
    arguments: Arguments,
    datasets: Sequence[PlannedDataset],
    processes: int,
    shards: "Mapping[str, ShardedRows] | None" = None,
) -> FormedBatches:
    """Form the batches of the first epoch, and count them exactly.

    Args:
        arguments: the effective arguments.
        datasets: all datasets of the plan, with their prepared rows.
        processes: processes that train together.
        shards: the files of the train datasets by name, where each node reads its share.
    """
    items = formed_datasets(arguments, datasets)
    if not items:
        return FormedBatches(datasets=list(datasets))
    train_items = [item for item in items if item.split == "train"]
    started = time.perf_counter()
    if shards:
        train, epochs, counted = _form_on_nodes(arguments, train_items, processes, shards)
    else:
        train = [load_sampler_inputs(arguments, item) for item in train_items]
        started = time.perf_counter()
        epochs = build_epochs(arguments, train, processes, per_device_batch_size(arguments, "train"))
        counted = _count_formed(train, epochs)
    seconds = time.perf_counter() - started
    for sampler in epochs.samplers:
        if isinstance(sampler.declared, DeclaredBatches):
            sampler.declared.require_repeatable()
    for item in items:
        if item.split != "train":  # each is evaluated by itself
            own = [load_sampler_inputs(arguments, item)]
            size = per_device_batch_size(arguments, item.split)
            counted |= _count_formed(own, build_epochs(arguments, own, processes, size))
    return FormedBatches(
        datasets=[counted.get((item.split, item.name), item) for item in datasets],
        train=train,
        epochs=epochs,
        seconds=seconds,
    )


def _form_on_nodes(
    arguments: Arguments, items: Sequence[PlannedDataset], processes: int, shards: "Mapping[str, ShardedRows]"
) -> "tuple[list[SamplerInputs], Epochs, dict[tuple[str, str], PlannedDataset]]":
    """Form the batches of each node of its own rows; all take as many steps as the node with the fewest.

    Returns:
        Inputs and batches of the first node, and all train datasets with the batches of all nodes, by split and name.
    """
    nodes = len(items[0].node_rows)
    size = per_device_batch_size(arguments, "train")
    shares = {name: rows.shares(nodes) for name, rows in shards.items()}
    inputs = [
        [_read_facts(arguments, replace(item, batches=None).on_node(node), shares[item.name][node]) for item in items]
        for node in range(nodes)
    ]
    epochs = [build_epochs(arguments, each, processes, size) for each in inputs]
    least = tuple(min(each.steps_alone(number) for each in epochs) for number in range(len(items)))
    epochs = [replace(each, most_steps=least) for each in epochs]
    counted = [_count_formed(one, each) for one, each in zip(inputs, epochs, strict=True)]
    return inputs[0], epochs[0], {key: _on_all_nodes(items, [each[key] for each in counted]) for key in counted[0]}


def _on_all_nodes(items: Sequence[PlannedDataset], counted: Sequence[PlannedDataset]) -> PlannedDataset:
    """Return a dataset with the batches of all nodes, from what each counts of its share."""
    whole = next(item for item in items if item.name == counted[0].name)
    sizes = [item.largest_batch for item in counted if item.largest_batch is not None]
    return replace(
        whole,
        batches=sum(item.batches or 0 for item in counted),
        rows_unreached=sum(item.rows_unreached for item in counted),
        largest_batch=min(sizes, default=None),
    )


def _count_formed(inputs: Sequence[SamplerInputs], epochs: "Epochs") -> dict[tuple[str, str], PlannedDataset]:
    """Return datasets that share an epoch with the batches that each contributes, by split and name."""
    return {
        (one.item.split, one.item.name): replace(
            one.item,
            batches=epochs.steps_of[number] * epochs.world_size,
            rows_unreached=one.item.rows - _count_rows(epochs, number),
            largest_batch=_largest_batch(one, epochs, number),
        )
        for number, one in enumerate(inputs)
    }


def _count_rows(epochs: "Epochs", number: int) -> int:
    """Return the rows of a dataset that one epoch trains on."""
    batches = epochs.samplers[number].batches(0)
    taken = epochs.steps_of[number] * epochs.batches_per_step(epochs.samplers[number])
    rows = batches.rows[: batches.starts[min(taken, len(batches))]]
    return len(rows) if epochs.samplers[number].declared is None else len(set(rows.tolist()))  # it may repeat rows


def _largest_batch(inputs: SamplerInputs, epochs: "Epochs", number: int) -> int | None:
    """Return the largest batch size of a rank with which there is a step, or 0 where no size gives one.

    None for a dataset that has a step as it is, and for one whose texts and labels do not matter.
    """
    texts, labels, world_size = inputs.texts, inputs.labels, epochs.world_size
    if epochs.steps_alone(number) or (texts is None and labels is None):
        return None
    if labels is not None:
        half = binary_search(1, labels.usable // 2, lambda half: labels.full_batches(2 * half) >= world_size)
        return 2 * half if half > 1 else 0
    # No batch has more distinct texts than any one column.
    columns = texts.columns if texts is not None else ()
    most = min([inputs.item.rows, *(len(column.lengths) + len(column.free) for column in columns)]) // world_size
    sampler = epochs.samplers[number]
    return binary_search(0, most, lambda size: replace(sampler, size=size * world_size).count > 0)


def _read_facts(arguments: Arguments, item: PlannedDataset, share: "ShardedRows") -> SamplerInputs:
    """Return what the batches of one node depend on, from the facts of its files: the same as from its rows.

    Args:
        arguments: the effective arguments.
        item: the dataset with the rows of the node.
        share: its files.
    """
    from embedstep.sampling.texts import group_texts

    return sampler_inputs(
        arguments,
        item,
        texts=lambda: group_texts(share.text_ids(item.inputs)),
        labels=lambda: share.integers("label"),
        lengths=lambda: share.integers(LENGTH) if item.has_lengths else share.text_bytes(item.inputs),
    )
