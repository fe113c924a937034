"""The making of a plan: from a request and the facts of its data to datasets, batches and train steps.

It needs no GPU and no torch. The arithmetic is that of the installed trainer: a test trains for real and compares the
steps, evaluations, checkpoints and metric names of the run with the planned ones.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace

from embedstep.data.facts import DatasetFacts, DatasetRecord
from embedstep.data.model_facts import ModelFacts
from embedstep.planning.batch_notes import explain_batches
from embedstep.planning.batches import (
    batches_per_step,
    count_batches,
    count_default_batches,
    describe_order,
    per_device_batch_size,
)
from embedstep.planning.extensions import code_of
from embedstep.planning.formed_batches import FormedBatches, form_batches
from embedstep.planning.losses import negatives_per_anchor, trains_own_layers
from embedstep.planning.metrics import planned_metrics
from embedstep.planning.model_notes import explain_model, plan_model
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.planning.prompt_checks import explain_prompts
from embedstep.planning.prompts import plan_prompts, with_columns
from embedstep.planning.row_notes import explain_rows
from embedstep.planning.steps import (
    checkpoint_steps,
    count_train_steps,
    count_warmup_steps,
    due_evaluations,
    evaluation_steps,
    never_best,
)
from embedstep.planning.transforms import (
    drawer_of,
    drawn_facts,
    explain_transforms,
    reader_of,
    section_of,
    transform_digests,
)
from embedstep.request.arguments.ledger import effective_arguments, ledger, with_warmup_steps
from embedstep.request.arguments.schema import Arguments
from embedstep.request.fingerprint import request_fingerprint, training_fingerprint
from embedstep.request.schema import TrainRequest
from embedstep.runtime.digests import sha256_json
from embedstep.runtime.text import count

_SHOWN_LABELS = 20
_RATE, _STATIC_RATE = 1e-2, 1.0
"""Learning rates above these are likely mistakes: sbert.net trains transformers with 2e-5, static ones with 0.2."""


def build_plan(
    request: TrainRequest,
    facts: Sequence[DatasetFacts],
    *,
    gpus: int,
    processes: int,
    model: ModelFacts | None = None,
    is_prepared: bool = False,
) -> Plan:
    """Return what the run will do: datasets, steps, evaluations, checkpoints and metrics.

    Args:
        request: a request that passed the rules.
        facts: what is known of each dataset.
        gpus: visible GPUs.
        processes: processes that train together.
        model: what the model's files say; None where they are not on this machine.
        is_prepared: the rows of `facts` are in files, so that batches can be counted that depend on texts and labels.
    """
    # Counts and steps follow from what the trainer will get, not from what was written.
    entries = ledger(request.arguments, gpus=gpus, world_size=processes, has_evaluation=request.has_evaluation)
    prompts = plan_prompts(request, model)
    entries = with_columns(entries, request, prompts)
    arguments = effective_arguments(request.arguments, entries)
    datasets = [_plan_dataset(request, arguments, item, processes) for item in facts]
    for item in datasets:
        if is_prepared and (drawer := drawer_of(request, item)) is not None:
            drawer.require_repeatable(reader_of(item))
    datasets = count_default_batches(arguments, datasets, processes)
    shards = {item.name: item.shards for item in facts if item.shards is not None}
    formed = form_batches(arguments, datasets, processes, shards) if is_prepared else FormedBatches(datasets=datasets)
    per_step = batches_per_step(arguments, processes)
    formed = replace(formed, datasets=list(_with_formed_negatives(request, formed, processes)))
    train = [item for item in formed.datasets if item.split == "train"]
    steps_per_epoch = math.ceil(
        sum(item.batches or 0 for item in train) // per_step / arguments.gradient_accumulation_steps
    )
    train_steps = count_train_steps(arguments, steps_per_epoch) if request.trains else 0
    warmup_steps = count_warmup_steps(arguments, train_steps)
    checkpoints = checkpoint_steps(arguments, train_steps, steps_per_epoch)
    due = due_evaluations(arguments, train_steps, steps_per_epoch)
    notes = [*_note_own_layers(request, processes), *explain_rows(request, facts)]
    notes += explain_transforms(request, facts)
    notes += explain_model(request.model, model)
    notes += explain_prompts(request, model, prompts)
    notes += explain_batches(arguments, formed)
    notes += _note_large_batches(arguments, train)
    notes += _note_learning_rate(request, arguments)
    notes += _note_undrawn_datasets(train, train_steps * arguments.gradient_accumulation_steps * per_step)
    # Evaluators name their metrics by it.
    similarity = request.model.similarity_fn_name or (model.similarity if model else "cosine")
    evaluations = evaluation_steps(arguments, train_steps, steps_per_epoch)
    fingerprints = {f"{item.split}.{item.name}": _drawn_fingerprint(request, item) for item in facts}
    return Plan(
        request_fingerprint=request_fingerprint(request),
        training_fingerprint=training_fingerprint(request, fingerprints, processes, code_of(request)),
        world_size=processes,
        gpus=gpus,
        global_batch_size=per_step * arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps,
        steps_per_epoch=steps_per_epoch,
        train_steps=train_steps,
        epochs=round(train_steps / steps_per_epoch, 4) if steps_per_epoch else 0.0,
        warmup_steps=warmup_steps,
        evaluations=evaluations,
        checkpoints=checkpoints,
        metrics=planned_metrics(request, similarity, evaluates=bool(evaluations)),
        model=plan_model(request.model, model, arguments.optim, prompts),
        prompts=prompts,
        datasets=tuple(formed.datasets),
        ledger=with_warmup_steps(entries, warmup_steps),
        notes=(*notes, *never_best(arguments, train_steps, checkpoints, due)),
        sampling_seconds=formed.seconds,
        position=describe_order(arguments, train, processes, transform_digests(request, "train")),
    )


def _plan_dataset(request: TrainRequest, arguments: Arguments, facts: DatasetFacts, processes: int) -> PlannedDataset:
    """Return what a dataset contributes where sentence-transformers draws the batches and no other dataset matters."""
    is_train = facts.split == "train"
    loss = request.loss_of(facts.name) if is_train or facts.name in request.data.train else None
    size = per_device_batch_size(arguments, facts.split)
    batches = count_batches(facts.rows, size, drop_last=arguments.dataloader_drop_last) if loss else None
    rows_per_process = min(size * batches_per_step(arguments, processes) // processes, facts.rows)
    given = drawn_facts(request, facts)
    negatives = negatives_per_anchor(loss, given.inputs, rows_per_process, processes) if loss and is_train else None
    transform = section_of(request, facts).transform
    known = {each.name: getattr(facts, each.name) for each in fields(DatasetRecord)}
    return PlannedDataset(
        **{**known, "columns": tuple(facts.columns)},
        transform=transform.kind if transform else None,
        given=tuple(given.columns) if transform else (),
        labels=_most_frequent(given.label_values),
        loss=loss.kind if loss else None,
        batches=batches,
        rows_unreached=0 if batches is None else max(facts.rows - batches * size, 0),
        negatives_per_anchor=negatives,
    )


def _with_formed_negatives(request: TrainRequest, formed: FormedBatches, processes: int) -> Iterator[PlannedDataset]:
    """Count the negatives of batches that are smaller than asked for, as where few texts are distinct."""
    largest: dict[str, int] = {}
    if formed.epochs is not None:
        for inputs, sampler in zip(formed.train, formed.epochs.samplers, strict=True):
            rows = sampler.batches(0).largest
            largest[inputs.item.name] = rows // formed.epochs.world_size if sampler.labels is None else rows
    for item in formed.datasets:
        loss = request.loss_of(item.name)
        rows = largest.get(item.name, 0)
        if item.split == "train" and loss is not None and rows:
            yield replace(item, negatives_per_anchor=negatives_per_anchor(loss, item.loss_inputs, rows, processes))
        else:
            yield item


def _drawn_fingerprint(request: TrainRequest, facts: DatasetFacts) -> str:
    """Return the digest of a dataset's rows, and of what is drawn from them or divided among nodes."""
    digest = transform_digests(request, facts.split).get(facts.name)
    if facts.node_rows:
        return sha256_json([facts.fingerprint, "nodes", len(facts.node_rows)])
    return facts.fingerprint if digest is None else sha256_json([facts.fingerprint, digest])


def _most_frequent(labels: Mapping[int, int]) -> dict[str, int]:
    """Return the rows of the most frequent labels, and those of all others together."""
    ordered = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    found = {str(label): rows for label, rows in ordered[:_SHOWN_LABELS]}
    others = sum(rows for _, rows in ordered[_SHOWN_LABELS:])
    return {**found, "others": others} if others else found


def _note_large_batches(arguments: Arguments, train: Sequence[PlannedDataset]) -> Iterator[str]:
    """A batch that all rows do not fill is as small as they are, whatever was asked for."""
    size = arguments.per_device_train_batch_size
    for item in train:
        if item.batches and item.rows < size:
            yield f"{item.place}: has {count(item.rows, 'row')}, and per_device_train_batch_size is {size:,}"


def _note_learning_rate(request: TrainRequest, arguments: Arguments) -> Iterator[str]:
    """A slip of the sign in 2e-5 ruins a model without an error."""
    is_static = request.model.static is not None
    most, kind = (_STATIC_RATE, "a static embedding") if is_static else (_RATE, "a transformer")
    if request.trains and arguments.learning_rate > most:
        yield f"learning_rate is {arguments.learning_rate:g}, and for {kind} more than {most:g} is unusual"


def _note_undrawn_datasets(train: Sequence[PlannedDataset], batches: int) -> Iterator[str]:
    """With fewer batches than datasets, some datasets have none."""
    if 0 < batches < len(train):
        without = f"at least {len(train) - batches:,} of {len(train):,} datasets are not trained on"
        yield f"the training takes {count(batches, 'batch')}, so {without}; raise max_steps"


def _note_own_layers(request: TrainRequest, processes: int) -> Iterator[str]:
    """A loss may train layers that the library neither saves nor averages between processes."""
    copies = f", and each of the {processes} processes trains its own" if processes > 1 else ""
    for kind in dict.fromkeys(loss.kind for loss in request.loss.values() if trains_own_layers(loss)):
        yield f"loss {kind} trains layers of its own: they are not saved with the model{copies}"
