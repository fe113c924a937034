"""The training on one rank, from the prepared data to the verified model. Read `train` from top to bottom."""

import logging
import time
import warnings
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import datasets
import torch
import transformers
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.evaluation import BaseEvaluator, SequentialEvaluator
from transformers import PrinterCallback, set_seed

from embedstep.arguments.ledger import trainer_arguments
from embedstep.errors import OK, CannotStartError, Problem, RefusedError, TrainingFailedError
from embedstep.output import OutputFolder
from embedstep.plan import DatasetPlan, Plan, evaluates_loss, plan_from_json
from embedstep.request.schema import Loss, TrainRequest
from embedstep.result import StepResult, read_json, write_json
from embedstep.tracking.names import flattened
from embedstep.tracking.run import NullRun, Run, open_run
from embedstep.worker.evaluators import build_evaluator
from embedstep.worker.losses import build_loss
from embedstep.worker.models import build_model
from embedstep.worker.recording import Recorder
from embedstep.worker.verification import TEXTS, embed_fixed_texts, verify
from embedstep.world import World

_LIBRARIES = ("sentence-transformers", "transformers", "accelerate", "datasets", "torch", "numpy", "embedstep")


def train(output: OutputFolder, world: World) -> None:
    """Train, save, load again and compare; the first rank also records and writes `result.json`.

    Args:
        output: the folder with `request.json`, `plan.json` and the prepared data.
        world: the place of this process.

    Raises:
        EmbedstepError: with the exit code that the process should end in.
    """
    clock = _Clock()
    request = TrainRequest.model_validate(read_json(output.request)["request"])
    plan = plan_from_json(read_json(output.plan))
    quiet_other_ranks(world)
    require_devices(plan)
    arguments = build_arguments(output, plan)
    require_world(arguments, world)
    set_seed(arguments.seed)
    model = build_model(request.model, fetched=plan.fetched_model, device=str(arguments.device))
    run = open_run(request.tracking) if world.is_first else NullRun()
    recorder = Recorder(output, plan, run)
    try:
        _announce(output, run)
        trainer = build_trainer(request, plan, model, arguments, recorder if world.is_first else None)
        _record_start(run, arguments, request, plan, output)
        clock.lap("start")
        trainer.train()
        clock.lap("train")
        require_planned_steps(plan, trainer.state.global_step, str(request.arguments.batch_sampler))
        # What follows is the first rank's alone, and may take longer than the others' patience in a collective.
        _leave_together()
        if world.is_first:
            cosine = save_verified(trainer.model, output, trust_remote_code=request.model.trust_remote_code)
            clock.lap("save")
            _record_end(run, trainer.model, output)
            clock.lap("record")
            result = _result(output, plan, run, recorder, cosine, clock)
            write_json(output.worker_result, result.to_json())
            run.log_files([output.worker_result])
            run.finish("FINISHED")
    except BaseException:
        recorder.close()
        run.finish("FAILED")
        raise


class _Clock:
    """Wall time of the parts of a run, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Give the time since the last lap to `name`."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def quiet_other_ranks(world: World) -> None:
    """Let only the first rank speak; from the others come warnings and errors."""
    # The trainer itself passes accelerate the old name; nobody who reads this warning can do anything about it.
    warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
    datasets.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if not world.is_first:
        logging.getLogger().setLevel(logging.WARNING)


def require_devices(plan: Plan) -> None:
    """Compare the GPUs that torch sees with those that the launcher gave to the processes.

    Raises:
        CannotStartError: they differ, so that processes would share one or train on the CPU.
    """
    seen, given = torch.cuda.device_count(), min(plan.gpus, plan.world_size)
    if seen != given:
        raise CannotStartError(f"{given} GPUs were given to the processes of this machine, and torch sees {seen}")


def build_arguments(output: OutputFolder, plan: Plan) -> SentenceTransformerTrainingArguments:
    """Return the trainer's arguments: exactly what the plan's ledger says.

    Raises:
        RefusedError: the installed class refuses a value or a combination.
    """
    try:
        return SentenceTransformerTrainingArguments(
            output_dir=str(output.checkpoints), **trainer_arguments(plan.ledger)
        )
    except (ValueError, TypeError, KeyError, ImportError) as error:
        raise RefusedError([Problem("arguments", str(error))]) from error


def require_world(arguments: Any, world: World) -> None:
    """Check that the processes have found each other: each alone would train a copy into the same folder.

    Raises:
        CannotStartError: the trainer's world is another than torchrun's.
    """
    if arguments.world_size != world.world_size:
        raise CannotStartError(
            f"{world.world_size} processes were started, and the trainer sees {arguments.world_size}"
        )


def build_trainer(
    request: TrainRequest,
    plan: Plan,
    model: SentenceTransformer,
    arguments: SentenceTransformerTrainingArguments,
    recorder: Recorder | None,
) -> SentenceTransformerTrainer:
    """Put model, data, losses and evaluators into sentence-transformers' own trainer.

    Raises:
        RefusedError: the trainer refuses a combination.
    """
    train_sets = {item.name: _rows(item) for item in plan.datasets if item.split == "train"}
    eval_sets = {item.name: _rows(item) for item in plan.datasets if item.split == "eval"}
    losses = {name: build_loss(_loss_of(request, name), model) for name in train_sets}
    with_loss = {name: rows for name, rows in eval_sets.items() if evaluates_loss(request, name)}
    is_single = len(train_sets) == 1
    try:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=_only(train_sets) if is_single else datasets.DatasetDict(train_sets),
            eval_dataset=_only(with_loss) if is_single else datasets.DatasetDict(with_loss) or None,
            loss=_only(losses) if is_single else losses,
            evaluator=_evaluator(request, eval_sets),
            callbacks=[recorder] if recorder else None,
        )
    except ValueError as error:
        raise RefusedError([Problem("arguments", str(error))]) from error
    trainer.remove_callback(PrinterCallback)
    return trainer


def _loss_of(request: TrainRequest, name: str) -> Loss:
    loss = request.loss_of(name)
    assert loss is not None, f"the rules let the dataset {name} pass without a loss"
    return loss


def _rows(item: DatasetPlan) -> datasets.Dataset:
    """Map the prepared file into memory: all ranks of a node share its pages, and no cache is asked."""
    return datasets.Dataset.from_file(str(item.path))


def _only(items: dict[str, Any]) -> Any:
    return next(iter(items.values()), None)


def _evaluator(request: TrainRequest, eval_sets: dict[str, datasets.Dataset]) -> BaseEvaluator | None:
    built = [build_evaluator(item, _columns(eval_sets[item.dataset])) for item in request.evaluators]
    return SequentialEvaluator(built) if len(built) > 1 else next(iter(built), None)


def _columns(rows: datasets.Dataset) -> dict[str, Any]:
    return {name: rows[name][:] for name in rows.column_names}


def require_planned_steps(plan: Plan, steps: int, batch_sampler: str) -> None:
    """Compare the steps that were made with those that were announced.

    The installed no_duplicates and group_by_label samplers announce an upper bound of their batches, so with them fewer
    steps are no failure; none at all is one.

    Raises:
        TrainingFailedError: they differ.
    """
    is_exact = batch_sampler == "batch_sampler"
    if steps != plan.train_steps and (is_exact or not 0 < steps < plan.train_steps):
        raise TrainingFailedError(f"the plan announced {plan.train_steps} train steps, and {steps} were made")


def save_verified(model: SentenceTransformer, output: OutputFolder, *, trust_remote_code: bool) -> float:
    """Save the model for the launcher to publish, load it from its files alone, and compare.

    Returns:
        The smallest cosine between the embeddings of fixed texts before and after.

    Raises:
        TrainingFailedError: the loaded model gives other embeddings.
    """
    model = model.eval()
    expected = embed_fixed_texts(model)
    model.save_pretrained(str(output.verified_model))
    return verify(output.verified_model, expected, device=str(model.device), trust_remote_code=trust_remote_code)


def _announce(output: OutputFolder, run: Run) -> None:
    """Tell the launcher which run is open, so that it can end the run if this process cannot."""
    if run.address is not None:
        write_json(output.tracking, asdict(run.address))


def _record_start(run: Run, arguments: Any, request: TrainRequest, plan: Plan, output: OutputFolder) -> None:
    if run.address is None:
        return
    sections = request.model_dump(mode="json", exclude={"arguments"})
    run.log_parameters({**arguments.to_sanitized_dict(), **flattened(sections)})
    write_json(output.ledger, [asdict(entry) for entry in plan.ledger])
    run.log_files([output.request, output.plan, output.ledger])


def _record_end(run: Run, model: SentenceTransformer, output: OutputFolder) -> None:
    if run.address is None:
        return
    run.log_files([output.metrics])
    example = list(TEXTS[:2])
    run.log_model(model, example=example, embeddings=model.encode(example, show_progress_bar=False))


def _result(output: OutputFolder, plan: Plan, run: Run, recorder: Recorder, cosine: float, clock: _Clock) -> StepResult:
    return StepResult(
        exit_code=OK,
        output=str(output.path),
        model=str(output.model),
        metrics=recorder.metrics,
        request_fingerprint=plan.request_fingerprint,
        run_id=run.address.run_id if run.address else None,
        tracking_uri=run.address.uri if run.address else None,
        incomplete_tracking=tuple(run.complaints),
        seconds=clock.seconds,
        versions={name: version(name) for name in _LIBRARIES},
        verification=round(cosine, 6),
    )


def _leave_together() -> None:
    """Wait until every rank has trained to the end, and take the group apart without a warning."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
