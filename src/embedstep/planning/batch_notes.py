"""What a plan says of the batches that embedstep forms: rows left out and why, padding, and a preview."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from embedstep.data.ids import read_rows, shared_text
from embedstep.errors import InvalidRequestError
from embedstep.planning.batches import (
    SamplerInputs,
    build_epochs,
    formed_datasets,
    forms_batches,
    load_sampler_inputs,
    per_device_batch_size,
)
from embedstep.planning.formed_batches import FormedBatches
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.planning.transforms import drawer_of, reader_of
from embedstep.request.arguments.ledger import effective_arguments
from embedstep.request.arguments.schema import Arguments
from embedstep.request.schema import TrainRequest
from embedstep.runtime.text import shorten

if TYPE_CHECKING:
    from embedstep.sampling.epochs import Sampler

_SHOWN_TEXTS = 3
_SHOWN_LABELS = 5
_SHOWN_CHARACTERS = 40


def explain_batches(arguments: Arguments, formed: FormedBatches) -> Iterator[str]:
    """Yield what the batches leave out and why, a sentence each.

    Args:
        arguments: the effective arguments.
        formed: the batches.
    """
    if formed.epochs is None:
        return
    if arguments.train_sampling_strategy == "group_by_length":
        yield from _explain_lengths(arguments, formed.datasets)
    for inputs, sampler in zip(formed.train, formed.epochs.samplers, strict=True):
        place = f"{inputs.item.place}{' on node 0' * bool(inputs.item.node_rows)}"
        yield from (f"{place}: {note}" for note in _explain_sampler(inputs, sampler))
    for item in formed_datasets(arguments, formed.datasets):
        if item.split != "train" and item.rows_unreached:
            rows = f"{item.rows_unreached:,} of {item.rows:,} rows go into no batch of {arguments.batch_sampler}"
            yield f"{item.place}: {rows} and are not evaluated"


def _explain_lengths(arguments: Arguments, datasets: Sequence[PlannedDataset]) -> Iterator[str]:
    if any(item.has_lengths for item in datasets if item.split == "train"):
        yield f"rows are grouped by the column {arguments.length_column_name}"


def _explain_sampler(inputs: SamplerInputs, sampler: "Sampler") -> Iterator[str]:
    if inputs.labels is not None:
        unpaired = inputs.item.rows - inputs.labels.usable
        yield f"labels in the batches (in the data): {_label_shares(inputs, sampler.batches(0))}"
        if unpaired:
            rows = f"{unpaired:,} rows are" if unpaired > 1 else "1 row is"
            yield f"{rows} never trained on, because no other row has the same label"
    if inputs.lengths is not None and inputs.item.transform is None:
        grouped = _padding_share(sampler.batches(0), inputs.lengths)
        mixed = _padding_share(replace(sampler, lengths=None).batches(0), inputs.lengths)
        yield f"padding is {grouped:.0%} of a batch; without group_by_length it would be {mixed:.0%}"
    if inputs.texts is not None and inputs.texts.columns:
        yield from _explain_repeated_texts(inputs, sampler)


def _explain_repeated_texts(inputs: SamplerInputs, sampler: "Sampler") -> Iterator[str]:
    """A text that repeats more often than there are full batches makes rows wait, or batches small."""
    import numpy as np

    assert inputs.texts is not None
    full = int((np.diff(sampler.batches(0).starts) == sampler.size).sum())
    line = inputs.texts.columns[inputs.texts.most_constrained(sampler.size)]
    waiting = int(np.maximum(line.lengths - full, 0).sum())
    if waiting and sampler.drop_last:
        yield (
            f"{waiting:,} rows wait for a later epoch in each, because their text occurs in more rows than there are "
            f"full batches ({full:,}): {_most_frequent_texts(inputs, line, full)}"
        )
    small = sampler.count - full
    if small > 1:
        yield (
            f"{small:,} of {sampler.count:,} batches are smaller than {sampler.size}; "
            "write dataloader_drop_last: true to leave them out"
        )


def _padding_share(batches: Any, lengths: Any) -> float:
    """Return the share of padding in the batches, as if each row were one text of its length."""
    import numpy as np

    if not len(batches):
        return 0.0
    taken = lengths[batches.rows]
    sizes = np.diff(batches.starts)
    padded = int((np.maximum.reduceat(taken, batches.starts[:-1]) * sizes).sum())
    return 1 - int(taken.sum()) / padded if padded else 0.0


def _label_shares(inputs: SamplerInputs, batches: Any) -> str:
    """Return `0 50.0% (46.2%), ...`: the share of each frequent label in the batches, and in the data."""
    import numpy as np

    labels = inputs.label_values
    values, counts = np.unique(labels, return_counts=True)
    taken = labels[batches.rows]
    shown = []
    for place in np.argsort(-counts, kind="stable")[:_SHOWN_LABELS]:
        share = (taken == values[place]).mean() if len(taken) else 0.0
        shown.append(f"{values[place]} {share:.1%} ({counts[place] / len(labels):.1%})")
    more = len(values) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _most_frequent_texts(inputs: SamplerInputs, line: Any, full: int) -> str:
    import numpy as np

    shown = []
    for group in np.argsort(-line.lengths, kind="stable")[:_SHOWN_TEXTS]:
        if line.lengths[group] <= max(full, 1):
            break
        if inputs.item.node_rows:  # its texts are in files that nobody has read
            shown.append(f"one in {line.lengths[group]:,}")
            continue
        first = line.starts[group]
        text = shared_text(inputs.item.file, inputs.item.inputs, line.rows[first], line.rows[first + 1])
        shown.append(f"{shorten(text, _SHOWN_CHARACTERS)!r} in {line.lengths[group]:,}")
    return ", ".join(shown)


def require_preview(request: TrainRequest) -> None:
    """Check that the batches of a request can be shown before it trains.

    Raises:
        InvalidRequestError: sentence-transformers draws them, or the plan reads no texts.
    """
    if not forms_batches(request.arguments):
        message = "is batch_sampler, whose batches sentence-transformers draws while it trains; there is no preview"
        raise InvalidRequestError.at("arguments.batch_sampler", message)
    if request.data.read == "per_node":
        raise InvalidRequestError.at("data.read", "is per_node, and a plan reads no texts; there is no preview")


def with_preview(request: TrainRequest, plan: Plan, steps: int) -> Plan:
    """Return the plan with the first steps of the first epoch: dataset and texts, rank by rank.

    Args:
        request: the request; its batches are formed by embedstep.
        plan: its plan, whose prepared rows are still in their files.
        steps: how many steps.
    """
    arguments = effective_arguments(request.arguments, plan.ledger)
    inputs = [load_sampler_inputs(arguments, item) for item in plan.datasets if item.split == "train"]
    epochs = build_epochs(arguments, inputs, plan.world_size, per_device_batch_size(arguments, "train"))
    preview = []
    for number, step in enumerate(islice(epochs.walk(0), steps)):
        item = inputs[step.dataset].item
        ranks = [
            _previewed(request, item, (step.rows_of(rank) - step.offset).tolist()) for rank in range(plan.world_size)
        ]
        preview.append({"step": number + 1, "dataset": item.name, "ranks": ranks})
    return replace(plan, preview=tuple(preview))


def _previewed(request: TrainRequest, item: PlannedDataset, rows: list[int]) -> list[dict[str, Any]]:
    """Return rows of a dataset as they are trained on in the first epoch."""
    drawer = drawer_of(request, item)
    found = read_rows(item.file, rows)
    if drawer is None:
        return found
    return [row | drawer.draw(row, number, 0, reader_of(item)) for number, row in zip(rows, found, strict=True)]
