"""Builds the trainer of a plan from its model, data, losses, batches and evaluators."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from transformers import PrinterCallback

from embedstep.errors import InvalidRequestError, Problem
from embedstep.output.checkpoints import write_manifest
from embedstep.planning.batches import build_epochs, formed_datasets, load_sampler_inputs
from embedstep.planning.metrics import evaluates_loss
from embedstep.planning.plan import Plan, PlannedDataset
from embedstep.planning.transforms import drawer_of
from embedstep.request.arguments.ledger import effective_arguments
from embedstep.request.schema import Loss, TrainRequest
from embedstep.request.stored import request_to_json
from embedstep.sampling.epochs import Epochs
from embedstep.worker.card import write_card
from embedstep.worker.prompts import prompts_of
from embedstep.worker.trainer.before_after import RunEvaluator, WeightsHaveChanged
from embedstep.worker.trainer.evaluators import build_evaluator, read_corpus
from embedstep.worker.trainer.loading import Tokens
from embedstep.worker.trainer.losses import build_loss, require_matches
from embedstep.worker.trainer.numerics import NumericsMonitor
from embedstep.worker.trainer.recording import Recorder
from embedstep.worker.trainer.stopping import StopController
from embedstep.worker.trainer.tokens import token_ids, tokenizing_of
from embedstep.worker.trainer.trainer import StepTrainer


def build_trainer(
    request: TrainRequest,
    plan: Plan,
    model: SentenceTransformer,
    arguments: SentenceTransformerTrainingArguments,
    recorder: Recorder | None,
    stopping: StopController,
    monitor: NumericsMonitor,
) -> StepTrainer:
    """Build the trainer.

    Raises:
        InvalidRequestError: the trainer refuses a combination.
    """
    train_sets = {item.name: rows_of(item) for item in plan.datasets if item.split == "train"}
    eval_sets = {item.name: rows_of(item) for item in plan.datasets if item.split == "eval"}
    smoothing = request.arguments.label_smoothing_factor
    losses = {name: build_loss(_loss_of(request, name), model, label_smoothing=smoothing) for name in train_sets}
    with_loss = {name: rows for name, rows in eval_sets.items() if evaluates_loss(request, name)}
    is_single = len(train_sets) == 1
    require_matches(request.arguments.learning_rate_mapping, losses)
    # The card of the library has training rows in it, and finding examples for it takes time.
    model.model_card_data.generate_widget_examples = False
    model._create_model_card = partial(_write_card, request, plan, model)
    evaluator = _evaluator(request, plan, model, eval_sets, losses)
    changed = WeightsHaveChanged(evaluator) if evaluator else None
    try:
        trainer = StepTrainer(
            stopping=stopping,
            monitor=monitor,
            save_safetensors=request.arguments.save_safetensors,
            write_manifest=partial(
                write_manifest, trained_from=plan.trained_from, position=plan.position, request=request_to_json(request)
            ),
            epochs=_epochs(request, plan),
            tokens=_tokens(plan, model),
            drawers={str(item.path): drawer for item in plan.datasets if (drawer := drawer_of(request, item))},
            model=model,
            args=arguments,
            train_dataset=_only(train_sets) if is_single else datasets.DatasetDict(train_sets),
            eval_dataset=_only(with_loss) if is_single else datasets.DatasetDict(with_loss) or None,
            loss=_only(losses) if is_single else losses,
            evaluator=evaluator,
            # Early stopping counts before what was due after a checkpoint is done, by a later callback.
            callbacks=[callback for callback in (recorder, stopping.early, changed) if callback],
        )
    except ValueError as error:
        raise InvalidRequestError([Problem("arguments", str(error))]) from error
    # The recorder shows each log already.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _write_card(request: TrainRequest, plan: Plan, model: SentenceTransformer, path: str, *_: Any, **__: Any) -> None:
    """Write the card of a checkpoint, in place of the library's."""
    write_card(Path(path), request, plan, model)


def _epochs(request: TrainRequest, plan: Plan) -> Callable[[tuple[str, ...], int], Epochs | None]:
    """Return a function from files and batch size to their batches; None if sentence-transformers forms them."""
    arguments = effective_arguments(request.arguments, plan.ledger)
    materials = {
        str(item.path): load_sampler_inputs(arguments, item) for item in formed_datasets(arguments, plan.datasets)
    }

    @cache  # every evaluation asks for the same batches
    def epochs(files: tuple[str, ...], size: int) -> Epochs | None:
        if not materials.keys() >= set(files):
            return None
        return build_epochs(arguments, [materials[file] for file in files], plan.world_size, size)

    return epochs


def _tokens(plan: Plan, model: SentenceTransformer) -> dict[str, Tokens]:
    """Return the token ids of the datasets with a loss, by their files."""
    how = tokenizing_of(model)
    if how is None:  # it does more than call a fast tokenizer
        return {}
    return {
        str(item.path): token_ids(item, rows_of(item), model, how, plan.prompts.columns.get(item.name, {}))
        for item in plan.datasets
        if item.loss and item.transform is None
    }


def _loss_of(request: TrainRequest, name: str) -> Loss:
    loss = request.loss_of(name)
    assert loss is not None, f"the dataset {name} has no loss, which the rules should have refused"
    return loss


def rows_of(item: PlannedDataset) -> datasets.Dataset:
    """Map the prepared file into memory: all ranks of a node share its pages, and no cache is involved."""
    return datasets.Dataset.from_file(str(item.path)).select_columns(list(item.columns))


def _only(items: dict[str, Any]) -> Any:
    return next(iter(items.values()), None)


def _evaluator(
    request: TrainRequest,
    plan: Plan,
    model: SentenceTransformer,
    eval_sets: dict[str, datasets.Dataset],
    losses: dict[str, Any],
) -> RunEvaluator | None:
    trained, others = prompts_of(model), plan.prompts.evaluation
    corpora = {item.name: item.corpus for item in plan.datasets if item.split == "eval"}
    built = [
        build_evaluator(
            item,
            _columns(eval_sets[item.dataset]),
            others.get(item.dataset, trained),
            loss=losses.get(item.dataset),
            corpus=read_corpus(corpora.get(item.dataset)),
        )
        if item.dataset is not None
        else build_evaluator(item, {}, trained)
        for item in request.evaluators
    ]
    return RunEvaluator(list(zip(request.evaluators, built, strict=True))) if built else None


def _columns(rows: datasets.Dataset) -> dict[str, Any]:
    return {name: rows[name][:] for name in rows.column_names}
