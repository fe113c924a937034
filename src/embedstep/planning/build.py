"""Working out the training plan before a GPU is held and before torch is imported.

The arithmetic is that of the installed trainer: a test trains for real and compares the steps, evaluations,
checkpoints and metric names that came with the ones that were planned.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedstep.data.facts import DatasetFacts
from embedstep.data.ids import integers_in
from embedstep.data.roles import LENGTH
from embedstep.data.tokenizer import NOT_HERE, TokenMaker
from embedstep.data.tokens import TokenIds
from embedstep.planning.batches import (
    SamplerInputs,
    epochs_of,
    forms_batches,
    largest_size,
    lengths_of,
    notes_of,
    position_of,
    previewed,
    rows_of_an_epoch,
    sampler_inputs,
)
from embedstep.planning.evaluators import metric_names
from embedstep.planning.losses import has_own_layers, negatives_per_anchor
from embedstep.planning.plan import DatasetPlan, Plan
from embedstep.planning.steps import (
    checkpoint_steps,
    count_batches,
    count_train_steps,
    count_warmup_steps,
    evaluation_steps,
    never_best,
)
from embedstep.request.arguments.ledger import effective_arguments, ledger, with_warmup_steps
from embedstep.request.arguments.schema import Arguments
from embedstep.request.fingerprint import request_fingerprint, training_fingerprint
from embedstep.request.schema import TrainRequest

if TYPE_CHECKING:
    from embedstep.sampling.epochs import Epochs

_SHOWN_LABELS = 20
_ALWAYS_THERE = ("runtime", "samples_per_second", "steps_per_second")


def build_plan(
    request: TrainRequest,
    facts: Sequence[DatasetFacts],
    *,
    gpus: int,
    processes: int,
    similarity: str = "cosine",
    is_prepared: bool = False,
    tokens: TokenMaker | str = NOT_HERE,
) -> Plan:
    """Work out what the run will do.

    Args:
        request: a request that passed the rules.
        facts: what is known of each dataset.
        gpus: visible GPUs.
        processes: processes that train together.
        similarity: the model's own similarity function, by which evaluators name their metrics.
        is_prepared: the rows of `facts` lie in files, so that batches can be counted that depend on texts and labels.
        tokens: makes the token ids of texts, or why they cannot be made before the training.
    """
    entries = ledger(request.arguments, gpus=gpus, world_size=processes, has_evaluation=bool(request.data.eval))
    arguments = effective_arguments(request.arguments, entries)
    datasets = [_dataset_plan(request, arguments, item, processes) for item in facts]
    datasets = _cut_to_steps(_cut_to_shortest(arguments, datasets), arguments, processes)
    notes = [*planned_notes(request, processes), *_repeated(facts)]
    formed = _Formed()
    if is_prepared and forms_batches(arguments):
        formed = _formed(arguments, datasets, processes, tokens)
        datasets = [formed.datasets.get((item.split, item.name), item) for item in datasets]
        notes += formed.notes
    train = [item for item in datasets if item.split == "train"]
    shared = batches_of_a_step(arguments, processes)
    batches = sum(item.batches or 0 for item in train) // shared
    steps_per_epoch = math.ceil(batches / arguments.gradient_accumulation_steps)
    train_steps = count_train_steps(arguments, steps_per_epoch) if request.trains else 0
    if isinstance(tokens, str) and tokens != NOT_HERE and train_steps > steps_per_epoch:
        notes.append(f"texts are tokenized again in each epoch: {tokens}")
    warmup_steps = count_warmup_steps(arguments, train_steps)
    checkpoints = checkpoint_steps(arguments, train_steps, steps_per_epoch)
    return Plan(
        request_fingerprint=request_fingerprint(request),
        training_fingerprint=training_fingerprint(
            request, {f"{item.split}.{item.name}": item.fingerprint for item in facts}, processes
        ),
        world_size=processes,
        gpus=gpus,
        global_batch_size=shared * arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps,
        steps_per_epoch=steps_per_epoch,
        train_steps=train_steps,
        epochs=round(train_steps / steps_per_epoch, 4) if steps_per_epoch else 0.0,
        warmup_steps=warmup_steps,
        evaluations=evaluation_steps(arguments, train_steps, steps_per_epoch),
        checkpoints=checkpoints,
        metrics=planned_metrics(request, similarity),
        datasets=tuple(datasets),
        ledger=with_warmup_steps(entries, warmup_steps),
        notes=(*notes, *never_best(arguments, train_steps, checkpoints)),
        sampling_seconds=formed.seconds,
        position=position_of(arguments, {item.name: item.fingerprint for item in train}, formed.lengths, processes),
    )


def _dataset_plan(request: TrainRequest, arguments: Arguments, facts: DatasetFacts, processes: int) -> DatasetPlan:
    loss = request.loss_of(facts.name) if facts.split == "train" or facts.name in request.data.train else None
    train = facts.split == "train"
    batch = batch_size_of(arguments, facts.split)
    batches = count_batches(facts.rows, batch, drop_last=arguments.dataloader_drop_last) if loss else None
    rows_of_a_process = batch * batches_of_a_step(arguments, processes) // processes
    seen = facts.rows if batches is None else min(facts.rows, batches * batch)
    return DatasetPlan(
        split=facts.split,
        name=facts.name,
        rows=facts.rows,
        dropped_rows=facts.dropped_rows,
        labels=_most_frequent(facts.label_values),
        duplicate_rows=facts.duplicate_rows,
        overlapping_rows=facts.overlapping_rows,
        columns=tuple(facts.columns),
        has_lengths=facts.has_lengths,
        dropped_columns=facts.dropped_columns,
        loss=loss.kind if loss else None,
        batches=batches,
        rows_unseen=facts.rows - seen,
        largest_batch=None,
        negatives_per_anchor=negatives_per_anchor(loss, facts.inputs, rows_of_a_process, processes)
        if loss and train
        else None,
        fingerprint=facts.fingerprint,
        path=facts.path,
    )


def _most_frequent(labels: Mapping[int, int]) -> dict[str, int]:
    """Return the rows of the most frequent labels, and those of all others together."""
    ordered = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    found = {str(label): rows for label, rows in ordered[:_SHOWN_LABELS]}
    others = sum(rows for _, rows in ordered[_SHOWN_LABELS:])
    return {**found, "others": others} if others else found


def _repeated(facts: Sequence[DatasetFacts]) -> Iterator[str]:
    """Tell which rows stand twice: in a dataset, and where it hurts, in the training data and in what is held out."""
    for item in facts:
        where = f"data.{item.split}.{item.name}"
        if item.duplicate_rows:
            yield f"{where}: {item.duplicate_rows:,} of {item.rows:,} rows repeat an earlier one"
        if item.overlapping_rows:
            rows = ", ".join(map(str, item.first_overlapping))
            shared = f"{item.overlapping_rows:,} of {item.rows:,} anchors are in the training data too (row {rows})"
            yield f"{where}: {shared}, and flatter the model; data.max_overlap refuses that"


@dataclass(kw_only=True)
class _Formed:
    """What was found out by forming the batches of the first epoch.

    Attributes:
        datasets: the plans of the datasets whose batches were formed, by split and name, with what came of it.
        notes: what the batches leave out and why, a sentence each.
        seconds: how long those of the train datasets took.
        lengths: digest of the lengths of rows that they were grouped by, by train dataset.
    """

    datasets: dict[tuple[str, str], DatasetPlan] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    lengths: dict[str, str] = field(default_factory=dict)


def _formed(arguments: Arguments, datasets: Sequence[DatasetPlan], processes: int, tokens: TokenMaker | str) -> _Formed:
    """Count the batches that are formed here, exactly; tell what they leave out and how long an epoch's take."""
    items = formed_datasets(arguments, datasets)
    train = [item for item in items if item.split == "train"]
    materials = [material_of_plan(arguments, item, tokens) for item in train]
    started = time.perf_counter()
    epochs = epochs_of(arguments, materials, processes, batch_size_of(arguments, "train"))
    found = _Formed(datasets=_counted(train, materials, epochs), seconds=time.perf_counter() - started)
    found.lengths = lengths_of(dict(zip((item.name for item in train), materials, strict=True)))
    if found.lengths:
        found.notes += _where_lengths_are_from(arguments, train, tokens)
    for number, (item, material) in enumerate(zip(train, materials, strict=True)):
        found.notes += notes_of(item.name, material, epochs, number)
    for item in items:
        if item.split == "train":
            continue
        # Each is evaluated by itself.
        material = material_of_plan(arguments, item)
        epochs = epochs_of(arguments, [material], processes, batch_size_of(arguments, item.split))
        found.datasets |= (counted := _counted([item], [material], epochs))
        if left := counted[item.split, item.name].rows_unseen:
            rows = f"{left:,} of {item.rows:,} rows go into no batch of {arguments.batch_sampler}"
            found.notes.append(f"data.{item.split}.{item.name}: {rows} and are not evaluated")
    return found


def _counted(
    items: Sequence[DatasetPlan], materials: Sequence[SamplerInputs], epochs: "Epochs"
) -> dict[tuple[str, str], DatasetPlan]:
    """Return the datasets with the batches that they give together, by split and name."""
    return {
        (item.split, item.name): replace(
            item,
            batches=epochs.steps_of[number] * epochs.world_size,
            rows_unseen=item.rows - rows_of_an_epoch(epochs, number),
            largest_batch=_largest_batch(material, epochs, number, epochs.world_size),
        )
        for number, (item, material) in enumerate(zip(items, materials, strict=True))
    }


def _where_lengths_are_from(
    arguments: Arguments, train: Sequence[DatasetPlan], tokens: TokenMaker | str
) -> Iterator[str]:
    """Say what rows are grouped by where that is not the tokens of their texts."""
    if any(item.has_lengths for item in train):
        yield f"rows are grouped by the column {arguments.length_column_name}"
    elif isinstance(tokens, str):
        yield f"lengths are counted in characters: {tokens}"


def formed_datasets(arguments: Arguments, datasets: Sequence[DatasetPlan]) -> list[DatasetPlan]:
    """Return the datasets whose batches are formed by embedstep, and not by sentence-transformers.

    A strategy is for the training; what `batch_sampler` promises, evaluations have too.
    """
    if not forms_batches(arguments):
        return []
    is_evaluated_so = arguments.batch_sampler != "batch_sampler"
    return [item for item in datasets if item.split == "train" or (item.loss is not None and is_evaluated_so)]


def batch_size_of(arguments: Arguments, split: str) -> int:
    """Return the rows of a process in one step."""
    return arguments.per_device_train_batch_size if split == "train" else arguments.per_device_eval_batch_size


def _largest_batch(material: SamplerInputs, epochs: "Epochs", number: int, processes: int) -> int | None:
    """Return the largest batch that would do, for a dataset that gives none by its texts or labels."""
    if epochs.steps_by_itself(number) or (material.texts is None and material.labels is None):
        return None
    return largest_size(material, epochs.samplers[number], processes)


def with_preview(request: TrainRequest, plan: Plan, steps: int) -> Plan:
    """Return the plan with its first steps, batch by batch; the prepared rows must still lie in their files."""
    arguments = effective_arguments(request.arguments, plan.ledger)
    train = [item for item in plan.datasets if item.split == "train"]
    materials = [material_of_plan(arguments, item) for item in train]
    found = previewed(arguments, [item.name for item in train], materials, plan.world_size, steps)
    return replace(plan, preview=found)


def material_of_plan(arguments: Arguments, item: DatasetPlan, tokens: TokenMaker | str = NOT_HERE) -> SamplerInputs:
    """Return what the batches of a planned dataset are formed by."""
    if item.split != "train":
        arguments = arguments.model_copy(update={"train_sampling_strategy": "random"})
    path = Path(str(item.path))
    if item.has_lengths:
        return sampler_inputs(arguments, item.rows, item.inputs, path, lambda: integers_in(path, LENGTH))
    count = None if isinstance(tokens, str) else lambda: sum(ids.lengths for ids in token_ids_of(item, tokens))
    return sampler_inputs(arguments, item.rows, item.inputs, path, count)


def token_ids_of(item: DatasetPlan, tokens: TokenMaker) -> list[TokenIds]:
    """Return the token ids of each column of texts of a planned dataset, made now or before."""
    return [tokens.ids(item.name, Path(str(item.path)), item.fingerprint, column) for column in item.inputs]


def _cut_to_shortest(arguments: Arguments, datasets: Sequence[DatasetPlan]) -> list[DatasetPlan]:
    """Let round robin end with the dataset that has the fewest batches, as the installed sampler does."""
    train = [item for item in datasets if item.split == "train"]
    if arguments.multi_dataset_batch_sampler != "round_robin" or len(train) < 2:
        return list(datasets)
    shortest = min(item.batches or 0 for item in train)
    size = arguments.per_device_train_batch_size
    return [replace_batches(item, shortest, size) if item.split == "train" else item for item in datasets]


def batches_of_a_step(arguments: Arguments, processes: int) -> int:
    """Return the batches that one step takes: one of each process, or a single one that they split."""
    return 1 if (arguments.accelerator_config or {}).get("split_batches") else processes


def _cut_to_steps(datasets: Sequence[DatasetPlan], arguments: Arguments, processes: int) -> list[DatasetPlan]:
    """Leave out the last batches that are too few for one each; of several datasets nobody can say whose they are."""
    shared = batches_of_a_step(arguments, processes)
    if sum(item.split == "train" for item in datasets) > 1:
        return list(datasets)
    return [
        replace_batches(item, (item.batches or 0) // shared * shared, arguments.per_device_train_batch_size)
        if item.split == "train" and (item.batches or 0) > shared
        else item
        for item in datasets
    ]


def replace_batches(item: DatasetPlan, batches: int, size: int) -> DatasetPlan:
    """Return `item` with another number of batches of `size` rows and the rows that leaves unseen."""
    return replace(item, batches=batches, rows_unseen=max(item.rows - batches * size, 0))


def planned_metrics(request: TrainRequest, similarity: str) -> tuple[str, ...]:
    """Return the names of the evaluation metrics, in the order in which they are first logged."""
    with_loss = [name for name in request.data.eval if evaluates_loss(request, name)]
    names = []
    for name in with_loss:
        prefix = f"eval_{name}" if len(request.data.train) > 1 else "eval"
        names += [f"{prefix}_{metric}" for metric in ("loss", *_ALWAYS_THERE)]
    if request.evaluators and not with_loss:
        names += [f"eval_{metric}" for metric in _ALWAYS_THERE]
    names += [name for evaluator in request.evaluators for name in metric_names(evaluator, similarity)]
    names += ["eval_sequential_score"] if len(request.evaluators) > 1 else []
    for name in request.data.test:
        names += [f"{test_prefix(request, name)}_{metric}" for metric in ("loss", *_ALWAYS_THERE)]
    return tuple(names)


def test_prefix(request: TrainRequest, name: str) -> str:
    """Return what the metrics of a test dataset begin with."""
    return f"test_{name}" if len(request.data.train) > 1 else "test"


def planned_notes(request: TrainRequest, processes: int) -> tuple[str, ...]:
    """Return what the installed trainer does with this request that its author may not expect."""
    apart = f", and each of the {processes} processes trains its own" if processes > 1 else ""
    with_layers = dict.fromkeys(loss.kind for loss in request.loss.values() if has_own_layers(loss))
    return tuple(
        f"loss {kind} trains layers of its own: they are not saved with the model{apart}" for kind in with_layers
    )


def evaluates_loss(request: TrainRequest, name: str) -> bool:
    """Whether the eval dataset `name` gets an evaluation loss: its name is that of a train dataset."""
    return name in request.data.train
